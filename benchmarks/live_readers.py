"""The ways in which a model makes live captions: windows that grow, and state that is carried.

In this process, where no clock is read but that of the processor.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import jiwer
import numpy as np

from benchmarks.live_choices import PAUSE_S, listen, word_delays
from benchmarks.live_clips import Clip, count_words, make_talk
from captions.settings import CaptionConfig
from predictor import Predictor


def compare_readers(predictor: Predictor, clips: Sequence[Clip]) -> list[dict[str, Any]]:
    """Return a row for each way in which the model can make captions."""
    known = [clip for clip in clips if clip.text]
    whole = predictor.transcribe_waveforms([clip.waveform for clip in known])
    row = {
        "model": predictor.pipeline.name,
        "wer_whole_clips": jiwer.wer([c.text for c in known], [t.text for t in whole]),
    }
    ways = [False] if predictor.open_stream() is None else [False, True]
    return [
        {
            **row,
            "reads": "stream" if streams else "window",
            **_caption(predictor, known, CaptionConfig(streams=streams)),
        }
        for streams in ways
    ]


def _caption(
    predictor: Predictor, clips: Sequence[Clip], config: CaptionConfig
) -> dict[str, float]:
    rate_hz = predictor.audio.sample_rate_hz
    talks = [make_talk([clip], pause_s=PAUSE_S, sample_rate_hz=rate_hz).waveform for clip in clips]
    listen(predictor, talks[0], config)  # the first call of a length takes longer
    before_s = time.process_time()
    heard = [listen(predictor, talk, config) for talk in talks]
    cpu_s = time.process_time() - before_s
    finals = [" ".join(c.text for _, c in one if c.kind == "final" and c.text) for one in heard]
    counts = [count_words(caption.to_json() for _, caption in one) for one in heard]
    changed, shown = (sum(count[key] for count in counts) for key in ("changed", "shown"))
    delays = [delay for one in heard for delay in word_delays(one)]
    shown_after_s, for_good_after_s = np.mean(delays, axis=0).tolist()
    return {
        "wer_captions": jiwer.wer([clip.text for clip in clips], finals),
        "changed_of_shown": changed / max(1, shown),
        "shown_after_s": shown_after_s,
        "shown_for_good_after_s": for_good_after_s,
        "cpu_s_per_s_of_audio": cpu_s / (sum(len(talk) for talk in talks) / rate_hz),
    }

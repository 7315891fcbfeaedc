"""What live captions could be like: when to show a word, when an utterance ends.

On a machine that is never behind: audio is fed in steps of 40 ms, and no clock is read.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jiwer
import numpy as np
from numpy.typing import NDArray

from benchmarks.live_clips import Clip, count_words, make_talk
from captions.events import Caption
from captions.session import CaptionSession
from captions.settings import CaptionConfig
from predictor import Predictor
from serving.backend import Backend
from speech.audio import Waveform
from speech.pipeline import Pipeline

STEP_S = 0.04
PAUSE_S = 1.2
SHOWN: dict[str, dict[str, Any]] = {
    "as decoded": {"agreement": 1},
    "last word held back": {"agreement": 1, "held_back_words": 1},
    "last two words held back": {"agreement": 1, "held_back_words": 2},
    "two decodings agree": {"agreement": 2},
    "two agree, last word held back": {"agreement": 2, "held_back_words": 1},
    "three decodings agree": {"agreement": 3},
}
SILENCES_S = (0.4, 0.5, 0.6, 0.8, 1.0)


class Remembering:
    """A backend that computes each clip once, however often it is asked."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._known: dict[int, NDArray[np.float32]] = {}

    @property
    def pipeline(self) -> Pipeline:
        """The model's."""
        return self._backend.pipeline

    def log_probs(
        self, waveforms: list[Waveform], given_up: threading.Event | None = None
    ) -> list[NDArray[np.float32]]:
        """See `Backend.log_probs`."""
        for waveform in waveforms:
            if hash(waveform.tobytes()) not in self._known:
                (computed,) = self._backend.log_probs([waveform], given_up)
                self._known[hash(waveform.tobytes())] = computed
        return [self._known[hash(waveform.tobytes())] for waveform in waveforms]

    def check_ready(self) -> None:
        """See `Backend.check_ready`."""

    def close(self) -> None:
        """See `Backend.close`."""


def listen(
    predictor: Predictor, waveform: Waveform, config: CaptionConfig
) -> list[tuple[float, Caption]]:
    """Return captions with the seconds of audio after which each was shown."""
    session, found = CaptionSession(predictor, config), []
    step = round(STEP_S * predictor.audio.sample_rate_hz)
    for start in range(0, len(waveform), step):
        captions = session.feed(waveform[start : start + step])
        found += [(session.duration_s, caption) for caption in captions]
    return found + [(session.duration_s, caption) for caption in session.finalize()]


def compare_showing(
    predictor: Predictor, clips: Sequence[Clip], decoders: Sequence[str]
) -> list[dict[str, Any]]:
    """Return for each way to show words how many are changed, and how late they are shown."""
    rows = []
    for decoder in decoders:
        for name, values in SHOWN.items():
            config = replace(CaptionConfig(), partial_decoder=decoder, **values)
            heard = [listen(predictor, _alone(predictor, clip), config) for clip in clips]
            counts = [count_words(c.to_json() for _, c in captions) for captions in heard]
            total = {key: sum(count[key] for count in counts) for key in counts[0]}
            delays = [delay for captions in heard for delay in word_delays(captions)]
            row = {"partial_decoder": decoder, "shown": name, **total}
            row["changed_of_shown"] = total["changed"] / max(1, total["shown"])
            row["changed_of_final"] = total["changed"] / max(1, total["final"])
            row["word_delay_mean_s"] = float(np.mean(delays))
            row["word_delay_p95_s"] = float(np.percentile(delays, 95))
            rows.append(row)
    return rows


def word_delays(captions: Sequence[tuple[float, Caption]]) -> list[float]:
    """Return for each word of the finals how long after its end it was shown for good, in s."""
    delays = []
    for final_s, final in captions:
        if final.kind == "partial":
            continue
        shown = [(s, c.text.split()) for s, c in captions if c.id == final.id]
        texts = final.text.split()
        for place, word in enumerate(final.words):
            at = final_s
            for s, words in reversed(shown):
                if words[: place + 1] != texts[: place + 1]:
                    break
                at = s
            delays.append(at - word.end_s)
    return delays


def compare_silences(predictor: Predictor, clips: Sequence[Clip]) -> list[dict[str, Any]]:
    """Return for each length of silence how many utterances it makes of the clips, and the WER."""
    known = [clip for clip in clips if clip.text]
    whole = predictor.transcribe_waveforms([clip.waveform for clip in known])
    references = [clip.text for clip in known]
    rows: list[dict[str, Any]] = [
        {
            "endpoint_silence_s": None,
            "utterances": len(known),
            "wer": float(jiwer.wer(references, [transcript.text for transcript in whole])),
        }
    ]
    for silence_s in SILENCES_S:
        config = replace(CaptionConfig(), endpoint_silence_s=silence_s)
        texts, count = [], 0
        for clip in known:
            captions = listen(predictor, _alone(predictor, clip), config)
            finals = [c.text for _, c in captions if c.kind == "final" and c.text]
            texts.append(" ".join(finals))
            count += len(finals)
        wer = float(jiwer.wer(references, texts))
        rows.append({"endpoint_silence_s": silence_s, "utterances": count, "wer": wer})
    return rows


def _alone(predictor: Predictor, clip: Clip) -> Waveform:
    rate_hz = predictor.audio.sample_rate_hz
    return make_talk([clip], pause_s=PAUSE_S, sample_rate_hz=rate_hz).waveform

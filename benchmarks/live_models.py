"""Models side by side for live captions: windows that grow, and state that is carried.

Run it with `make bench-live-models SPEECH_CLIPS=FOLDER MODELS="Models/a Models/b"`. Each model's
captions are made of the same clips, with pauses of faint noise: first in this process, where no
clock is read but that of the processor, then by the service, for speakers in real time.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
from rich.console import Console

from benchmarks.live import measure_all, show
from benchmarks.live_choices import listen, word_delays
from benchmarks.live_clips import Clip, count_words, make_talk, read_clips
from benchmarks.machine import describe_machine
from captions.settings import CaptionConfig
from predictor import Predictor, load_predictor
from service_config import ServerConfig
from speech.audio import write_atomically
from terminal import exit_codes

PAUSE_S = 1.2
RESULTS = Path("benchmarks/results/live_models.json")


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


def measure_model(model: Path, source: Path) -> dict[str, list[dict[str, Any]]]:
    """Return a model's rows: `readers` of this process, `speakers` of the service."""
    predictor = load_predictor(ServerConfig(model=model, compile_clips=False))
    clips = read_clips(source, predictor.audio, predictor.pipeline.alphabet)
    rate_hz, readers = predictor.audio.sample_rate_hz, compare_readers(predictor, clips)
    name = predictor.pipeline.name
    del predictor
    speakers = [{"model": name, **row} for row in measure_all(clips, rate_hz, model=model)]
    return {"readers": readers, "speakers": speakers}


def main() -> None:
    """Measure, print, write."""
    if len(sys.argv) < 3:
        raise SystemExit("got no models; needed: python -m benchmarks.live_models CLIPS MODEL …")
    source, console, machine = Path(sys.argv[1]), Console(width=200), describe_machine()
    with exit_codes():
        found = [measure_model(Path(model), source) for model in sys.argv[2:]]
    rows = {key: [row for one in found for row in one[key]] for key in ("readers", "speakers")}
    console.print(machine)
    show(console, "captions of clips", rows["readers"])
    show(console, "speakers in real time", rows["speakers"])
    command = 'make bench-live-models SPEECH_CLIPS=FOLDER MODELS="…"'
    result = {"command": command, "machine": machine, **rows}
    write_atomically(RESULTS, json.dumps(result, indent=2) + "\n")
    console.print(f"wrote {RESULTS}")


if __name__ == "__main__":
    main()

"""From WAV bytes to text with the bundled model: the whole way, each stage, and a plain Keras call.

Run it with `make bench`. Every figure is the minimum of several runs in one process; ratios compare
what ran within it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine
from config import ServerConfig
from predictor import Predictor
from serving.local import LocalBackend
from speech.audio import decode_native, encode_native, write_atomically
from speech.decoding.greedy import greedy_confidence, greedy_decode
from speech.features import extract_features
from training.export import load_network

RUNS = 7
CLIP_SECONDS = (1, 5, 10, 20)
SAMPLES = Path("Data/samples")
RESULTS = Path("benchmarks/results/inference.json")


def best_of(function: Callable[[], Any], runs: int = RUNS) -> float:
    """Return the least seconds of `runs` calls, after one that warms up."""
    function()
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def make_clip(predictor: Predictor, seconds: int) -> bytes:
    """Return a native WAV of the sample clips, repeated and cut to `seconds`."""
    clips = [decode_native(p.read_bytes(), predictor.audio) for p in sorted(SAMPLES.glob("*.wav"))]
    count = seconds * predictor.audio.sample_rate_hz
    return encode_native(np.resize(np.concatenate(clips), count), predictor.audio)


def measure(predictor: Predictor, network: Any, seconds: int) -> dict[str, float]:
    """Return seconds of each stage for one clip; `keras` is the network called eagerly."""
    wav = make_clip(predictor, seconds)
    pipeline = predictor.pipeline
    waveform = decode_native(wav, predictor.audio)
    log_probs = predictor.backend.log_probs([waveform])[0]
    rate = pipeline.audio.sample_rate_hz

    def call_keras() -> Any:
        lengths = np.array([len(waveform)], np.int32)
        inputs = extract_features(
            waveform[np.newaxis], lengths, pipeline.features, sample_rate_hz=rate
        )
        return network(list(inputs), training=False)

    def decode() -> tuple[str, float]:
        alphabet = pipeline.alphabet
        return greedy_decode(log_probs, alphabet), greedy_confidence(log_probs, alphabet)

    return {
        "clip_s": float(seconds),
        "check_s": best_of(lambda: decode_native(wav, predictor.audio)),
        "log_probs_s": best_of(lambda: predictor.backend.log_probs([waveform])),
        "decoding_s": best_of(decode),
        "whole_way_s": best_of(lambda: predictor.transcribe(wav)),
        "keras_s": best_of(call_keras, runs=3),
    }


def to_table(rows: list[dict[str, float]]) -> Table:
    """Return the figures in milliseconds, and as ratios."""
    table = Table(title=f"minimum of {RUNS} runs, milliseconds")
    for name in (
        "clip",
        "check",
        "log-probs",
        "decoding",
        "whole way",
        "x real time",
        "eager Keras/ours",
    ):
        table.add_column(name, justify="right")
    for row in rows:
        stages = [row[f"{name}_s"] for name in ("check", "log_probs", "decoding", "whole_way")]
        table.add_row(
            f"{row['clip_s']:.0f} s",
            *[f"{1000 * value:.2f}" for value in stages],
            f"{row['clip_s'] / row['whole_way_s']:.0f}",
            f"{row['keras_s'] / row['log_probs_s']:.1f}",
        )
    return table


def main() -> None:
    """Measure, print, write."""
    folder = ServerConfig().model
    started = time.perf_counter()
    predictor = Predictor(LocalBackend(folder))
    predictor.warm_up()
    start_s = time.perf_counter() - started
    network = load_network(folder / "model.keras", predictor.pipeline)
    rows = [measure(predictor, network, seconds) for seconds in CLIP_SECONDS]
    machine, console = describe_machine(), Console()
    console.print(machine)
    console.print(to_table(rows))
    console.print(f"load and warm-up: {start_s:.2f} s")
    result = {
        "command": "make bench",
        "model": predictor.pipeline.name,
        "machine": machine,
        "start_s": start_s,
        "clips": rows,
    }
    write_atomically(RESULTS, json.dumps(result, indent=2) + "\n")
    console.print(f"wrote {RESULTS}")


if __name__ == "__main__":
    main()

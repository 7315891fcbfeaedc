"""Two clips at once on two cores, or one clip on two: how the work is best shared.

Run it with `make bench-concurrency`. Each number of TensorFlow's threads is a process; in it, as
many clips as callers are transcribed at the same time, each alone. The best of the rounds counts.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from rich.console import Console
from rich.table import Table

from benchmarks.inference import HEADLINE_MODEL, run_process
from benchmarks.inference_process import sample_speech
from benchmarks.machine import describe_machine
from benchmarks.models import make_random_model
from service_config import ServerConfig
from serving.local import LocalBackend
from speech.audio import write_atomically
from training.presets import PRESETS

CLIP_S = 5
CLIPS = 8
ROUNDS = 5
CALLERS = (1, 2)
THREADS = (1, 2)
RESULTS = Path("benchmarks/results/concurrency.json")


def measure(folder: Path, callers: int) -> float:
    """Return clips a second when so many are always computed at the same time."""
    backend = LocalBackend(folder, compile_clips=True)
    clip = sample_speech(backend.pipeline.audio, CLIP_S)
    if backend.compiled:
        backend.compiled.compile(len(clip))
    seconds = []
    with ThreadPoolExecutor(callers) as pool:
        for _ in range(ROUNDS):
            started = time.perf_counter()
            list(pool.map(backend.log_probs, [[clip]] * CLIPS))
            seconds.append(time.perf_counter() - started)
    return CLIPS / min(seconds)


def main(arguments: list[str]) -> None:
    """Measure both models; or, given FOLDER THREADS OUT, one process' part into the file OUT."""
    if arguments:
        model, count, out = arguments
        tf.config.threading.set_intra_op_parallelism_threads(int(count))
        tf.config.threading.set_inter_op_parallelism_threads(int(count))
        speeds = {callers: measure(Path(model), callers) for callers in CALLERS}
        Path(out).write_text(json.dumps(speeds), encoding="utf-8")
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        headline = make_random_model(Path(temporary, HEADLINE_MODEL), PRESETS[HEADLINE_MODEL])
        file = Path(temporary, "found.json")
        for folder in (headline, ServerConfig().model):
            for threads in THREADS:
                given = (str(folder), str(threads), str(file))
                run_process("benchmarks.concurrency", *given, threads=threads)
                found = json.loads(file.read_text(encoding="utf-8"))
                rows += [
                    {"model": folder.name, "threads": threads, "callers": int(c), "clips_per_s": v}
                    for c, v in found.items()
                ]
    machine, console = describe_machine(), Console()
    table = Table(title=f"clips of {CLIP_S} s")
    for column in ("model", "threads of TensorFlow", "clips at once", "clips a second"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*(f"{v:.1f}" if isinstance(v, float) else str(v) for v in row.values()))
    console.print(machine, table)
    content = {"command": "make bench-concurrency", "machine": machine, "rows": rows}
    write_atomically(RESULTS, json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])

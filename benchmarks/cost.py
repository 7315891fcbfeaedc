"""Time and memory of a second of audio: clips of 5 to 20 s, and 1 to 1 000 clips, in a plot.

Run it with `make bench-cost`. Every point is a process, so that its peak of memory is its own.
Clips are read and decoded by what `stt transcribe` calls. The models are those of `make bench`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from benchmarks.inference import HEADLINE_MODEL, run_process
from benchmarks.inference_process import sample_speech
from benchmarks.machine import describe_machine
from benchmarks.models import make_random_model
from predictor import Predictor
from service_config import ServerConfig
from serving.local import LocalBackend
from speech.audio import encode_native, write_atomically
from training.presets import PRESETS
from transcription import transcribe_files

CLIP_S = (5, 10, 15, 20)
COUNTS = (1, 10, 100, 1000)
COUNTED_CLIP_S = 5
ROUNDS = 3
ONE_ROUND_S = 200  # of audio; more of it is measured once
FIGURES = ("ms_per_audio_s", "started_s", "loaded_mib", "peak_mib")
RESULTS = Path("benchmarks/results/cost.json")
PLOT = Path("docs/inference-cost.png")


def measure_point(folder: Path, clip_s: int, count: int) -> dict[str, float]:
    """Return the least milliseconds per second of audio, and what this process cost.

    That is `started_s`, seconds until the model was loaded and had answered once, and memory in
    MiB: then, and the most so far.

    Args:
        folder: a model.
        clip_s: length of each clip.
        count: how many clips are transcribed by one call.
    """
    predictor = Predictor(LocalBackend(folder))
    predictor.warm_up()
    started_s, loaded_mib = process_age_s(), memory_mib("VmRSS")
    wav = encode_native(sample_speech(predictor.audio, clip_s), predictor.audio)
    sources = [(str(i), wav) for i in range(count)]
    seconds = []
    for _ in range(ROUNDS if clip_s * count <= ONE_ROUND_S else 1):
        started = time.perf_counter()
        for _ in transcribe_files(predictor, sources):
            pass
        seconds.append(time.perf_counter() - started)
    return {
        "clip_s": clip_s,
        "clips": count,
        "ms_per_audio_s": 1000 * min(seconds) / (clip_s * count),
        "started_s": started_s,
        "loaded_mib": loaded_mib,
        "peak_mib": memory_mib("VmHWM"),
    }


def memory_mib(field: str) -> float:
    """Return `VmRSS`, what is held now, or `VmHWM`, the most so far; of this process, on Linux."""
    with open("/proc/self/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


def process_age_s() -> float:
    """Return seconds since this process began, on Linux."""
    ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    uptime_s = float(Path("/proc/uptime").read_text(encoding="utf-8").split()[0])
    return uptime_s - ticks / os.sysconf("SC_CLK_TCK")


def measure_model(folder: Path, clip_s: Sequence[int], counts: Sequence[int]) -> dict[str, Any]:
    """Return the points along both axes, each from a process of its own."""
    points = {(seconds, 1) for seconds in clip_s} | {(COUNTED_CLIP_S, count) for count in counts}
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary, "found.json")
        for point in sorted(points):
            arguments = [str(folder), *map(str, point), str(out)]
            run_process("benchmarks.cost", *arguments, threads=os.cpu_count() or 1)
            found[point] = json.loads(out.read_text(encoding="utf-8"))
    return {
        "by_clip_s": [found[seconds, 1] for seconds in clip_s],
        "by_clips": [found[COUNTED_CLIP_S, count] for count in counts],
    }


def draw(models: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw time above and memory below, over the length of a clip and over the number of clips."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(2, 2, sharex="col")
    columns = (
        ("by_clip_s", "clip_s", "seconds of one clip"),
        ("by_clips", "clips", f"clips of {COUNTED_CLIP_S} s"),
    )
    rows = (("ms_per_audio_s", "ms per second of audio"), ("peak_mib", "peak memory, MiB"))
    for column, (series, x, x_label) in enumerate(columns):
        for row, (y, y_label) in enumerate(rows):
            panel = panels[row, column]
            for name, found in models.items():
                points = found[series]
                panel.plot([p[x] for p in points], [p[y] for p in points], "o-", label=name)
            panel.set_ylim(0, 1.2 * panel.dataLim.y1)
            panel.set_ylabel(y_label)
            panel.grid(alpha=0.3)
        panels[1, column].set_xlabel(x_label)
    for panel in panels[:, 1]:
        panel.set_xscale("log")
    panels[0, 0].legend()
    figure.savefig(path, dpi=120)


def table_of(models: dict[str, dict[str, Any]]) -> Table:
    """Return the points for people."""
    table = Table(title="transcribing files, a process a row")
    for column in (
        "model",
        "clip",
        "clips",
        "ms per s of audio",
        "started s",
        "loaded MiB",
        "peak MiB",
    ):
        table.add_column(column, justify="right")
    for name, found in models.items():
        for point in (*found["by_clip_s"], *found["by_clips"]):
            clips = (f"{point['clip_s']} s", str(point["clips"]))
            table.add_row(name, *clips, *(f"{point[key]:.1f}" for key in FIGURES))
    return table


def run(folders: dict[str, Path], clip_s: Sequence[int], counts: Sequence[int]) -> None:
    """Measure models, print, write `RESULTS`, draw `PLOT`."""
    models = {name: measure_model(folder, clip_s, counts) for name, folder in folders.items()}
    machine, console = describe_machine(), Console()
    console.print(machine)
    console.print(table_of(models))
    content = {"command": "make bench-cost", "machine": machine, "models": models}
    write_atomically(RESULTS, json.dumps(content, indent=2) + "\n")
    draw(models, PLOT)
    console.print(f"wrote {RESULTS} and {PLOT}")


def main(arguments: Sequence[str]) -> None:
    """Measure both models; or, given FOLDER CLIP_S COUNT OUT, one point into the file OUT."""
    if arguments:
        folder, clip_s, count, out = arguments
        point = measure_point(Path(folder), int(clip_s), int(count))
        Path(out).write_text(json.dumps(point), encoding="utf-8")
        return
    with tempfile.TemporaryDirectory() as temporary:
        headline = make_random_model(Path(temporary, HEADLINE_MODEL), PRESETS[HEADLINE_MODEL])
        bundled = ServerConfig().model
        run({HEADLINE_MODEL: headline, bundled.name: bundled}, CLIP_S, COUNTS)


if __name__ == "__main__":
    main(sys.argv[1:])

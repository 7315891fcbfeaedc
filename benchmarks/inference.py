"""From WAV bytes to text: ours, Keras called directly, its plain export, PyTorch, ONNX Runtime.

Run it with `make bench`. One network of the same weights goes every way on the same clips: the
preset `deepspeech2` with random weights, then the bundled model, which is also compared with
PocketSphinx. Each number of threads is a process; in it the ways take turns, and the least of the
rounds counts. Outputs that differ by more than 1e-3 end the run. `--quick` is a smoke run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rich.console import Console
from rich.table import Table

from benchmarks.inference_process import QUICK, Plan
from benchmarks.machine import describe_machine
from benchmarks.models import make_random_model
from benchmarks.plain_keras import build_plain_keras
from benchmarks.ways import KERAS, ONNX, OURS, PLAIN, TORCH
from service_config import ServerConfig
from speech.audio import write_atomically
from speech.pipeline import read_pipeline
from training.export import export, load_network
from training.networks.weights import read_weights
from training.presets import PRESETS

HEADLINE_MODEL, HEADLINE_CLIP_S = "deepspeech2", 10
PEERS = ("torch", "onnx", "onnxruntime", "pocketsphinx")
RESULTS = Path("benchmarks/results/inference.json")


def measure_model(folder: Path, plan: Plan) -> list[dict[str, Any]]:
    """Return what `benchmarks.inference_process` found, for each number of threads."""
    with tempfile.TemporaryDirectory() as temporary:
        plain, out = Path(temporary, "plain"), Path(temporary, "found.json")
        network = load_network(folder / "model.keras", read_pipeline(folder))
        build_plain_keras(read_weights(network)).export(str(plain), verbose=False)
        results = []
        for threads in plan.threads:
            arguments = [str(folder), str(plain), json.dumps(asdict(plan)), str(threads), str(out)]
            run_process("benchmarks.inference_process", *arguments, threads=threads)
            results.append(json.loads(out.read_text(encoding="utf-8")))
    return results


def run_process(module: str, *arguments: str, threads: int) -> None:
    """Run a module in a new Python whose libraries use so many threads.

    Raises:
        SystemExit: it ended with an error, which it has printed.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    done = subprocess.run([sys.executable, "-m", module, *arguments], env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{module} ended with {done.returncode}; nothing is written")


def headlines(results: list[dict[str, Any]]) -> dict[str, float]:
    """Return our whole way over each other's: one clip of 10 s, most threads, the larger model."""
    measured = [found for found in results if found["model"] == HEADLINE_MODEL]
    if not measured:
        return {}
    rows = max(measured, key=lambda found: int(found["threads"]))["rows"]
    return {
        f"whole_way_{HEADLINE_CLIP_S}s_over_{name}": ratio
        for row in rows
        if (row["clip_s"], row["batch"]) == (HEADLINE_CLIP_S, 1)
        for name, ratio in row["ours_over"].items()
    }


def installed(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are there."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def table_of(found: dict[str, Any]) -> Table:
    """Return one process' rows for people."""
    speed = found["speed"]
    table = Table(
        title=f"{found['model']}, threads: {found['threads']}; "
        f"{speed['flops_per_s'] / 1e9:.0f} GFLOP/s, {speed['bytes_per_s'] / 1e9:.0f} GB/s"
    )
    columns = ("clip", "batch", "whole way ms", "check", "features", "network", "decoding")
    peers = {KERAS: "Keras", PLAIN: "plain", TORCH: "PyTorch", ONNX: "ONNX"}
    for column in (*columns, "floor", *(f"over {name}" for name in peers.values())):
        table.add_column(column, justify="right")
    for row in found["rows"]:
        stages = row["ways"][OURS]
        parts = ("whole_way_s", "check_s", "features_s", "network_s", "decoding_s")
        ratios = [row["ours_over"].get(name) for name in peers]
        table.add_row(
            f"{row['clip_s']} s",
            str(row["batch"]),
            *[f"{1000 * stages[part]:.2f}" for part in parts],
            f"{1000 * row['floor_s']:.2f}",
            *["" if ratio is None else f"{ratio:.2f}" for ratio in ratios],
        )
    return table


def tables_of(results: list[dict[str, Any]]) -> Iterable[Table | str]:
    """Return all that is printed of the measurements."""
    for found in results:
        yield table_of(found)
        differences = {name: f"{value:.1g}" for name, value in found["largest_difference"].items()}
        yield f"largest difference from our log-probabilities: {differences}"
        if sentences := found.get("sentences"):
            for name, seconds in sentences["whole_way_s"].items():
                yield (
                    f"{name}: {sentences['clips']} sentences of {sentences['audio_s']:.1f} s in "
                    f"{seconds:.3f} s, WER {sentences['wer'][name]:.3f}"
                )


def run(folders: Iterable[Path], plan: Plan, output: Path, command: str) -> None:
    """Measure models, print, write `output` and beside it the same tables as text."""
    results = [found for folder in folders for found in measure_model(folder, plan)]
    machine = {**describe_machine(), **installed(PEERS)}
    missing = sorted({name for found in results for name in found.pop("missing")})
    console = Console(record=True, width=140)
    console.print(command)
    console.print(machine)
    for part in tables_of(results):
        console.print(part)
    if missing:
        console.print(f"left out, not installed: {', '.join(missing)}; `make bench` installs them")
    content = {
        "command": command,
        "machine": machine,
        **headlines(results),
        "left_out": missing,
        "models": results,
    }
    write_atomically(output, json.dumps(content, indent=2) + "\n")
    write_atomically(output.with_suffix(".txt"), console.export_text())
    console.print(f"wrote {output}")


def copy_as_float32(folder: Path, to: Path) -> Path:
    """Return a copy of a model with an export of just the weights that its peers get."""
    copy = Path(shutil.copytree(folder, to / folder.name, ignore=lambda *_: ["saved_model"]))
    export(copy)
    return copy


def main() -> None:
    """Measure the preset and the bundled model; a smoke run writes nothing that is kept."""
    is_quick = "--quick" in sys.argv[1:]
    with tempfile.TemporaryDirectory() as temporary:
        headline = make_random_model(Path(temporary, HEADLINE_MODEL), PRESETS[HEADLINE_MODEL])
        folders = [headline, copy_as_float32(ServerConfig().model, Path(temporary))]
        if is_quick:
            command = "python -m benchmarks.inference --quick"
            run(folders, QUICK, Path(temporary, RESULTS.name), command)
        else:
            run(folders, Plan(), RESULTS, "make bench")


if __name__ == "__main__":
    main()

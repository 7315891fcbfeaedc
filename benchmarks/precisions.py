"""Exports of a trained model in every precision: error rates, speed and size of each.

Run it with `make bench-precisions MANIFEST=Data/english`. Clips of the validation split are decoded
greedily, and every text is compared with that of the Keras network that was trained. A clip alone
is compiled before it is timed; the least of the rounds counts.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rich.console import Console
from rich.table import Table

from benchmarks.inference_process import sample_speech
from benchmarks.machine import describe_machine
from benchmarks.ways import PeerBackend, keras_call
from predictor import Predictor
from service_config import ServerConfig
from serving.local import LocalBackend
from speech.audio import write_atomically
from speech.pipeline import read_pipeline
from training.evaluate import evaluate
from training.export import export, load_network
from training.manifest import Split, Utterance, read_manifest
from training.served_model import Precision

CLIP_S, BATCH, ROUNDS = 5, 16, 7
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
RESULTS = Path("benchmarks/results/precisions.json")


def measure(
    folder: Path, utterances: list[Utterance], wanted: dict[str, str]
) -> dict[str, str | float]:
    """Return one export's figures; `wanted` are the texts by the clips' ids."""
    backend = LocalBackend(folder, compile_clips=True)
    report = evaluate(Predictor(backend), utterances)
    clip = sample_speech(backend.pipeline.audio, CLIP_S)
    if backend.compiled:
        backend.compiled.compile(len(clip))
    size = sum(path.stat().st_size for path in folder.glob("saved_model/*/variables/*"))
    return {
        "wer": report.total.wer,
        "cer": report.total.cer,
        "texts_changed": sum(clip.hypothesis != wanted[clip.id] for clip in report.clips),
        "clip_alone_ms": 1000 * _least_s(backend, 1, clip),
        "clip_of_a_batch_ms": 1000 * _least_s(backend, BATCH, clip) / BATCH,
        "weights_mb": size / 1e6,
    }


def texts_as_trained(model: Path, utterances: list[Utterance]) -> dict[str, str]:
    """Return what the Keras network itself hears in each clip, by the clip's id."""
    pipeline = read_pipeline(model)
    network = keras_call(load_network(model / "model.keras", pipeline))
    report = evaluate(Predictor(PeerBackend(pipeline, network)), utterances)
    return {clip.id: clip.hypothesis for clip in report.clips}


def _least_s(backend: LocalBackend, batch: int, clip: Any) -> float:
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        backend.log_probs([clip] * batch)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def main(manifest: Path, model: Path) -> None:
    """Export, measure, print, write."""
    utterances = read_manifest(manifest, Split.validation)
    wanted, rows = texts_as_trained(model, utterances), []
    with tempfile.TemporaryDirectory() as temporary:
        for precision in PRECISIONS:
            folder = Path(temporary, precision)
            folder.mkdir()
            for name in ("model.keras", "pipeline.json"):
                shutil.copy(model / name, folder / name)
            export(folder, precision=precision)
            rows.append({"precision": precision, **measure(folder, utterances, wanted)})
    console, machine = Console(), describe_machine()
    table = Table(title=f"{model.name}, {len(utterances)} validation clips, greedy")
    for column in rows[0]:
        table.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    console.print(machine, table)
    content = {"command": "make bench-precisions", "machine": machine, "rows": rows}
    write_atomically(RESULTS, json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else ServerConfig().model)

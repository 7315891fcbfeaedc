"""Stand-ins for a tracker and for a run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.tracking import Sample, Status, Tracker, Value, tracking


class FakeTracker:
    """Remembers what it was told; fails while `is_down`, or in the methods of `failing` alone."""

    name = "fake"

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.is_down = False
        self.failing: set[str] = set()

    def _note(self, *call: object) -> None:
        if self.is_down or call[0] in self.failing:
            raise ConnectionError("no route\nto host")
        self.calls.append(call)

    def start(self, run_id: str | None, parameters: Mapping[str, Value]) -> str:
        self._note("start", run_id)
        return run_id or "id-1"

    def log_metrics(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self._note("metrics", epoch, metrics["loss"])

    def log_samples(self, samples: Sequence[Sample]) -> None:
        self._note("samples", [s.epoch for s in samples])

    def log_model(self, files: Sequence[Path]) -> None:
        self._note("model", [file.name for file in files])

    def finish(self, status: Status) -> None:
        self._note("finish", status)


class Following:
    """A run's folder whose log grows by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.epoch, self.notes = folder, 0, list[str]()
        (folder / "log.csv").write_text("epoch,loss\n")
        (folder / "samples.jsonl").write_text("")
        for name in ("model.keras", "pipeline.json"):
            (folder / name).write_text(name)

    def write_epoch(self) -> None:
        self.epoch += 1
        with (self.folder / "log.csv").open("a") as log:
            log.write(f"{self.epoch},{self.epoch / 2}\n")
        entry = {"epoch": self.epoch, "id": "c/1", "reference": "a", "text": "b"}
        with (self.folder / "samples.jsonl").open("a") as samples:
            samples.write(json.dumps(entry) + "\n")

    def by(self, *trackers: Tracker, finished: bool = True) -> Any:
        return tracking(
            trackers,
            self.folder,
            parameters={"training.epochs": 3},
            clips={},
            is_finished=lambda: finished,
            on_note=self.notes.append,
        )

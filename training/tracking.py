"""Trackers of experiments: MLflow and Weights & Biases follow what a run writes for itself."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from config import SpeechToTextError
from speech.audio import write_atomically
from training.manifest import Utterance, fingerprint

if TYPE_CHECKING:
    from training.recipe import Recipe

STATE = "tracking.json"
MODEL_FILES = ("model.keras", "pipeline.json")
# Set where the user has not: no reports of use to the trackers' makers (which Weights & Biases
# sends even offline), no messages in the progress bar, no minutes of waiting for a dead server.
ENVIRONMENT = {
    "mlflow": {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    },
    "wandb": {"WANDB_ERROR_REPORTING": "false"},
}
_LONGEST_REASON = 200

Value = str | int | float | bool | None


class Status(StrEnum):
    """How a run ended, as far as this process knows."""

    finished = "finished"
    stopped = "stopped"
    failed = "failed"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What the network made of a clip of the validation split after an epoch.

    Attributes:
        audio: path of the clip, a native WAV file; None if the split no longer has it.
    """

    epoch: int
    id: str
    reference: str
    text: str
    audio: Path | None


class Tracker(Protocol):
    """What a run tells of itself; any method may raise, and is called again after the next epoch.

    `name` is that of the extra which installs it.
    """

    name: str

    def start(self, run_id: str | None, parameters: Mapping[str, Value]) -> str:
        """Go on with the run `run_id`, or begin one if it is None or gone; return its id."""
        ...

    def log_metrics(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Keep an epoch's metrics; epochs come once, in order, from 1."""
        ...

    def log_samples(self, samples: Sequence[Sample]) -> None:
        """Keep the sample transcripts of all epochs so far, and the clips themselves."""
        ...

    def log_model(self, files: Sequence[Path]) -> None:
        """Keep the files of the best model."""
        ...

    def finish(self, status: Status) -> None:
        """End the run, or the part of it that this process did."""
        ...


def make_tracker(name: str, output: Path) -> Tracker:
    """Return the tracker `mlflow` or `wandb` for a run in `output`.

    Raises:
        SpeechToTextError: its package is not installed, or it does not know whose account to use.
        ValueError: another name.
    """
    if name not in ENVIRONMENT:
        raise ValueError(f"got the tracker {name!r}; needed: one of {', '.join(ENVIRONMENT)}")
    for key, value in ENVIRONMENT[name].items():
        os.environ.setdefault(key, value)
    try:
        if name == "mlflow":
            from training.tracking_mlflow import MlflowTracker

            return MlflowTracker(output)
        from training.tracking_wandb import WandbTracker

        return WandbTracker(output)
    except ImportError as error:
        raise SpeechToTextError(
            f"tracking with {name} needs a package that is not installed ({error}); "
            f"needed: pip install -e '.[{name}]'"
        ) from error


def parameters_of(
    recipe: Recipe, train_split: Sequence[Utterance], validation_split: Sequence[Utterance]
) -> dict[str, Value]:
    """Return all of a recipe, and which data it is used on, as `group.key` to one value each."""
    samples = sum(utterance.num_samples for utterance in train_split)
    data = {
        "corpora": sorted({utterance.corpus for utterance in train_split}),
        "sha256": fingerprint([*train_split, *validation_split]),
        "train_utterances": len(train_split),
        "validation_utterances": len(validation_split),
        "train_hours": round(samples / recipe.audio.sample_rate_hz / 3600, 2),
    }
    return dict(_flatten({**dataclasses.asdict(recipe), "data": data}, prefix=""))


def _flatten(group: Mapping[str, Any], *, prefix: str) -> Iterator[tuple[str, Value]]:
    """Yield leaves; a list of groups counts them from 0, any other list becomes JSON."""
    for key, value in group.items():
        name = f"{prefix}{key}"
        if isinstance(value, list | tuple) and value and isinstance(value[0], dict):
            value = {str(index): item for index, item in enumerate(value)}
        if isinstance(value, dict):
            yield from _flatten(value, prefix=f"{name}.")
        elif isinstance(value, list | tuple):
            yield name, json.dumps(value, ensure_ascii=False)
        else:
            yield name, value


class _Follower:
    """Brings one tracker up to what `log.csv` says; its failures are told, not raised.

    Which epochs' metrics and samples it has, and under which run, is in `tracking.json`, so that
    no metrics are sent twice and nothing that it missed is lost.
    """

    def __init__(
        self,
        tracker: Tracker,
        output: Path,
        on_note: Callable[[str], None] | None,
        saved: Mapping[str, Any],
    ) -> None:
        self.tracker, self.output, self.on_note = tracker, output, on_note
        self.run_id: str | None = saved.get("run")
        self.epoch: int = saved.get("epoch", 0)
        self.samples_epoch: int = saved.get("samples", 0)
        self.is_open, self.is_lost = False, False

    def follow(self, parameters: Mapping[str, Value], clips: Mapping[str, Path]) -> None:
        """Send what is new."""
        with self._tolerance():
            self._open(parameters)
            rows = [row for row in _read_metrics(self.output) if row[0] > self.epoch]
            for epoch, metrics in rows:
                self.tracker.log_metrics(epoch, metrics)
                self.epoch = epoch
                self._save()
            if self.samples_epoch < self.epoch:
                self.tracker.log_samples(_read_samples(self.output, clips))
                self.samples_epoch = self.epoch
                self._save()

    def finish(self, status: Status) -> None:
        """Send the best model, unless the run failed, and end."""
        if not self.is_open:
            return
        with self._tolerance():
            files = [self.output / name for name in MODEL_FILES]
            if status is not Status.failed and all(file.exists() for file in files):
                self.tracker.log_model(files)
        with self._tolerance():
            self.tracker.finish(status)

    def _open(self, parameters: Mapping[str, Value]) -> None:
        if self.is_open:
            return
        last = max((epoch for epoch, _ in _read_metrics(self.output)), default=0)
        known = self.run_id if self.epoch <= last else None  # else it is of a run that was deleted
        run_id = self.tracker.start(known, parameters)
        if run_id != known:
            self.run_id, self.epoch, self.samples_epoch = run_id, 0, 0
        self.is_open = True
        self._save()

    def _save(self) -> None:
        entry = {"run": self.run_id, "epoch": self.epoch, "samples": self.samples_epoch}
        states = {**_read_states(self.output, on_note=None), self.tracker.name: entry}
        write_atomically(self.output / STATE, json.dumps(states, indent=2) + "\n")

    @contextmanager
    def _tolerance(self) -> Iterator[None]:
        name = self.tracker.name
        try:
            yield
        except Exception as error:
            reason = " ".join(str(error).split())[:_LONGEST_REASON] or type(error).__name__
            if not self.is_lost and self.on_note:
                self.on_note(
                    f"{name} failed ({reason}); training goes on, and what {name} misses is sent "
                    "once it works again, at the latest by the same command"
                )
            self.is_lost = True
        else:
            if self.is_lost and self.on_note:
                self.on_note(f"{name} works again")
            self.is_lost = False


@contextmanager
def tracking(
    trackers: Sequence[Tracker],
    output: Path,
    *,
    parameters: Mapping[str, Value],
    clips: Mapping[str, Path],
    is_finished: Callable[[], bool],
    on_note: Callable[[str], None] | None = None,
) -> Iterator[Callable[[], None]]:
    """Let trackers follow the run in `output`; call what this yields after each epoch.

    Args:
        parameters: as `parameters_of` gives them.
        clips: WAV files of the validation split by id.
        is_finished: asked at the end; a run with epochs left was stopped.
        on_note: told once of a tracker that fails, and of a broken `tracking.json`.
    """
    saved = _read_states(output, on_note) if trackers else {}
    followers = [
        _Follower(tracker, output, on_note, saved.get(tracker.name, {})) for tracker in trackers
    ]

    def follow() -> None:
        for follower in followers:
            follower.follow(parameters, clips)

    def finish(status: Status) -> None:
        for follower in followers:
            follower.finish(status)

    follow()
    try:
        yield follow
    except BaseException as error:
        finish(Status.stopped if isinstance(error, KeyboardInterrupt) else Status.failed)
        raise
    follow()
    finish(Status.finished if is_finished() else Status.stopped)


def _read_states(output: Path, on_note: Callable[[str], None] | None) -> dict[str, dict[str, Any]]:
    """Return what `tracking.json` holds; a broken one is told, not raised, and holds nothing."""
    path = output / STATE
    if not path.exists():
        return {}
    try:
        states: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        for entry in states.values():
            _check_entry(entry)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        if on_note:
            on_note(f"{path} is broken ({error}): new runs are begun there, with all epochs so far")
        return {}
    return states


def _check_entry(entry: Mapping[str, Any]) -> None:
    numbers = entry.get("epoch", 0), entry.get("samples", 0)
    run = entry.get("run")
    if not all(isinstance(number, int) for number in numbers) or not isinstance(run, str | None):
        raise ValueError(f"got {entry}; needed: a run and its epochs")


def _read_metrics(output: Path) -> list[tuple[int, dict[str, float]]]:
    """Return the epochs of `log.csv` with their metrics."""
    path = output / "log.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            (int(row.pop("epoch")), {name: float(value) for name, value in row.items()})
            for row in csv.DictReader(file)
        ]


def _read_samples(output: Path, clips: Mapping[str, Path]) -> list[Sample]:
    """Return what `samples.jsonl` holds, with the clips' files."""
    lines = (output / "samples.jsonl").read_text(encoding="utf-8").split("\n")
    entries = [json.loads(line) for line in lines if line]
    return [
        Sample(
            epoch=entry["epoch"],
            id=entry["id"],
            reference=entry["reference"],
            text=entry["text"],
            audio=clips.get(entry["id"]),
        )
        for entry in entries
    ]

"""The whole state of a training run in one file."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from config import ModelError
from speech.audio import write_atomically
from speech.config_json import to_json
from training.augmentation_config import STRENGTHS

MAY_DIFFER = {
    "epochs",
    "init_from",  # what it began with is in the checkpoint
    "checkpoint_minutes",
    "sample_transcripts",
    "patience",
    "strategy",
}
_BROKEN = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Where a run stands.

    Attributes:
        epoch: from 0.
        batch: steps of `epoch` that are done, each of a batch for every replica; `loss_sum` is
            the sum of their losses.
        best_wer: of the model that is kept, as `best_cer`.
        best_epoch: how many epochs were done when it was kept.
        replicas: devices that share the steps; the plan of an epoch depends on it.
    """

    epoch: int = 0
    batch: int = 0
    best_wer: float = float("inf")
    best_cer: float = float("inf")
    best_epoch: int = 0
    loss_sum: float = 0.0
    replicas: int = 1

    @property
    def mean_loss(self) -> float:
        """Mean over the epoch's batches that are done, in nats a label; NaN before the first."""
        return self.loss_sum / self.batch if self.batch else float("nan")

    @property
    def best_rank(self) -> tuple[float, float]:
        """Order of models: WER first, CER where it ties."""
        return self.best_wer, self.best_cer

    def is_out_of(self, patience: int) -> bool:
        """Return whether the last `patience` epochs, if any are asked for, gave nothing better."""
        return 0 < patience <= self.epoch - self.best_epoch


def save_checkpoint(path: Path, model: Any, state: Checkpoint, recipe: Any, data: str) -> None:
    """Write weights, dropout's random state, optimizer and position, atomically.

    `data` is the fingerprint of what is trained on.
    """
    arrays: dict[str, Any] = {f"{i:05d}": np.asarray(v) for i, v in enumerate(_variables(model))}
    about = {"state": dataclasses.asdict(state), "recipe": _settings(recipe), "data": data}
    buffer = io.BytesIO()
    np.savez(buffer, about=np.array(json.dumps(about)), **arrays)
    write_atomically(path, buffer.getvalue(), durable=True)


def load_checkpoint(path: Path, model: Any, recipe: Any, data: str) -> Checkpoint | None:
    """Restore what `save_checkpoint` wrote; None if there is no file.

    Only `MAY_DIFFER` may differ from the run that wrote it. With another number of epochs the rate
    of learning follows the schedule of the new number from here on.

    Raises:
        ModelError: the file is broken, or was written with other settings or other data.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as raw, np.load(raw) as file:
            about = json.loads(str(file["about"]))
            _check_same(about["recipe"], json.loads(json.dumps(_settings(recipe))), path)
            if about["data"] != data:
                raise ModelError(
                    f"{path} is of a run on other data; "
                    "needed: the manifest that it started with, or another folder"
                )
            for i, variable in enumerate(_variables(model)):
                variable.assign(file[f"{i:05d}"])
            return Checkpoint(**about["state"])
    except _BROKEN as error:
        raise _unusable(path, error) from error


def read_state(path: Path) -> Checkpoint | None:
    """Return where the run of a checkpoint stands; None if there is no file.

    Raises:
        ModelError: the file is broken.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as raw, np.load(raw) as file:
            return Checkpoint(**json.loads(str(file["about"]))["state"])
    except _BROKEN as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"cannot resume from {path}, broken or of another version ({error!r}); "
        "needed: another folder"
    )


def _variables(model: Any) -> list[Any]:
    return [*model.network.variables, *model.optimizer.variables]


def _settings(recipe: Any) -> dict[str, Any]:
    """Return a recipe's groups of settings as plain values, as `pipeline.json` has them."""
    groups = [field.name for field in dataclasses.fields(recipe)]
    return {name: to_json(getattr(recipe, name)) for name in groups}


def _check_same(saved: dict[str, Any], wanted: dict[str, Any], path: Path) -> None:
    never = json.loads(json.dumps(to_json(STRENGTHS["none"])))  # what a run before it was there had
    saved = {**saved, "augmentation": {**never, **saved["augmentation"]}}
    different = [
        f"{group}.{key} was {saved[group].get(key)!r}, now {values.get(key)!r}"
        for group, values in wanted.items()
        for key in {**values, **saved[group]}
        if saved[group].get(key) != values.get(key) and key not in MAY_DIFFER
    ]
    if different:
        raise ModelError(
            f"{path} is of a run with other settings ({'; '.join(different)}); "
            "needed: the same, or another folder"
        )

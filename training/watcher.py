"""What happens between the steps of a run: progress, checkpoints, losses that are not finite."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import keras

from config import CorpusError
from training.optimizer import inner
from training.validation import Validation

if TYPE_CHECKING:
    from training.run import Run


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run is: a bar shows it."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What the caller is told, and how it stops a run: after the step in which it says so."""

    on_step: Callable[[Progress], None] | None
    on_epoch: Callable[[int, float, Validation], None] | None
    should_stop: Callable[[], bool]


class Watcher(keras.callbacks.Callback):
    """Follows the steps of an epoch: progress, timed checkpoints, losses that are not finite."""

    def __init__(self, run: Run, hooks: Hooks) -> None:
        super().__init__()
        self.run, self.hooks = run, hooks
        self.stopped = False

    def start_epoch(self, epoch: int) -> None:
        """Remember where in the run this epoch starts."""
        self.epoch, self.first = epoch, self.run.state.batch
        self.before = sum(map(self.run.steps_of, range(epoch)))
        self.saved_at = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Check the loss, count the step, save when it is time."""
        logs = logs or {}
        if (index := int(logs["broken"])) >= 0:
            self._name_broken(index)
        self.run.state = replace(
            self.run.state,
            epoch=self.epoch,
            batch=self.first + batch + 1,
            loss_sum=self.run.state.loss_sum + float(logs["latest"]),
        )
        if self.hooks.on_step:
            self.hooks.on_step(
                Progress(
                    epoch=self.epoch + 1,
                    epochs=self.run.recipe.training.epochs,
                    step=self.before + self.run.state.batch,
                    steps=self.run.steps,
                    loss=self.run.state.mean_loss,
                )
            )
        self._save_or_stop()

    def on_epoch_end(self, _epoch: int, _logs: dict[str, float] | None = None) -> None:
        """Keep Keras from ending `fit` with the running mean in place of the weights."""
        optimizer = inner(self.model.optimizer)
        self.averages, optimizer.use_ema = optimizer.use_ema, False

    def on_train_end(self, _logs: dict[str, float] | None = None) -> None:
        """Let the optimizer go on with the running mean."""
        inner(self.model.optimizer).use_ema = self.averages

    def _save_or_stop(self) -> None:
        self.stopped = self.run.replicas.any(self.hooks.should_stop())
        period_s = 60 * self.run.recipe.training.checkpoint_minutes
        if self.stopped or time.monotonic() - self.saved_at > period_s:
            model = self.model  # reading it brings JAX's state into the model's variables
            self.run.save()
            self.saved_at = time.monotonic()
            model.stop_training = self.stopped

    def _name_broken(self, index: int) -> None:
        utterance = self.run.train_split[index]
        raise CorpusError(
            f"the loss of {utterance.id} is not finite ({utterance.num_samples} samples for "
            f"{utterance.text!r}); remove it, or lower the learning rate if it was fine before"
        )

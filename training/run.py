"""The loop of a training run: epochs, checkpoints to the step, the best weights kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from config import (
    AudioConfig,
    CorpusError,
    FeatureConfig,
    NetworkConfig,
    TrainingConfig,
)
from speech.alphabet import Alphabet
from speech.pipeline import Pipeline, write_pipeline
from training.augmentation import AugmentationConfig
from training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from training.corpus import num_samples_needed
from training.ctc_model import CTCModel, inference_function
from training.dataset import Augmentation, Plan, make_dataset, plan_batches, plan_seeds
from training.initialise import initialise
from training.manifest import Utterance, fingerprint
from training.networks.deepspeech2 import build_deepspeech2
from training.optimizer import averaged, make_optimizer
from training.reporting import RunLog
from training.validation import Validation, validate

CHECKPOINT = "checkpoint.npz"
BEST = "model.keras"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides what a run computes, apart from its data."""

    audio: AudioConfig
    features: FeatureConfig
    network: NetworkConfig
    alphabet: Alphabet
    training: TrainingConfig
    augmentation: AugmentationConfig


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


def build_network(recipe: Recipe) -> keras.Model:
    """Return the network of a recipe with random weights."""
    return build_deepspeech2(
        recipe.network, num_bins=recipe.features.num_bins, num_symbols=len(recipe.alphabet)
    )


@contextmanager
def dtype_policy(precision: str) -> Iterator[None]:
    """Build layers with Keras' policy for a precision: mixed, if it is not float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


class Run:
    """One run's objects; `go` is its loop."""

    def __init__(
        self,
        train_split: list[Utterance],
        validation_split: list[Utterance],
        output: Path,
        recipe: Recipe,
    ) -> None:
        self.train_split, self.validation_split = train_split, validation_split
        self.output, self.recipe = output, recipe
        self.least_samples = np.array(
            [
                num_samples_needed(recipe.alphabet.encode(u.text), recipe.features, recipe.network)
                for u in train_split
            ],
            np.int32,
        )
        self.fingerprint = fingerprint([*train_split, *validation_split])
        training = recipe.training
        keras.utils.set_random_seed(training.seed)
        if not tf.config.list_physical_devices("GPU"):
            tf.config.experimental.enable_op_determinism()
        with dtype_policy(training.precision):
            network = build_network(recipe)
        self.plans = [self._plan(epoch) for epoch in range(training.epochs)]
        self.steps = sum(map(len, self.plans))
        self.model = CTCModel(network, blank_index=recipe.alphabet.blank_index)
        self.model.compile(
            optimizer=make_optimizer(training, self.steps), jit_compile=training.jit_compile
        )
        self.model.optimizer.build(network.trainable_variables)
        self.infer = inference_function(self.model, num_bins=recipe.features.num_bins)
        path = output / CHECKPOINT
        state = load_checkpoint(path, self.model, recipe, self.fingerprint)
        self.num_new_symbols = 0
        if state is None and training.init_from:
            folder = Path(training.init_from)
            self.num_new_symbols = initialise(network, folder, recipe.alphabet)
        self.state = state or Checkpoint()

    def _plan(self, epoch: int) -> Plan:
        training = self.recipe.training
        return plan_batches(
            [utterance.num_samples for utterance in self.train_split],
            batch_samples=int(training.batch_seconds * self.recipe.audio.sample_rate_hz),
            seed=training.seed,
            epoch=epoch,
            by_length=epoch == 0 and training.sort_first_epoch,
        )

    def go(self, hooks: Hooks) -> Path:
        """Do the epochs that are left; return the path of the best model."""
        training = self.recipe.training
        log = RunLog(self.output)
        if not (self.output / CHECKPOINT).exists():
            self.save()  # so that a model is never there without the run that made it
        watcher = _Watcher(self, hooks)
        for epoch in range(self.state.epoch, training.epochs):
            if self.state.is_out_of(training.patience):
                break
            if self.state.batch < len(self.plans[epoch]):
                self._fit(epoch, watcher)
            if watcher.stopped:
                break
            with averaged(self.model):
                loss, result = self.state.mean_loss, self._validate()
                if result.rank < self.state.best_rank:
                    self._save_best(epoch, result)
            self.state = replace(self.state, epoch=epoch + 1, batch=0, loss_sum=0.0)
            self.save()
            log.write_epoch(epoch + 1, loss, float(self.model.optimizer.learning_rate), result)
            if hooks.on_epoch:
                hooks.on_epoch(epoch + 1, loss, result)
            if hooks.should_stop():
                break
        return self.output / BEST

    def _fit(self, epoch: int, watcher: _Watcher) -> None:
        plan, done = self.plans[epoch], self.state.batch
        seeds = plan_seeds(plan, seed=self.recipe.training.seed, epoch=epoch)
        augmentation = Augmentation(self.recipe.augmentation, seeds[done:], self.least_samples)
        watcher.start_epoch(epoch)
        self.model.fit(
            self._dataset(self.train_split, plan[done:], augmentation),
            initial_epoch=epoch,
            epochs=epoch + 1,
            verbose=0,
            shuffle=False,
            callbacks=[watcher],
        )

    def _dataset(
        self, utterances: list[Utterance], plan: Plan, augmentation: Augmentation | None = None
    ) -> Any:
        recipe = self.recipe
        return make_dataset(
            utterances,
            plan,
            audio=recipe.audio,
            features=recipe.features,
            alphabet=recipe.alphabet,
            augmentation=augmentation,
        )

    def _validate(self) -> Validation:
        training = self.recipe.training
        plan = plan_batches(
            [utterance.num_samples for utterance in self.validation_split],
            batch_samples=int(training.batch_seconds * self.recipe.audio.sample_rate_hz),
            seed=0,
            epoch=0,
            shuffle=False,
        )
        return validate(
            self.infer,
            self.validation_split,
            self._dataset(self.validation_split, plan),
            self.recipe.alphabet,
            num_samples_shown=training.sample_transcripts,
        )

    def _save_best(self, epoch: int, result: Validation) -> None:
        temporary = self.output / f".{BEST}"
        network = build_network(self.recipe)  # in float32, whatever this run computes in
        network.set_weights(self.model.network.get_weights())
        network.save(temporary)
        temporary.replace(self.output / BEST)
        self.state = replace(
            self.state, best_wer=result.wer, best_cer=result.cer, best_epoch=epoch + 1
        )
        recipe = self.recipe
        seconds = sum(u.num_samples for u in self.train_split) / recipe.audio.sample_rate_hz
        write_pipeline(
            self.output,
            Pipeline(
                name=self.output.resolve().name,
                audio=recipe.audio,
                features=recipe.features,
                network=recipe.network,
                alphabet=recipe.alphabet,
                training_data={
                    "corpora": sorted({utterance.corpus for utterance in self.train_split}),
                    "sha256": self.fingerprint,
                    "utterances": len(self.train_split),
                    "hours": round(seconds / 3600, 2),
                    "epochs": epoch + 1,
                    "seed": recipe.training.seed,
                    "init_from": Path(recipe.training.init_from).name
                    if recipe.training.init_from
                    else None,
                },
                scores={"validation_wer": result.wer, "validation_cer": result.cer},
            ),
        )

    def save(self) -> None:
        """Write the whole state; a crash leaves the former or the new one."""
        path = self.output / CHECKPOINT
        save_checkpoint(path, self.model, self.state, self.recipe, self.fingerprint)


class _Watcher(keras.callbacks.Callback):
    """Follows the steps of an epoch: progress, timed checkpoints, losses that are not finite."""

    def __init__(self, run: Run, hooks: Hooks) -> None:
        super().__init__()
        self.run, self.hooks = run, hooks
        self.stopped = False

    def start_epoch(self, epoch: int) -> None:
        """Remember where in the run this epoch starts."""
        self.epoch, self.first = epoch, self.run.state.batch
        self.before = sum(len(plan) for plan in self.run.plans[:epoch])
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

    def _save_or_stop(self) -> None:
        self.stopped = self.hooks.should_stop()
        period_s = 60 * self.run.recipe.training.checkpoint_minutes
        if self.stopped or time.monotonic() - self.saved_at > period_s:
            self.run.save()
            self.saved_at = time.monotonic()
        if self.stopped:
            self.model.stop_training = True

    def _name_broken(self, index: int) -> None:
        utterance = self.run.train_split[index]
        raise CorpusError(
            f"the loss of {utterance.id} is not finite ({utterance.num_samples} samples for "
            f"{utterance.text!r}); remove it, or lower the learning rate if it was fine before"
        )

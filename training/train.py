"""Train a network: resumable to the step, the best weights kept by validation error rate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from config import (
    AudioConfig,
    CorpusError,
    FeatureConfig,
    ModelError,
    NetworkConfig,
    TrainingConfig,
)
from speech.alphabet import Alphabet
from speech.pipeline import Pipeline, write_pipeline
from training.checkpoint import Checkpoint, load_checkpoint, read_state, save_checkpoint
from training.ctc_model import CTCModel, inference_function
from training.dataset import Plan, make_dataset, plan_batches
from training.manifest import Split, Utterance, fingerprint
from training.networks.deepspeech2 import build_deepspeech2
from training.reporting import RunLog
from training.selection import select_utterances
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


def train(
    utterances: list[Utterance],
    output: Path,
    recipe: Recipe,
    *,
    on_step: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[int, float, Validation], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Train on the training split, or go on where an earlier run in `output` stopped.

    `output` gets `checkpoint.npz` (the whole state), `model.keras` with its `pipeline.json` (the
    weights of the lowest validation WER, CER where that ties), each written beside and renamed;
    and `log.csv`, `samples.jsonl` and `tensorboard/`, which grow. On a CPU a run that was stopped
    and continued equals one that was not, to the last bit.

    Args:
        utterances: of a manifest; needs a training and a validation split.
        on_note: told what is left out of the splits, and why.
        should_stop: asked after each step; the state is saved before this call returns.

    Returns:
        The path of the best model.

    Raises:
        CorpusError: a split is empty, a file is missing or was changed, or the loss of an
            utterance is not finite.
        ModelError: `output` holds a run with other settings or data, or a model without its run.
    """
    if (output / BEST).exists() and not (output / CHECKPOINT).exists():
        raise ModelError(
            f"{output} holds a model without the checkpoint that would continue it; "
            "needed: another folder"
        )
    train_split, validation_split = (
        select_utterances(
            utterances,
            split,
            features=recipe.features,
            network=recipe.network,
            alphabet=recipe.alphabet,
            max_samples=recipe.training.max_clip_s * recipe.audio.sample_rate_hz,
            repeat=dict(recipe.training.repeat),
            on_note=on_note,
        )
        for split in (Split.train, Split.validation)
    )
    run = _Run(train_split, validation_split, output, recipe)
    with _data_errors():
        return run.go(Hooks(on_step=on_step, on_epoch=on_epoch, should_stop=should_stop))


def is_finished(output: Path, recipe: Recipe) -> bool:
    """Return whether the run in `output` has done all its epochs."""
    state = read_state(output / CHECKPOINT)
    return state is not None and state.epoch >= recipe.training.epochs


@contextmanager
def _data_errors() -> Iterator[None]:
    """Turn what TensorFlow raises for a clip into a `CorpusError`; let all else pass."""
    signs = ("assertion failed", "No such file", "Permission denied")
    try:
        yield
    except (
        tf.errors.NotFoundError,
        tf.errors.InvalidArgumentError,
        tf.errors.PermissionDeniedError,
    ) as error:
        lines = [line.strip() for line in str(error.message).splitlines()]
        reason = next((line for line in lines if any(sign in line for sign in signs)), None)
        if reason is None:
            raise
        raise CorpusError(f"{reason}; if a clip was moved or changed, prepare it again") from error


class _Run:
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
        self.fingerprint = fingerprint([*train_split, *validation_split])
        training = recipe.training
        keras.utils.set_random_seed(training.seed)
        if not tf.config.list_physical_devices("GPU"):
            tf.config.experimental.enable_op_determinism()
        network = build_deepspeech2(
            recipe.network,
            num_bins=recipe.features.num_bins,
            num_symbols=len(recipe.alphabet),
        )
        self.plans = [self._plan(epoch) for epoch in range(training.epochs)]
        self.steps = sum(map(len, self.plans))
        self.model = CTCModel(network, blank_index=recipe.alphabet.blank_index)
        self.model.compile(
            optimizer=_optimizer(training, self.steps), jit_compile=training.jit_compile
        )
        self.model.optimizer.build(network.trainable_variables)
        self.infer = inference_function(self.model, num_bins=recipe.features.num_bins)
        path = output / CHECKPOINT
        self.state = load_checkpoint(path, self.model, recipe, self.fingerprint) or Checkpoint()

    def _plan(self, epoch: int) -> Plan:
        training = self.recipe.training
        return plan_batches(
            [utterance.num_samples for utterance in self.train_split],
            batch_samples=int(training.batch_seconds * self.recipe.audio.sample_rate_hz),
            seed=training.seed,
            epoch=epoch,
        )

    def go(self, hooks: Hooks) -> Path:
        training = self.recipe.training
        log = RunLog(self.output)
        if not (self.output / CHECKPOINT).exists():
            self.save()  # so that a model is never there without the run that made it
        watcher = _Watcher(self, hooks)
        for epoch in range(self.state.epoch, training.epochs):
            if rest := self.plans[epoch][self.state.batch :]:
                self._fit(epoch, rest, watcher)
            if watcher.stopped:
                break
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

    def _fit(self, epoch: int, plan: Plan, watcher: _Watcher) -> None:
        watcher.start_epoch(epoch)
        self.model.fit(
            self._dataset(self.train_split, plan),
            initial_epoch=epoch,
            epochs=epoch + 1,
            verbose=0,
            shuffle=False,
            callbacks=[watcher],
        )

    def _dataset(self, utterances: list[Utterance], plan: Plan) -> Any:
        recipe = self.recipe
        return make_dataset(
            utterances,
            plan,
            audio=recipe.audio,
            features=recipe.features,
            alphabet=recipe.alphabet,
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
        self.model.network.save(temporary)
        temporary.replace(self.output / BEST)
        self.state = replace(self.state, best_wer=result.wer, best_cer=result.cer)
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

    def __init__(self, run: _Run, hooks: Hooks) -> None:
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


def _optimizer(training: TrainingConfig, steps: int) -> keras.optimizers.Optimizer:
    warmup = max(1, round(training.warmup_share * steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=training.learning_rate / warmup,
        decay_steps=max(1, steps - warmup),
        alpha=training.final_learning_rate / training.learning_rate,
        warmup_target=training.learning_rate,
        warmup_steps=warmup,
    )
    return keras.optimizers.AdamW(
        schedule,
        weight_decay=training.weight_decay,
        global_clipnorm=training.gradient_clip_norm,
    )

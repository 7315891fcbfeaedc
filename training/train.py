"""Train a network: resumable to the step, the best weights kept by validation error rate."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from config import AudioConfig, CorpusError, FeatureConfig, NetworkConfig, TrainingConfig
from speech.alphabet import Alphabet
from speech.pipeline import Pipeline, write_pipeline
from training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from training.corpus import find_problem
from training.ctc_model import CTCModel, inference_function
from training.dataset import Plan, make_dataset, plan_batches
from training.manifest import Split, Utterance
from training.networks.deepspeech2 import build_deepspeech2
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


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run is: a bar shows it."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float


def train(
    utterances: list[Utterance],
    output: Path,
    recipe: Recipe,
    *,
    on_step: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[int, float, Validation], None] | None = None,
    stop_after_steps: int | None = None,
) -> Path:
    """Train on the training split, or go on where an earlier run in `output` stopped.

    `output` gets `checkpoint.npz` (the whole state), `model.keras` (the weights of the lowest
    validation WER, CER where that ties), `pipeline.json`, `log.csv`, `samples.jsonl` and
    `tensorboard/`. All are written beside and renamed.

    Args:
        utterances: of a manifest; needs a training and a validation split.
        stop_after_steps: stop this call early, as a lost machine would; for tests and budgets.

    Returns:
        The path of the best model.

    Raises:
        CorpusError: a split is empty, or the loss of an utterance is not finite.
        ModelError: `output` holds a run with other settings.
    """
    train_split = _usable(utterances, Split.train, recipe)
    validation_split = _usable(utterances, Split.validation, recipe)
    run = _Run(train_split, validation_split, output, recipe)
    return run.go(on_step, on_epoch, stop_after_steps)


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
        training = recipe.training
        keras.utils.set_random_seed(training.seed)
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
        self.state = load_checkpoint(output / CHECKPOINT, self.model, recipe) or Checkpoint()

    def _plan(self, epoch: int) -> Plan:
        training = self.recipe.training
        return plan_batches(
            [utterance.num_samples for utterance in self.train_split],
            batch_samples=int(training.batch_seconds * self.recipe.audio.sample_rate_hz),
            seed=training.seed,
            epoch=epoch,
        )

    def go(
        self,
        on_step: Callable[[Progress], None] | None,
        on_epoch: Callable[[int, float, Validation], None] | None,
        stop_after_steps: int | None,
    ) -> Path:
        training = self.recipe.training
        self._write_pipeline()
        log = RunLog(self.output)
        watcher = _Watcher(self, on_step, stop_after_steps)
        for epoch in range(self.state.epoch, training.epochs):
            rest = self.plans[epoch][self.state.batch :]
            loss = self._fit(epoch, rest, watcher) if rest else float("nan")
            if watcher.stopped:
                break
            result = self._validate()
            if result.rank < self.state.best_rank:
                self._save_best(result)
            self.state = replace(self.state, epoch=epoch + 1, batch=0)
            self.save()
            log.write_epoch(epoch + 1, loss, float(self.model.optimizer.learning_rate), result)
            if on_epoch:
                on_epoch(epoch + 1, loss, result)
        return self.output / BEST

    def _fit(self, epoch: int, plan: Plan, watcher: _Watcher) -> float:
        watcher.start_epoch(epoch)
        history = self.model.fit(
            self._dataset(self.train_split, plan),
            initial_epoch=epoch,
            epochs=epoch + 1,
            verbose=0,
            callbacks=[watcher],
        )
        return float(history.history.get("loss", [float("nan")])[-1])

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

    def _save_best(self, result: Validation) -> None:
        temporary = self.output / f".{BEST}"
        self.model.network.save(temporary)
        temporary.replace(self.output / BEST)
        self.state = replace(self.state, best_wer=result.wer, best_cer=result.cer)
        self._write_pipeline()

    def save(self) -> None:
        """Write the whole state; a crash leaves the former or the new one."""
        save_checkpoint(self.output / CHECKPOINT, self.model, self.state, self.recipe)

    def _write_pipeline(self) -> None:
        recipe, training = self.recipe, self.recipe.training
        corpora = sorted({utterance.corpus for utterance in self.train_split})
        seconds = sum(u.num_samples for u in self.train_split) / recipe.audio.sample_rate_hz
        write_pipeline(
            self.output,
            Pipeline(
                name=self.output.name,
                audio=recipe.audio,
                features=recipe.features,
                network=recipe.network,
                alphabet=recipe.alphabet,
                training_data={
                    "corpora": corpora,
                    "utterances": len(self.train_split),
                    "hours": round(seconds / 3600, 2),
                    "epochs": training.epochs,
                    "seed": training.seed,
                },
                scores={
                    "validation_wer": self.state.best_wer,
                    "validation_cer": self.state.best_cer,
                },
            ),
        )


class _Watcher(keras.callbacks.Callback):
    """Follows the steps of an epoch: progress, timed checkpoints, losses that are not finite."""

    def __init__(
        self, run: _Run, on_step: Callable[[Progress], None] | None, stop_after_steps: int | None
    ) -> None:
        super().__init__()
        self.run, self.on_step, self.steps_left = run, on_step, stop_after_steps
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
        done = self.first + batch + 1
        self.run.state = replace(self.run.state, epoch=self.epoch, batch=done)
        if self.on_step:
            training, step = self.run.recipe.training, self.before + done
            self.on_step(
                Progress(
                    epoch=self.epoch + 1,
                    epochs=training.epochs,
                    step=step,
                    steps=self.run.steps,
                    loss=float(logs["loss"]),
                )
            )
        self._save_or_stop()

    def _save_or_stop(self) -> None:
        if self.steps_left is not None:
            self.steps_left -= 1
            self.stopped = self.steps_left <= 0
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


def _usable(utterances: list[Utterance], split: Split, recipe: Recipe) -> list[Utterance]:
    """Return a split's utterances that CTC can learn with this network, repeated as told."""
    limit = recipe.training.max_clip_s * recipe.audio.sample_rate_hz
    repeat = dict(recipe.training.repeat) if split is Split.train else {}
    chosen = []
    for u in utterances:
        if u.split is split and u.num_samples <= limit:
            labels = recipe.alphabet.encode(u.text)
            if not find_problem(labels, u.num_samples, recipe.features, recipe.network):
                chosen += [u] * repeat.get(u.corpus, 1)
    if not chosen:
        raise CorpusError(f"the {split} split has no usable utterance; needed: at least one")
    return chosen


def _optimizer(training: TrainingConfig, steps: int) -> keras.optimizers.Optimizer:
    warmup = max(1, round(training.warmup_share * steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=training.learning_rate / warmup,
        decay_steps=max(1, steps - warmup),
        alpha=training.final_learning_rate * warmup / training.learning_rate,
        warmup_target=training.learning_rate,
        warmup_steps=warmup,
    )
    return keras.optimizers.AdamW(
        schedule,
        weight_decay=training.weight_decay,
        global_clipnorm=training.gradient_clip_norm,
    )

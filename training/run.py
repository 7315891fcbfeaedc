"""The loop of a training run: epochs, checkpoints to the step, the best weights kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from config import ModelError
from speech.pipeline import Pipeline, write_pipeline
from training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from training.ctc_model import CTCModel, inference_function
from training.dataset import Plan, plan_seeds
from training.distribution import (
    ReplicaAdamW,
    ReplicaTrainer,
    connect,
    even_plan,
    fill_plan,
    pool,
    share_plan,
)
from training.epochs import make_loader, plan_epoch, plan_validation
from training.feature_cache import FeatureCache
from training.initialise import initialise
from training.manifest import Utterance, fingerprint
from training.optimizer import averaged, make_optimizer
from training.recipe import Recipe, build_network, dtype_policy
from training.reporting import RunLog
from training.validation import Validation, validate
from training.watcher import Hooks, Watcher

CHECKPOINT = "checkpoint.npz"
BEST = "model.keras"


class Run:
    """One run's objects; `go` is its loop."""

    def __init__(
        self,
        train_split: list[Utterance],
        validation_split: list[Utterance],
        output: Path,
        recipe: Recipe,
        cache: FeatureCache | None = None,
    ) -> None:
        self.train_split, self.validation_split = train_split, validation_split
        self.output, self.recipe = output, recipe
        self.fingerprint = fingerprint([*train_split, *validation_split])
        training = recipe.training
        keras.utils.set_random_seed(training.seed)
        if not tf.config.list_physical_devices("GPU"):
            tf.config.experimental.enable_op_determinism()
        self.replicas = connect(training.strategy)  # before anything else makes a tensor
        self.loader = make_loader(train_split, recipe, augmented=True, cache=cache)
        self.validation = make_loader(validation_split, recipe, augmented=False, cache=cache)
        self.plans = [self._plan(epoch) for epoch in range(training.epochs)]
        self.steps = sum(map(self.steps_of, range(training.epochs)))
        self.model = self._build_model()
        self.trainer = ReplicaTrainer(self.model, self.replicas)
        self.infer = inference_function(self.model, num_bins=recipe.features.num_bins)
        path = output / CHECKPOINT
        state = load_checkpoint(path, self.model, recipe, self.fingerprint)
        self.num_new_symbols = 0
        if state is None and training.init_from:
            folder = Path(training.init_from)
            self.num_new_symbols = initialise(self.model.network, folder, recipe.alphabet)
        self.state = state or Checkpoint(replicas=self.replicas.num_devices)
        self._check_replicas(path)

    def _build_model(self) -> CTCModel:
        recipe, training = self.recipe, self.recipe.training
        with self.replicas.scope():
            with dtype_policy(training.precision):
                network = build_network(recipe)
                model = CTCModel(network, blank_index=recipe.alphabet.blank_index)
            optimizer = make_optimizer(training, self.steps)
            if self.replicas.strategy:
                optimizer = ReplicaAdamW.from_config(optimizer.get_config())
            model.compile(optimizer=optimizer, jit_compile=training.jit_compile)
            model.optimizer.build(network.trainable_variables)
        return model

    def _check_replicas(self, path: Path) -> None:
        found, state = self.replicas.num_devices, self.state
        data = int(self.fingerprint[:12], 16)
        seen = [state.epoch, state.batch, state.replicas, data]
        self.replicas.check_same(seen, "epochs, steps, devices and data")
        if state.replicas != found:
            raise ModelError(
                f"{path} is of a run on {state.replicas} devices, here are {found}; "
                "needed: as many, or another folder"
            )

    def steps_of(self, epoch: int) -> int:
        """Return how many steps an epoch has; each takes a batch for every replica."""
        return len(self.plans[epoch]) // self.replicas.count

    def _plan(self, epoch: int) -> Plan:
        plan = plan_epoch(self.train_split, self.recipe, epoch)
        return share_plan(even_plan(plan, self.replicas.parts), self.replicas.count)

    def go(self, hooks: Hooks) -> Path:
        """Do the epochs that are left; return the path of the best model."""
        training = self.recipe.training
        log = self._log() if self.replicas.is_chief else None
        if not (self.output / CHECKPOINT).exists():
            self.save()  # so that a model is never there without the run that made it
        watcher = Watcher(self, hooks)
        for epoch in range(self.state.epoch, training.epochs):
            if self.state.is_out_of(training.patience):
                break
            if self.state.batch < self.steps_of(epoch):
                self._fit(epoch, watcher)
            if watcher.stopped:
                break
            with averaged(self.model):
                loss, result = self.state.mean_loss, self._validate()
                if result.rank < self.state.best_rank:
                    self._save_best(epoch, result)
            if log:  # first, so that an epoch that counts as done is always in it
                log.write_epoch(epoch + 1, loss, float(self.model.optimizer.learning_rate), result)
            self.state = replace(self.state, epoch=epoch + 1, batch=0, loss_sum=0.0)
            self.save()
            if hooks.on_epoch:
                hooks.on_epoch(epoch + 1, loss, result)
            if self.replicas.any(hooks.should_stop()):
                break
        self.replicas.any(False)  # nobody leaves before the chief has written all
        return self.output / BEST

    def _log(self) -> RunLog:
        recipe = self.recipe
        return RunLog(
            self.output, self.validation_split, audio=recipe.audio, features=recipe.features
        )

    def _fit(self, epoch: int, watcher: Watcher) -> None:
        done = self.state.batch * self.replicas.count
        plan = self.plans[epoch][done:]
        seeds = plan_seeds(self.plans[epoch], seed=self.recipe.training.seed, epoch=epoch)[done:]

        def make_batches(rows: NDArray[np.int64]) -> Any:
            return self.loader.batches([plan[i] for i in rows], seeds[rows])

        watcher.start_epoch(epoch)
        if self.replicas.strategy:
            self.trainer.fit(make_batches, len(plan), watcher)
            return
        self.model.fit(
            make_batches(np.arange(len(plan))),
            initial_epoch=epoch,
            epochs=epoch + 1,
            verbose=0,
            shuffle=False,
            callbacks=[watcher],
        )

    def _validate(self) -> Validation:
        plan = plan_validation(self.validation_split, self.recipe)
        plan = fill_plan(plan, self.replicas.parts)
        share = plan[self.replicas.worker :: self.replicas.num_workers]
        result = validate(
            self.infer,
            self.validation_split,
            self.validation.batches(share or plan[:1]),
            self.recipe.alphabet,
            num_samples_shown=self.recipe.training.sample_transcripts,
        )
        texts = [self.validation_split[i].text for batch in share for i in batch]
        return pool(result, texts, self.replicas)

    def _save_best(self, epoch: int, result: Validation) -> None:
        self.state = replace(
            self.state, best_wer=result.wer, best_cer=result.cer, best_epoch=epoch + 1
        )
        if not self.replicas.is_chief:
            return
        temporary = self.output / f".{BEST}"
        network = build_network(self.recipe)  # in float32, whatever this run computes in
        network.set_weights(self.model.network.get_weights())
        network.save(temporary)
        temporary.replace(self.output / BEST)
        write_pipeline(self.output, self._pipeline(epoch, result))

    def _pipeline(self, epoch: int, result: Validation) -> Pipeline:
        recipe, training = self.recipe, self.recipe.training
        seconds = sum(u.num_samples for u in self.train_split) / recipe.audio.sample_rate_hz
        return Pipeline(
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
                "seed": training.seed,
                "init_from": Path(training.init_from).name if training.init_from else None,
            },
            scores={"validation_wer": result.wer, "validation_cer": result.cer},
        )

    def save(self) -> None:
        """Write the whole state, if this is the chief; a crash leaves the former or the new one."""
        if not self.replicas.is_chief:
            return
        path = self.output / CHECKPOINT
        save_checkpoint(path, self.model, self.state, self.recipe, self.fingerprint)

"""One run on several devices: those of this host, or of all hosts that `TF_CONFIG` names.

Keras' own `fit` cannot be used. It averages the batches of the replicas to build a model, which
fails where they differ in shape; it reduces scalars over an axis that they do not have, with
several hosts; and its optimizer clips gradients before they are summed. So the loop is here, and
the sums are taken once, of everything that a step needs from all replicas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from config import CorpusError, ModelError, SpeechToTextError
from training.ctc_model import CTCModel
from training.dataset import Plan
from training.validation import Validation

SUM = tf.distribute.ReduceOp.SUM


class Replicas:
    """The devices of a run, each with its own copy of the weights; one, if there is no strategy.

    Attributes:
        count: devices of all workers, each of which takes a batch a step.
        parts: devices among which Keras' JAX backend cuts each batch.
        worker: this process' number among `num_workers`; 0 is the chief, who writes the files.
    """

    def __init__(self, strategy: tf.distribute.Strategy | None = None, *, parts: int = 1) -> None:
        self.strategy, self.parts = strategy, parts
        self.count = strategy.num_replicas_in_sync if strategy else 1
        self.worker, self.num_workers = _place_of_worker(strategy)
        if strategy:
            self._sum = tf.function(lambda values: strategy.reduce(SUM, values, axis=None))

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes the files."""
        return self.worker == 0

    @property
    def num_devices(self) -> int:
        """Devices in all."""
        return self.count * self.parts

    def scope(self) -> AbstractContextManager[Any]:
        """Make variables inside it that every replica has a copy of."""
        return self.strategy.scope() if self.strategy else nullcontext()

    def gather(self, values: Sequence[float]) -> NDArray[np.float64]:
        """Return float64 `[workers, values]`: what each worker gave; all must call it.

        Raises:
            SpeechToTextError: another worker has stopped.
        """
        table = np.zeros((self.num_workers, len(values)))
        table[self.worker] = values
        if self.num_workers == 1 or not self.strategy:
            return table
        shares = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(
                table if context.replica_id_in_sync_group % self._per_worker == 0 else 0 * table
            )
        )
        with _needs_all_workers():
            return np.asarray(self._sum(shares))

    def any(self, flag: bool) -> bool:
        """Return whether any worker says so; all must call it."""
        return bool(self.gather([flag]).any())

    def check_same(self, values: Sequence[float], what: str) -> None:
        """Raise `ModelError` in all workers if `values` are not the same in all of them."""
        table = self.gather(values)
        if (table != table[0]).any():
            raise ModelError(
                f"the workers found different {what}: {table.tolist()}; "
                "needed: one output folder that all of them share, and the same data"
            )

    def rows(self, num_batches: int, worker: int) -> NDArray[np.int64]:
        """Return which batches of a plan are a worker's: those of its replicas, step by step."""
        steps = np.arange(num_batches).reshape(-1, self.num_workers, self._per_worker)
        return steps[:, worker].ravel()

    @property
    def _per_worker(self) -> int:
        return self.count // self.num_workers


@contextmanager
def _needs_all_workers() -> Iterator[None]:
    """Raise `SpeechToTextError` if another worker has stopped, which TensorFlow tells in two ways.

    What TensorFlow computes has to be read inside it.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
        raise SpeechToTextError(
            "another worker has stopped; needed: the same command in all of them, "
            f"which continues ({str(error.message).strip().partition(chr(10))[0]})"
        ) from error


def connect(strategy: str) -> Replicas:
    """Return the devices that `--strategy` names; waits for the other workers.

    To be called before TensorFlow does anything else in this process.

    Raises:
        ValueError: `multi-worker` without a cluster in the environment's `TF_CONFIG`.
    """
    if strategy == "none":
        return Replicas()
    if keras.backend.backend() != "tensorflow":
        return _connect_jax(strategy)
    if strategy == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        names = [device.name for device in devices]
        return Replicas(tf.distribute.MirroredStrategy(names) if len(names) > 1 else None)
    cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if not cluster.cluster_spec().as_dict():
        raise ValueError(
            "strategy multi-worker needs TF_CONFIG in the environment, as "
            '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, '
            '"task": {"type": "worker", "index": 0}}'
        )
    return Replicas(tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=cluster))


def _connect_jax(strategy: str) -> Replicas:
    """Let Keras cut each batch among the devices of this host; needs no loop of our own."""
    if keras.backend.backend() != "jax" or strategy != "mirrored":
        raise ValueError(
            f"strategy {strategy} with Keras' backend {keras.backend.backend()}; "
            "needed: the backend tensorflow, or mirrored with jax"
        )
    devices = keras.distribution.list_devices()
    layout = keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
    keras.distribution.set_distribution(layout)
    return Replicas(parts=len(devices))


def _place_of_worker(strategy: tf.distribute.Strategy | None) -> tuple[int, int]:
    resolver = strategy.cluster_resolver if strategy else None
    if resolver is None:
        return 0, 1
    spec = resolver.cluster_spec().as_dict()
    chiefs, workers = len(spec.get("chief", [])), len(spec.get("worker", []))
    first = 0 if resolver.task_type == "chief" else chiefs
    return first + int(resolver.task_id or 0), max(1, chiefs + workers)


def pool(result: Validation, texts: Sequence[str], replicas: Replicas) -> Validation:
    """Return the rates over what all workers validated; the samples stay a worker's own.

    Args:
        texts: references of this worker's share, which `result` is of; none has no weight.
    """
    if replicas.num_workers == 1:
        return result
    words, symbols = sum(len(text.split()) for text in texts), sum(map(len, texts))
    table = replicas.gather([words, symbols, result.wer * words, result.cer * symbols])
    all_words, all_symbols, word_errors, symbol_errors = table.sum(axis=0)
    return replace(result, wer=word_errors / all_words, cer=symbol_errors / all_symbols)


def share_plan(plan: Plan, count: int) -> Plan:
    """Return `plan` with as many batches as `count` replicas do in whole steps.

    What is missing comes from cutting the batches with the most clips in two, so that every clip
    still occurs once.

    Raises:
        CorpusError: there are fewer clips than replicas.
    """
    plan = list(plan)
    while len(plan) % count:
        largest = max(range(len(plan)), key=lambda i: len(plan[i]))
        clips = plan[largest]
        if len(clips) < 2:
            raise CorpusError(f"got {len(plan)} clips; needed: a multiple of {count}, one a device")
        plan[largest : largest + 1] = [clips[: len(clips) // 2], clips[len(clips) // 2 :]]
    return plan


def even_plan(plan: Plan, parts: int) -> Plan:
    """Return `plan` with the clips of each batch a multiple of `parts`.

    What is over goes to the next batch; up to `parts - 1` clips of an epoch are left out.

    Raises:
        CorpusError: there are fewer clips than parts.
    """
    even: Plan = []
    over = np.zeros(0, np.int64)
    for batch in plan:
        clips = np.concatenate([over, batch])
        kept = len(clips) - len(clips) % parts
        even += [clips[:kept]] if kept else []
        over = clips[kept:]
    if not even:
        raise CorpusError(f"got {len(over)} clips; needed: at least {parts}, one a device")
    return even


def fill_plan(plan: Plan, parts: int) -> Plan:
    """Return `plan` with each batch's clips repeated up to a multiple of `parts`."""
    return [np.resize(batch, -(-len(batch) // parts) * parts) for batch in plan]


class ReplicaAdamW(keras.optimizers.AdamW):
    """AdamW for gradients that are already the sums over all replicas.

    Each replica updates its own copy, and the copies stay the same. Keras' own would sum what it
    has clipped, and averages neither accumulated gradients nor can it take a step every few
    batches on the GPUs of one host.
    """

    def _backend_update_step(
        self, grads: Any, trainable_variables: Any, learning_rate: Any
    ) -> None:
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            self.update_step(gradient, variable, learning_rate)

    def _apply_weight_decay(self, variables: Any) -> None:
        for variable in variables:
            if self._use_weight_decay(variable):
                variable.assign_sub(variable * self.weight_decay * self.learning_rate)

    def _backend_increment_gradient_accumulators(self, grads: Any, acc_grads: Any) -> None:
        for gradient, accumulator in zip(grads, acc_grads, strict=True):
            accumulator.assign_add(gradient)


class ReplicaTrainer:
    """Trains a model on several replicas: as Keras' `fit` on their batches put together."""

    def __init__(self, model: CTCModel, replicas: Replicas) -> None:
        self.model, self.replicas = model, replicas
        self.strategy = replicas.strategy or tf.distribute.get_strategy()
        self.step = tf.function(self._on_all, reduce_retracing=True)

    def fit(
        self,
        make_shard: Callable[[NDArray[np.int64]], tf.data.Dataset],
        num_batches: int,
        callback: keras.callbacks.Callback,
    ) -> None:
        """Train on a plan's batches, as many a step as there are replicas.

        Args:
            make_shard: gives the batches with these numbers in the plan; reads no others.
            callback: told `latest` and `broken` after each step, the same in all workers.
        """
        rows, strategy = self.replicas.rows, self.strategy
        # Of what never ends, no step asks all replicas whether there is more.
        batches = strategy.distribute_datasets_from_function(
            lambda context: make_shard(rows(num_batches, context.input_pipeline_id)).repeat()
        )
        iterator = iter(batches)
        callback.set_model(self.model)
        self.model.stop_training = False
        for step in range(num_batches // self.replicas.count):
            loss, *broken = self._take_step(iterator)
            callback.on_train_batch_end(step, {"latest": loss, "broken": max(broken)})
            if self.model.stop_training:
                break

    def _take_step(self, iterator: Any) -> NDArray[np.float64]:
        with _needs_all_workers():
            return np.asarray(self.strategy.experimental_local_results(self.step(iterator))[0])

    def _on_all(self, iterator: Any) -> Any:
        return self.strategy.run(self._on_replica, next(iterator))

    def _on_replica(self, x: Any, y: Any) -> tf.Tensor:
        """Return float64 `[1 + replicas]`: the loss of all clips, and each one's `broken`."""
        context, model = tf.distribute.get_replica_context(), self.model
        num_clips = context.all_reduce(SUM, tf.cast(tf.shape(y["index"])[0], tf.float32))
        weights = model.network.trainable_variables
        with tf.GradientTape() as tape:
            losses, broken = model.clip_losses(y, model(x, training=True))
            loss = tf.reduce_sum(losses) / num_clips
            scaled = model.optimizer.scale_loss(loss)
        gradients = context.all_reduce(SUM, tape.gradient(scaled, weights))
        model.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        own = tf.one_hot(context.replica_id_in_sync_group, self.replicas.count, dtype=tf.float64)
        worst = tf.cast(tf.reduce_max(broken), tf.float64) * own
        return context.all_reduce(SUM, tf.concat([[tf.cast(loss, tf.float64)], worst], 0))

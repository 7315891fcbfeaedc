"""The parts of our training step, each timed as a graph of its own with what it gets in the step.

Layers are timed one by one, forward, and forward with the gradients by their weights and inputs;
then the loss by the logits, and the optimizer with gradients of zero.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from rich.table import Table

from training.ctc_model import CTCModel
from training.networks.layers import (
    MaskedBatchNormalization,
    MaskedBidirectionalGRU,
    MaskedConv2D,
)

ROUNDS = 2  # after the first call, which traces; the least counts
KINDS = {
    MaskedConv2D: "convolutions",
    MaskedBatchNormalization: "batch norm",
    MaskedBidirectionalGRU: "GRUs",
    keras.layers.Dense: "dense layers",
}
OTHER, LOSS, OPTIMIZER = "the rest", "CTC", "optimizer"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part's least times; the optimizer has no backward."""

    name: str
    kind: str
    forward_s: float
    backward_s: float

    @property
    def total_s(self) -> float:
        """Both together."""
        return self.forward_s + self.backward_s


def measure_parts(model: CTCModel, x: dict[str, Any], y: dict[str, Any]) -> list[Part]:
    """Time the layers in their order, the loss, the optimizer.

    Args:
        model: compiled.
        x: inputs of a batch, and `y` its labels, as `training.dataset.Loader` gives them.
    """
    network = model.network
    values = dict(zip(map(id, network.inputs), (x["features"], x["num_frames"]), strict=True))
    parts, learns = [], False
    for layer in network.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        inputs = tf.nest.map_structure(lambda tensor: values[id(tensor)], layer.input)
        part, outputs = _measure_layer(layer, inputs, learns)
        pairs = zip(tf.nest.flatten(layer.output), tf.nest.flatten(outputs), strict=True)
        values.update((id(symbol), value) for symbol, value in pairs)
        learns = learns or bool(layer.trainable_weights)
        parts.append(part)
    logits, lengths = (values[id(tensor)] for tensor in network.outputs)
    return [*parts, _measure_loss(model, y, logits, lengths), _measure_optimizer(model)]


def _measure_layer(layer: Any, inputs: Any, needs_input_gradient: bool) -> tuple[Part, Any]:
    """Return a layer's times and its outputs; the very first weights need no gradient by inputs."""
    weights = [weight.value for weight in layer.trainable_weights]

    def forward(inputs: Any) -> Any:
        return layer(inputs, training=True)

    def both(inputs: Any) -> Any:
        watched = [t for t in tf.nest.flatten(inputs) if t.dtype.is_floating]
        with tf.GradientTape() as tape:
            tape.watch(watched if needs_input_gradient else [])
            outputs = layer(inputs, training=True)
        result = tf.nest.flatten(outputs)[0]
        sources = weights + (watched if needs_input_gradient else [])
        return outputs, tape.gradient(result, sources) if sources else []

    kind = next((kind for cls, kind in KINDS.items() if isinstance(layer, cls)), OTHER)
    spec = _any_batch(inputs)
    forward_s, outputs = _least_s(forward, inputs, spec)
    both_s, _ = _least_s(both, inputs, spec)
    backward_s = max(0.0, both_s - forward_s)
    return Part(name=layer.name, kind=kind, forward_s=forward_s, backward_s=backward_s), outputs


def _measure_loss(model: CTCModel, y: dict[str, Any], logits: Any, lengths: Any) -> Part:
    def forward(logits: Any) -> Any:
        return model.clip_losses(y, (logits, lengths))[0]

    def both(logits: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            losses = forward(logits)
        return losses, tape.gradient(losses, logits)

    spec = _any_batch(logits)
    forward_s, both_s = (_least_s(function, logits, spec)[0] for function in (forward, both))
    backward_s = max(0.0, both_s - forward_s)
    return Part(name="loss", kind=LOSS, forward_s=forward_s, backward_s=backward_s)


def _measure_optimizer(model: CTCModel) -> Part:
    weights = model.network.trainable_variables

    def apply(gradients: Any) -> None:
        model.optimizer.apply_gradients(zip(gradients, weights, strict=True))

    seconds, _ = _least_s(apply, [tf.zeros_like(weight.value) for weight in weights])
    return Part(name="AdamW", kind=OPTIMIZER, forward_s=seconds, backward_s=0.0)


def _least_s(function: Callable[[Any], Any], given: Any, spec: Any = None) -> tuple[float, Any]:
    """Return seconds of a function as a graph for inputs like `spec`, and what it returns."""
    graph = tf.function(function, autograph=False).get_concrete_function(spec or given)
    result, seconds = graph(given), []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        graph(given)
        seconds.append(time.perf_counter() - started)
    return min(seconds), result


def _any_batch(inputs: Any) -> Any:
    """Return the inputs' form, clips and frames of any number, as the step is traced."""
    return tf.nest.map_structure(
        lambda tensor: tf.TensorSpec(
            [None if axis < 2 else size for axis, size in enumerate(tensor.shape)], tensor.dtype
        ),
        inputs,
    )


def report_parts(title: str, parts: list[Part], whole_s: float) -> Iterator[Table | str]:
    """Return the parts for people, with shares of their sum, then their kinds, the largest first.

    Args:
        whole_s: what the step takes as one graph, to hold the sum against.
    """
    table = Table(title=title)
    table.add_column("part")
    for column in ("forward ms", "backward ms", "share"):
        table.add_column(column, justify="right")
    sum_s = sum(part.total_s for part in parts)
    shares: defaultdict[str, float] = defaultdict(float)
    for part in parts:
        forward, backward = 1000 * part.forward_s, 1000 * part.backward_s
        table.add_row(part.name, f"{forward:.1f}", f"{backward:.1f}", f"{part.total_s / sum_s:.1%}")
        shares[part.kind] += part.total_s / sum_s
    yield table
    ordered = sorted(shares.items(), key=lambda pair: -pair[1])
    yield ", ".join(f"{kind} {share:.1%}" for kind, share in ordered)
    yield f"the parts one by one: {1000 * sum_s:.0f} ms; the step: {1000 * whole_s:.0f} ms"

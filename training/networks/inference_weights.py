"""The weights of a network as inference multiplies and adds them, batch norm folded in."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from training.networks.weights import Direction, Weights


class ConvolutionWeights(NamedTuple):
    """Kernel `[time, frequency, in, out]` and bias `[out]`."""

    kernel: Any
    bias: Any


class DirectionWeights(NamedTuple):
    """Of one GRU, gates as in `training.networks.weights`.

    Args:
        kernel: `[in, 3 * units]`.
        bias: `[3 * units]`, what is added before the recurrence.
        recurrent: `[units, 3 * units]`.
        candidate_bias: `[units]`, added to the recurrent part of the candidate.
    """

    kernel: Any
    bias: Any
    recurrent: Any
    candidate_bias: Any


class DenseWeights(NamedTuple):
    """Kernel `[in, out]` and bias `[out]`."""

    kernel: Any
    bias: Any


class InferenceWeights(NamedTuple):
    """All of a network, arrays or tensors, in a nest that TensorFlow understands.

    Args:
        recurrent: of each layer the forward GRU and, if there is one, the backward GRU.
        row_convolution: `[lookahead + 1, channels]`, or nothing.
    """

    convolutions: list[ConvolutionWeights]
    recurrent: list[list[DirectionWeights]]
    row_convolution: list[Any]
    dense: list[DenseWeights]


def fold_weights(weights: Weights) -> InferenceWeights:
    """Return the arrays that inference multiplies and adds."""
    dense = [weights.hidden, weights.logits] if weights.hidden else [weights.logits]
    return InferenceWeights(
        convolutions=[ConvolutionWeights(*block.folded()) for block in weights.convolutions],
        recurrent=[
            [_fold_direction(direction) for direction in layer.folded()]
            for layer in weights.recurrent
        ],
        row_convolution=[] if weights.row_convolution is None else [weights.row_convolution],
        dense=[DenseWeights(layer.kernel, layer.bias) for layer in dense],
    )


def _fold_direction(direction: Direction) -> DirectionWeights:
    gates = 2 * direction.recurrent.shape[0]
    before, within = direction.bias
    bias = np.concatenate([before[:gates] + within[:gates], before[gates:]])
    return DirectionWeights(direction.kernel, bias, direction.recurrent, within[gates:])


def transpose_recurrent(weights: InferenceWeights) -> InferenceWeights:
    """Return the weights as `compute_compiled` takes them: `recurrent` as `[3 * units, units]`.

    A row of it and one clip's state then lie in memory as they are multiplied.
    """

    def transposed(direction: DirectionWeights) -> DirectionWeights:
        return direction._replace(recurrent=tf.transpose(direction.recurrent))

    layers = [[transposed(direction) for direction in layer] for layer in weights.recurrent]
    return weights._replace(recurrent=layers)

"""DeepSpeech2 for inference alone: what training needs is gone, what can be done before is done.

Batch norm is folded into its neighbours' weights and all frames are projected in one product. Two
ways lead to the same logits: `compute`, for any batch on any server, and `compute_compiled`, for
one clip, which XLA compiles for each length. Plain TensorFlow ops in both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from training.networks.fast_convolution import convolve_fast
from training.networks.weights import Convolution, Direction, Weights

UNROLL = 8


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
    """All of a network, arrays or tensors, in a nest that TensorFlow understands."""

    convolutions: list[ConvolutionWeights]
    recurrent: list[tuple[DirectionWeights, DirectionWeights]]
    dense: list[DenseWeights]


def fold_weights(weights: Weights) -> InferenceWeights:
    """Return the arrays that inference multiplies and adds."""
    dense = [weights.hidden, weights.logits] if weights.hidden else [weights.logits]
    return InferenceWeights(
        convolutions=[ConvolutionWeights(*block.folded()) for block in weights.convolutions],
        recurrent=[
            (_fold_direction(forward), _fold_direction(backward))
            for forward, backward in (layer.folded() for layer in weights.recurrent)
        ],
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

    layers = [
        (transposed(forward), transposed(backward)) for forward, backward in weights.recurrent
    ]
    return weights._replace(recurrent=layers)


class InferenceNetwork:
    """The network's form; its weights are handed to each call."""

    def __init__(self, convolutions: list[Convolution], *, fast: bool = True) -> None:
        """Take the convolutions' strides and paddings.

        Args:
            fast: fewer products where a convolution allows it; not where kernels must be constants.
        """
        self._strides = [block.stride for block in convolutions]
        self._paddings = [block.padding for block in convolutions]
        self._fast = fast

    def compute(
        self, weights: InferenceWeights, features: tf.Tensor, num_frames: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return logits and their true lengths for any batch.

        Args:
            features: float32 `[batch, frames, bins]`.
            num_frames: int32 `[batch]`.

        Returns:
            float32 `[batch, out_frames, symbols]` and int32 `[batch]`.
        """
        x = features[..., tf.newaxis]
        for i, block in enumerate(weights.convolutions):
            x, num_frames = self._convolve(i, block, x, num_frames)
        x, max_frames = _to_time_major(x), tf.shape(x)[1]
        x = _pad_to_blocks(x)
        for forward, backward in weights.recurrent:
            ahead = _run(_project(x, forward) + forward.bias, forward)
            reverse = tf.reverse_sequence(x, num_frames, seq_axis=0, batch_axis=1)
            behind = _run(_project(reverse, backward) + backward.bias, backward)
            x = _join(ahead, behind, num_frames)
        return _to_logits(x[:max_frames], weights.dense), num_frames

    def compute_compiled(
        self, weights: InferenceWeights, features: tf.Tensor, num_frames: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the same for a batch of one clip, with weights from `transpose_recurrent`.

        Parts of it are compiled, when they are first run and for each number of frames anew. The
        two directions of a layer are two parts, which run at the same time. Convolutions and
        products with all frames are TensorFlow's own.
        """
        x = features[..., tf.newaxis]
        for i, block in enumerate(weights.convolutions):
            x, num_frames = self._convolve(i, block, x, num_frames)
        x = _to_time_major(x)
        run, last = _compiled(_run_compiled), num_frames[0] - 1
        for forward, backward in weights.recurrent:
            ahead = run(_project(x, forward), forward, last, 0, 1)
            behind = run(_project(x, backward), backward, last, last, -1)
            x = tf.concat([ahead, behind], axis=-1)
        return _compiled(_to_logits)(x, weights.dense), num_frames

    def _convolve(
        self, i: int, block: ConvolutionWeights, x: tf.Tensor, num_frames: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        stride, (frames, bins) = self._strides[i], self._paddings[i]
        x = tf.cast(x, block.kernel.dtype)
        if self._is_fast(i, block):
            x = convolve_fast(x, block.kernel, stride[1], (frames, bins))
        else:
            padding = [[0, 0], [frames] * 2, [bins] * 2, [0, 0]]
            x = tf.nn.conv2d(x, block.kernel, stride, padding)
        return _activate(x, block.bias, (num_frames + stride[0] - 1) // stride[0])

    def _is_fast(self, i: int, block: ConvolutionWeights) -> bool:
        """Whether `convolve_fast` can do it and pays: sums of fewer bits would lose too much."""
        has_many_channels = block.kernel.shape[2] > 1
        is_exact = block.kernel.dtype == tf.float32
        return self._fast and self._strides[i][0] == 1 and has_many_channels and is_exact


def _compiled(function: Any) -> Any:
    return tf.function(function, jit_compile=True, autograph=False)


def _activate(x: tf.Tensor, bias: tf.Tensor, num_frames: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    inside = tf.sequence_mask(num_frames, tf.shape(x)[1], bias.dtype)
    return tf.nn.relu(tf.cast(x, bias.dtype) + bias) * inside[
        ..., tf.newaxis, tf.newaxis
    ], num_frames


def _to_time_major(x: tf.Tensor) -> tf.Tensor:
    """Return `[frames, batch, bins * channels]` of `[batch, frames, bins, channels]`."""
    shape = tf.shape(x)
    return tf.transpose(tf.reshape(x, [shape[0], shape[1], x.shape[2] * x.shape[3]]), [1, 0, 2])


def _pad_to_blocks(x: tf.Tensor) -> tf.Tensor:
    """Add frames to `[frames, batch, channels]` up to a multiple of `UNROLL`."""
    padded = tf.pad(x, [[0, -tf.shape(x)[0] % UNROLL], [0, 0], [0, 0]])
    padded.set_shape([None, *x.shape[1:]])
    return padded


def _product(x: tf.Tensor, matrix: tf.Tensor, *, transpose_b: bool = False) -> tf.Tensor:
    """Return a product of what the matrix is kept as, in the form of `x`."""
    product = tf.matmul(tf.cast(x, matrix.dtype), matrix, transpose_b=transpose_b)
    return tf.cast(product, x.dtype)


def _project(x: tf.Tensor, weights: DirectionWeights) -> tf.Tensor:
    """Return `[frames, batch, 3 * units]`: all frames in one product, the bias not added."""
    shape = tf.shape(x)
    flat = tf.reshape(x, [-1, weights.kernel.shape[0]])
    projected = _product(flat, weights.kernel)
    projected = tf.reshape(projected, [shape[0], shape[1], weights.kernel.shape[1]])
    projected.set_shape([*x.shape[:2], weights.kernel.shape[1]])  # LiteRT's loops need it
    return projected


def _join(ahead: tf.Tensor, behind: tf.Tensor, num_frames: tf.Tensor) -> tf.Tensor:
    behind = tf.reverse_sequence(behind, num_frames, seq_axis=0, batch_axis=1)
    return tf.concat([ahead, behind], axis=-1)


def _to_logits(x: tf.Tensor, layers: list[DenseWeights]) -> tf.Tensor:
    """Return `[batch, frames, symbols]` of `[frames, batch, channels]`."""
    shape = tf.shape(x)
    x = tf.reshape(tf.transpose(x, [1, 0, 2]), [-1, x.shape[-1]])
    for hidden in layers[:-1]:
        x = tf.nn.relu(_product(x, hidden.kernel) + hidden.bias)
    logits = _product(x, layers[-1].kernel) + layers[-1].bias
    return tf.reshape(logits, [shape[1], shape[0], layers[-1].kernel.shape[1]])


def _step(
    state: tf.Tensor,
    recurrent: tf.Tensor,
    gates: tf.Tensor,
    candidate: tf.Tensor,
    candidate_bias: tf.Tensor,
    sigmoid: Callable[[tf.Tensor], tf.Tensor] = tf.sigmoid,
) -> tf.Tensor:
    """Return a GRU's next state; see `training.networks.recurrence.gru_sequence`."""
    units = candidate_bias.shape[0]
    from_gates, from_candidate = tf.split(recurrent, [2 * units, units], axis=-1)
    update, reset = tf.split(sigmoid(gates + from_gates), 2, axis=-1)
    candidate = tf.tanh(candidate + reset * (from_candidate + candidate_bias))
    return candidate + update * (state - candidate)


def _sigmoid_of_tanh(x: tf.Tensor) -> tf.Tensor:
    """Return the sigmoid as XLA computes it fastest."""
    return 0.5 + 0.5 * tf.tanh(0.5 * x)


def _run(projected: tf.Tensor, weights: DirectionWeights) -> tf.Tensor:
    """Return states `[frames, batch, units]`, `UNROLL` frames an iteration of the loop."""
    units, clips = weights.candidate_bias.shape[0], projected.shape[1]
    num_blocks, batch = tf.shape(projected)[0] // UNROLL, tf.shape(projected)[1]
    blocks = tf.reshape(projected, [num_blocks, UNROLL, batch, 3 * units])
    read = tf.TensorArray(
        projected.dtype, num_blocks, element_shape=[UNROLL, clips, 3 * units]
    ).unstack(blocks)
    written = tf.TensorArray(projected.dtype, num_blocks, element_shape=[UNROLL, clips, units])

    def advance(i: tf.Tensor, state: tf.Tensor, written: tf.TensorArray) -> tuple[Any, ...]:
        states = []
        for frame in tf.unstack(read.read(i)):
            gates, candidate = tf.split(frame, [2 * units, units], axis=-1)
            recurrent = _product(state, weights.recurrent)
            state = _step(state, recurrent, gates, candidate, weights.candidate_bias)
            states.append(state)
        return i + 1, state, written.write(i, tf.stack(states))

    start = tf.zeros([batch, units], projected.dtype)
    _, _, written = tf.while_loop(
        lambda i, *_: i < num_blocks, advance, (0, start, written), maximum_iterations=num_blocks
    )
    return tf.reshape(written.stack(), [UNROLL * num_blocks, batch, units])


def _run_compiled(
    projected: tf.Tensor,
    weights: DirectionWeights,
    last: tf.Tensor,
    start: tf.Tensor,
    step: tf.Tensor,
) -> tf.Tensor:
    """Return states `[frames, 1, units]` of one clip's projected frames, the bias not added.

    Args:
        last: int32, the clip's last frame; states beyond it are zero and cost nothing.
        start: int32, the frame that is computed first,
        step: and how far the next one is from it, 1 or -1.
    """
    units = weights.candidate_bias.shape[0]
    projected += weights.bias
    max_frames = tf.shape(projected)[0]
    read = tf.TensorArray(projected.dtype, max_frames, element_shape=[1, 3 * units]).unstack(
        projected
    )
    written = tf.TensorArray(projected.dtype, max_frames, element_shape=[1, units])

    def advance(i: tf.Tensor, state: tf.Tensor, written: tf.TensorArray) -> tuple[Any, ...]:
        frame = start + step * i
        gates, candidate = tf.split(read.read(frame), [2 * units, units], axis=-1)
        recurrent = _product(state, weights.recurrent, transpose_b=True)
        state = _step(state, recurrent, gates, candidate, weights.candidate_bias, _sigmoid_of_tanh)
        return i + 1, state, written.write(frame, state)

    state = tf.zeros([1, units], projected.dtype)
    _, _, written = tf.while_loop(
        lambda i, *_: i <= last, advance, (0, state, written), maximum_iterations=max_frames
    )
    return written.stack()

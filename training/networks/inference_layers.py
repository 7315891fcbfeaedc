"""What the ways of computing a network are made of: of whole clips, compiled, and in pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from training.networks.inference_weights import DenseWeights, DirectionWeights


def to_time_major(x: tf.Tensor) -> tf.Tensor:
    """Return `[frames, batch, bins * channels]` of `[batch, frames, bins, channels]`."""
    shape = tf.shape(x)
    return tf.transpose(tf.reshape(x, [shape[0], shape[1], x.shape[2] * x.shape[3]]), [1, 0, 2])


def product(x: tf.Tensor, matrix: tf.Tensor, *, transpose_b: bool = False) -> tf.Tensor:
    """Return a product of what the matrix is kept as, in the form of `x`."""
    rounded = tf.matmul(tf.cast(x, matrix.dtype), matrix, transpose_b=transpose_b)
    return tf.cast(rounded, x.dtype)


def project(x: tf.Tensor, weights: DirectionWeights) -> tf.Tensor:
    """Return `[frames, batch, 3 * units]`: all frames in one product, the bias not added."""
    shape = tf.shape(x)
    flat = tf.reshape(x, [-1, weights.kernel.shape[0]])
    projected = product(flat, weights.kernel)
    projected = tf.reshape(projected, [shape[0], shape[1], weights.kernel.shape[1]])
    projected.set_shape([*x.shape[:2], weights.kernel.shape[1]])  # LiteRT's loops need it
    return projected


def gru_step(
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


def run_gru(
    projected: tf.Tensor, weights: DirectionWeights, start: tf.Tensor, *, unroll: int = 1
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return states `[frames, batch, units]`, and the last of them, or `start` without frames.

    Args:
        projected: `[frames, batch, 3 * units]`, the bias added; a multiple of `unroll` frames.
        start: `[batch, units]`, the state before the first frame.
        unroll: frames an iteration of the loop.
    """
    units, clips = weights.candidate_bias.shape[0], projected.shape[1]
    num_blocks, batch = tf.shape(projected)[0] // unroll, tf.shape(projected)[1]
    blocks = tf.reshape(projected, [num_blocks, unroll, batch, 3 * units])
    read = tf.TensorArray(
        projected.dtype, num_blocks, element_shape=[unroll, clips, 3 * units]
    ).unstack(blocks)
    written = tf.TensorArray(projected.dtype, num_blocks, element_shape=[unroll, clips, units])

    def advance(i: tf.Tensor, state: tf.Tensor, written: tf.TensorArray) -> tuple[Any, ...]:
        states = []
        for frame in tf.unstack(read.read(i)):
            gates, candidate = tf.split(frame, [2 * units, units], axis=-1)
            recurrent = product(state, weights.recurrent)
            state = gru_step(state, recurrent, gates, candidate, weights.candidate_bias)
            states.append(state)
        return i + 1, state, written.write(i, tf.stack(states))

    _, last, written = tf.while_loop(
        lambda i, *_: i < num_blocks, advance, (0, start, written), maximum_iterations=num_blocks
    )
    return tf.reshape(written.stack(), [unroll * num_blocks, batch, units]), last


def look_ahead(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Return the row convolution of frames that have all the frames after them that they need.

    Args:
        x: `[frames, batch, channels]`, at least as many frames as `kernel` has rows.
        kernel: `[lookahead + 1, channels]`.

    Returns:
        `[frames - lookahead, batch, channels]`.
    """
    kernel = tf.cast(kernel, x.dtype)
    size = kernel.shape[0]
    num_frames = tf.shape(x)[0] - (size - 1)
    return tf.add_n([x[i : i + num_frames] * kernel[i] for i in range(size)])


def to_logits(x: tf.Tensor, layers: list[DenseWeights]) -> tf.Tensor:
    """Return `[batch, frames, symbols]` of `[frames, batch, channels]`."""
    shape = tf.shape(x)
    x = tf.reshape(tf.transpose(x, [1, 0, 2]), [-1, x.shape[-1]])
    for hidden in layers[:-1]:
        x = tf.nn.relu(product(x, hidden.kernel) + hidden.bias)
    logits = product(x, layers[-1].kernel) + layers[-1].bias
    return tf.reshape(logits, [shape[1], shape[0], layers[-1].kernel.shape[1]])

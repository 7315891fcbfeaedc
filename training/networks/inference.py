"""DeepSpeech2 for inference alone: what training needs is gone, what can be done before is done.

Batch norm is folded into its neighbours' weights and all frames are projected in one product. Two
ways lead to the same logits: `compute`, for any batch on any server, and `compute_compiled`, for
one clip, which XLA compiles for each length. Plain TensorFlow ops in both.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from training.networks.fast_convolution import convolve_fast
from training.networks.inference_layers import (
    gru_step,
    look_ahead,
    product,
    project,
    run_gru,
    to_logits,
    to_time_major,
)
from training.networks.inference_weights import (
    ConvolutionWeights,
    DirectionWeights,
    InferenceWeights,
)
from training.networks.weights import Convolution

UNROLL = 8


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
        x, max_frames = to_time_major(x), tf.shape(x)[1]
        x = _pad_to_blocks(x)
        for forward, *backward in weights.recurrent:
            parts = [_run_blocks(x, forward)]
            parts += [_run_back(x, direction, num_frames) for direction in backward]
            x = tf.concat(parts, axis=-1)
        x = x[:max_frames]
        if weights.row_convolution:
            inside = tf.sequence_mask(num_frames, max_frames, x.dtype)
            x = _look_ahead_to_the_end(x * tf.transpose(inside)[..., tf.newaxis], weights)
        return to_logits(x, weights.dense), num_frames

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
        x = to_time_major(x)
        run, last = _compiled(_run_compiled), num_frames[0] - 1
        ways = (0, 1), (last, -1)
        for layer in weights.recurrent:
            parts = [
                run(project(x, direction), direction, last, *way)
                for direction, way in zip(layer, ways, strict=False)
            ]
            x = tf.concat(parts, axis=-1)
        if weights.row_convolution:
            x = _look_ahead_to_the_end(x, weights)
        return _compiled(to_logits)(x, weights.dense), num_frames

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


def _pad_to_blocks(x: tf.Tensor) -> tf.Tensor:
    """Add frames to `[frames, batch, channels]` up to a multiple of `UNROLL`."""
    padded = tf.pad(x, [[0, -tf.shape(x)[0] % UNROLL], [0, 0], [0, 0]])
    padded.set_shape([None, *x.shape[1:]])
    return padded


def _run_blocks(x: tf.Tensor, weights: DirectionWeights) -> tf.Tensor:
    """Return states `[frames, batch, units]` of blocks of `UNROLL` frames."""
    start = tf.zeros([tf.shape(x)[1], weights.candidate_bias.shape[0]], x.dtype)
    states, _ = run_gru(project(x, weights) + weights.bias, weights, start, unroll=UNROLL)
    return states


def _run_back(x: tf.Tensor, weights: DirectionWeights, num_frames: tf.Tensor) -> tf.Tensor:
    """Return the same from each clip's last frame to its first."""
    reverse = tf.reverse_sequence(x, num_frames, seq_axis=0, batch_axis=1)
    states = _run_blocks(reverse, weights)
    return tf.reverse_sequence(states, num_frames, seq_axis=0, batch_axis=1)


def _look_ahead_to_the_end(x: tf.Tensor, weights: InferenceWeights) -> tf.Tensor:
    """Return the row convolution of `[frames, batch, channels]`, zeros after the last frame."""
    (kernel,) = weights.row_convolution
    return look_ahead(tf.pad(x, [[0, kernel.shape[0] - 1], [0, 0], [0, 0]]), kernel)


def _sigmoid_of_tanh(x: tf.Tensor) -> tf.Tensor:
    """Return the sigmoid as XLA computes it fastest."""
    return 0.5 + 0.5 * tf.tanh(0.5 * x)


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
        recurrent = product(state, weights.recurrent, transpose_b=True)
        state = gru_step(
            state, recurrent, gates, candidate, weights.candidate_bias, _sigmoid_of_tanh
        )
        return i + 1, state, written.write(frame, state)

    state = tf.zeros([1, units], projected.dtype)
    _, _, written = tf.while_loop(
        lambda i, *_: i <= last, advance, (0, state, written), maximum_iterations=max_frames
    )
    return written.stack()

"""A forward network over one clip while it is heard: the logits of the whole clip, in pieces."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from training.networks.inference_layers import (
    look_ahead,
    project,
    run_gru,
    to_logits,
    to_time_major,
)
from training.networks.inference_weights import ConvolutionWeights, InferenceWeights
from training.networks.weights import Weights


class NetworkState(NamedTuple):
    """What the next logits need of the clip so far.

    Args:
        convolutions: for each `[1, frames, bins, channels]`, fewer frames than its kernel has:
            those that its next output needs.
        recurrent: for each GRU `[1, units]`, its state.
        ahead: `[frames, 1, units]`, at most `lookahead` frames whose row convolution waits.
    """

    convolutions: list[tf.Tensor]
    recurrent: list[tf.Tensor]
    ahead: tf.Tensor


class StreamingNetwork:
    """The form of a network without backward GRUs; its weights are handed to each call."""

    def __init__(self, weights: Weights) -> None:
        """Take the form of `weights`.

        Raises:
            ValueError: a GRU runs backward.
        """
        if any(len(layer.directions) > 1 for layer in weights.recurrent):
            raise ValueError("got a backward GRU, which needs the whole clip")
        self._strides = [block.stride for block in weights.convolutions]
        self._paddings = [block.padding for block in weights.convolutions]
        self._channels = [block.kernel.shape[2] for block in weights.convolutions]
        self._bins = [weights.num_bins]
        for stride in self._strides[:-1]:
            self._bins.append(-(-self._bins[-1] // stride[1]))
        self._units = [layer.units for layer in weights.recurrent]

    def start(self) -> NetworkState:
        """Return the state before a clip's first frame: zeros lie before it."""
        sizes = zip(self._paddings, self._bins, self._channels, strict=True)
        return NetworkState(
            convolutions=[
                tf.zeros([1, frames, bins, channels]) for (frames, _), bins, channels in sizes
            ],
            recurrent=[tf.zeros([1, units]) for units in self._units],
            ahead=tf.zeros([0, 1, self._units[-1]]),
        )

    def compute(
        self,
        weights: InferenceWeights,
        state: NetworkState,
        features: tf.Tensor,
        is_last: tf.Tensor,
    ) -> tuple[tf.Tensor, NetworkState]:
        """Return the logits that are ready with these frames.

        Args:
            features: float32 `[1, frames, bins]`, what follows; there may be none.
            is_last: bool `[]`, whether the clip ends here.

        Returns:
            float32 `[1, out_frames, symbols]`, and the state after them.
        """
        x, kept = features[..., tf.newaxis], []
        for i, block in enumerate(weights.convolutions):
            x, rest = self._convolve(i, block, tf.concat([state.convolutions[i], x], 1), is_last)
            kept.append(rest)
        x, states = to_time_major(x), []
        x.set_shape([None, 1, x.shape[2]])
        for (forward,), start in zip(weights.recurrent, state.recurrent, strict=True):
            x, last = run_gru(project(x, forward) + forward.bias, forward, start)
            states.append(last)
        x, ahead = _look_ahead(tf.concat([state.ahead, x], 0), weights, is_last)
        return to_logits(x, weights.dense), NetworkState(kept, states, ahead)

    def _convolve(
        self, i: int, block: ConvolutionWeights, x: tf.Tensor, is_last: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return what can be computed of `[1, frames, bins, channels]`, and the frames to keep."""
        (stride, _), (frames, bins) = self._strides[i], self._paddings[i]
        taps = block.kernel.shape[0]
        x = _end_with_zeros(x, frames, is_last, axis=1)
        num_frames = tf.maximum(0, 1 + (tf.shape(x)[1] - taps) // stride)
        missing = tf.maximum(0, taps - tf.shape(x)[1])
        enough = tf.cast(tf.pad(x, [[0, 0], [0, missing], [0, 0], [0, 0]]), block.kernel.dtype)
        padding = [[0, 0], [0, 0], [bins] * 2, [0, 0]]
        convolved = tf.nn.conv2d(enough, block.kernel, self._strides[i], padding)[:, :num_frames]
        activated = tf.nn.relu(tf.cast(convolved, block.bias.dtype) + block.bias)
        return activated, x[:, num_frames * stride :]


def _look_ahead(
    x: tf.Tensor, weights: InferenceWeights, is_last: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the frames of `[frames, 1, units]` that need no later ones, and those that do."""
    if not weights.row_convolution:
        return x, x[:0]
    (kernel,) = weights.row_convolution
    lookahead = kernel.shape[0] - 1
    x = _end_with_zeros(x, lookahead, is_last, axis=0)
    num_frames = tf.maximum(0, tf.shape(x)[0] - lookahead)
    missing = tf.maximum(0, lookahead - tf.shape(x)[0])
    enough = tf.pad(x, [[0, missing], [0, 0], [0, 0]])
    return look_ahead(enough, kernel), x[num_frames:]


def _end_with_zeros(x: tf.Tensor, count: int, is_last: tf.Tensor, *, axis: int) -> tf.Tensor:
    """Add as many zeros along an axis if the clip ends here."""
    paddings: list[list[int | tf.Tensor]] = [[0, 0] for _ in range(x.shape.rank)]
    paddings[axis][1] = count * tf.cast(is_last, tf.int32)
    return tf.pad(x, paddings)

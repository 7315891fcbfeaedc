"""The same network of Keras' own layers alone, as its users would write it, and its export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from numpy.typing import NDArray

from training.networks.weights import Normalisation, Weights


class FrameMask(layers.Layer):
    """Which frames of `[batch, frames, ...]` lie within each clip: bool `[batch, frames]`."""

    def call(self, x: Any, num_frames: Any) -> Any:
        """Compare the frames' places with int32 `[batch]`."""
        return ops.arange(ops.shape(x)[1], dtype="int32") < num_frames[:, None]

    def compute_output_spec(self, x: Any, num_frames: Any) -> Any:  # noqa: ARG002
        """Return the shape of `x` but for its channels."""
        return keras.KerasTensor(x.shape[:2], "bool")


def build_plain_keras(weights: Weights) -> keras.Model:
    """Build `features` and `num_frames` to log-probabilities float32 `[batch, frames, symbols]`.

    Convolutions are padded alike on both sides and masked, and the GRUs get a mask: without it a
    clip beside a longer one would come out differently.
    """
    features = keras.Input((None, weights.num_bins), name="features")
    num_frames = keras.Input((), dtype="int32", name="num_frames")
    x, lengths = layers.Reshape((-1, weights.num_bins, 1))(features), num_frames
    for block in weights.convolutions:
        size = block.kernel.shape
        x = layers.ZeroPadding2D(block.padding)(x)
        x = _filled(layers.Conv2D(size[3], size[:2], block.stride, use_bias=False), x, block.kernel)
        x = layers.ReLU()(_normalised(block.normalisation, x))
        lengths = (lengths + block.stride[0] - 1) // block.stride[0]
        mask = FrameMask()(x, lengths)
        x = x * ops.cast(mask, "float32")[:, :, None, None]
    x = layers.Reshape((-1, x.shape[2] * x.shape[3]))(x)
    for recurrent in weights.recurrent:
        if recurrent.normalisation:
            x = _normalised(recurrent.normalisation, x)
        layer = layers.Bidirectional(layers.GRU(recurrent.units, return_sequences=True))
        arrays = [(d.kernel, d.recurrent, d.bias) for d in recurrent.directions]
        x = _filled(layer, x, *arrays[0], *arrays[1], mask=mask)
    if weights.hidden:
        hidden = layers.Dense(len(weights.hidden.bias), activation="relu")
        x = _filled(hidden, x, weights.hidden.kernel, weights.hidden.bias)
    logits = layers.Dense(len(weights.logits.bias))
    x = _filled(logits, x, weights.logits.kernel, weights.logits.bias)
    return keras.Model([features, num_frames], ops.log_softmax(x))


def _filled(layer: Any, x: Any, *arrays: NDArray[np.float32], **options: Any) -> Any:
    """Call a new layer, which builds it, and then set its weights."""
    outputs = layer(x, **options)
    layer.set_weights(arrays)
    return outputs


def _normalised(normalisation: Normalisation, x: Any) -> Any:
    layer = layers.BatchNormalization(epsilon=normalisation.epsilon)
    return _filled(layer, x, *normalisation.arrays)


class PlainExport:
    """What `keras.Model.export` writes, loaded and called by its signature."""

    def __init__(self, folder: Path) -> None:
        self._loaded = tf.saved_model.load(str(folder))
        self._signature = self._loaded.signatures["serving_default"]

    def __call__(
        self, features: NDArray[np.float32], num_frames: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """Return log-probabilities float32 `[batch, frames, symbols]`."""
        outputs = self._signature(
            features=tf.constant(features), num_frames=tf.constant(num_frames)
        )
        (log_probs,) = outputs.values()
        return np.asarray(log_probs.numpy())

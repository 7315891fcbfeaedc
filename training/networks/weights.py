"""The weights of a trained network as plain arrays, from which inference is built."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from config import ModelError
from training.networks.forward_layers import MaskedGRU, RowConvolution
from training.networks.layers import (
    MaskedBatchNormalization,
    MaskedBidirectionalGRU,
    MaskedConv2D,
)

Array = NDArray[np.float32]
_RECURRENT = (MaskedBidirectionalGRU, MaskedGRU)
_KNOWN = (
    MaskedConv2D,
    MaskedBatchNormalization,
    *_RECURRENT,
    RowConvolution,
    keras.layers.Dense,
)


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """Batch norm's `gamma`, `beta`, `mean` and `variance`, each float32 `[channels]`."""

    arrays: list[Array]
    epsilon: float

    def scale_and_shift(self) -> tuple[Array, Array]:
        """Return what inference multiplies by, and what it then adds."""
        gamma, beta, mean, variance = self.arrays
        scale = gamma / np.sqrt(variance + self.epsilon)
        return scale, beta - mean * scale


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """Kernel float32 `[time, frequency, in, out]`, its (time, frequency) stride, batch norm."""

    kernel: Array
    stride: tuple[int, int]
    normalisation: Normalisation

    @property
    def padding(self) -> tuple[int, int]:
        """Zeros on each side in time and in frequency."""
        return self.kernel.shape[0] // 2, self.kernel.shape[1] // 2

    def folded(self) -> tuple[Array, Array]:
        """Return the kernel and the bias that do what kernel and batch norm do."""
        scale, shift = self.normalisation.scale_and_shift()
        return self.kernel * scale, shift


@dataclass(frozen=True, kw_only=True)
class Direction:
    """Kernel `[in, 3 * units]`, recurrent kernel `[units, 3 * units]`, bias `[2, 3 * units]`.

    Gates lie as in Keras: update, reset, candidate; the reset gate acts after the product.
    """

    kernel: Array
    recurrent: Array
    bias: Array


@dataclass(frozen=True, kw_only=True)
class Recurrent:
    """A forward GRU, a backward one and the batch norm before them; the latter two may be none."""

    normalisation: Normalisation | None
    directions: list[Direction]

    @property
    def units(self) -> int:
        """Size of one direction's state."""
        return int(self.directions[0].recurrent.shape[0])

    def folded(self) -> list[Direction]:
        """Return directions that do what batch norm and they do, on the frames of a clip."""
        if self.normalisation is None:
            return self.directions
        scale, shift = self.normalisation.scale_and_shift()
        return [
            replace(
                direction,
                kernel=scale[:, np.newaxis] * direction.kernel,
                bias=direction.bias + np.stack([shift @ direction.kernel, 0 * direction.bias[1]]),
            )
            for direction in self.directions
        ]


@dataclass(frozen=True, kw_only=True)
class Dense:
    """Kernel float32 `[in, out]` and bias `[out]`."""

    kernel: Array
    bias: Array


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A whole DeepSpeech2, from features to logits.

    Of a row convolution float32 `[lookahead + 1, channels]`.
    """

    num_bins: int
    convolutions: list[Convolution]
    recurrent: list[Recurrent]
    row_convolution: Array | None
    hidden: Dense | None
    logits: Dense


def read_weights(network: keras.Model) -> Weights:
    """Return the weights of what `build_deepspeech2` built.

    Raises:
        ModelError: it has other layers.
    """
    layers = [layer for layer in network.layers if layer.weights]
    dense = [_dense(layer) for layer in layers if isinstance(layer, keras.layers.Dense)]
    unknown = [layer.name for layer in layers if not isinstance(layer, _KNOWN)]
    if unknown or len(dense) not in (1, 2):
        raise ModelError(
            f"got a network with {len(dense)} dense layers and with {unknown}; needed: 1 or 2, and "
            "no layers but those of deepspeech2"
        )
    return Weights(
        num_bins=network.inputs[0].shape[-1],
        convolutions=[_convolution(layer) for layer in layers if isinstance(layer, MaskedConv2D)],
        recurrent=[
            _recurrent(before, layer)
            for before, layer in pairwise(layers)
            if isinstance(layer, _RECURRENT)
        ],
        row_convolution=next(
            (_array(layer.kernel) for layer in layers if isinstance(layer, RowConvolution)), None
        ),
        hidden=dense[0] if len(dense) == 2 else None,
        logits=dense[-1],
    )


def _convolution(layer: MaskedConv2D) -> Convolution:
    return Convolution(
        kernel=_array(layer.convolution.kernel),
        stride=(layer.stride[0], layer.stride[1]),
        normalisation=_normalisation(layer.normalisation),
    )


def _recurrent(before: keras.layers.Layer, layer: MaskedBidirectionalGRU | MaskedGRU) -> Recurrent:
    is_normalised = isinstance(before, MaskedBatchNormalization)
    return Recurrent(
        normalisation=_normalisation(before.normalisation) if is_normalised else None,
        directions=[
            Direction(kernel=_array(kernel), recurrent=_array(recurrent), bias=_array(bias))
            for kernel, recurrent, bias in layer.directions
        ],
    )


def _normalisation(layer: Any) -> Normalisation:
    variables = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
    return Normalisation(arrays=[_array(v) for v in variables], epsilon=layer.epsilon)


def _dense(layer: Any) -> Dense:
    return Dense(kernel=_array(layer.kernel), bias=_array(layer.bias))


def _array(variable: Any) -> Array:
    return np.asarray(variable.numpy(), np.float32)

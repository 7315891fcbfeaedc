"""Layers of a network that hears forward only: each frame waits for few frames after it."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from training.networks.layers import add_direction, frame_mask, run_gru


@keras.saving.register_keras_serializable(package="stt")
class MaskedGRU(keras.layers.Layer):
    """One GRU from the start of each clip; as one half of `MaskedBidirectionalGRU`."""

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.units = units

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        """Create kernel, recurrent kernel and bias."""
        self.directions = [add_direction(self, "forward", input_shape[0][-1], self.units)]
        self.built = True

    def call(self, inputs: list[Any]) -> Any:
        """Return float `[batch, frames, units]`, zero beyond each clip's end."""
        x, num_frames = inputs
        time_major = ops.transpose(x, (1, 0, 2))
        states = run_gru(time_major, self.directions[0], self.compute_dtype)
        mask = frame_mask(num_frames, ops.shape(x)[1], states.dtype)
        return ops.transpose(states, (1, 0, 2)) * mask[..., None]

    def compute_output_spec(self, inputs: list[Any]) -> Any:
        """Return `[batch, frames, units]`."""
        batch, frames, _ = inputs[0].shape
        return keras.KerasTensor((batch, frames, self.units), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package="stt")
class RowConvolution(keras.layers.Layer):
    """A weighted sum of each frame and the `lookahead` frames after it, each channel by itself.

    Frames beyond a clip's end must be zero in what it takes, and are no frames in what it gives:
    mask them.
    Source: Amodei et al. 2016, section 3.5.
    """

    def __init__(self, lookahead: int, **options: Any) -> None:
        super().__init__(**options)
        self.lookahead = lookahead

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights `[lookahead + 1, channels]`, for sums as large as their frames."""
        shape = (self.lookahead + 1, input_shape[-1])
        self.kernel = self.add_weight(shape, "lecun_normal", name="kernel")
        self.built = True

    def call(self, x: Any) -> Any:
        """Return float `[batch, frames, channels]` of as many."""
        num_frames = ops.shape(x)[1]
        kernel = ops.cast(self.kernel, self.compute_dtype)
        x = ops.pad(x, [(0, 0), (0, self.lookahead), (0, 0)])
        return sum(x[:, i : i + num_frames] * kernel[i] for i in range(self.lookahead + 1))

    def compute_output_spec(self, x: Any) -> Any:
        """Return the input's shape."""
        return keras.KerasTensor(x.shape, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "lookahead": self.lookahead}

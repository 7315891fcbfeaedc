"""Layers that know how long each clip is: what lies beyond a clip's end never leaks into it."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

if keras.backend.backend() == "tensorflow":
    from training.networks.normalisation_tensorflow import BatchNormalization
    from training.networks.recurrence_tensorflow import gru_sequence, reverse_by_length
else:
    from training.networks.recurrence import gru_sequence, reverse_by_length

    BatchNormalization = keras.layers.BatchNormalization  # type: ignore[misc]


def frame_mask(num_frames: Any, max_frames: Any, dtype: str = "float32") -> Any:
    """Return `[batch, max_frames]`, one for each of a clip's own frames and zero beyond."""
    return ops.cast(ops.arange(max_frames) < num_frames[:, None], dtype)


@keras.saving.register_keras_serializable(package="stt")
class MaskedConv2D(keras.layers.Layer):
    """Convolution over (time, frequency), batch norm, ReLU; zero beyond each clip's end.

    Padding is explicit, zeros and the same on both sides, so that a clip's result depends on no
    other clip's length; `frames_out = ceil(frames_in / stride)`. Statistics are of valid frames.
    Source: Amodei et al. 2016, sections 3.2 and 3.4.
    """

    def __init__(
        self, filters: int, kernel: tuple[int, int], stride: tuple[int, int], **options: Any
    ) -> None:
        super().__init__(**options)
        self.filters, self.kernel, self.stride = filters, tuple(kernel), tuple(stride)
        self.padding = [(0, 0), *((size // 2, size // 2) for size in self.kernel), (0, 0)]
        self.convolution = keras.layers.Conv2D(
            filters, self.kernel, self.stride, use_bias=False, dtype=self.dtype_policy
        )
        self.normalisation = BatchNormalization(dtype=self.dtype_policy)

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        """Create the weights for inputs `[batch, frames, bins, channels]`."""
        batch, frames, bins, channels = input_shape[0]
        self.convolution.build((batch, frames, bins, channels))
        self.normalisation.build((batch, frames, None, self.filters))
        self.built = True

    def call(self, inputs: list[Any], training: bool = False) -> tuple[Any, Any]:
        """Take and return float `[batch, frames, bins, channels]` and int32 `[batch]` lengths."""
        x, num_frames = inputs
        x = self._convolve(x)
        num_frames = (num_frames + self.stride[0] - 1) // self.stride[0]
        mask = frame_mask(num_frames, ops.shape(x)[1], "bool")[:, :, None]
        x = self.normalisation(x, training=training, mask=mask)
        return ops.relu(x) * ops.cast(mask, x.dtype)[..., None], num_frames

    def _convolve(self, x: Any) -> Any:
        """Convolve with a stride of 1 in frequency: bins that it would jump over become channels.

        The same products. On a CPU TensorFlow's gradient of a kernel with such a stride takes from
        1.5 to 400 times as long, by the shape; see docs/training.md.
        """
        stride = self.stride[1]
        if stride == 1 or x.shape[3] == 1:
            return self.convolution(ops.pad(x, self.padding))
        taps, missing = -(-self.kernel[1] // stride), -self.kernel[1] % stride
        width = (-(-x.shape[2] // stride) - 1 + taps) * stride
        batch, frames, _, channels = self.padding
        before = self.padding[2][0]
        behind = max(0, width - before - x.shape[2])
        x = ops.pad(x, [batch, frames, (before, behind), channels])[:, :, :width]
        depth = stride * x.shape[3]
        x = ops.reshape(x, [ops.shape(x)[0], ops.shape(x)[1], width // stride, depth])
        kernel = ops.pad(self.convolution.kernel, [(0, 0), (0, missing), (0, 0), (0, 0)])
        kernel = ops.reshape(kernel, [self.kernel[0], taps, depth, self.filters])
        return ops.conv(x, kernel, (self.stride[0], 1), "valid", data_format="channels_last")

    def compute_output_spec(self, inputs: list[Any], training: bool = False) -> tuple[Any, Any]:
        """Return the outputs' shapes; the time axis is unknown until a batch is seen."""
        x, num_frames = inputs
        bins = -(-x.shape[2] // self.stride[1])
        shape = (x.shape[0], None, bins, self.filters)
        return keras.KerasTensor(shape, self.compute_dtype), keras.KerasTensor(
            num_frames.shape, "int32"
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        own = {"filters": self.filters, "kernel": self.kernel, "stride": self.stride}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="stt")
class MaskedBatchNormalization(keras.layers.Layer):
    """Batch norm over all valid frames of a batch ("sequence-wise", Amodei et al. 2016, 3.2)."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.normalisation = BatchNormalization(dtype=self.dtype_policy)

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        """Create the weights for inputs `[batch, frames, channels]`."""
        self.normalisation.build(input_shape[0])
        self.built = True

    def call(self, inputs: list[Any], training: bool = False) -> Any:
        """Return float `[batch, frames, channels]`, zero beyond each clip's end."""
        x, num_frames = inputs
        mask = frame_mask(num_frames, ops.shape(x)[1], "bool")
        x = self.normalisation(x, training=training, mask=mask)
        return x * ops.cast(mask, x.dtype)[..., None]

    def compute_output_spec(self, inputs: list[Any], training: bool = False) -> Any:
        """Return the first input's shape."""
        return keras.KerasTensor(inputs[0].shape, self.compute_dtype)


def add_direction(
    layer: keras.layers.Layer, name: str, size: int | None, units: int
) -> tuple[Any, ...]:
    """Add and return kernel, recurrent kernel and bias of one GRU, laid out as in Keras."""
    return (
        layer.add_weight((size, 3 * units), "glorot_uniform", name=f"{name}_kernel"),
        layer.add_weight((units, 3 * units), "orthogonal", name=f"{name}_recurrent_kernel"),
        layer.add_weight((2, 3 * units), "zeros", name=f"{name}_bias"),
    )


def run_gru(x: Any, direction: tuple[Any, ...], dtype: str) -> Any:
    """Return the states `[frames, batch, units]` of one GRU over `[frames, batch, channels]`."""
    kernel, recurrent_kernel, bias = (ops.cast(weight, dtype) for weight in direction)
    units = recurrent_kernel.shape[0]
    gate_bias = ops.concatenate([bias[0, : 2 * units] + bias[1, : 2 * units], bias[0, 2 * units :]])
    projected = ops.matmul(x, kernel) + gate_bias
    return gru_sequence(projected, recurrent_kernel, bias[1, 2 * units :])


@keras.saving.register_keras_serializable(package="stt")
class MaskedBidirectionalGRU(keras.layers.Layer):
    """Two GRUs, one from each end of each clip; their states are concatenated.

    The backward one starts at each clip's own last frame. Gates are sigmoid, the reset gate acts
    after the product, weights and biases are laid out as in `keras.layers.GRU`. All frames are
    projected in one product, outside the recurrence.
    """

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.units = units

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        """Create kernel, recurrent kernel and bias for both directions."""
        size, units = input_shape[0][-1], self.units
        self.directions = [add_direction(self, n, size, units) for n in ("forward", "backward")]
        self.built = True

    def call(self, inputs: list[Any]) -> Any:
        """Return float `[batch, frames, 2 * units]`, zero beyond each clip's end."""
        x, num_frames = inputs
        max_frames = ops.shape(x)[1]
        time_major = ops.transpose(x, (1, 0, 2))
        forward, backward = self.directions
        ahead = run_gru(time_major, forward, self.compute_dtype)
        reverse = reverse_by_length(time_major, num_frames)
        behind = run_gru(reverse, backward, self.compute_dtype)
        states = ops.concatenate([ahead, reverse_by_length(behind, num_frames)], axis=-1)
        mask = frame_mask(num_frames, max_frames, states.dtype)
        return ops.transpose(states, (1, 0, 2)) * mask[..., None]

    def compute_output_spec(self, inputs: list[Any]) -> Any:
        """Return `[batch, frames, 2 * units]`."""
        batch, frames, _ = inputs[0].shape
        return keras.KerasTensor((batch, frames, 2 * self.units), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "units": self.units}

"""The same network in PyTorch, of its own layers, with batch norm folded into what it is beside."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from training.networks.weights import Array, Convolution, Dense, Direction, Weights


class TorchNetwork(nn.Module):
    """Features to log-probabilities; GRUs get packed sequences, so that lengths are true."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.strides = [block.stride[0] for block in weights.convolutions]
        self.convolutions = nn.ModuleList(
            convolution(block, *block.folded()) for block in weights.convolutions
        )
        self.recurrent = nn.ModuleList(gru(*layer.folded()) for layer in weights.recurrent)
        hidden = [linear(weights.hidden), nn.ReLU()] if weights.hidden else []
        self.output = nn.Sequential(*hidden, linear(weights.logits), nn.LogSoftmax(dim=-1))

    def forward(self, features: Tensor, num_frames: Tensor) -> Tensor:
        """Take float32 `[batch, frames, bins]` and int64 `[batch]`."""
        x, lengths = features[:, None], num_frames
        for stride, layer in zip(self.strides, self.convolutions, strict=True):
            x, lengths = torch.relu(layer(x)), (lengths + stride - 1) // stride
            inside = torch.arange(x.shape[2]) < lengths[:, None]
            x = x * inside[:, None, :, None]
        x = x.permute(0, 2, 3, 1).flatten(2)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        for layer in self.recurrent:
            packed, _ = layer(packed)
        x, _ = pad_packed_sequence(packed, batch_first=True)
        return self.output(x)


class TorchPeer:
    """The network called with arrays."""

    def __init__(self, weights: Weights, *, threads: int) -> None:
        torch.set_num_threads(threads)
        self._network = TorchNetwork(weights).eval()

    def __call__(self, features: Array, num_frames: NDArray[np.int32]) -> Array:
        """Return log-probabilities float32 `[batch, frames, symbols]`."""
        with torch.inference_mode():
            lengths = torch.from_numpy(num_frames.astype(np.int64))
            return np.asarray(self._network(torch.from_numpy(features), lengths).numpy())


def convolution(block: Convolution, kernel: Array, bias: Array | None = None) -> nn.Module:
    """Return a layer of a block's form, with a kernel that lies as in Keras."""
    time, frequency, channels, filters = kernel.shape
    layer = nn.Conv2d(
        channels,
        filters,
        (time, frequency),
        block.stride,
        padding=block.padding,
        bias=bias is not None,
    )
    arrays = {"weight": kernel.transpose(3, 2, 0, 1), "bias": bias}
    return _filled(layer, **{name: a for name, a in arrays.items() if a is not None})


def linear(dense: Dense) -> nn.Module:
    """Return a dense layer."""
    layer = nn.Linear(*dense.kernel.shape)
    return _filled(layer, weight=dense.kernel.T, bias=dense.bias)


def gru(*directions: Direction) -> nn.Module:
    """Return a layer of one direction, or of both; frames come first unless they are packed."""
    first, *others = directions
    size, units = first.kernel.shape[0], first.recurrent.shape[0]
    arrays = {
        f"{name}_l0{suffix}": array
        for suffix, direction in zip(("", "_reverse"), directions, strict=False)
        for name, array in _gru_arrays(direction).items()
    }
    return _filled(nn.GRU(size, units, bidirectional=bool(others)), **arrays)


def _gru_arrays(direction: Direction) -> dict[str, Array]:
    """Return one direction's arrays by PyTorch's names; its gates are reset, update, candidate."""

    def reordered(array: Array) -> Array:
        update, reset, candidate = np.split(array, 3, axis=-1)
        return np.concatenate([reset, update, candidate], axis=-1).T

    return {
        "weight_ih": reordered(direction.kernel),
        "weight_hh": reordered(direction.recurrent),
        "bias_ih": reordered(direction.bias[0]),
        "bias_hh": reordered(direction.bias[1]),
    }


def _filled(layer: nn.Module, **arrays: Array) -> nn.Module:
    state = {name: torch.tensor(np.ascontiguousarray(a)) for name, a in arrays.items()}
    layer.load_state_dict(state)
    return layer

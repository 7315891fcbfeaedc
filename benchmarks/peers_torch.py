"""The same network in PyTorch, of its own layers, with batch norm folded into what it is beside."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from training.networks.weights import Convolution, Dense, Direction, Recurrent, Weights


class TorchNetwork(nn.Module):
    """Features to log-probabilities; GRUs get packed sequences, so that lengths are true."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.strides = [block.stride[0] for block in weights.convolutions]
        self.convolutions = nn.ModuleList(map(_convolution, weights.convolutions))
        self.recurrent = nn.ModuleList(map(_gru, weights.recurrent))
        hidden = [_linear(weights.hidden), nn.ReLU()] if weights.hidden else []
        self.output = nn.Sequential(*hidden, _linear(weights.logits), nn.LogSoftmax(dim=-1))

    def forward(self, features: Tensor, num_frames: Tensor) -> Tensor:
        """Take float32 `[batch, frames, bins]` and int64 `[batch]`."""
        x, lengths = features[:, None], num_frames
        for stride, convolution in zip(self.strides, self.convolutions, strict=True):
            x, lengths = torch.relu(convolution(x)), (lengths + stride - 1) // stride
            inside = torch.arange(x.shape[2]) < lengths[:, None]
            x = x * inside[:, None, :, None]
        x = x.permute(0, 2, 3, 1).flatten(2)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        for gru in self.recurrent:
            packed, _ = gru(packed)
        x, _ = pad_packed_sequence(packed, batch_first=True)
        return self.output(x)


class TorchPeer:
    """The network called with arrays."""

    def __init__(self, weights: Weights, *, threads: int) -> None:
        torch.set_num_threads(threads)
        self._network = TorchNetwork(weights).eval()

    def __call__(
        self, features: NDArray[np.float32], num_frames: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """Return log-probabilities float32 `[batch, frames, symbols]`."""
        with torch.inference_mode():
            lengths = torch.from_numpy(num_frames.astype(np.int64))
            return np.asarray(self._network(torch.from_numpy(features), lengths).numpy())


def _convolution(block: Convolution) -> nn.Module:
    kernel, bias = block.folded()
    time, frequency, channels, filters = kernel.shape
    layer = nn.Conv2d(
        channels, filters, (time, frequency), block.stride, padding=block.padding, bias=True
    )
    return _filled(layer, weight=kernel.transpose(3, 2, 0, 1), bias=bias)


def _linear(dense: Dense) -> nn.Module:
    layer = nn.Linear(*dense.kernel.shape)
    return _filled(layer, weight=dense.kernel.T, bias=dense.bias)


def _gru(recurrent: Recurrent) -> nn.Module:
    directions = recurrent.folded()
    layer = nn.GRU(
        directions[0].kernel.shape[0], recurrent.units, batch_first=True, bidirectional=True
    )
    arrays = {
        f"{name}_l0{suffix}": array
        for suffix, direction in zip(("", "_reverse"), directions, strict=True)
        for name, array in _gru_arrays(direction).items()
    }
    return _filled(layer, **arrays)


def _gru_arrays(direction: Direction) -> dict[str, NDArray[np.float32]]:
    """Return one direction's arrays by PyTorch's names; its gates are reset, update, candidate."""

    def reordered(array: NDArray[np.float32]) -> NDArray[np.float32]:
        update, reset, candidate = np.split(array, 3, axis=-1)
        return np.concatenate([reset, update, candidate], axis=-1).T

    return {
        "weight_ih": reordered(direction.kernel),
        "weight_hh": reordered(direction.recurrent),
        "bias_ih": reordered(direction.bias[0]),
        "bias_hh": reordered(direction.bias[1]),
    }


def _filled(layer: nn.Module, **arrays: NDArray[np.float32]) -> nn.Module:
    state = {name: torch.tensor(np.ascontiguousarray(a)) for name, a in arrays.items()}
    layer.load_state_dict(state)
    return layer

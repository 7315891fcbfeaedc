"""The training step in PyTorch: the same network, loss and optimizer, of its own operations.

Frames come first, and each direction of a layer is a GRU of its own, of which the backward one gets
each clip reversed. That gives what packed sequences give, and took less time than they.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.peers_torch import convolution, gru, linear
from training.networks.weights import (
    Array,
    Convolution,
    Normalisation,
    Recurrent,
    Weights,
    read_weights,
)
from training.run import Run

MOMENTUM = 0.99  # of the running statistics, as Keras' default


class MaskedBatchNorm(nn.Module):
    """Batch norm with the statistics of what is inside; zero outside."""

    def __init__(self, normalisation: Normalisation, *, axis: int, rank: int) -> None:
        super().__init__()
        form = [1] * rank
        form[axis] = -1
        gamma, beta, mean, variance = (
            torch.from_numpy(array.copy()).reshape(form) for array in normalisation.arrays
        )
        self.gamma, self.beta = nn.Parameter(gamma), nn.Parameter(beta)
        self.register_buffer("mean", mean)
        self.register_buffer("variance", variance)
        self.epsilon, self.axis = normalisation.epsilon, axis
        self.axes = [i for i in range(rank) if i != axis]

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        """Take float32 and as many axes, of one or of zero, with which it is multiplied."""
        count = inside.sum() * (x.numel() / x.shape[self.axis] / inside.numel())
        mean = (x * inside).sum(self.axes, keepdim=True) / count
        centred = (x - mean) * inside
        variance = centred.square().sum(self.axes, keepdim=True) / count
        with torch.no_grad():
            self.mean.lerp_(mean, 1 - MOMENTUM)
            self.variance.lerp_(variance, 1 - MOMENTUM)
        scale = self.gamma * torch.rsqrt(variance + self.epsilon)
        return centred * scale + self.beta * inside


class MaskedConvolution(nn.Module):
    """Convolution, batch norm, ReLU on `[batch, channels, frames, bins]`."""

    def __init__(self, block: Convolution) -> None:
        super().__init__()
        self.stride = block.stride[0]
        self.convolution = convolution(block, block.kernel)
        self.normalisation = MaskedBatchNorm(block.normalisation, axis=1, rank=4)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the frames and their true lengths."""
        x, lengths = self.convolution(x), (lengths + self.stride - 1) // self.stride
        inside = (torch.arange(x.shape[2]) < lengths[:, None]).to(x.dtype)
        return torch.relu(self.normalisation(x, inside[:, None, :, None])), lengths


class BidirectionalGRU(nn.Module):
    """Two GRUs on `[frames, batch, channels]`, and the batch norm before them if there is one."""

    def __init__(self, layer: Recurrent) -> None:
        super().__init__()
        norm = layer.normalisation
        self.normalisation = MaskedBatchNorm(norm, axis=2, rank=3) if norm else None
        self.ahead, self.behind = (gru(direction) for direction in layer.directions)

    def forward(self, x: Tensor, reversed_rows: Tensor, inside: Tensor) -> Tensor:
        """Take also which row, of frames and clips, is where when the clips are reversed."""

        def reverse(frames: Tensor) -> Tensor:
            return frames.flatten(0, 1).index_select(0, reversed_rows).view_as(frames)

        if self.normalisation:
            x = self.normalisation(x, inside)
        ahead, behind = self.ahead(x)[0], self.behind(reverse(x))[0]
        return torch.cat([ahead, reverse(behind)], dim=-1) * inside


class TrainingNetwork(nn.Module):
    """Features to logits."""

    def __init__(self, weights: Weights, *, dropout: float) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(map(MaskedConvolution, weights.convolutions))
        self.recurrent = nn.ModuleList(map(BidirectionalGRU, weights.recurrent))
        hidden = [linear(weights.hidden), nn.ReLU()] if weights.hidden else []
        self.hidden, self.logits = nn.Sequential(*hidden), linear(weights.logits)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return float32 `[frames, batch, symbols]` and int64 `[batch]`.

        Args:
            features: float32 `[batch, frames, bins]`.
            num_frames: int64 `[batch]`.
        """
        x, lengths = features[:, None], num_frames
        for block in self.convolutions:
            x, lengths = block(x, lengths)
        x = x.permute(2, 0, 3, 1).flatten(2)
        frames, clips = torch.arange(x.shape[0])[:, None], torch.arange(x.shape[1])
        inside = frames < lengths
        source = torch.where(inside, lengths - 1 - frames, frames)
        reversed_rows = (source * len(clips) + clips).flatten()
        for i, layer in enumerate(self.recurrent):
            x = x if i == 0 else self.dropout(x)
            x = layer(x, reversed_rows, inside[..., None].to(x.dtype))
        return self.logits(self.dropout(self.hidden(x))), lengths


class TorchStep:
    """One optimisation step on a batch that is held in memory."""

    def __init__(self, run: Run, batch: dict[str, NDArray[Any]], *, threads: int) -> None:
        """Copy a run's weights and settings, but for the schedule of the rate of learning.

        Args:
            batch: what `training.dataset.Loader` gives, inputs and labels together.
        """
        torch.set_num_threads(threads)
        recipe, ours = run.recipe, run.model.optimizer
        self.network = TrainingNetwork(
            read_weights(run.model.network), dropout=recipe.network.dropout
        )
        self._blank_index, self._clip_norm = recipe.alphabet.blank_index, ours.global_clipnorm
        self._features = torch.from_numpy(batch["features"].copy())
        self._num_frames, self._labels, self._label_lengths = (
            torch.from_numpy(batch[name].astype(np.int64))
            for name in ("num_frames", "labels", "label_lengths")
        )
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=recipe.training.learning_rate,
            betas=(ours.beta_1, ours.beta_2),
            eps=ours.epsilon,
            weight_decay=ours.weight_decay,
            fused=True,
        )

    def backward(self) -> float:
        """Compute the gradients; return the mean of the clips' losses per label."""
        self._optimizer.zero_grad()
        logits, lengths = self.network(self._features, self._num_frames)
        losses = functional.ctc_loss(
            functional.log_softmax(logits, dim=-1),
            self._labels,
            lengths,
            self._label_lengths,
            blank=self._blank_index,
            reduction="none",
            zero_infinity=True,
        )
        loss = (losses / self._label_lengths).mean()
        loss.backward()
        return float(loss.detach())

    def gradients(self) -> list[Array]:
        """Return those of the first convolution's kernel and the logits', laid out as in Keras."""
        first = self.network.convolutions[0].convolution.weight.grad
        return [first.permute(2, 3, 1, 0).numpy(), self.network.logits.weight.grad.T.numpy()]

    def __call__(self) -> float:
        """Take the step."""
        loss = self.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self._clip_norm)
        self._optimizer.step()
        return loss

"""How fast a network could be at best: its arithmetic over what the machine was measured to do."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from training.networks.weights import Weights

REPEATS = 20
SQUARE = 1024
BYTES = 4  # of a float32


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one batch must do.

    Args:
        flops: floating-point operations but for those of the recurrence.
        recurrent_flops: those that wait for the frame before.
        recurrent_bytes: float32 recurrent weights, read once a frame and direction for all clips.
    """

    flops: int
    recurrent_flops: int
    recurrent_bytes: int


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What a machine was measured to do with so many threads.

    Args:
        flops_per_s: of a product of square float32 matrices.
        bytes_per_s: of recurrent weights, read for a product with a vector.
    """

    flops_per_s: float
    bytes_per_s: float


def count_work(weights: Weights, *, num_frames: int, batch: int) -> Work:
    """Count the work of `batch` clips of `num_frames` frames of features each."""
    frames, bins, flops = num_frames, weights.num_bins, 0
    for block in weights.convolutions:
        frames, bins = -(-frames // block.stride[0]), -(-bins // block.stride[1])
        flops += 2 * block.kernel.size * frames * bins
    directions = [d for recurrent in weights.recurrent for d in recurrent.directions]
    dense = [weights.logits, weights.hidden] if weights.hidden else [weights.logits]
    kernels = [layer.kernel for layer in directions] + [layer.kernel for layer in dense]
    flops += 2 * frames * sum(kernel.size for kernel in kernels)
    recurrent = frames * sum(direction.recurrent.size for direction in directions)
    return Work(
        flops=batch * flops,
        recurrent_flops=batch * 2 * recurrent,
        recurrent_bytes=BYTES * recurrent,
    )


def measure_speed(units: int) -> Speed:
    """Measure this process, with its threads; the better of NumPy and TensorFlow.

    Args:
        units: of a GRU, whose two recurrent kernels are what is read.
    """
    square = np.ones((SQUARE, SQUARE), np.float32)
    kernels, state = np.ones((units, 6 * units), np.float32), np.ones((1, units), np.float32)
    return Speed(
        flops_per_s=2 * SQUARE**3 / _least_product_s(square, square),
        bytes_per_s=kernels.nbytes / _least_product_s(state, kernels),
    )


def floor_s(work: Work, speed: Speed) -> float:
    """Return seconds that a batch takes at least, in float32."""
    recurrent_s = max(
        work.recurrent_flops / speed.flops_per_s, work.recurrent_bytes / speed.bytes_per_s
    )
    return work.flops / speed.flops_per_s + recurrent_s


def _least_product_s(left: Any, right: Any) -> float:
    tensors = tf.constant(left), tf.constant(right)
    return min(_least_s(lambda: left @ right), _least_s(lambda: tf.matmul(*tensors).numpy()))


def _least_s(function: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return min(seconds)

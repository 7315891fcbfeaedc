"""A convolution with fewer multiplications: the fast FIR algorithm along the time axis."""

from __future__ import annotations

import tensorflow as tf

_HALVINGS = 2
_BLOCK = 2**_HALVINGS


def convolve_fast(
    x: tf.Tensor, kernel: tf.Tensor, stride: int, padding: tuple[int, int]
) -> tf.Tensor:
    """Convolve with stride 1 in time, with 9/16 of the products.

    Even and odd frames are two signals, even and odd taps two kernels. Three convolutions of half
    the size give both halves of the result where four would be expected, and each of the three is
    halved again. What is added costs little: a kernel is used many times over.

    Args:
        x: float `[batch, frames, bins, channels]`.
        kernel: float `[taps, bins_of_kernel, channels, filters]`.
        stride: in frequency.
        padding: zeros on each side in time and in frequency.

    Returns:
        float `[batch, frames + 2 * padding[0] - taps + 1, bins_out, filters]`.

    Source: Mou and Duhamel 1991, "Short-length FIR filters and their use in fast nonrecursive
    filtering", the algorithm F(2, 2), nested.
    """
    num_frames = tf.shape(x)[1] + 2 * padding[0] - kernel.shape[0] + 1
    rounded = -(-num_frames // _BLOCK) * _BLOCK
    kernel = tf.pad(kernel, [[0, -kernel.shape[0] % _BLOCK], [0, 0], [0, 0], [0, 0]])
    after = rounded + kernel.shape[0] - padding[0] - tf.shape(x)[1]
    x = tf.pad(x, [[0, 0], [padding[0], after], [padding[1]] * 2, [0, 0]])
    return _halved(x, kernel, stride, rounded, _HALVINGS)[:, :num_frames]


def _halved(
    x: tf.Tensor, kernel: tf.Tensor, stride: int, num_frames: tf.Tensor, halvings: int
) -> tf.Tensor:
    """Return `num_frames` frames; `x` has as many and one more for each tap, the last unused."""
    if not halvings:
        return tf.nn.conv2d(x[:, : num_frames + kernel.shape[0] - 1], kernel, [1, stride], "VALID")
    half = num_frames // 2
    even, odd = _even_and_odd(x, half + kernel.shape[0] // 2)
    following = tf.pad(even[:, 1:], [[0, 0], [0, 1], [0, 0], [0, 0]])
    parts = (
        (even - odd, kernel[0::2]),
        (odd, kernel[0::2] + kernel[1::2]),
        (following - odd, kernel[1::2]),
    )
    first, both, last = (_halved(*part, stride, half, halvings - 1) for part in parts)
    together = tf.stack([first + both, both + last], axis=2)
    shape = tf.shape(together)
    return tf.reshape(together, tf.concat([[shape[0], num_frames], shape[3:]], axis=0))


def _even_and_odd(x: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Return every other frame, twice; a reshape, as slices with a stride are slow."""
    pairs = tf.reshape(x, [tf.shape(x)[0], count, 2, x.shape[2], x.shape[3]])
    even, odd = tf.unstack(pairs, axis=2)
    return [even, odd]

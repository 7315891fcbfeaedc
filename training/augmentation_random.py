"""Stateless draws, and changes to some clips of a batch; equal seeds give equal numbers."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

_ALGORITHM = "philox"

Clips = tuple[tf.Tensor, tf.Tensor]


def fork(seed: tf.Tensor, number: int) -> tf.Tensor:
    """Return a seed `[2]` that is independent of those that other numbers give."""
    return tf.random.experimental.stateless_fold_in(seed, number, alg=_ALGORITHM)


def uniform(seed: tf.Tensor, shape: tf.Tensor | list[int], low: float, high: float) -> tf.Tensor:
    """Return float32 of `shape`, uniform in [low, high).

    A longer first axis leaves the numbers before it as they are.
    """
    return tf.random.stateless_uniform(shape, seed, low, high, alg=_ALGORITHM)


def happens(seed: tf.Tensor, num_samples: tf.Tensor, probability: float) -> tf.Tensor:
    """Return bool `[batch]`, true with a probability, for the clips of int32 `[batch]`."""
    return uniform(seed, tf.shape(num_samples), 0.0, 1.0) < probability


def change_some(
    chosen: tf.Tensor,
    change: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Clips],
    waveform: tf.Tensor,
    num_samples: tf.Tensor,
) -> Clips:
    """Change the chosen clips of a batch, at the cost of these alone.

    Args:
        chosen: bool `[batch]`.
        change: called with the chosen clips' waveform, num_samples and int64 places in the batch;
            returns their new waveform, zero beyond their ends or not, and num_samples.
        waveform: float32 `[batch, samples]`, zero beyond each clip's end.
        num_samples: int32 `[batch]`.

    Returns:
        float32 `[batch, samples]`, wider if a clip became longer than that, zero beyond each
        clip's end, and int32 `[batch]`.
    """

    def changed() -> Clips:
        rows = tf.where(chosen)[:, 0]
        lengths = tf.gather(num_samples, rows)
        clips = tf.gather(waveform, rows)[:, : tf.reduce_max(lengths)]
        clips, lengths = change(clips, lengths, rows)
        clips = mask_beyond(clips, lengths)
        index = rows[:, tf.newaxis]
        new_lengths = tf.tensor_scatter_nd_update(num_samples, index, lengths)
        before, after = tf.shape(waveform)[1], tf.reduce_max(lengths)
        rest = tf.cond(after > before, lambda: fit_width(waveform, after), lambda: waveform)
        clips = fit_width(clips, tf.maximum(before, after))
        return tf.tensor_scatter_nd_update(rest, index, clips), new_lengths

    return tf.cond(tf.reduce_any(chosen), changed, lambda: (waveform, num_samples))


def fit_width(waveform: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Cut or zero-pad float32 `[batch, samples]` to `[batch, width]`."""
    waveform = waveform[:, :width]
    return tf.pad(waveform, [[0, 0], [0, width - tf.shape(waveform)[1]]])


def mask_beyond(waveform: tf.Tensor, num_samples: tf.Tensor) -> tf.Tensor:
    """Set to zero what lies beyond each clip's end."""
    inside = tf.sequence_mask(num_samples, tf.shape(waveform)[1])
    return tf.where(inside, waveform, tf.zeros_like(waveform))


def rms(waveform: tf.Tensor, num_samples: tf.Tensor) -> tf.Tensor:
    """Return float32 `[batch]` over each clip's own samples; what lies beyond them is zero."""
    count = tf.cast(tf.maximum(1, num_samples), tf.float32)
    return tf.sqrt(tf.reduce_sum(waveform**2, axis=1) / count)


def limit_peaks(waveform: tf.Tensor, ceiling: float = 1.0) -> tf.Tensor:
    """Make softer each clip that goes beyond `ceiling`, as a whole, so that nothing is clipped."""
    peak = tf.reduce_max(tf.abs(waveform), axis=1, keepdims=True)
    return waveform / tf.maximum(1.0, peak / ceiling)

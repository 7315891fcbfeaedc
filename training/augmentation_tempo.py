"""Tempo without pitch: pieces of a clip laid anew, each where it fits what came before it."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from training.augmentation_random import Clips

_HOP_S = 0.02  # of new pieces; each is twice as long
_TOLERANCE_S = 0.008  # how far a piece is looked for to either side: a period of 62 Hz in all
_GROUP = 3  # samples that are averaged before pieces are compared
_MIN_ENERGY = 1e-6


def change_tempo(
    waveform: tf.Tensor, num_samples: tf.Tensor, factor: tf.Tensor, *, sample_rate_hz: int
) -> Clips:
    """Play clips `factor` times as fast at the same pitch.

    Waveform similarity overlap-add: each piece is taken near its time, at the lag at which it is
    most like the natural continuation of the piece before it, and cross-faded into that.

    Args:
        waveform: float32 `[batch, samples]`, zero beyond each clip's end.
        num_samples: int32 `[batch]`.
        factor: float32 `[batch]`.
        sample_rate_hz: the waveform's.

    Returns:
        float32 `[batch, longest new clip]`, whatever beyond each clip's end, and int32 `[batch]`,
        `num_samples / factor` rounded up.

    Source: Verhelst and Roelands 1993, "An overlap-add technique based on waveform similarity
    (WSOLA) for high quality time-scale modification of speech", section 3.
    """
    exact = tf.cast(num_samples, tf.float64) / tf.cast(factor, tf.float64)
    lengths = tf.cast(tf.math.ceil(exact), tf.int32)
    width = tf.reduce_max(lengths)
    hop_groups = round(_HOP_S * sample_rate_hz / _GROUP)
    pieces = 1 + -(-width // (_GROUP * hop_groups))
    tolerance = round(_TOLERANCE_S * sample_rate_hz / _GROUP)
    targets = tf.range(tf.cast(pieces, tf.float32)) * hop_groups * factor[:, tf.newaxis]
    targets = tf.cast(tf.round(targets), tf.int32)
    room = tf.reduce_max(targets) + 6 * (hop_groups + tolerance) + 2
    missing = tf.maximum(0, _GROUP * room - tf.shape(waveform)[1])
    missing += -(tf.shape(waveform)[1] + missing) % _GROUP
    padded = tf.pad(waveform, [[0, 0], [_GROUP * tolerance, missing]])
    starts = _GROUP * _find_pieces(padded, targets, hop_groups, tolerance)
    piece = 2 * _GROUP * hop_groups
    frames = _slices(padded, starts, piece)
    window = np.sin(np.pi * (np.arange(piece) + 0.5) / piece).astype(np.float32) ** 2
    joined = tf.signal.overlap_and_add(frames * window, piece // 2)
    weight = tf.signal.overlap_and_add(tf.tile(window[tf.newaxis], [pieces, 1]), piece // 2)
    return (joined / weight)[:, :width], lengths


def _find_pieces(
    padded: tf.Tensor, targets: tf.Tensor, hop_groups: int, tolerance: int
) -> tf.Tensor:
    """Return int32 `[batch, pieces]` where pieces start, in groups of samples of `padded`.

    Args:
        padded: float32 `[batch, samples]`, `_GROUP * tolerance` zeros before the clip.
        targets: int32 `[batch, pieces]`, where pieces would lie, in groups of samples of the clip.
        hop_groups: between new pieces, in groups of samples.
        tolerance: in groups of samples.
    """
    groups = tf.reduce_mean(tf.reshape(padded, [tf.shape(padded)[0], -1, _GROUP]), axis=2)
    size, lags = 2 * hop_groups, 2 * tolerance + 1
    fft = 2 ** int(np.ceil(np.log2(size + lags)))
    # All that does not hang on the piece before is done for all pieces at once, pieces first.
    near = tf.signal.rfft(_slices(groups, targets, fft))
    near, targets_first = tf.transpose(near, [1, 0, 2]), tf.transpose(targets)
    weight = tf.transpose(_inverse_norms(groups, targets, size, lags), [1, 0, 2])
    rows = tf.range(tf.shape(groups)[0])[:, tf.newaxis] * tf.shape(groups)[1]
    index, flat = rows + hop_groups + tf.range(fft), tf.reshape(groups, [-1])
    only_piece = tf.cast(tf.range(fft) < size, tf.float32)

    def step(i: tf.Tensor, last: tf.Tensor, found: tf.TensorArray) -> tuple[tf.Tensor, ...]:
        wanted = tf.gather(flat, index + last[:, tf.newaxis]) * only_piece
        product = tf.gather(near, i) * tf.math.conj(tf.signal.rfft(wanted))
        likeness = tf.signal.irfft(product)[:, :lags] * tf.gather(weight, i)
        lag = tf.argmax(likeness, axis=1, output_type=tf.int32)
        here = tf.gather(targets_first, i) + lag
        return i + 1, here, found.write(i, here)

    pieces = tf.shape(targets)[1]
    found = tf.TensorArray(tf.int32, pieces, element_shape=targets.shape[:1])
    first = targets[:, 0] + tolerance
    found = found.write(0, first)
    _, _, found = tf.while_loop(lambda i, *_: i < pieces, step, (1, first, found))
    return tf.transpose(found.stack())


def _inverse_norms(groups: tf.Tensor, targets: tf.Tensor, size: int, lags: int) -> tf.Tensor:
    """Return float32 `[batch, pieces, lags]`: one over the norm of `size` groups at each lag."""
    sums = tf.cumsum(tf.cast(groups, tf.float64) ** 2, axis=1, exclusive=True)
    energy = tf.cast(sums[:, size:] - sums[:, :-size], tf.float32)
    return tf.math.rsqrt(tf.maximum(_slices(energy, targets, lags), _MIN_ENERGY))


def _slices(waveform: tf.Tensor, starts: tf.Tensor, size: int) -> tf.Tensor:
    """Return `[batch, starts, size]`, pieces of `[batch, samples]`."""
    rows = tf.range(tf.shape(waveform)[0]) * tf.shape(waveform)[1]
    index = (starts + rows[:, tf.newaxis])[..., tf.newaxis] + tf.range(size)
    return tf.gather(tf.reshape(waveform, [-1]), index)

"""Tempo without pitch: pieces of a clip laid anew, each where it fits what came before it."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from training.augmentation_random import Clips

_HOP_S = 0.015  # of new pieces; each is twice as long
_TOLERANCE_S = 0.008  # how far a piece is looked for to either side: a period of 62 Hz in all
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
    hop_pairs = round(_HOP_S * sample_rate_hz / 2)
    pieces = 1 + -(-width // (2 * hop_pairs))
    tolerance = round(_TOLERANCE_S * sample_rate_hz / 2)
    targets = tf.range(tf.cast(pieces, tf.float32)) * hop_pairs * factor[:, tf.newaxis]
    targets = tf.cast(tf.round(targets), tf.int32)
    room = tf.reduce_max(targets) + 4 * (hop_pairs + tolerance)
    missing = tf.maximum(0, 2 * room - tf.shape(waveform)[1])
    missing += (tf.shape(waveform)[1] + missing) % 2
    padded = tf.pad(waveform, [[0, 0], [2 * tolerance, missing]])
    starts = 2 * _find_pieces(padded, targets, hop_pairs, tolerance)
    piece = 4 * hop_pairs
    frames = _slices(padded, starts, piece)
    window = np.sin(np.pi * (np.arange(piece) + 0.5) / piece).astype(np.float32) ** 2
    joined = tf.signal.overlap_and_add(frames * window, 2 * hop_pairs)
    weight = tf.signal.overlap_and_add(tf.tile(window[tf.newaxis], [pieces, 1]), 2 * hop_pairs)
    return (joined / weight)[:, :width], lengths


def _find_pieces(
    padded: tf.Tensor, targets: tf.Tensor, hop_pairs: int, tolerance: int
) -> tf.Tensor:
    """Return int32 `[batch, pieces]` where pieces start, in pairs of samples of `padded`.

    Args:
        padded: float32 `[batch, samples]`, `2 * tolerance` zeros before the clip.
        targets: int32 `[batch, pieces]`, where pieces would lie, in pairs of samples of the clip.
        hop_pairs: between new pieces, in pairs of samples.
        tolerance: in pairs of samples.
    """
    pairs = tf.reduce_mean(tf.reshape(padded, [tf.shape(padded)[0], -1, 2]), axis=2)
    size, lags = 2 * hop_pairs, 2 * tolerance + 1
    sums = tf.pad(tf.cumsum(tf.cast(pairs, tf.float64) ** 2, axis=1), [[0, 0], [1, 0]])
    energy = tf.cast(sums[:, size:] - sums[:, :-size], tf.float32)
    fft = [2 ** int(np.ceil(np.log2(size + lags)))]

    def step(i: tf.Tensor, last: tf.Tensor, found: tf.TensorArray) -> tuple[tf.Tensor, ...]:
        target = targets[:, i]
        wanted = _slices(pairs, last[:, tf.newaxis] + hop_pairs, size)[:, 0]
        near = _slices(pairs, target[:, tf.newaxis], size + lags - 1)[:, 0]
        product = tf.signal.rfft(near, fft) * tf.math.conj(tf.signal.rfft(wanted, fft))
        likeness = tf.signal.irfft(product, fft)[:, :lags]
        strength = _slices(energy, target[:, tf.newaxis], lags)[:, 0]
        likeness /= tf.sqrt(tf.maximum(strength, _MIN_ENERGY))
        here = target + tf.argmax(likeness, axis=1, output_type=tf.int32)
        return i + 1, here, found.write(i, here)

    pieces = tf.shape(targets)[1]
    found = tf.TensorArray(tf.int32, pieces, element_shape=targets.shape[:1])
    first = targets[:, 0] + tolerance
    found = found.write(0, first)
    _, _, found = tf.while_loop(lambda i, *_: i < pieces, step, (1, first, found))
    return tf.transpose(found.stack())


def _slices(waveform: tf.Tensor, starts: tf.Tensor, size: int) -> tf.Tensor:
    """Return `[batch, starts, size]`, pieces of `[batch, samples]`."""
    rows = tf.range(tf.shape(waveform)[0]) * tf.shape(waveform)[1]
    index = (starts + rows[:, tf.newaxis])[..., tf.newaxis] + tf.range(size)
    return tf.gather(tf.reshape(waveform, [-1]), index)

"""What a sound goes through: a room, a band, a telephone; all by FFT over the whole clip."""

from __future__ import annotations

from math import gcd

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.augmentation_random import (
    Clips,
    change_some,
    fork,
    happens,
    limit_peaks,
    mask_beyond,
    rms,
    uniform,
)

_MU = 255.0
_LEVELS = 127.0  # of the 8-bit code, to either side of zero
_NARROW_HZ, _NARROW_BAND_HZ = 8000, (300.0, 3400.0)
_WIDE_HZ, _WIDE_BAND_HZ = 16_000, (50.0, 7000.0)
_TELEPHONE_DOUBLINGS = 3  # order 8
_BAND_DOUBLINGS = 2  # order 4
_FILTER_TAIL = 4096  # samples, so that what a filter spreads beyond the end does not come round
_MIN_RMS = 1e-9


def reverberate(
    waveform: tf.Tensor, num_samples: tf.Tensor, seed: tf.Tensor, responses: NDArray[np.float32]
) -> tf.Tensor:
    """Convolve each clip with the response of a room; its end and its power stay.

    Args:
        waveform: float32 `[batch, samples]`, zero beyond each clip's end.
        num_samples: int32 `[batch]`.
        seed: `[2]`.
        responses: `[rooms, taps]`, the direct sound first, so that words keep their times.
    """
    rooms, taps = responses.shape
    room = tf.cast(uniform(seed, tf.shape(num_samples), 0.0, 1.0) * float(rooms), tf.int32)
    with tf.init_scope(), tf.device("CPU:0"):  # kept beside the graph, not in it
        bank = tf.constant(responses)
    response = tf.gather(bank, tf.minimum(room, rooms - 1))
    width = tf.shape(waveform)[1]
    size = [_fast_size(width + taps)]
    spectrum = tf.signal.rfft(waveform, size) * tf.signal.rfft(response, size)
    wet = mask_beyond(tf.signal.irfft(spectrum, size)[:, :width], num_samples)
    scale = rms(waveform, num_samples) / tf.maximum(rms(wet, num_samples), _MIN_RMS)
    return wet * scale[:, tf.newaxis]


def limit_band(
    waveform: tf.Tensor,
    seed: tf.Tensor,
    *,
    high_pass_range_hz: tuple[float, float],
    low_pass_range_hz: tuple[float, float],
    sample_rate_hz: int,
) -> tf.Tensor:
    """Weaken what lies outside of a drawn band, as a Butterworth filter of order 4, without delay.

    Args:
        waveform: float32 `[batch, samples]`, zero beyond each clip's end.
        seed: `[2]`.
        high_pass_range_hz: where 3 dB are lost below.
        low_pass_range_hz: where 3 dB are lost above.
        sample_rate_hz: the waveform's.

    Source: Butterworth 1930, "On the Theory of Filter Amplifiers".
    """
    shape = [tf.shape(waveform)[0], 1]
    low_hz = uniform(fork(seed, 0), shape, *high_pass_range_hz)
    high_hz = uniform(fork(seed, 1), shape, *low_pass_range_hz)
    width = tf.shape(waveform)[1]
    size = _fast_size(width + _FILTER_TAIL)
    hz = _bins_hz(size, sample_rate_hz)
    spectrum = tf.signal.rfft(waveform, [size])
    gain = band_gain(hz, low_hz, high_hz, _BAND_DOUBLINGS)
    return tf.signal.irfft(spectrum * tf.cast(gain, tf.complex64), [size])[:, :width]


def band_gain(hz: tf.Tensor, low_hz: tf.Tensor, high_hz: tf.Tensor, doublings: int) -> tf.Tensor:
    """Return float32 gains in [0, 1]: those of Butterworth filters of order `2 ** doublings`."""
    below, above = low_hz / tf.maximum(hz, 1e-2), hz / high_hz
    for _ in range(doublings + 1):
        below, above = below * below, above * above
    return tf.math.rsqrt((1.0 + below) * (1.0 + above))


def telephone(
    waveform: tf.Tensor,
    num_samples: tf.Tensor,
    seed: tf.Tensor,
    *,
    wide_share: float,
    sample_rate_hz: int,
) -> tf.Tensor:
    """Send clips over a telephone of 8 kHz, or of 16 kHz in `wide_share` of them.

    Args:
        waveform: float32 `[batch, samples]`, zero beyond each clip's end.
        num_samples: int32 `[batch]`.
        seed: `[2]`.
        wide_share: in [0, 1].
        sample_rate_hz: the waveform's.

    Source: ITU-T G.711, mu-law by its formula; bands of ITU-T G.712 and G.722.
    """

    def wide(x: tf.Tensor, n: tf.Tensor, _rows: tf.Tensor) -> Clips:
        return _through_codec(x, sample_rate_hz, _WIDE_HZ, _WIDE_BAND_HZ), n

    def narrow(x: tf.Tensor, n: tf.Tensor, _rows: tf.Tensor) -> Clips:
        return _through_codec(x, sample_rate_hz, _NARROW_HZ, _NARROW_BAND_HZ), n

    is_wide = happens(seed, num_samples, wide_share)
    waveform, _ = change_some(is_wide, wide, limit_peaks(waveform), num_samples)
    return change_some(~is_wide, narrow, waveform, num_samples)[0]


def companded(waveform: tf.Tensor) -> tf.Tensor:
    """Return what is left of float32 in [-1, 1] after 8 bits of mu-law.

    Source: ITU-T G.711, `sign(x) log(1 + 255 |x|) / log(256)` in 127 steps to either side.
    """
    size = tf.math.log1p(_MU * tf.minimum(1.0, tf.abs(waveform))) / np.log1p(_MU)
    size = tf.round(size * _LEVELS) / _LEVELS
    return tf.sign(waveform) * tf.math.expm1(size * np.log1p(_MU)) / _MU


def _through_codec(
    waveform: tf.Tensor, sample_rate_hz: int, codec_hz: int, band_hz: tuple[float, float]
) -> tf.Tensor:
    """Resample to the codec's rate and back, both by cutting or zero-padding the spectrum."""
    codec_hz = min(codec_hz, sample_rate_hz)
    divisor = gcd(codec_hz, sample_rate_hz)
    step = 2 * sample_rate_hz // divisor
    width = tf.shape(waveform)[1]
    steps = _fast_size(-(-(width + _FILTER_TAIL) // step))
    size, codec_size = steps * step, steps * (2 * codec_hz // divisor)
    gain = band_gain(_bins_hz(size, sample_rate_hz), *band_hz, _TELEPHONE_DOUBLINGS)
    spectrum = tf.signal.rfft(waveform, [size]) * tf.cast(gain, tf.complex64)
    ratio = codec_hz / sample_rate_hz
    low = tf.signal.irfft(spectrum[:, : codec_size // 2 + 1], [codec_size]) * ratio
    spectrum = tf.signal.rfft(companded(low), [codec_size])
    missing = size // 2 - codec_size // 2
    spectrum = tf.pad(spectrum, [[0, 0], [0, missing]])
    return tf.signal.irfft(spectrum, [size])[:, :width] / ratio


def _fast_size(at_least: tf.Tensor) -> tf.Tensor:
    """Return int32 that is not below, and is 5, 6, 7 or 8 times a power of two."""
    bits = tf.math.ceil(tf.math.log(tf.cast(at_least, tf.float64)) / np.log(2.0))
    eighth = tf.bitwise.left_shift(1, tf.maximum(1, tf.cast(bits, tf.int32) - 3))
    return -(-at_least // eighth) * eighth


def _bins_hz(size: tf.Tensor, sample_rate_hz: int) -> tf.Tensor:
    """Return float32 `[size // 2 + 1]`."""
    step_hz = float(sample_rate_hz) / tf.cast(size, tf.float32)
    return tf.range(tf.cast(size // 2 + 1, tf.float32)) * step_hz

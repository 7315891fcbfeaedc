"""Speed, tempo and pitch: at most one resampling and one change of tempo a clip."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from training.augmentation_config import SPEED_STEPS
from training.augmentation_random import Clips, change_some, fork, happens, uniform
from training.augmentation_tempo import change_tempo

_OUTPUTS = SPEED_STEPS  # samples of a block
_HALF_WIDTH = 12  # of the kernel, in samples of the input
_PASS_SHARE = 0.95  # of the lower Nyquist frequency, where a clip is made shorter


def change_timing(
    waveform: tf.Tensor,
    num_samples: tf.Tensor,
    seed: tf.Tensor,
    *,
    sample_rate_hz: int,
    speed: tuple[float, tuple[float, float]],
    tempo: tuple[float, tuple[float, float]],
    pitch: tuple[float, tuple[float, float]],
) -> Clips:
    """Change a clip's speed, tempo and pitch, each with its probability.

    Pitch is raised by playing faster what was made slower at the same pitch, so that its formants
    move too.

    Args:
        waveform: float32 `[batch, samples]`, zero beyond each clip's end.
        num_samples: int32 `[batch]`.
        seed: `[2]`.
        sample_rate_hz: the waveform's.
        speed: probability, and the range of factors of tempo and pitch together.
        tempo: probability, and the range of factors.
        pitch: probability, and the range in semitones.

    Returns:
        float32 `[batch, longest new clip]` and int32 `[batch]`.

    Source: Ko et al. 2015, "Audio Augmentation for Speech Recognition", section 2.
    """

    def drawn(number: int, chance: tuple[float, tuple[float, float]]) -> tuple[tf.Tensor, ...]:
        chosen = happens(fork(seed, 2 * number), num_samples, chance[0])
        return chosen, uniform(fork(seed, 2 * number + 1), tf.shape(num_samples), *chance[1])

    (faster, speeds), (hurried, tempos), (raised, semitones) = (
        drawn(number, chance) for number, chance in enumerate((speed, tempo, pitch))
    )
    ones = tf.ones_like(speeds)
    steps = tf.where(faster, tf.round(speeds * _OUTPUTS), ones * _OUTPUTS)
    inputs = tf.round(steps * tf.where(raised, 2.0 ** (semitones / 12.0), ones))
    factor = tf.where(hurried, tempos, ones) * steps / inputs

    def at_the_same_pitch(x: tf.Tensor, n: tf.Tensor, rows: tf.Tensor) -> Clips:
        return change_tempo(x, n, tf.gather(factor, rows), sample_rate_hz=sample_rate_hz)

    def played(x: tf.Tensor, n: tf.Tensor, rows: tf.Tensor) -> Clips:
        return resample(x, n, tf.cast(tf.gather(inputs, rows), tf.int32))

    waveform, num_samples = change_some(hurried | raised, at_the_same_pitch, waveform, num_samples)
    return change_some(faster | raised, played, waveform, num_samples)


def resample(waveform: tf.Tensor, num_samples: tf.Tensor, inputs: tf.Tensor) -> Clips:
    """Make 200 samples of every `inputs` samples of each clip.

    Blocks of 200 new samples lie alike against the old ones, so that one matrix a clip makes them
    all: a sinc under a Hann window, cut off below the new Nyquist frequency if that is lower.

    Args:
        waveform: float32 `[batch, samples]`, zero beyond each clip's end.
        num_samples: int32 `[batch]`.
        inputs: int32 `[batch]`.

    Returns:
        float32 `[batch, longest new clip]`, whatever beyond each clip's end, and int32 `[batch]`,
        `num_samples * 200 / inputs`
        rounded up.

    Source: Smith, "Digital Audio Resampling", theory of ideal bandlimited interpolation.
    """
    exact = tf.cast(num_samples, tf.float64) * _OUTPUTS / tf.cast(inputs, tf.float64)
    lengths = tf.cast(tf.math.ceil(exact), tf.int32)
    width = tf.reduce_max(lengths)
    blocks = -(-width // _OUTPUTS)
    most = tf.reduce_max(inputs)
    reach = most + 2 * _HALF_WIDTH
    missing = tf.maximum(0, blocks * most + reach - tf.shape(waveform)[1])
    padded = tf.pad(waveform, [[0, 0], [_HALF_WIDTH, missing]])
    row, size = tf.range(tf.shape(padded)[0]), tf.shape(padded)[1]
    starts = row[:, tf.newaxis] * size + tf.range(blocks) * inputs[:, tf.newaxis]
    taps = tf.gather(tf.reshape(padded, [-1]), starts[..., tf.newaxis] + tf.range(reach))
    new = tf.reshape(taps @ _kernels(inputs, reach), [tf.shape(padded)[0], blocks * _OUTPUTS])
    return new[:, :width], lengths


def _kernels(inputs: tf.Tensor, reach: tf.Tensor) -> tf.Tensor:
    """Return float32 `[batch, reach, 200]`: what each old sample adds to each new one."""
    factor = tf.cast(inputs, tf.float32)[:, tf.newaxis, tf.newaxis] / _OUTPUTS
    new = tf.range(_OUTPUTS, dtype=tf.float32) * factor
    old = tf.range(tf.cast(reach, tf.float32), dtype=tf.float32)[:, tf.newaxis] - _HALF_WIDTH
    away = new - old
    cutoff = tf.where(factor > 1.0, _PASS_SHARE / factor, tf.ones_like(factor))
    phase = np.pi * cutoff * away
    sinc = tf.math.divide_no_nan(tf.sin(phase), phase)
    sinc = tf.where(tf.abs(away) < 1e-6, tf.ones_like(sinc), sinc)
    window = 0.5 + 0.5 * tf.cos(np.pi * tf.minimum(1.0, tf.abs(away) / _HALF_WIDTH))
    return cutoff * sinc * window

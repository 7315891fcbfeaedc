"""Quiet before and after a clip: corpora are cut close to speech, recordings are not."""

from __future__ import annotations

import tensorflow as tf

from training.augmentation_noise import coloured_noise, mix
from training.augmentation_random import Clips, fork, rms, uniform

_LEAST_CLIP_OVER_PAUSE = 4


def add_pauses(
    waveform: tf.Tensor,
    num_samples: tf.Tensor,
    seed: tf.Tensor,
    *,
    range_s: tuple[float, float],
    snr_range_db: tuple[float, float],
    exponents: tuple[float, float],
    sample_rate_hz: int,
) -> Clips:
    """Put a pause before and one after each clip, with the noise of a quiet room throughout.

    Args:
        waveform: float32 `[batch, samples]`, zero beyond each clip's end.
        num_samples: int32 `[batch]`.
        seed: `[2]`.
        range_s: of each pause, drawn a pause; but none is longer than a quarter of its clip, so
            that a batch grows by half at most.
        snr_range_db: the clip's own mean power over the noise's, drawn a clip.
        exponents: of the noise, as in `add_coloured_noise`.
        sample_rate_hz: the waveform's.

    Returns:
        float32 `[batch, longest new clip]` and int32 `[batch]`.
    """
    pauses_s = uniform(fork(seed, 0), [tf.shape(num_samples)[0], 2], *range_s)
    longest = num_samples[:, tf.newaxis] // _LEAST_CLIP_OVER_PAUSE
    pauses = tf.minimum(tf.cast(pauses_s * sample_rate_hz, tf.int32), longest)
    before, new_lengths = pauses[:, :1], num_samples + tf.reduce_sum(pauses, axis=1)
    place = tf.range(tf.reduce_max(new_lengths)) - before
    is_clip = (place >= 0) & (place < num_samples[:, tf.newaxis])
    moved = tf.gather(waveform, tf.where(is_clip, place, 0), batch_dims=1)
    quiet = tf.where(is_clip, moved, tf.zeros_like(moved))
    noise = coloured_noise(
        tf.shape(quiet), fork(seed, 1), exponents=exponents, sample_rate_hz=sample_rate_hz
    )
    snr_db = uniform(fork(seed, 2), tf.shape(num_samples), *snr_range_db)
    return mix(quiet, noise, new_lengths, snr_db, loudness=rms(waveform, num_samples)), new_lengths

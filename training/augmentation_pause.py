"""Quiet before and after a clip: corpora are cut close to speech, recordings are not."""

from __future__ import annotations

import tensorflow as tf

from training.augmentation_noise import add_coloured_noise
from training.augmentation_random import Clips, fork, mask_beyond, uniform


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
        range_s: of each pause, drawn a pause.
        snr_range_db: the mean power over the noise's, drawn a clip.
        exponents: of the noise, as in `add_coloured_noise`.
        sample_rate_hz: the waveform's.

    Returns:
        float32 `[batch, longest new clip]` and int32 `[batch]`.
    """
    pauses_s = uniform(fork(seed, 0), [tf.shape(num_samples)[0], 2], *range_s)
    pauses = tf.cast(pauses_s * sample_rate_hz, tf.int32)
    before, new_lengths = pauses[:, :1], num_samples + tf.reduce_sum(pauses, axis=1)
    place = tf.range(tf.reduce_max(new_lengths)) - before
    is_clip = (place >= 0) & (place < num_samples[:, tf.newaxis])
    moved = tf.gather(waveform, tf.where(is_clip, place, 0), batch_dims=1)
    quiet = tf.where(is_clip, moved, tf.zeros_like(moved))
    noisy = add_coloured_noise(
        quiet,
        new_lengths,
        fork(seed, 1),
        snr_range_db=snr_range_db,
        exponents=exponents,
        sample_rate_hz=sample_rate_hz,
    )
    return mask_beyond(noisy, new_lengths), new_lengths

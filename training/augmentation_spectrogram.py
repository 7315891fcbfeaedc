"""SpecAugment: bands of bins and runs of frames set to zero, which is their mean."""

from __future__ import annotations

import tensorflow as tf

from training.augmentation_random import fork, uniform


def mask_bins(
    features: tf.Tensor, seed: tf.Tensor, *, probability: float, masks: int, max_share: float
) -> tf.Tensor:
    """Mask `masks` bands of up to `max_share` of all bins each; float32 `[batch, frames, bins]`.

    Source: Park et al. 2019, section 2: width uniform up to the widest, then its place uniform.
    """
    batch, bins = tf.shape(features)[0], tf.shape(features)[2]
    widest = tf.floor(max_share * tf.cast(bins, tf.float32))
    chosen = uniform(fork(seed, 0), [1, batch], 0.0, 1.0) < probability
    widths = tf.floor(uniform(fork(seed, 1), [masks, batch], 0.0, 1.0) * (widest + 1.0))
    widths = tf.where(chosen, widths, tf.zeros_like(widths))
    hit = _runs(fork(seed, 2), widths, tf.fill([batch], bins), bins)
    return tf.where(hit[:, tf.newaxis, :], tf.zeros_like(features), features)


def mask_frames(
    features: tf.Tensor,
    num_frames: tf.Tensor,
    seed: tf.Tensor,
    *,
    probability: float,
    frames_per_mask: int,
    max_frames: int,
    max_share: float,
) -> tf.Tensor:
    """Mask one run of frames for each `frames_per_mask` of a clip, and at least one.

    A run is at most `max_frames` long, and at most `max_share` of the clip's own frames.

    Source: Park et al. 2020, section 3.1, adaptive multiplicity and size.
    """
    batch, frames = tf.shape(features)[0], tf.shape(features)[1]
    masks = tf.maximum(1, frames // frames_per_mask)
    own_masks = tf.maximum(1, num_frames // frames_per_mask)
    widest = tf.floor(max_share * tf.cast(num_frames, tf.float32))
    widest = tf.minimum(float(max_frames), widest)
    chosen = uniform(fork(seed, 0), [1, batch], 0.0, 1.0) < probability
    chosen &= tf.range(masks)[:, tf.newaxis] < own_masks
    widths = tf.floor(uniform(fork(seed, 1), [masks, batch], 0.0, 1.0) * (widest + 1.0))
    widths = tf.where(chosen, widths, tf.zeros_like(widths))
    hit = _runs(fork(seed, 2), widths, num_frames, frames)
    return tf.where(hit[:, :, tf.newaxis], tf.zeros_like(features), features)


def _runs(seed: tf.Tensor, widths: tf.Tensor, ends: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Return bool `[batch, size]`: what runs of `widths` cover, each anywhere before its end.

    Args:
        seed: of the places.
        widths: float32 `[masks, batch]`, whole.
        ends: int32 `[batch]`.
        size: int32, the last axis.
    """
    places = uniform(seed, tf.shape(widths), 0.0, 1.0)
    starts = tf.floor(places * (tf.cast(ends, tf.float32) - widths + 1.0))
    index = tf.range(tf.cast(size, tf.float32), dtype=tf.float32)
    starts, stops = starts[..., tf.newaxis], (starts + widths)[..., tf.newaxis]
    return tf.reduce_any((index >= starts) & (index < stops), axis=0)

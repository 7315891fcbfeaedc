"""Change clips at random while training, anew each time that they are heard.

Everything is TensorFlow ops with stateless random numbers: a seed gives the same changes again,
inside tf.data and outside of it, and every clip of a batch has draws of its own.
"""

from __future__ import annotations

from functools import partial

import tensorflow as tf

from training.augmentation_changes import Change, changes_of
from training.augmentation_config import STRENGTHS, AugmentationConfig
from training.augmentation_random import Clips, change_some, fork, happens, limit_peaks, mask_beyond
from training.augmentation_spectrogram import mask_bins, mask_frames

__all__ = ["STRENGTHS", "AugmentationConfig", "augment_features", "augment_waveforms"]

_PCM_SCALE = 32_768.0
_FEATURES_FORK = 1000


def augment_waveforms(
    waveform: tf.Tensor,
    num_samples: tf.Tensor,
    seed: tf.Tensor,
    config: AugmentationConfig,
    *,
    sample_rate_hz: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return changed clips and their new lengths; zero beyond each clip's end.

    Args:
        waveform: float32 `[batch, samples]` in [-1, 1], zero beyond each clip's end.
        num_samples: int32 `[batch]`.
        seed: int32 or int64 `[2]`, of this batch.
        config: what is done, how likely and how far.
        sample_rate_hz: the waveform's.

    Returns:
        float32 `[batch, longest new clip]` in [-1, 1], whole steps of 16 bits, and int32 `[batch]`.
    """
    changes = changes_of(config)
    for number, (probability, change) in enumerate(changes):
        own = fork(seed, number)
        if probability >= 1:
            clips = change(waveform, num_samples, fork(own, 1), config, sample_rate_hz)
            waveform, num_samples = mask_beyond(*clips), clips[1]
        elif probability:
            chosen = happens(fork(own, 0), num_samples, probability)
            changed = partial(_of_rows, change, fork(own, 1), config, sample_rate_hz)
            waveform, num_samples = change_some(chosen, changed, waveform, num_samples)
    if any(probability for probability, _ in changes):
        waveform = _as_recorded(waveform[:, : tf.reduce_max(num_samples)])
    return waveform, num_samples


def augment_features(
    features: tf.Tensor, num_frames: tf.Tensor, seed: tf.Tensor, config: AugmentationConfig
) -> tf.Tensor:
    """Mask bands of bins and runs of frames with 0, which is each bin's mean.

    Args:
        features: float32 `[batch, frames, bins]`, zero beyond each clip's end.
        num_frames: int32 `[batch]`.
        seed: int32 or int64 `[2]`, of this batch; may be that of `augment_waveforms`.
        config: what is done, how likely and how far.

    Source: Park et al. 2019, "SpecAugment", section 2, without its time warping; the number of
    time masks by length as in Park et al. 2020, "SpecAugment on Large Scale Datasets".
    """
    seed = fork(seed, _FEATURES_FORK)
    if config.frequency_mask_probability:
        features = mask_bins(
            features,
            fork(seed, 0),
            probability=config.frequency_mask_probability,
            masks=config.frequency_masks,
            max_share=config.max_frequency_mask_share,
        )
    if config.time_mask_probability:
        features = mask_frames(
            features,
            num_frames,
            fork(seed, 1),
            probability=config.time_mask_probability,
            frames_per_mask=config.frames_per_time_mask,
            max_frames=config.max_time_mask_frames,
            max_share=config.max_time_mask_share,
        )
    return features


def _of_rows(
    change: Change,
    seed: tf.Tensor,
    config: AugmentationConfig,
    sample_rate_hz: int,
    waveform: tf.Tensor,
    num_samples: tf.Tensor,
    _rows: tf.Tensor,
) -> Clips:
    return change(waveform, num_samples, seed, config, sample_rate_hz)


def _as_recorded(waveform: tf.Tensor) -> tf.Tensor:
    """Make softer what would be clipped, and round to 16 bits, as what is served has.

    Features are normalised bin by bin: in a band without sound that rounding is what is heard.
    """
    waveform = limit_peaks(waveform, (_PCM_SCALE - 1.0) / _PCM_SCALE)
    return tf.round(waveform * _PCM_SCALE) / _PCM_SCALE

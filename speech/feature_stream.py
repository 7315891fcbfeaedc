"""The features of one clip while it is heard: those of `speech.features`, in pieces."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from config import FeatureConfig
from speech.features import (
    RunningSums,
    no_sums,
    normalise_running,
    pad_to_a_frame,
    spectral_features,
)


class FeatureState(NamedTuple):
    """What the next features need of the clip so far.

    Args:
        samples: float32 `[1, samples]`, under a frame of them: those in no frame so far, and
            those of the last frame that are also in the next.
        sums: of the frames so far.
    """

    samples: tf.Tensor
    sums: RunningSums


def start_features(config: FeatureConfig) -> FeatureState:
    """Return the state before a clip's first sample."""
    return FeatureState(tf.zeros([1, 0], tf.float32), no_sums(1, config.num_bins))


def continue_features(
    state: FeatureState,
    waveform: tf.Tensor,
    is_last: tf.Tensor,
    config: FeatureConfig,
    *,
    sample_rate_hz: int,
) -> tuple[tf.Tensor, FeatureState]:
    """Return the features that are ready with these samples.

    Args:
        waveform: float32 `[1, samples]` in [-1, 1], what follows; there may be none.
        is_last: bool `[]`, whether the clip ends here: one under a frame then gives a frame.
        config: with `running` normalisation.
        sample_rate_hz: of the waveform.

    Returns:
        float32 `[1, frames, config.num_bins]`, normalised, and the state after them.
    """
    length, frame_step = config.frame_length, config.frame_step
    samples = tf.concat([state.samples, waveform], axis=1)
    padded = pad_to_a_frame(samples, config)
    # A clip that ends before its first frame does is one frame of what there is, and silence.
    is_short = tf.logical_and(is_last, state.sums.count[0, 0] < 1)
    samples = tf.cond(is_short, lambda: padded, lambda: samples)
    num_frames = tf.maximum(0, 1 + (tf.shape(samples)[1] - length) // frame_step)
    features = spectral_features(padded, config, sample_rate_hz=sample_rate_hz)[:, :num_frames]
    features.set_shape([1, None, config.num_bins])
    normalised, sums = normalise_running(features, state.sums, config)
    return normalised, FeatureState(samples[:, num_frames * frame_step :], sums)

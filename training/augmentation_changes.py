"""The changes of a waveform in the order in which sound has them, with what a config says of each.

Each is called with the chosen clips' waveform float32 `[batch, samples]`, num_samples int32
`[batch]`, a seed `[2]`, the config and the sample rate, and returns waveform and num_samples.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from config import AudioConfig
from training.augmentation_channel import limit_band, reverberate, telephone
from training.augmentation_config import AugmentationConfig
from training.augmentation_noise import add_coloured_noise, add_recorded_noise, load_noises
from training.augmentation_pause import add_pauses
from training.augmentation_random import Clips, limit_peaks, uniform
from training.augmentation_speed import change_timing
from training.room import room_responses

Change = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, AugmentationConfig, int], Clips]


def changes_of(config: AugmentationConfig) -> list[tuple[float, Change]]:
    """Return every change with its probability."""
    timing = config.speed_probability or config.tempo_probability or config.pitch_probability
    recorded = config.recorded_noise_probability if config.recorded_noise_folder else 0.0
    return [
        (1.0 if timing else 0.0, _timing),  # draws for each of the three by itself
        (config.pause_probability, _pause),
        (config.reverb_probability, _reverb),
        (config.noise_probability, _noise),
        (recorded, _recorded_noise),
        (config.gain_probability, _gain),
        (config.band_probability, _band),
        (config.telephone_probability, _telephone),
    ]


def _timing(
    x: tf.Tensor, n: tf.Tensor, seed: tf.Tensor, config: AugmentationConfig, rate_hz: int
) -> Clips:
    return change_timing(
        x,
        n,
        seed,
        sample_rate_hz=rate_hz,
        speed=(config.speed_probability, config.speed_range),
        tempo=(config.tempo_probability, config.tempo_range),
        pitch=(config.pitch_probability, config.pitch_range_semitones),
    )


def _pause(
    x: tf.Tensor, n: tf.Tensor, seed: tf.Tensor, config: AugmentationConfig, rate_hz: int
) -> Clips:
    return add_pauses(
        x,
        n,
        seed,
        range_s=config.pause_range_s,
        snr_range_db=config.pause_snr_range_db,
        exponents=config.noise_exponent_range,
        sample_rate_hz=rate_hz,
    )


def _reverb(
    x: tf.Tensor, n: tf.Tensor, seed: tf.Tensor, config: AugmentationConfig, rate_hz: int
) -> Clips:
    responses = room_responses(
        num_rooms=config.reverb_num_rooms,
        rt60_range_s=config.reverb_rt60_range_s,
        sample_rate_hz=rate_hz,
    )
    return reverberate(x, n, seed, responses), n


def _noise(
    x: tf.Tensor, n: tf.Tensor, seed: tf.Tensor, config: AugmentationConfig, rate_hz: int
) -> Clips:
    noisy = add_coloured_noise(
        x,
        n,
        seed,
        snr_range_db=config.noise_snr_range_db,
        exponents=config.noise_exponent_range,
        sample_rate_hz=rate_hz,
    )
    return noisy, n


def _recorded_noise(
    x: tf.Tensor, n: tf.Tensor, seed: tf.Tensor, config: AugmentationConfig, rate_hz: int
) -> Clips:
    noises = load_noises(Path(config.recorded_noise_folder), AudioConfig(sample_rate_hz=rate_hz))
    snr_range_db = config.recorded_noise_snr_range_db
    return add_recorded_noise(x, n, seed, noises, snr_range_db=snr_range_db), n


def _gain(
    x: tf.Tensor, n: tf.Tensor, seed: tf.Tensor, config: AugmentationConfig, _rate_hz: int
) -> Clips:
    gain_db = uniform(seed, tf.shape(n), *config.gain_range_db)
    return limit_peaks(x * 10.0 ** (gain_db[:, tf.newaxis] / 20.0)), n


def _band(
    x: tf.Tensor, n: tf.Tensor, seed: tf.Tensor, config: AugmentationConfig, rate_hz: int
) -> Clips:
    limited = limit_band(
        x,
        seed,
        high_pass_range_hz=config.high_pass_range_hz,
        low_pass_range_hz=config.low_pass_range_hz,
        sample_rate_hz=rate_hz,
    )
    return limited, n


def _telephone(
    x: tf.Tensor, n: tf.Tensor, seed: tf.Tensor, config: AugmentationConfig, rate_hz: int
) -> Clips:
    share = config.telephone_wide_share
    return telephone(x, n, seed, wide_share=share, sample_rate_hz=rate_hz), n

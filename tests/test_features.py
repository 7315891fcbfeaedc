"""Features held against NumPy and SciPy in float64."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import tensorflow as tf

from config import LOG_MEL, AudioConfig, FeatureConfig
from speech.audio import decode_native
from speech.features import (
    extract_features,
    mel_matrix,
    no_sums,
    normalise_features,
    normalise_running,
    num_feature_frames,
)

RATE_HZ = 22_050
STFT = FeatureConfig()
SMALL_STFT = FeatureConfig(frame_length=50, frame_step=17, fft_length=64, magnitude_power=1.0)
ODD_STFT = FeatureConfig(frame_length=25, frame_step=10, fft_length=25)
SMALL_MEL = FeatureConfig(
    kind="log_mel", frame_length=200, frame_step=80, fft_length=256, num_mel_bands=8, max_hz=4000.0
)
RUNNING_MEL = replace(SMALL_MEL, normalisation="running", prior_mean=-5.0, prior_frames=7.5)
CONFIGS = [STFT, LOG_MEL, SMALL_STFT, ODD_STFT, SMALL_MEL, RUNNING_MEL]


def reference_features(clip: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Return float64 `[frames, bins]` of one clip, computed frame by frame."""
    clip = np.pad(clip.astype(np.float64), (0, max(0, config.frame_length - len(clip))))
    # TensorFlow's Hann window is periodic for even lengths only.
    window = scipy.signal.get_window("hann", config.frame_length, config.frame_length % 2 == 0)
    starts = range(0, len(clip) - config.frame_length + 1, config.frame_step)
    frames = np.stack([clip[s : s + config.frame_length] * window for s in starts])
    magnitudes = np.abs(scipy.fft.rfft(frames, config.fft_length))
    if config.kind == "log_mel":
        features = np.log(magnitudes**2 @ reference_mel(config) + config.log_floor)
    else:
        features = magnitudes**config.magnitude_power
    if config.normalisation == "running":
        return np.stack([running(features[: i + 1], config) for i in range(len(features))])
    deviation = np.maximum(features.std(axis=0), 1e-5)
    return (features - features.mean(axis=0)) / deviation


def running(features: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Return the last of float64 `[frames, bins]`, normalised by all of them and the prior."""
    weights = np.append(np.ones(len(features)), config.prior_frames)
    means = np.vstack([features, np.full(features.shape[1], config.prior_mean)])
    mean = np.average(means, axis=0, weights=weights)
    within = np.append(np.zeros(len(features)), config.prior_deviation**2)[:, np.newaxis]
    variance = np.average((means - mean) ** 2 + within, axis=0, weights=weights)
    return (features[-1] - mean) / np.sqrt(variance)


def reference_mel(config: FeatureConfig, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Return float64 `[bins, bands]`: each band is interpolated between its three corners."""
    mel = 1127.0 * np.log1p(scipy.fft.rfftfreq(config.fft_length, 1 / rate_hz) / 700)
    ends = 1127.0 * np.log1p(np.array([config.min_hz, min(config.max_hz, rate_hz / 2)]) / 700)
    step = (ends[1] - ends[0]) / (config.num_mel_bands + 1)
    bands = []
    for band in range(config.num_mel_bands):
        corners = ends[0] + step * np.arange(band, band + 3)
        bands.append(np.interp(mel, corners, [0, 1, 0], left=0, right=0))
    return np.stack(bands, axis=1)


def extract(
    clips: list[np.ndarray], config: FeatureConfig, *, garbage: float = 0.0, extra: int = 0
) -> list[np.ndarray]:
    """Return each clip's features from one batch, its padding included."""
    width = max(map(len, clips)) + extra
    waveform = np.full((len(clips), width), garbage, np.float32)
    for row, clip in zip(waveform, clips, strict=True):
        row[: len(clip)] = clip
    num_samples = tf.constant([len(clip) for clip in clips])
    features, num_frames = extract_features(
        tf.constant(waveform), num_samples, config, sample_rate_hz=RATE_HZ
    )
    assert features.dtype == tf.float32
    assert features.shape[2] == config.num_bins
    for clip, count in zip(clips, num_frames.numpy(), strict=True):
        fitting = 1 + (len(clip) - config.frame_length) // config.frame_step
        assert count == max(1, fitting)
    return list(features.numpy())


def noise(rng: np.random.Generator, num_samples: int) -> np.ndarray:
    """Return a clip that is loud and quiet in turn, so that no bin's deviation vanishes."""
    swell = 0.55 + 0.45 * np.sin(np.arange(num_samples) / 300)
    return (rng.uniform(-0.5, 0.5, num_samples) * swell).astype(np.float32)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("beyond", [None, -1, 0, 1, 501, 3000])
def test_features_equal_those_of_scipy(
    config: FeatureConfig, beyond: int | None, rng: np.random.Generator
) -> None:
    clip = noise(rng, 1 if beyond is None else config.frame_length + beyond)
    expected = reference_features(clip, config)
    # Float32 spectra differ by 1e-6 of their size; normalisation divides by the deviation.
    np.testing.assert_allclose(extract([clip], config)[0], expected, rtol=0, atol=2e-3)


def test_features_of_real_speech_equal_those_of_scipy(ljspeech: Path) -> None:
    path = next(iter(sorted((ljspeech / "wavs").glob("*.wav"))))
    clip = decode_native(path.read_bytes(), AudioConfig())
    for config in (STFT, LOG_MEL):
        error = np.abs(extract([clip], config)[0] - reference_features(clip, config))
        # The root of a magnitude near zero magnifies its rounding, in a few values of many.
        assert error.max() < 2e-2
        assert error.mean() < 1e-5


@pytest.mark.parametrize("config", CONFIGS)
def test_a_clip_alone_equals_the_clip_in_a_padded_batch(
    config: FeatureConfig, rng: np.random.Generator
) -> None:
    clips = [noise(rng, size) for size in (1, config.frame_length, 1777, 9000)]
    batch = extract(clips, config)
    padded = extract(clips, config, extra=1234)
    for clip, together, with_more in zip(clips, batch, padded, strict=True):
        alone = extract([clip], config)[0]
        np.testing.assert_allclose(together[: len(alone)], alone, rtol=0, atol=1e-4)
        np.testing.assert_allclose(with_more[: len(together)], together, rtol=0, atol=1e-4)
        assert not together[len(alone) :].any()
        assert not with_more[len(alone) :].any()


@pytest.mark.parametrize("garbage", [1.0, 1e30, np.inf, np.nan])
@pytest.mark.parametrize("config", [STFT, LOG_MEL])
def test_what_lies_beyond_the_end_is_ignored(
    config: FeatureConfig, garbage: float, rng: np.random.Generator
) -> None:
    clips = [noise(rng, size) for size in (3, 2000, 4001)]
    clean = extract(clips, config, extra=600)
    np.testing.assert_array_equal(extract(clips, config, extra=600, garbage=garbage), clean)


@pytest.mark.parametrize("config", CONFIGS)
def test_silence_stays_small(config: FeatureConfig) -> None:
    features = extract([np.zeros(5000, np.float32)], config)[0]
    if config.normalisation == "running":
        assert np.abs(features).max() < 3
        assert np.abs(features[-1]).max() < np.abs(features[0]).min() / 2
    else:
        np.testing.assert_allclose(features, 0, atol=1e-3)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_running_normalisation_in_pieces_is_that_of_the_whole(
    dtype: tf.DType, rng: np.random.Generator
) -> None:
    features = tf.constant(rng.normal(-6, 3, (2, 300, 4)), tf.float32)
    whole, _ = normalise_running(features, no_sums(2, 4, dtype), RUNNING_MEL)
    pieces, known = [], no_sums(2, 4, dtype)
    for start, end in pairwise([0, 0, 1, 2, 90, 90, 300]):
        piece, known = normalise_running(features[:, start:end], known, RUNNING_MEL)
        pieces.append(piece)
    np.testing.assert_allclose(tf.concat(pieces, axis=1), whole, rtol=0, atol=1e-5)
    assert known.count.numpy().tolist() == [[300], [300]]


def test_bands_without_a_bin_are_refused() -> None:
    narrow = FeatureConfig(kind="log_mel", frame_length=256, fft_length=256)
    with pytest.raises(ValueError, match="mel bands hold no bin of fft_length 256"):
        mel_matrix(narrow, sample_rate_hz=RATE_HZ)


def test_a_traced_graph_takes_any_batch(rng: np.random.Generator) -> None:
    signature = [tf.TensorSpec([None, None], tf.float32), tf.TensorSpec([None], tf.int32)]

    @tf.function(input_signature=signature)
    def graph(waveform: tf.Tensor, num_samples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return extract_features(waveform, num_samples, SMALL_MEL, sample_rate_hz=RATE_HZ)

    for num_samples in (1, 199, 1500):
        clip = noise(rng, num_samples)
        features, num_frames = graph(clip[np.newaxis], [num_samples])
        expected = extract([clip], SMALL_MEL)[0]
        assert num_frames.numpy().tolist() == [len(expected)]
        np.testing.assert_allclose(features[0], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("num_samples", "frames"), [(0, 1), (1, 1), (255, 1), (256, 1), (415, 1), (416, 2), (576, 3)]
)
def test_frames_are_those_that_fit_whole_and_at_least_one(num_samples: int, frames: int) -> None:
    counted = num_feature_frames(tf.constant([num_samples], tf.int64), STFT)
    assert counted.dtype == tf.int32
    assert counted.numpy().tolist() == [frames]


def test_normalised_bins_have_mean_0_and_deviation_1_over_the_clips_own_frames(
    rng: np.random.Generator,
) -> None:
    features = rng.normal(3, 7, (2, 40, 5)).astype(np.float32)
    result = normalise_features(tf.constant(features), tf.constant([40, 11])).numpy()
    for own, row in zip((40, 11), result, strict=True):
        np.testing.assert_allclose(row[:own].mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(row[:own].std(axis=0), 1, atol=1e-5)
        assert not row[own:].any()


@pytest.mark.parametrize("rate_hz", [8000, 16_000, RATE_HZ, 44_100])
def test_mel_triangles_equal_interpolated_ones(rate_hz: int) -> None:
    matrix = mel_matrix(LOG_MEL, sample_rate_hz=rate_hz)
    assert matrix.shape == (LOG_MEL.fft_length // 2 + 1, LOG_MEL.num_bins)
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(matrix, reference_mel(LOG_MEL, rate_hz), rtol=0, atol=1e-5)


def test_no_mel_band_of_the_default_is_empty() -> None:
    energy = mel_matrix(LOG_MEL, sample_rate_hz=RATE_HZ).sum(axis=0)
    assert energy.min() > 0.1

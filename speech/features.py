"""The only STFT of the project: training and the served graph trace these same functions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from config import FeatureConfig

_MIN_DEVIATION = 1e-5


class RunningSums(NamedTuple):
    """What running normalisation knows of the frames so far, in deviations from the prior.

    Args:
        count: float `[batch, 1]`, of frames.
        total: float `[batch, bins]`, the sum of the frames,
        squares: and of their squares.
    """

    count: tf.Tensor
    total: tf.Tensor
    squares: tf.Tensor


def num_feature_frames(num_samples: tf.Tensor, config: FeatureConfig) -> tf.Tensor:
    """Return int32 frames for `num_samples`: those that fit whole, and at least one."""
    num_samples = tf.cast(num_samples, tf.int32)
    return tf.maximum(1, 1 + (num_samples - config.frame_length) // config.frame_step)


def extract_features(
    waveform: tf.Tensor,
    num_samples: tf.Tensor,
    config: FeatureConfig,
    *,
    sample_rate_hz: int,
    for_litert: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return normalised features and their true lengths.

    Args:
        waveform: float32 `[batch, samples]` in [-1, 1]; what lies beyond `num_samples` is ignored.
        num_samples: int32 `[batch]`.
        config: the kind and the sizes.
        sample_rate_hz: the waveform's, for mel bands.
        for_litert: compute the same with what LiteRT has, in float32 also where a converter makes
            a network's weights int8.

    Returns:
        float32 `[batch, frames, config.num_bins]`, zero beyond each clip's end, and int32 `[batch]`
        numbers of frames.
    """
    inside = tf.sequence_mask(num_samples, tf.shape(waveform)[1])
    # Not a product with the mask: what lies beyond the end may be NaN.
    waveform = pad_to_a_frame(tf.where(inside, waveform, tf.zeros_like(waveform)), config)
    features = spectral_features(
        waveform, config, sample_rate_hz=sample_rate_hz, for_litert=for_litert
    )
    num_frames = num_feature_frames(num_samples, config)
    return normalise(features, num_frames, config, for_litert=for_litert), num_frames


def spectral_features(
    waveform: tf.Tensor, config: FeatureConfig, *, sample_rate_hz: int, for_litert: bool = False
) -> tf.Tensor:
    """Return float32 `[batch, frames, config.num_bins]`, not normalised; see `extract_features`.

    Args:
        waveform: float32 `[batch, samples]`, at least a frame; those that fill none are left out.
    """
    by_products = for_litert and not _is_power_of_two(config.fft_length)
    spectrum = (_magnitudes_by_products if by_products else _magnitudes)(waveform, config)
    if config.kind == "log_mel":
        mel = mel_matrix(config, sample_rate_hz=sample_rate_hz)
        power = spectrum**2
        energies = _float_product(power, mel) if for_litert else power @ tf.constant(mel)
        return tf.math.log(energies + config.log_floor)
    return spectrum**config.magnitude_power


def normalise(
    features: tf.Tensor, num_frames: tf.Tensor, config: FeatureConfig, *, for_litert: bool = False
) -> tf.Tensor:
    """Normalise whole clips as `config` says; zero beyond each clip's end.

    Args:
        features: float32 `[batch, frames, bins]`.
        num_frames: int32 `[batch]`, at least 1 each.
        for_litert: add in float32.
    """
    if config.normalisation == "clip":
        return normalise_features(features, num_frames)
    # float64: the sums of a long clip and the same sums in pieces are to agree.
    dtype = tf.float32 if for_litert else tf.float64
    start = no_sums(tf.shape(features)[0], config.num_bins, dtype)
    normalised, _ = normalise_running(features, start, config)
    inside = tf.sequence_mask(num_frames, tf.shape(features)[1])[..., tf.newaxis]
    return tf.where(inside, normalised, tf.zeros_like(normalised))


def no_sums(batch: int | tf.Tensor, num_bins: int, dtype: tf.DType = tf.float64) -> RunningSums:
    """Return what is known before the first frame of `batch` clips."""
    zeros = tf.zeros([batch, num_bins], dtype)
    return RunningSums(count=zeros[:, :1], total=zeros, squares=zeros)


def normalise_running(
    features: tf.Tensor, before: RunningSums, config: FeatureConfig
) -> tuple[tf.Tensor, RunningSums]:
    """Normalise each frame by itself, the frames before it and the prior.

    The prior counts as `prior_frames` frames, so that the first ones of a clip are as large as
    later ones, and its weight fades as the clip goes on.

    Args:
        features: float32 `[batch, frames, bins]`, what follows the frames of `before`.
        before: also sets the precision of the sums.

    Returns:
        float32 `[batch, frames, bins]`, and what is known after the last of these frames.
    """
    x = (tf.cast(features, before.total.dtype) - config.prior_mean) / config.prior_deviation
    ones = tf.ones_like(x[..., :1])
    counts = before.count[:, tf.newaxis] + tf.cumsum(ones, axis=1)
    totals = before.total[:, tf.newaxis] + tf.cumsum(x, axis=1)
    squares = before.squares[:, tf.newaxis] + tf.cumsum(x**2, axis=1)
    weights = counts + config.prior_frames
    mean = totals / weights
    variance = (squares + config.prior_frames) / weights - mean**2
    normalised = (x - mean) / tf.maximum(tf.sqrt(tf.maximum(variance, 0)), _MIN_DEVIATION)
    after = RunningSums(
        count=before.count + tf.reduce_sum(ones, axis=1),
        total=before.total + tf.reduce_sum(x, axis=1),
        squares=before.squares + tf.reduce_sum(x**2, axis=1),
    )
    return tf.cast(normalised, features.dtype), after


def normalise_features(features: tf.Tensor, num_frames: tf.Tensor) -> tf.Tensor:
    """Give each bin mean 0 and deviation 1 over the clip's own frames; zero beyond them.

    Args:
        features: float32 `[batch, frames, bins]`.
        num_frames: int32 `[batch]`, at least 1 each.
    """
    inside = tf.sequence_mask(num_frames, tf.shape(features)[1])[..., tf.newaxis]
    count = tf.cast(num_frames, features.dtype)[:, tf.newaxis, tf.newaxis]
    zeros = tf.zeros_like(features)

    def centre(x: tf.Tensor) -> tf.Tensor:
        mean = tf.reduce_sum(x, axis=1, keepdims=True) / count
        return tf.where(inside, x - mean, zeros)

    # Twice: rounding of the first mean would stand out in a bin that is the same in all frames.
    centred = centre(centre(tf.where(inside, features, zeros)))
    variance = tf.reduce_sum(centred**2, axis=1, keepdims=True) / count
    return centred / tf.maximum(tf.sqrt(variance), _MIN_DEVIATION)


def mel_matrix(config: FeatureConfig, *, sample_rate_hz: int) -> NDArray[np.float32]:
    """Return float32 `[fft_length // 2 + 1, num_mel_bands]`, triangles of peak 1 on the mel scale.

    Raises:
        ValueError: a band is so narrow that it holds no bin.

    Source: O'Shaughnessy 1987, `mel = 2595 log10(1 + hz / 700)`; triangles linear in mel.
    """

    def to_mel(hz: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return 2595.0 * np.log10(1.0 + np.asarray(hz) / 700.0)

    bins_hz = np.arange(config.fft_length // 2 + 1) * sample_rate_hz / config.fft_length
    max_hz = min(config.max_hz, sample_rate_hz / 2)
    edges = np.linspace(to_mel(config.min_hz), to_mel(max_hz), config.num_mel_bands + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    bins = to_mel(bins_hz)[:, np.newaxis]
    rising, falling = (bins - lower) / (centre - lower), (upper - bins) / (upper - centre)
    matrix = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
    if empty := int((matrix.sum(axis=0) == 0).sum()):
        raise ValueError(
            f"{empty} of {config.num_mel_bands} mel bands hold no bin of fft_length "
            f"{config.fft_length}; needed: a larger fft_length or fewer bands"
        )
    return matrix


def pad_to_a_frame(waveform: tf.Tensor, config: FeatureConfig) -> tf.Tensor:
    """Add zeros to `[batch, samples]` until it holds a frame."""
    missing = tf.maximum(0, config.frame_length - tf.shape(waveform)[1])
    return tf.pad(waveform, [[0, 0], [0, missing]])


def _magnitudes(waveform: tf.Tensor, config: FeatureConfig) -> tf.Tensor:
    """Return float32 `[batch, frames, fft_length // 2 + 1]`; frames are not centred.

    The window is `tf.signal.hann_window`: periodic for an even `frame_length`, symmetric for an
    odd one.

    Args:
        waveform: float32 `[batch, samples]`, at least one frame.
    """
    return tf.abs(
        tf.signal.stft(waveform, config.frame_length, config.frame_step, config.fft_length)
    )


def _is_power_of_two(size: int) -> bool:
    """Whether LiteRT has a Fourier transform of this length."""
    return size & (size - 1) == 0


def _magnitudes_by_products(waveform: tf.Tensor, config: FeatureConfig) -> tf.Tensor:
    """Return what `_magnitudes` does, without a Fourier transform."""
    samples, bins = np.arange(config.frame_length), np.arange(config.fft_length // 2 + 1)
    angles = 2 * np.pi / config.fft_length * (np.outer(samples, bins) % config.fft_length)
    is_odd = config.frame_length % 2
    window = np.hanning(config.frame_length + 1 - is_odd)[: config.frame_length, np.newaxis]
    frames = tf.signal.frame(waveform, config.frame_length, config.frame_step)
    real = _float_product(frames, (window * np.cos(angles)).astype(np.float32))
    imaginary = _float_product(frames, (window * np.sin(angles)).astype(np.float32))
    return tf.sqrt(real**2 + imaginary**2)


def _float_product(x: tf.Tensor, matrix: NDArray[np.float32]) -> tf.Tensor:
    """Return `x @ matrix`; a converter to int8 leaves the matrix alone, as it seems computed.

    Args:
        x: float32 `[batch, frames, in]`.
        matrix: `[in, out]`.
    """
    size = len(matrix)
    # All rows, as there is a frame at least; but that is known only when the graph runs.
    return x @ tf.constant(matrix)[: tf.minimum(size, size * tf.shape(x)[1])]

"""Noise added to clips at a drawn ratio to their own power: generated, or from recordings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from config import AudioConfig, AudioError, CorpusError
from speech.audio import AUDIO_SUFFIXES, decode_any
from training.augmentation_random import fork, mask_beyond, rms, uniform

_PERIOD = 65_536  # samples; generated noise repeats after it, without a seam
_LOWEST_HZ = 20.0
_MIN_RMS = 1e-9
_SILENT_RMS = 1e-4
_LONGEST_FILE_S = 3600.0
_MAX_RECORDING_S = 60.0
_MAX_TOTAL_S = 1200.0


@dataclass(frozen=True, eq=False)
class Noises:
    """Recordings in one row: float32 `[samples]`; int32 `[recordings]` starts and lengths."""

    samples: NDArray[np.float32]
    starts: NDArray[np.int32]
    num_samples: NDArray[np.int32]


@lru_cache(maxsize=2)
def load_noises(folder: Path, config: AudioConfig) -> Noises:
    """Read the recordings in and below a folder, in whatever form libsndfile opens.

    The first minute of a recording is used, and 20 minutes in all, of files in the order of their
    names; silent ones are left out.

    Raises:
        CorpusError: there is none, or one cannot be read.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    recordings: list[NDArray[np.float32]] = []
    room = int(_MAX_TOTAL_S * config.sample_rate_hz)
    for path in paths:
        try:
            noise = decode_any(path, replace(config, max_duration_s=_LONGEST_FILE_S))
        except AudioError as error:
            raise CorpusError(f"{path}: {error}") from error
        noise = noise[: min(room, int(_MAX_RECORDING_S * config.sample_rate_hz))]
        if noise.size and np.sqrt(np.mean(noise**2)) >= _SILENT_RMS:
            recordings.append(noise)
            room -= noise.size
    if not recordings:
        raise CorpusError(f"{folder} holds no recording that can be heard; needed: noise to add")
    num_samples = np.array([len(noise) for noise in recordings], np.int32)
    starts = (np.cumsum(num_samples) - num_samples).astype(np.int32)
    return Noises(np.concatenate(recordings), starts, num_samples)


def add_coloured_noise(
    waveform: tf.Tensor,
    num_samples: tf.Tensor,
    seed: tf.Tensor,
    *,
    snr_range_db: tuple[float, float],
    exponents: tuple[float, float],
    sample_rate_hz: int,
) -> tf.Tensor:
    """Add noise whose power falls with frequency as `hz ** -exponent`.

    Args:
        waveform: float32 `[batch, samples]`, zero beyond each clip's end.
        num_samples: int32 `[batch]`.
        seed: `[2]`.
        snr_range_db: the clip's mean power over the noise's, drawn a clip.
        exponents: 0 is white, 1 pink, 2 brown noise; drawn a clip.
        sample_rate_hz: the waveform's; what nobody hears is left out of the noise.

    Source: Timmer and Koenig 1995, "On generating power law noise", section 2.
    """
    noise = coloured_noise(
        tf.shape(waveform), seed, exponents=exponents, sample_rate_hz=sample_rate_hz
    )
    snr_db = uniform(fork(seed, 2), tf.shape(num_samples), *snr_range_db)
    return mix(waveform, noise, num_samples, snr_db)


def coloured_noise(
    shape: tf.Tensor, seed: tf.Tensor, *, exponents: tuple[float, float], sample_rate_hz: int
) -> tf.Tensor:
    """Return noise float32 of int32 `shape` `[batch, samples]`, as `add_coloured_noise` has it."""
    batch, width = shape[0], shape[1]
    exponent = uniform(fork(seed, 0), [batch, 1], *exponents)
    bins = _PERIOD // 2 + 1
    slope = np.log(np.maximum(np.arange(bins), 1)).astype(np.float32)
    audible = (np.arange(bins) * sample_rate_hz / _PERIOD >= _LOWEST_HZ).astype(np.float32)
    amplitude = tf.exp(-0.5 * exponent * slope) * audible
    parts = tf.random.stateless_normal([batch, 2, bins], fork(seed, 1), alg="philox")
    parts *= amplitude[:, tf.newaxis]
    noise = tf.signal.irfft(tf.complex(parts[:, 0], parts[:, 1]), [_PERIOD])
    return tf.tile(noise, [1, -(-width // _PERIOD)])[:, :width]


def add_recorded_noise(
    waveform: tf.Tensor,
    num_samples: tf.Tensor,
    seed: tf.Tensor,
    noises: Noises,
    *,
    snr_range_db: tuple[float, float],
) -> tf.Tensor:
    """Add a recording to each clip, from a drawn place on; one that ends begins again.

    Args:
        waveform: float32 `[batch, samples]`, zero beyond each clip's end.
        num_samples: int32 `[batch]`.
        seed: `[2]`.
        noises: each recording is as likely as any other.
        snr_range_db: the clip's mean power over the noise's, drawn a clip.

    Source: Snyder et al. 2015, "MUSAN"; Ko et al. 2017, section 2.3.
    """
    with tf.init_scope(), tf.device("CPU:0"):  # kept beside the graph, not in it
        samples = tf.constant(noises.samples)
    batch, count = tf.shape(waveform)[0], len(noises.starts)
    which = tf.cast(uniform(fork(seed, 0), [batch], 0.0, 1.0) * float(count), tf.int32)
    which = tf.minimum(which, count - 1)
    start, size = tf.gather(noises.starts, which), tf.gather(noises.num_samples, which)
    offset = uniform(fork(seed, 1), [batch], 0.0, 1.0) * tf.cast(size, tf.float32)
    place = tf.cast(offset, tf.int32)[:, tf.newaxis] + tf.range(tf.shape(waveform)[1])
    noise = tf.gather(samples, start[:, tf.newaxis] + place % size[:, tf.newaxis])
    return mix(waveform, noise, num_samples, uniform(fork(seed, 2), [batch], *snr_range_db))


def mix(
    waveform: tf.Tensor,
    noise: tf.Tensor,
    num_samples: tf.Tensor,
    snr_db: tf.Tensor,
    *,
    loudness: tf.Tensor | None = None,
) -> tf.Tensor:
    """Add float32 `[batch, samples]` noise at float32 `[batch]` dB below the clip's mean power.

    Args:
        loudness: float32 `[batch]`, an rms in the place of the clip's.
    """
    noise = mask_beyond(noise, num_samples)
    loudness = rms(waveform, num_samples) if loudness is None else loudness
    scale = loudness * 10.0 ** (-snr_db / 20.0)
    scale /= tf.maximum(rms(noise, num_samples), _MIN_RMS)
    return waveform + noise * scale[:, tf.newaxis]

"""Noise: how much a clip seems to hold, and what a model makes of it where more is added."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from predictor import Predictor
from speech.audio import Waveform
from speech.decoding.decoder import DecodingOptions
from training.analysis_statistics import Comparison, Rate, compare, rate
from training.analysis_words import count_errors
from training.augmentation_noise import add_coloured_noise
from training.augmentation_random import limit_peaks
from training.evaluate import Scored, read_clip
from training.manifest import Utterance

HIGHEST_SNR_DB = 60.0
_FRAME_S = 0.02
_FEWEST_FRAMES = 10
_QUIET_SHARE = 0.1
_PINK = (1.0, 1.0)
_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """What is added, and to how many clips.

    Args:
        snrs_db: a clip's mean power over the noise's, each -20 to 60 dB; each is measured.
        max_clips: drawn from those of the evaluation; all if there are no more.
        seed: of the clips that are drawn and of the noise.
    """

    snrs_db: tuple[float, ...] = (30.0, 20.0, 15.0, 10.0, 5.0, 0.0)
    max_clips: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = [snr for snr in self.snrs_db if not (isfinite(snr) and -20 <= snr <= 60)]
        if wrong or not self.snrs_db:
            raise ValueError(f"got SNRs {list(self.snrs_db)} dB; needed: some, each -20 to 60")
        if self.max_clips < 1:
            raise ValueError(f"got max_clips {self.max_clips}; needed: at least 1")


@dataclass(frozen=True, kw_only=True)
class NoiseLevel:
    """Error rates at one SNR, and WER compared with that of the same clips as they are.

    Attributes:
        snr_db: None for the clips as they are.
        increase: None for these, and where the clips are too few to compare.
    """

    snr_db: float | None
    wer: Rate
    cer: Rate
    increase: Comparison | None


@dataclass(frozen=True, kw_only=True)
class NoiseCurve:
    """Error rates over SNR, the clips as they are first, then the noise ever louder."""

    clips: int
    levels: tuple[NoiseLevel, ...]


def estimate_snr_db(waveform: Waveform, *, sample_rate_hz: int) -> float | None:
    """Return how far a clip's mean power seems to lie above that of its noise.

    The quietest tenth of its frames of 20 ms is taken for noise alone; digital silence, which is
    padding, is left out. A clip without pauses therefore seems noisier than it is.

    Args:
        waveform: float32 `[samples]`.

    Returns:
        At most `HIGHEST_SNR_DB`, at least 0 less that; None where fewer than ten frames hold sound.
    """
    frame = max(1, int(_FRAME_S * sample_rate_hz))
    whole = len(waveform) // frame * frame
    powers = np.mean(np.square(waveform[:whole].reshape(-1, frame), dtype=np.float64), axis=1)
    powers = np.sort(powers[powers > 0])
    if len(powers) < _FEWEST_FRAMES:
        return None
    noise = powers[: max(1, int(len(powers) * _QUIET_SHARE))].mean()
    above = max(powers.mean() - noise, 1e-30) / noise
    return float(np.clip(10 * np.log10(above), -HIGHEST_SNR_DB, HIGHEST_SNR_DB))


def add_noise(waveform: Waveform, snr_db: float, *, seed: int, sample_rate_hz: int) -> Waveform:
    """Add pink noise, softer as a whole where the sum would leave [-1, 1].

    Args:
        waveform: float32 `[samples]`.
        snr_db: the clip's mean power over the noise's.
        seed: equal seeds add the same noise, whatever the SNR.
    """
    noisy = add_coloured_noise(
        tf.constant(waveform)[tf.newaxis],
        tf.constant([len(waveform)], tf.int32),
        tf.constant([seed, 0], tf.int64),
        snr_range_db=(snr_db, snr_db),
        exponents=_PINK,
        sample_rate_hz=sample_rate_hz,
    )
    samples: Waveform = limit_peaks(noisy)[0].numpy()
    return samples


def measure_noise(
    predictor: Predictor,
    utterances: Sequence[Utterance],
    scored: Sequence[Scored],
    config: NoiseConfig,
    *,
    options: DecodingOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NoiseCurve:
    """Transcribe some clips at each SNR; what they gave as they are is taken from `scored`.

    Args:
        utterances: of an evaluation.
        scored: their results, in the same order.
        progress: called with how many clips are done, and of how many.
    """
    pairs = list(zip(utterances, scored, strict=True))
    if len(pairs) > config.max_clips:
        pairs = random.Random(config.seed).sample(pairs, config.max_clips)
    references = [clip.reference for _, clip in pairs]
    clean = _count(references, [clip.hypothesis for _, clip in pairs])
    levels = [_level(None, clean, None)]
    snrs_db = sorted(set(config.snrs_db), reverse=True)
    total = len(pairs) * len(snrs_db)
    for snr_db in snrs_db:
        hypotheses: list[str] = []
        for start in range(0, len(pairs), _BATCH):
            batch = [utterance for utterance, _ in pairs[start : start + _BATCH]]
            waveforms = [_noisy(predictor, utterance, snr_db, config.seed) for utterance in batch]
            answers = predictor.transcribe_waveforms(waveforms, options)
            hypotheses += [answer.text for answer in answers]
            if progress:
                progress((len(levels) - 1) * len(pairs) + len(hypotheses), total)
        levels.append(_level(snr_db, _count(references, hypotheses), clean))
    return NoiseCurve(clips=len(pairs), levels=tuple(levels))


def _noisy(predictor: Predictor, utterance: Utterance, snr_db: float, seed: int) -> Waveform:
    """Return a clip with noise of its own: the same at each SNR, and whatever clips are drawn."""
    return add_noise(
        read_clip(utterance, predictor),
        snr_db,
        seed=zlib.crc32(utterance.id.encode()) + seed,
        sample_rate_hz=predictor.audio.sample_rate_hz,
    )


def _count(references: Sequence[str], hypotheses: Sequence[str]) -> NDArray[np.int64]:
    """Return `[clips, 4]`: the fields of `ErrorCounts`."""
    return np.array([count_errors(*pair) for pair in zip(references, hypotheses, strict=True)])


def _level(
    snr_db: float | None, counts: NDArray[np.int64], clean: NDArray[np.int64] | None
) -> NoiseLevel:
    return NoiseLevel(
        snr_db=snr_db,
        wer=rate(counts[:, 0], counts[:, 1]),
        cer=rate(counts[:, 2], counts[:, 3]),
        increase=None if clean is None else compare(counts[:, :2], clean[:, :2], paired=True),
    )

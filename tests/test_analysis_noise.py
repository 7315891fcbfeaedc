"""Noise: what is added is measured independently, what is estimated is known."""

import numpy as np
import pytest
from scipy.signal import welch

from tests.clips import babble
from training.analysis_noise import HIGHEST_SNR_DB, NoiseConfig, add_noise, estimate_snr_db

RATE_HZ = 22_050


def speech(seconds: float = 4.0) -> np.ndarray:
    """Return bursts with pauses between, the third of the time."""
    clip = babble(seconds, seed=4)
    pauses = (np.arange(len(clip)) // (RATE_HZ // 4)) % 3 == 2
    return np.where(pauses, 0, clip).astype(np.float32)


@pytest.mark.parametrize("snr_db", [30.0, 10.0, 0.0, -5.0])
def test_noise_is_as_strong_as_asked(snr_db: float) -> None:
    clip = 0.2 * speech()
    noise = add_noise(clip, snr_db, seed=3, sample_rate_hz=RATE_HZ) - clip
    ratio = np.mean(clip.astype(float) ** 2) / np.mean(noise.astype(float) ** 2)
    assert 10 * np.log10(ratio) == pytest.approx(snr_db, abs=0.05)


def test_noise_falls_by_three_decibels_an_octave() -> None:
    clip = 0.05 * speech(8.0)
    noise = add_noise(clip, 0.0, seed=1, sample_rate_hz=RATE_HZ) - clip
    hz, power = welch(noise, RATE_HZ, nperseg=4096)
    inside = (hz > 100) & (hz < 8000)
    slope = np.polyfit(np.log2(hz[inside]), 10 * np.log10(power[inside]), 1)[0]
    assert slope == pytest.approx(-3.01, abs=0.2)


def test_a_seed_gives_one_noise_at_each_ratio_and_another_seed_another() -> None:
    clip = 0.1 * speech(1.0)
    loud, soft, other = (
        add_noise(clip, snr_db, seed=seed, sample_rate_hz=RATE_HZ) - clip
        for snr_db, seed in ((0.0, 5), (20.0, 5), (0.0, 6))
    )
    np.testing.assert_allclose(loud, 10 * soft, atol=1e-5)
    assert abs(np.corrcoef(loud, other)[0, 1]) < 0.2


def test_a_loud_clip_stays_within_bounds_and_keeps_its_ratio() -> None:
    clip = speech()
    clip /= np.abs(clip).max()
    noisy = add_noise(clip, 0.0, seed=2, sample_rate_hz=RATE_HZ)
    assert np.abs(noisy).max() == pytest.approx(1.0)
    share = float(noisy @ clip) / float(clip @ clip)
    rest = noisy - share * clip
    ratio = np.mean((share * clip) ** 2) / np.mean(rest**2)
    assert 10 * np.log10(ratio) == pytest.approx(0.0, abs=0.3)


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0, 30.0])
def test_the_estimate_finds_noise_that_was_added(snr_db: float) -> None:
    clip, draw = speech(), np.random.default_rng(1)
    noise = draw.standard_normal(len(clip))
    noise *= np.sqrt(np.mean(clip**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
    noisy = (0.5 * (clip + noise)).astype(np.float32)
    assert estimate_snr_db(noisy, sample_rate_hz=RATE_HZ) == pytest.approx(snr_db, abs=1.5)


def test_padding_with_digital_silence_changes_nothing() -> None:
    clip = speech() + 0.01 * np.random.default_rng(2).standard_normal(4 * RATE_HZ)
    padded = np.pad(clip.astype(np.float32), (441 * 50, 0))
    alone = estimate_snr_db(clip.astype(np.float32), sample_rate_hz=RATE_HZ)
    assert estimate_snr_db(padded, sample_rate_hz=RATE_HZ) == pytest.approx(alone)


def test_what_cannot_be_estimated_is_not() -> None:
    assert estimate_snr_db(np.zeros(RATE_HZ, np.float32), sample_rate_hz=RATE_HZ) is None
    assert estimate_snr_db(speech()[:1000], sample_rate_hz=RATE_HZ) is None
    quiet = np.full(RATE_HZ, 1e-7, np.float32)
    quiet[: RATE_HZ // 2] = 0.5
    assert estimate_snr_db(quiet, sample_rate_hz=RATE_HZ) == HIGHEST_SNR_DB


@pytest.mark.parametrize(
    "wrong", [{"snrs_db": ()}, {"snrs_db": (float("nan"),)}, {"snrs_db": (90.0,)}, {"max_clips": 0}]
)
def test_settings_are_checked(wrong: dict) -> None:
    with pytest.raises(ValueError, match="needed"):
        NoiseConfig(**wrong)

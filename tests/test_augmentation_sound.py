"""What each change of sound does, against NumPy, SciPy and closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy import signal

from config import AudioConfig
from speech.audio import decode_native
from tests.test_augmentation import ONE_LSB, RATE_HZ, augmented, clips, only
from training.augmentation import STRENGTHS
from training.augmentation_channel import (
    band_gain,
    companded,
    limit_band,
    reverberate,
    telephone,
)
from training.augmentation_speed import resample
from training.augmentation_tempo import change_tempo
from training.room import room_responses, simulate_room


def sine(hz: float, seconds: float = 1.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate_hz)) / rate_hz)


def voice(hz: float, seconds: float) -> np.ndarray:
    """Return harmonics of `hz` that fall by 6 dB an octave, as those of a voice do."""
    return sum(sine(hz * k, seconds) / k for k in range(1, 20)).astype(np.float32) * 0.4


def loudest_hz(wave: np.ndarray) -> float:
    padded = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 2**18))
    return float(padded.argmax() * RATE_HZ / 2**18)


@pytest.mark.parametrize("inputs", [160, 180, 193, 200, 207, 240])
@pytest.mark.parametrize("hz", [200.0, 3000.0, 7000.0])
def test_resampling_is_that_of_the_formula(inputs: int, hz: float) -> None:
    wave = sine(hz)
    two = np.stack([wave, np.where(np.arange(len(wave)) < 9000, wave, 0)]).astype(np.float32)
    new, lengths = resample(tf.constant(two), tf.constant([22_050, 9000]), tf.fill([2], inputs))
    factor = inputs / 200
    assert lengths.numpy().tolist() == [int(np.ceil(22_050 / factor)), int(np.ceil(9000 / factor))]
    expected = 0.5 * np.sin(2 * np.pi * hz * factor * np.arange(lengths[0]) / RATE_HZ)
    error = (new[0].numpy() - expected)[100:-100]
    assert np.sqrt(np.mean(error**2)) < 3e-3
    np.testing.assert_allclose(new[1, :7000], new[0, :7000], atol=1e-6)


def test_a_speed_of_one_changes_nothing() -> None:
    waveform, num_samples = clips(0.3, 0.5)
    new, lengths = resample(tf.constant(waveform), tf.constant(num_samples), tf.constant([200] * 2))
    np.testing.assert_array_equal(lengths, num_samples)
    np.testing.assert_allclose(new, waveform, atol=1e-6)


def test_speed_moves_pitch_and_length_together() -> None:
    wave = np.stack([sine(500.0)] * 12).astype(np.float32)
    config = only("speed_probability", speed_range=(0.8, 1.2))
    new, lengths = augmented(config, wave, np.full(12, RATE_HZ, np.int32))
    factors = RATE_HZ / lengths
    assert factors.min() < 0.88
    assert factors.max() > 1.12
    for row, size, factor in zip(new, lengths, factors, strict=True):
        assert loudest_hz(row[:size]) == pytest.approx(500 * factor, rel=1e-3)
        assert np.abs(row[:size]).max() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("factor", [0.8, 0.93, 1.0, 1.1, 1.25])
@pytest.mark.parametrize("hz", [90.0, 210.0])
def test_tempo_leaves_pitch_and_loudness(factor: float, hz: float) -> None:
    wave = voice(hz, 2.0)
    new, lengths = change_tempo(
        tf.constant(wave[np.newaxis]), [len(wave)], tf.constant([factor]), sample_rate_hz=RATE_HZ
    )
    assert int(lengths[0]) == pytest.approx(len(wave) / factor, abs=1.01)
    middle = new[0, 3000:-3000].numpy()
    assert loudest_hz(middle) == pytest.approx(hz, rel=5e-3)
    assert middle.std() == pytest.approx(wave.std(), rel=0.05)
    if factor == 1.0:
        np.testing.assert_allclose(new[0], wave, atol=1e-5)


def test_tempo_moves_events_to_their_new_times() -> None:
    quiet = np.zeros(2 * RATE_HZ, np.float32)
    quiet[RATE_HZ : RATE_HZ + 4000] = voice(150.0, 1.0)[:4000]
    new, _ = change_tempo(
        tf.constant(quiet[np.newaxis]), [len(quiet)], tf.constant([1.25]), sample_rate_hz=RATE_HZ
    )
    heard = np.flatnonzero(np.abs(new[0]) > 0.05)
    assert heard[0] / RATE_HZ == pytest.approx(1 / 1.25, abs=0.02)
    assert heard[-1] / RATE_HZ == pytest.approx((1 + 4000 / RATE_HZ) / 1.25, abs=0.03)


@pytest.mark.parametrize("semitones", [-3.0, 2.0, 4.0])
def test_pitch_moves_and_length_stays(semitones: float) -> None:
    wave = voice(200.0, 1.5)
    config = only("pitch_probability", pitch_range_semitones=(semitones, semitones))
    new, lengths = augmented(config, wave[np.newaxis] * 0.5, np.array([len(wave)], np.int32))
    assert lengths[0] == pytest.approx(len(wave), abs=2)
    middle = new[0, 3000:-3000]
    assert loudest_hz(middle) == pytest.approx(200 * 2 ** (semitones / 12), rel=6e-3)


def test_no_clip_becomes_shorter_than_speed_and_tempo_make_it() -> None:
    waveform, num_samples = clips(*np.linspace(0.1, 0.5, 40))
    for strength in ("mild", "strong"):
        config = STRENGTHS[strength]
        fastest = config.speed_range[1] * config.tempo_range[1]
        for seed in range(5):
            _, lengths = augmented(config, waveform, num_samples, seed)
            assert (lengths >= (num_samples / fastest).astype(int)).all()


def test_reverberation_is_a_convolution_of_the_same_power() -> None:
    waveform, num_samples = clips(0.5, 1.0)
    response = room_responses(num_rooms=1, rt60_range_s=(0.3, 0.3), sample_rate_hz=RATE_HZ)
    wet = reverberate(tf.constant(waveform), tf.constant(num_samples), [0, 0], response)
    for row, clean, size in zip(wet, waveform, num_samples, strict=True):
        full = signal.convolve(clean[:size].astype(float), response[0])[:size]
        expected = full * np.sqrt((clean[:size] ** 2).sum() / (full**2).sum())
        np.testing.assert_allclose(row[:size], expected, atol=1e-5)
        assert not row[size:].numpy().any()


def test_reverberation_leaves_words_at_their_times() -> None:
    click = np.zeros((1, 9000), np.float32)
    click[0, 4000] = 0.3
    new, _ = augmented(only("reverb_probability"), click, np.array([9000], np.int32))
    assert np.abs(new[0]).argmax() == 4000
    assert np.abs(new[0, :3999]).max() <= ONE_LSB


def decay_s(response: np.ndarray) -> float:
    """Return the RT60 that a line through -5 to -25 dB of the energy still to come has.

    Source: Schroeder 1965, "New method of measuring reverberation time".
    """
    left_db = 10 * np.log10(np.cumsum(response[::-1] ** 2)[::-1] / (response**2).sum())
    heard = np.flatnonzero((left_db < -5) & (left_db > -25))
    slope = np.polyfit(heard / RATE_HZ, left_db[heard], 1)[0]
    return float(-60 / slope)


@pytest.mark.parametrize("rt60_s", [0.2, 0.4, 0.6])
def test_a_rooms_echo_falls_as_fast_as_said(rt60_s: float) -> None:
    responses = room_responses(
        num_rooms=12, rt60_range_s=(rt60_s, rt60_s), sample_rate_hz=RATE_HZ, seed=1
    )
    assert responses.dtype == np.float32
    np.testing.assert_allclose(responses[:, 0], 1)
    measured = [decay_s(response.astype(float)) for response in responses]
    assert np.median(measured) == pytest.approx(rt60_s, rel=0.3)


def test_a_rooms_first_echoes_are_where_geometry_puts_them() -> None:
    size_m, source_m = np.array([4.0, 5.0, 3.0]), np.array([1.0, 2.0, 1.0])
    microphone_m = np.array([3.0, 2.5, 1.5])
    response = simulate_room(size_m, source_m, microphone_m, rt60_s=0.3, sample_rate_hz=RATE_HZ)
    direct_m = np.linalg.norm(source_m - microphone_m)
    volume, walls_m2 = 60.0, 2 * (20 + 15 + 12)
    reflection = np.exp(-0.5 * 0.161 * volume / (walls_m2 * 0.3))
    expected = np.zeros(400)
    expected[0] = 1.0
    for axis, side in itertools.product(range(3), (0, 1)):  # what one wall mirrors
        image_m = source_m.copy()
        image_m[axis] = 2 * side * size_m[axis] - source_m[axis]
        distance_m = np.linalg.norm(image_m - microphone_m)
        place = round((distance_m - direct_m) / 343.0 * RATE_HZ)
        if place < 400:
            expected[place] += reflection * direct_m / distance_m
    first = np.flatnonzero(expected)[:3]
    filtered = signal.lfilter(*signal.butter(2, 80.0, "high", fs=RATE_HZ), expected)
    filtered /= filtered[0]
    end = first[-1] + 1
    np.testing.assert_allclose(response[:end], filtered[:end], atol=1e-4)


def test_band_limits_are_those_of_butterworth_filters() -> None:
    hz = np.array([50.0, 100.0, 1000.0, 4000.0, 8000.0])
    gain = band_gain(tf.constant(hz, tf.float32), 100.0, 4000.0, 2).numpy()
    high = signal.freqs(*signal.butter(4, 100.0, "high", analog=True), hz)[1]
    low = signal.freqs(*signal.butter(4, 4000.0, "low", analog=True), hz)[1]
    np.testing.assert_allclose(gain, np.abs(high * low), rtol=1e-4)
    waves = np.stack([sine(f, 2.0) for f in hz]).astype(np.float32)
    limited = limit_band(
        tf.constant(waves),
        tf.constant([0, 1]),
        high_pass_range_hz=(100.0, 100.0),
        low_pass_range_hz=(4000.0, 4000.0),
        sample_rate_hz=RATE_HZ,
    ).numpy()
    inside = slice(8000, -8000)
    np.testing.assert_allclose(
        limited[:, inside], waves[:, inside] * gain[:, np.newaxis], atol=2e-4
    )


def test_companding_is_mu_law() -> None:
    wave = np.linspace(-1, 1, 40_001).astype(np.float32)
    got = companded(tf.constant(wave)).numpy()
    code = np.rint(127 * np.log1p(255 * np.abs(wave)) / np.log(256))
    expected = np.sign(wave) * (256 ** (code / 127) - 1) / 255
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert len(np.unique(np.rint(got * 1e6))) == 255
    loud = np.abs(wave) > 0.01
    assert np.abs(got[loud] / wave[loud] - 1).max() < 0.04


@pytest.mark.parametrize(("wide_share", "codec_hz"), [(0.0, 8000), (1.0, 16_000)])
@pytest.mark.parametrize("rate_hz", [22_050, 16_000, 8000])
def test_a_telephone_keeps_its_band_alone(wide_share: float, codec_hz: int, rate_hz: int) -> None:
    wave = np.stack([sine(1000.0, 2.0, rate_hz), sine(100.0, 2.0, rate_hz)]).astype(np.float32)
    hiss = np.random.default_rng(0).normal(0, 0.05, (1, wave.shape[1])).astype(np.float32)
    waveform = np.concatenate([wave, hiss])
    heard = telephone(
        tf.constant(waveform),
        tf.fill([3], wave.shape[1]),
        tf.constant([0, 1]),
        wide_share=wide_share,
        sample_rate_hz=rate_hz,
    ).numpy()
    inside = slice(2000, -2000)
    error = (heard - waveform)[0, inside]
    quantised_db = 10 * np.log10((waveform[0, inside] ** 2).mean() / (error**2).mean())
    assert 30 < quantised_db < 45  # what 8 bits of mu-law have: ITU-T G.712 asks for 33
    assert heard[1].std() < 0.01 or wide_share == 1.0
    power = np.abs(np.fft.rfft(heard[2, inside])) ** 2
    hz = np.fft.rfftfreq(heard[2, inside].size, 1 / rate_hz)
    top_hz = min(codec_hz, rate_hz) / 2
    beyond = power[hz > 1.05 * top_hz]
    assert not beyond.size or beyond.mean() < 1e-4 * power[(hz > 500) & (hz < 3000)].mean()


def test_a_telephone_is_a_band_filter_to_speech() -> None:
    with open("Data/samples/sample.wav", "rb") as file:
        wave = decode_native(file.read(), AudioConfig())[np.newaxis]
    heard = telephone(
        tf.constant(wave), [wave.shape[1]], tf.constant([0, 1]), wide_share=0.0,
        sample_rate_hz=RATE_HZ,
    ).numpy()[0]  # fmt: skip
    band = signal.butter(8, [300.0, 3400.0], "band", fs=RATE_HZ, output="sos")
    filtered = signal.sosfiltfilt(band, wave[0].astype(float))
    likeness = np.corrcoef(filtered, heard)[0, 1]
    assert likeness > 0.98

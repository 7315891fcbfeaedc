"""Augmentation as a whole: seeds, padding, lengths and strengths; noise by itself."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from config import AudioConfig, CorpusError
from tests.clips import babble, write_clip
from training.augmentation import (
    STRENGTHS,
    AugmentationConfig,
    augment_features,
    augment_waveforms,
)
from training.augmentation_noise import add_coloured_noise, add_recorded_noise, load_noises, mix

RATE_HZ = 22_050
ALL = [f.name for f in dataclasses.fields(AugmentationConfig) if f.name.endswith("_probability")]
OF_WAVEFORMS = [name for name in ALL if "mask" not in name]
ONE_LSB = 1.01 / 32_768


def only(*names: str, **settings: object) -> AugmentationConfig:
    """Return a config in which nothing but what is named happens, and that always."""
    always = dict.fromkeys(names, 1.0)
    return dataclasses.replace(STRENGTHS["none"], **always, **settings)


@pytest.fixture(scope="module")
def noise_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("noises")
    write_clip(folder / "a.wav", duration_s=0.7)
    write_clip(folder / "below" / "b.flac", duration_s=1.3, rate_hz=16_000)
    return str(folder)


def clips(*durations_s: float) -> tuple[np.ndarray, np.ndarray]:
    waves = [babble(seconds, seed=i + 1) for i, seconds in enumerate(durations_s)]
    batch = np.zeros((len(waves), max(map(len, waves))), np.float32)
    for row, wave in zip(batch, waves, strict=True):
        row[: len(wave)] = wave
    return batch, np.array([len(wave) for wave in waves], np.int32)


def augmented(
    config: AugmentationConfig, waveform: np.ndarray, num_samples: np.ndarray, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    new, lengths = augment_waveforms(
        tf.constant(waveform),
        tf.constant(num_samples),
        tf.constant([seed, 7], tf.int64),
        config,
        sample_rate_hz=RATE_HZ,
    )
    return new.numpy(), lengths.numpy()


@pytest.mark.parametrize("name", [*OF_WAVEFORMS, "strong"])
def test_the_seed_decides_and_padding_does_not(name: str, noise_folder: str) -> None:
    base = STRENGTHS["strong"] if name == "strong" else only(name)
    config = dataclasses.replace(base, recorded_noise_folder=noise_folder)
    waveform, num_samples = clips(1.0, 0.4, 1.7)
    first, lengths = augmented(config, waveform, num_samples)
    again, _ = augmented(config, waveform, num_samples)
    other, _ = augmented(config, waveform, num_samples, seed=1)
    wider, same = augmented(config, np.pad(waveform, ((0, 0), (0, 30_000))), num_samples)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(lengths, same)
    np.testing.assert_allclose(wider, first, atol=ONE_LSB)
    assert first.shape != other.shape or np.abs(first - other).max() > 0.01
    assert first.shape == (3, lengths.max())
    assert first.dtype == np.float32
    assert lengths.dtype == np.int32
    assert np.abs(first).max() <= 1
    for row, size in zip(first, lengths, strict=True):
        assert np.abs(row[:size]).max() > 0.01
        assert not row[size:].any()


def test_nothing_is_changed_by_none() -> None:
    waveform, num_samples = clips(0.3, 0.2)
    new, lengths = augmented(STRENGTHS["none"], waveform, num_samples)
    np.testing.assert_array_equal(new, waveform)
    np.testing.assert_array_equal(lengths, num_samples)
    features = np.ones((2, 9, 5), np.float32)
    same = augment_features(tf.constant(features), [9, 9], [0, 0], STRENGTHS["none"])
    np.testing.assert_array_equal(same, features)


@pytest.mark.parametrize("name", OF_WAVEFORMS)
def test_silence_and_single_samples_pass(name: str, noise_folder: str) -> None:
    waveform = np.zeros((3, 5000), np.float32)
    waveform[2, 0] = 0.5
    config = only(name, recorded_noise_folder=noise_folder)
    new, lengths = augmented(config, waveform, np.array([5000, 300, 1], np.int32))
    assert np.isfinite(new).all()
    assert not new[:2].any()
    assert (lengths >= 1).all()


def test_inside_tf_data_as_outside(noise_folder: str) -> None:
    config = dataclasses.replace(STRENGTHS["strong"], recorded_noise_folder=noise_folder)
    batches = [clips(0.5, 0.6), clips(0.3)]

    def batches_of_any_shape() -> object:
        for number, (waveform, num_samples) in enumerate(batches):
            yield waveform, num_samples, np.array([number, 7], np.int64)

    def change(
        waveform: tf.Tensor, num_samples: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        new, lengths = augment_waveforms(
            waveform, num_samples, seed, config, sample_rate_hz=RATE_HZ
        )
        frames = tf.reshape(new[:, : 100 * 40], [-1, 100, 40])
        return new, lengths, augment_features(frames, lengths // 400, seed, config)

    shapes = [
        tf.TensorSpec([None, None], tf.float32),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([2], tf.int64),
    ]
    dataset = tf.data.Dataset.from_generator(
        batches_of_any_shape, output_signature=tuple(shapes)
    ).map(change, num_parallel_calls=2)
    for number, (new, lengths, features) in enumerate(dataset):
        expected, expected_lengths = augmented(config, *batches[number], seed=number)
        np.testing.assert_array_equal(lengths, expected_lengths)
        np.testing.assert_allclose(new, expected, atol=ONE_LSB)
        assert features.shape[1:] == (100, 40)


def test_each_happens_as_often_as_said() -> None:
    waveform = np.full((2000, 20), 0.1, np.float32)
    config = only("gain_probability", gain_range_db=(-6.0, -6.0))
    config = dataclasses.replace(config, gain_probability=0.3)
    new, _ = augmented(config, waveform, np.full(2000, 20, np.int32))
    share = (new[:, 0] < 0.07).mean()
    assert share == pytest.approx(0.3, abs=3 * np.sqrt(0.3 * 0.7 / 2000))
    assert new[:, 0].min() == pytest.approx(0.1 * 10 ** (-6 / 20), abs=ONE_LSB)


def test_gain_is_drawn_in_decibels_and_never_clips() -> None:
    waveform, num_samples = np.full((500, 4), 0.4, np.float32), np.full(500, 4, np.int32)
    config = only("gain_probability", gain_range_db=(-20.0, 20.0))
    new, _ = augmented(config, waveform, num_samples)
    gain_db = 20 * np.log10(new[:, 0] / 0.4)
    assert gain_db.min() < -19
    assert np.median(gain_db) == pytest.approx(0, abs=2)
    assert gain_db.max() == pytest.approx(-20 * np.log10(0.4), abs=0.01)


def snr_db(clean: np.ndarray, noisy: np.ndarray) -> float:
    return float(10 * np.log10((clean**2).mean() / ((noisy - clean) ** 2).mean()))


def test_noise_has_the_drawn_ratio_to_the_clip_alone() -> None:
    waveform, num_samples = clips(4.0, 0.1, 1.0)
    wanted_db = [5.0, 17.0, 30.0]
    noise = np.random.default_rng(3).normal(size=waveform.shape).astype(np.float32)
    mixed = mix(tf.constant(waveform), tf.constant(noise), num_samples, tf.constant(wanted_db))
    for row, clean, size, want in zip(mixed.numpy(), waveform, num_samples, wanted_db, strict=True):
        assert snr_db(clean[:size], row[:size]) == pytest.approx(want, abs=0.01)
        assert not row[size:].any()


def test_generated_noise_keeps_to_its_range_of_ratios() -> None:
    waveform, num_samples = clips(*[0.3] * 64)
    config = only("noise_probability", noise_snr_range_db=(5.0, 30.0))
    new, _ = augmented(config, waveform * 0.2, num_samples)
    ratios = [snr_db(a, b) for a, b in zip(waveform * 0.2, new, strict=True)]
    assert 4.9 < min(ratios) < 8
    assert 27 < max(ratios) < 30.1


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_generated_noise_has_the_slope_of_its_colour(exponent: float) -> None:
    waveform = np.full((16, 65_536), 0.5, np.float32)
    noisy = add_coloured_noise(
        tf.constant(waveform),
        np.full(16, 65_536, np.int32),
        tf.constant([1, 2]),
        snr_range_db=(0.0, 0.0),
        exponents=(exponent, exponent),
        sample_rate_hz=RATE_HZ,
    )
    power = (np.abs(np.fft.rfft(noisy - waveform)) ** 2).mean(axis=0)
    hz = np.arange(len(power)) * RATE_HZ / 65_536
    heard = (hz > 30) & (hz < 11_000)
    slope = np.polyfit(np.log(hz[heard]), np.log(power[heard]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.02)
    assert power[hz < 19].max() < 1e-6 * power.max()


def pauses(clip: np.ndarray, new: np.ndarray) -> tuple[int, int]:
    """Return the samples before and after a clip in what it became."""
    before = int(np.argmax(np.correlate(new, clip, "valid")))
    return before, len(new) - len(clip) - before


def test_a_clip_stands_whole_between_its_pauses() -> None:
    waveform, num_samples = clips(2.5, 3.0, 4.0)
    settings = {"pause_range_s": (0.2, 0.6), "pause_snr_range_db": (40.0, 60.0)}
    new, lengths = augmented(only("pause_probability", **settings), waveform, num_samples)
    drawn = set()
    for row, clip, length, size in zip(new, waveform, lengths, num_samples, strict=True):
        before, after = pauses(clip[:size], row[:length])
        drawn |= {before, after}
        noise = row[:length].copy()
        noise[before : before + size] -= clip[:size]
        assert noise[:before].any()
        assert noise[before + size :].any()
        power = np.mean(clip[:size] ** 2) / np.mean(noise**2)
        assert 39 < 10 * np.log10(power) < 61
    assert len(drawn) == 6, "each pause is drawn by itself"
    assert min(drawn) >= 0.2 * RATE_HZ - 1
    assert max(drawn) <= 0.6 * RATE_HZ


def test_a_batch_grows_by_half_at_most() -> None:
    waveform, num_samples = clips(0.5, 0.8)
    config = only("pause_probability", pause_range_s=(1.0, 2.0))
    new, lengths = augmented(config, waveform, num_samples)
    for row, clip, length, size in zip(new, waveform, lengths, num_samples, strict=True):
        assert pauses(clip[:size], row[:length]) == (size // 4, size // 4)


def test_generated_noise_has_gaussian_bins() -> None:
    """Both parts, by their kurtosis: 3, where uniform parts would have 1.8."""
    waveform = tf.ones([1, 65_536])
    noisy = add_coloured_noise(
        waveform,
        tf.constant([65_536]),
        tf.constant([3, 4]),
        snr_range_db=(0.0, 0.0),
        exponents=(0.0, 0.0),
        sample_rate_hz=RATE_HZ,
    )
    bins = np.fft.rfft((noisy - waveform).numpy()[0].astype(float))[100:-1]
    for part in (bins.real, bins.imag):
        assert np.mean(part**4) / np.mean(part**2) ** 2 == pytest.approx(3.0, abs=0.2)


def test_recorded_noise_is_the_recording_from_some_place_on(noise_folder: str) -> None:
    noises = load_noises(Path(noise_folder), AudioConfig())
    assert noises.num_samples.tolist() == [int(0.7 * RATE_HZ), int(1.3 * RATE_HZ)]
    waveform = np.full((16, 4000), 0.1, np.float32)
    noisy = add_recorded_noise(
        tf.constant(waveform),
        np.full(16, 4000, np.int32),
        tf.constant([5, 6]),
        noises,
        snr_range_db=(10.0, 10.0),
    )
    parts = np.split(noises.samples, noises.starts[1:])
    found = set()
    for row in noisy.numpy() - waveform:
        likeness = [_best_match(np.concatenate([part, part[:4000]]), row) for part in parts]
        assert max(likeness) == pytest.approx(1, abs=1e-3)
        found.add(int(np.argmax(likeness)))
    assert found == {0, 1}


def _best_match(recording: np.ndarray, piece: np.ndarray) -> float:
    """Return the greatest cosine between the piece and any stretch of the recording."""
    products = np.correlate(recording, piece, "valid")
    sums = np.concatenate([[0], np.cumsum(recording.astype(np.float64) ** 2)])
    norms = np.sqrt((sums[len(piece) :] - sums[: -len(piece)]) * (piece**2).sum())
    return float((products / norms).max())


def test_a_noise_folder_without_sound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no recording"):
        load_noises(tmp_path, AudioConfig())
    soundfile.write(tmp_path / "silent.wav", np.zeros(2000), RATE_HZ)
    with pytest.raises(CorpusError, match="no recording"):
        load_noises(tmp_path, AudioConfig())
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(CorpusError, match=r"broken\.wav"):
        load_noises(tmp_path, AudioConfig())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("speed_probability", 1.5),
        ("speed_range", (1.1, 0.9)),
        ("speed_range", (0.1, 1.0)),
        ("pitch_range_semitones", (-20.0, 0.0)),
        ("reverb_rt60_range_s", (0.0, 0.3)),
        ("reverb_num_rooms", 0),
        ("low_pass_range_hz", (100.0, 4000.0)),
        ("frequency_masks", 0),
        ("max_time_mask_share", -0.1),
        ("noise_snr_range_db", (1.0,)),
    ],
)
def test_a_setting_that_cannot_be_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        dataclasses.replace(STRENGTHS["mild"], **{name: value})


@pytest.mark.parametrize("strength", STRENGTHS)
def test_a_config_goes_through_json(strength: str) -> None:
    written = json.loads(json.dumps(dataclasses.asdict(STRENGTHS[strength])))
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in written.items()}
    assert AugmentationConfig(**values) == STRENGTHS[strength]

"""Bytes to waveform: the strict check, tolerant decoding, writing."""

from __future__ import annotations

import io
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from config import AudioConfig, AudioError
from speech.audio import (
    check_duration,
    decode_any,
    decode_native,
    encode_native,
    read_wav_header,
    write_atomically,
    write_native,
)
from tests.wav_files import SAMPLES, chunk, extensible_chunk, format_chunk, native, riff

CONFIG = AudioConfig()
EXPECTED = np.array([0, 1, -1, 16_384, 32_767, -32_768]) / 32_768
NEEDED = "; needed: 1 channel, 16-bit PCM, 22050 Hz WAV"
NO_SAMPLES = "got 0 samples; needed: at least 1 sample"


def encoded(samples: np.ndarray, rate_hz: int, **form: str) -> bytes:
    """Return a file written by libsndfile."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, **form)
    return buffer.getvalue()


def sine(*, rate_hz: int, duration_s: float = 1.0, hz: float = 440.0) -> np.ndarray:
    """Return a sine of amplitude 0.5."""
    times = np.arange(round(duration_s * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def peak_hz(waveform: np.ndarray, rate_hz: int) -> float:
    """Return the strongest frequency, to `rate_hz / len(waveform)`."""
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(np.fft.rfftfreq(len(waveform), 1 / rate_hz)[spectrum.argmax()])


@pytest.mark.parametrize(
    "wav",
    [
        pytest.param(native(), id="plain"),
        pytest.param(native(claimed=1000), id="size beyond the end"),
        pytest.param(native(claimed=0xFFFFFFFF), id="size of a streaming writer"),
        pytest.param(native(SAMPLES + b"\x7f"), id="odd size"),
        pytest.param(riff(extensible_chunk(), chunk(b"data", SAMPLES)), id="extensible"),
        pytest.param(
            riff(format_chunk(extra=b"\0\0"), chunk(b"data", SAMPLES)), id="18-byte format"
        ),
        pytest.param(
            riff(
                chunk(b"LIST", b"INFOodd"),
                format_chunk(),
                chunk(b"bext", bytes(602)),
                chunk(b"data", SAMPLES),
            ),
            id="chunks before the data",
        ),
        pytest.param(native() + chunk(b"LIST", b"INFO" * 9), id="a chunk after the data"),
    ],
)
def test_a_native_file_gives_its_samples(wav: bytes) -> None:
    waveform = decode_native(wav, CONFIG)
    assert waveform.dtype == np.float32
    np.testing.assert_array_equal(waveform, EXPECTED.astype(np.float32))


@pytest.mark.parametrize(
    ("wav", "message"),
    [
        (b"", "got 0 bytes; needed: a WAV file"),
        (b"RIFF", "not a WAV file: it does not start with RIFF and WAVE"),
        (b"fLaC" + bytes(50), "not a WAV file: it does not start with RIFF and WAVE"),
        (riff(), "broken WAV file: no usable fmt chunk"),
        (riff(format_chunk()), "broken WAV file: no usable data chunk"),
        (riff(chunk(b"data", SAMPLES), format_chunk()), "broken WAV file: no usable fmt chunk"),
        (
            riff(chunk(b"fmt ", bytes(14)), chunk(b"data", SAMPLES)),
            "broken WAV file: no usable fmt chunk",
        ),
        (
            riff(format_chunk(), *[chunk(b"LIST", b"")] * 70, chunk(b"data", SAMPLES)),
            "broken WAV file: no usable data chunk",
        ),
        (native(b""), NO_SAMPLES),
        (native(b"\x01"), NO_SAMPLES),
        (native(claimed=0), NO_SAMPLES),
        (
            riff(format_chunk(channels=2), chunk(b"data", SAMPLES)),
            "got 2 channels, 16-bit PCM, 22050 Hz" + NEEDED,
        ),
        (
            riff(format_chunk(channels=0), chunk(b"data", SAMPLES)),
            "got 0 channels, 16-bit PCM, 22050 Hz" + NEEDED,
        ),
        (
            riff(format_chunk(rate_hz=16_000), chunk(b"data", SAMPLES)),
            "got 1 channel, 16-bit PCM, 16000 Hz" + NEEDED,
        ),
        (
            riff(format_chunk(bits=8), chunk(b"data", SAMPLES)),
            "got 1 channel, 8-bit PCM, 22050 Hz" + NEEDED,
        ),
        (
            riff(format_chunk(bits=24), chunk(b"data", SAMPLES)),
            "got 1 channel, 24-bit PCM, 22050 Hz" + NEEDED,
        ),
        (
            riff(format_chunk(codec=3, bits=32), chunk(b"data", SAMPLES)),
            "got 1 channel, 32-bit IEEE float, 22050 Hz" + NEEDED,
        ),
        (
            riff(extensible_chunk(codec=3, bits=32), chunk(b"data", SAMPLES)),
            "got 1 channel, 32-bit IEEE float, 22050 Hz" + NEEDED,
        ),
        (
            riff(extensible_chunk(codec=3)[: 8 + 26], chunk(b"data", SAMPLES)),
            "broken WAV file: no usable data chunk",
        ),
        (
            riff(format_chunk(codec=0xFFFE, extra=bytes(8) + b"\x07\0"), chunk(b"data", SAMPLES)),
            "got 1 channel, 16-bit mu-law, 22050 Hz" + NEEDED,
        ),
        (
            riff(format_chunk(codec=0xFFFE, extra=bytes(8)), chunk(b"data", SAMPLES)),
            "got 1 channel, 16-bit codec 65534, 22050 Hz" + NEEDED,
        ),
        (
            riff(format_chunk(codec=7, bits=8), chunk(b"data", SAMPLES)),
            "got 1 channel, 8-bit mu-law, 22050 Hz" + NEEDED,
        ),
        (
            riff(format_chunk(codec=77), chunk(b"data", SAMPLES)),
            "got 1 channel, 16-bit codec 77, 22050 Hz" + NEEDED,
        ),
    ],
)
def test_what_is_not_native_is_refused_by_what_it_is(wav: bytes, message: str) -> None:
    with pytest.raises(AudioError) as raised:
        decode_native(wav, CONFIG)
    assert str(raised.value) == message


def test_a_file_truncated_at_any_byte_gives_the_samples_that_are_there() -> None:
    wav = native()
    assert len(wav) == 44 + len(SAMPLES)
    for size in range(len(wav)):
        if size >= 46:
            waveform = decode_native(wav[:size], CONFIG)
            np.testing.assert_array_equal(waveform, EXPECTED[: (size - 44) // 2].astype("f4"))
            continue
        with pytest.raises(AudioError) as raised:
            decode_native(wav[:size], CONFIG)
        limits = {1: "got 0 bytes", 12: "not a WAV file", 36: "no usable fmt", 44: "no usable data"}
        part = next((text for limit, text in limits.items() if size < limit), "got 0 samples")
        assert part in str(raised.value), size


def test_the_longest_clip_is_taken_and_one_sample_more_is_not() -> None:
    config = AudioConfig(max_duration_s=0.01)
    assert decode_native(native(bytes(2 * 220)), config).size == 220
    message = r"got over 0\.01 s of audio; needed: at most 0\.01 s"
    for decode in (decode_native, decode_any):
        with pytest.raises(AudioError, match=message):
            decode(native(bytes(2 * 221)), config)
    with pytest.raises(AudioError, match=message):
        check_duration(221, config)


def test_the_rate_asked_for_is_the_one_needed() -> None:
    with pytest.raises(AudioError, match="needed: 1 channel, 16-bit PCM, 8000 Hz WAV"):
        decode_native(native(), AudioConfig(sample_rate_hz=8000))


def test_the_header_is_read_as_it_is_and_the_extent_as_it_can_be() -> None:
    header = read_wav_header(riff(format_chunk(channels=2, rate_hz=8000), chunk(b"data", SAMPLES)))
    assert (header.codec, header.channels, header.sample_rate_hz, header.bits) == (1, 2, 8000, 16)
    assert (header.data_start, header.data_bytes) == (44, len(SAMPLES))
    assert read_wav_header(native(claimed=0xFFFFFFFF)).data_bytes == len(SAMPLES)


def test_a_real_clip_is_decoded_as_libsndfile_does(ljspeech: Path) -> None:
    path = next(iter(sorted((ljspeech / "wavs").glob("*.wav"))))
    expected, rate_hz = soundfile.read(path, dtype="float32")
    assert rate_hz == CONFIG.sample_rate_hz
    np.testing.assert_array_equal(decode_native(path.read_bytes(), CONFIG), expected)
    np.testing.assert_array_equal(decode_any(path, CONFIG), expected)


@pytest.mark.parametrize(
    ("form", "tolerance"),
    [
        ({"format": "WAV", "subtype": "PCM_16"}, 2**-15),
        ({"format": "WAV", "subtype": "PCM_24"}, 2**-23),
        ({"format": "WAV", "subtype": "PCM_U8"}, 2**-7),
        ({"format": "WAV", "subtype": "FLOAT"}, 0),
        ({"format": "WAV", "subtype": "ULAW"}, 0.02),
        ({"format": "FLAC", "subtype": "PCM_16"}, 2**-15),
        ({"format": "OGG", "subtype": "VORBIS"}, 0.05),
    ],
)
def test_any_form_at_the_native_rate_keeps_its_samples(
    form: dict[str, str], tolerance: float, tmp_path: Path
) -> None:
    clip = sine(rate_hz=22_050, duration_s=0.2)
    content = encoded(clip, 22_050, **form)
    waveform = decode_any(content, CONFIG)
    np.testing.assert_allclose(waveform, clip, rtol=0, atol=tolerance)
    (tmp_path / "clip.bin").write_bytes(content)
    np.testing.assert_array_equal(decode_any(tmp_path / "clip.bin", CONFIG), waveform)


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 44_100, 48_000])
def test_resampling_keeps_duration_pitch_and_loudness(rate_hz: int) -> None:
    content = encoded(sine(rate_hz=rate_hz), rate_hz, format="WAV", subtype="FLOAT")
    waveform = decode_any(content, CONFIG)
    assert waveform.dtype == np.float32
    assert abs(waveform.size - 22_050) <= 1
    assert abs(peak_hz(waveform, 22_050) - 440) <= 1
    middle = waveform[2000:-2000]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.01)


def test_channels_are_mixed_to_their_mean(rng: np.random.Generator) -> None:
    channels = rng.uniform(-1, 1, (70_000, 3)).astype(np.float32)
    content = encoded(channels, 22_050, format="WAV", subtype="FLOAT")
    expected = channels.astype(np.float64).mean(axis=1)
    np.testing.assert_allclose(decode_any(content, CONFIG), expected, rtol=0, atol=1e-6)


def test_values_beyond_full_scale_are_cut() -> None:
    content = encoded(np.array([3.0, -3.0, 0.5]), 22_050, format="WAV", subtype="FLOAT")
    np.testing.assert_array_equal(decode_any(content, CONFIG), np.array([1, -1, 0.5], np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    content = encoded(np.array([0.0, value, 0.5]), 22_050, format="WAV", subtype="FLOAT")
    with pytest.raises(AudioError, match="not finite"):
        decode_any(content, CONFIG)


def test_what_is_not_audio_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="got 0 bytes"):
        decode_any(b"", CONFIG)
    with pytest.raises(AudioError, match="got 0 samples"):
        decode_any(native(b""), CONFIG)
    for source in (b"no audio at all" * 9, tmp_path / "missing.wav", tmp_path):
        with pytest.raises(AudioError, match="cannot read the audio: ") as raised:
            decode_any(source, CONFIG)
        assert "BytesIO" not in str(raised.value)


def test_mutated_files_raise_nothing_but_an_audio_error(rng: np.random.Generator) -> None:
    clip = sine(rate_hz=22_050, duration_s=0.05)
    outcomes = set()
    for form in ("WAV", "FLAC", "OGG"):
        content = encoded(clip, 22_050, format=form)
        for _ in range(60):
            mutated = bytearray(content[: rng.integers(1, len(content) + 1)])
            for position in rng.integers(0, min(80, len(mutated)), 3):
                mutated[position] = rng.integers(256)
            try:
                waveform = decode_any(bytes(mutated), CONFIG)
                outcomes.add("decoded")
                assert waveform.size
                assert np.isfinite(waveform).all()
            except AudioError:
                outcomes.add("refused")
    assert outcomes == {"decoded", "refused"}


def promise(flac: bytes, *, num_samples: int) -> bytes:
    """Return `flac` with another total in the last 36 bits of its stream information."""
    fields = int.from_bytes(flac[18:26], "big") >> 36 << 36 | num_samples
    return flac[:18] + fields.to_bytes(8, "big") + flac[26:]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(native(claimed=0x7FFFFFFE), id="a WAV that promises 13 hours"),
        pytest.param(
            promise(encoded(np.zeros(9, np.int16), 22_050, format="FLAC"), num_samples=2**36 - 1),
            id="a FLAC that promises 36 days",
        ),
        pytest.param(
            encoded(np.zeros(22_050 * 300, np.int16), 22_050, format="FLAC"),
            id="a FLAC of 300 s in few bytes",
        ),
    ],
)
def test_memory_is_bounded_by_what_is_read_not_by_what_is_promised(content: bytes) -> None:
    tracemalloc.start()
    try:
        samples = decode_any(content, AudioConfig(max_duration_s=2)).size
    except AudioError:
        samples = 0
    finally:
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert samples <= 9
    assert peak_bytes < 2_000_000


def test_writing_and_reading_lose_at_most_half_a_step(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    clip = rng.uniform(-1, 1, 5001).astype(np.float32)
    decoded = decode_native(encode_native(clip, CONFIG), CONFIG)
    np.testing.assert_allclose(decoded, np.minimum(clip, 32_767 / 32_768), rtol=0, atol=2**-16)
    assert encode_native(decoded, CONFIG) == encode_native(clip, CONFIG)
    write_native(tmp_path / "new" / "clip.wav", clip, CONFIG)
    assert (tmp_path / "new" / "clip.wav").read_bytes() == encode_native(clip, CONFIG)


def test_full_scale_does_not_wrap_around() -> None:
    clip = np.array([1, 2, -1, -2], np.float32)
    decoded = decode_native(encode_native(clip, CONFIG), CONFIG)
    np.testing.assert_array_equal(decoded, [32_767 / 32_768, 32_767 / 32_768, -1, -1])


def test_a_broken_off_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.txt"
    write_atomically(path, "old é")
    assert path.read_bytes() == "old é".encode()

    def interrupt(source: str, target: Path) -> None:
        assert Path(source).parent == path.parent
        assert Path(source).read_bytes() == b"new"
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]
    assert path.read_bytes() == "old é".encode()
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"

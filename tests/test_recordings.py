"""Audio files of every kind, block by block: what is read, what is refused, and at what cost."""

from __future__ import annotations

import io
import os
import struct
import sys
import threading
import tracemalloc
from pathlib import Path
from tempfile import SpooledTemporaryFile

import numpy as np
import pytest
import soundfile

from config import AudioConfig, AudioError, AudioTooLongError, UnsupportedAudioError
from speech.audio import decode_any
from speech.recordings import read_blocks, read_recording
from tests.clips import babble
from tests.media_files import KINDS, WRITTEN_BY_FFMPEG, encode
from tests.processes import children, needs_proc
from tests.wav_files import chunk, extensible_chunk, format_chunk, native, riff

RATE_HZ = 22_050
CONFIG = AudioConfig(max_duration_s=60.0)
LOSSY = {"mp3", "vorbis", "opus", "m4a", "mp4", "mp4-fragmented", "aac", "webm", "matroska", "wma"}


def read(content: bytes, config: AudioConfig = CONFIG) -> np.ndarray:
    blocks = list(read_blocks(io.BytesIO(content), config))
    assert all(block.dtype == np.float32 and block.ndim == 1 for block in blocks)
    return np.concatenate(blocks)


def chirp(seconds: float, rate_hz: int) -> np.ndarray:
    """A tone that rises from 200 to 2000 Hz, and comes and goes: told by its shape."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    phase = 2 * np.pi * (200 * time_s + 900 / seconds * time_s**2)
    return (0.4 * np.sin(phase) * np.sin(3 * time_s) ** 2).astype(np.float32)


def likeness(got: np.ndarray, wanted: np.ndarray) -> float:
    """Return the highest correlation over the delays that encoders add."""
    size = min(len(got), len(wanted)) - 8192
    wanted = wanted[4096 : 4096 + size]
    spectrum = np.fft.rfft(got, 2**18) * np.conj(np.fft.rfft(wanted, 2**18))
    best = np.fft.irfft(spectrum).max()
    return float(best / (np.linalg.norm(got) * np.linalg.norm(wanted)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_whatever_its_name(kind: str) -> None:
    got = read(encode(kind, chirp(3.0, 48_000), 48_000))
    wanted = chirp(3.0, RATE_HZ)
    assert abs(len(got) / RATE_HZ - 3.0) < 0.12
    assert likeness(got, wanted) > 0.97
    if kind not in LOSSY:
        assert len(got) == len(wanted)


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 16_000, 22_050, 44_100, 96_000, 192_000])
def test_every_rate_is_what_decoding_at_once_gives(rate_hz: int) -> None:
    content = encode("wav-24", chirp(2.5, rate_hz), rate_hz)
    wanted = decode_any(content, CONFIG)
    got = read(content)
    assert abs(len(got) - len(wanted)) <= 1
    size = min(len(got), len(wanted))
    np.testing.assert_allclose(got[:size], wanted[:size], atol=2e-3)


@pytest.mark.parametrize("kind", ["wav-16", "flac", "opus", "m4a", "m4a-lossless", "webm"])
def test_channels_are_mixed(kind: str) -> None:
    left = chirp(2.0, 48_000)
    got = read(encode(kind, np.stack([left, 0 * left], axis=1), 48_000))
    assert likeness(got, chirp(2.0, RATE_HZ)) > 0.95
    assert 0.15 < np.abs(got).max() < 0.25


def test_eight_channels() -> None:
    eight = np.repeat(chirp(2.0, 48_000)[:, None], 8, axis=1)
    assert likeness(read(encode("flac", eight, 48_000)), chirp(2.0, RATE_HZ)) > 0.98


@pytest.mark.parametrize("kind", ["wav-16", "mp3", "opus", "m4a", "webm", "aac"])
def test_files_in_a_spool_are_read_like_others(kind: str) -> None:
    content = encode(kind, chirp(1.0, 48_000), 48_000)
    with SpooledTemporaryFile(max_size=1024) as spool:
        spool.write(content)
        blocks = list(read_blocks(spool, CONFIG))
    np.testing.assert_array_equal(np.concatenate(blocks), read(content))


def test_one_sample_is_enough() -> None:
    assert len(read(native(b"\1\0"))) == 1
    assert len(read(encode("wav-16", np.full(1, 0.5, np.float32), 192_000))) == 1


def test_an_mp3_behind_an_id3_tag() -> None:
    tag = b"ID3\4\0\0" + bytes([0, 0, 2, 1]) + bytes(257)
    content = encode("mp3", chirp(1.0, 48_000), 48_000)
    assert likeness(read(tag + content), chirp(1.0, RATE_HZ)) > 0.97
    content = encode("aac", chirp(1.0, 48_000), 48_000)
    assert likeness(read(tag + content), chirp(1.0, RATE_HZ)) > 0.97


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got 0 bytes; needed: an audio file"),
        (b"RIFF\0\0\0\0WAVE", "cannot read the audio: "),
        (native(b""), "got 0 samples; needed: at least 1 sample"),
        (b"fLaC" + bytes(100), "cannot read the audio: "),
        (b"OggS" + bytes(100), "cannot read the audio: "),
        (b"\0\0\0\x20ftypM4A " + bytes(200), "cannot read the audio: "),
        (b"\x1a\x45\xdf\xa3" + bytes(200), "cannot read the audio: "),
        (
            encode("wav-float", np.array([0, np.nan, 0], np.float32), RATE_HZ),
            "got samples that are not finite numbers",
        ),
        (riff(format_chunk(rate_hz=10), chunk(b"data", bytes(400))), "got 10 Hz; needed: 1000"),
        (
            riff(format_chunk(rate_hz=2_000_000_000), chunk(b"data", bytes(400))),
            "got 2000000000 Hz; needed: ",
        ),
        (
            riff(extensible_chunk(channels=64), chunk(b"data", bytes(12_800))),
            "got 64 channels; needed: 1 to 32",
        ),
    ],
)
def test_broken_files_are_refused_in_words(content: bytes, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        read(content)


@pytest.mark.parametrize("content", [b"hello", b"#EXTM3U\n/etc/passwd\n", bytes(1000)])
def test_what_is_no_audio_is_unsupported(content: bytes) -> None:
    with pytest.raises(UnsupportedAudioError, match="no known audio; needed: WAV, FLAC"):
        read(content)


@pytest.mark.parametrize("first", [b"wide", b"free", b"skip"])
def test_a_quicktime_file_that_begins_with_something_else(first: bytes) -> None:
    content = encode("m4a", chirp(2.0, 48_000), 48_000)
    assert content[4:8] == b"ftyp"
    assert likeness(read(content[:4] + first + content[8:]), chirp(2.0, RATE_HZ)) > 0.97


def test_a_pipe_is_read_whole_and_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    content, pipe = encode("flac", chirp(0.5, 22_050), 22_050), tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    np.testing.assert_array_equal(read_recording(pipe, CONFIG), read_recording(content, CONFIG))
    writer.join(60)
    for path in (tmp_path, tmp_path / "none.wav"):
        with pytest.raises(AudioError, match="cannot read the audio"):
            read_recording(path, CONFIG)


@pytest.mark.parametrize("kind", WRITTEN_BY_FFMPEG)
def test_without_pyav_the_extra_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encode(kind, chirp(1.0, 48_000), 48_000)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnsupportedAudioError, match=r"pip install -e '.\[media\]'"):
        read(content)


@pytest.mark.parametrize("kind", ["wav-16", "flac", "mp3", "opus"])
def test_without_pyav_libsndfile_reads_what_it_can(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encode(kind, chirp(1.0, 48_000), 48_000)
    monkeypatch.setitem(sys.modules, "av", None)
    assert likeness(read(content), chirp(1.0, RATE_HZ)) > 0.97
    with pytest.raises(AudioError, match="cannot read the audio"):
        read(b"OggS" + bytes(100))


@needs_proc
def test_an_interrupt_from_the_keyboard_does_not_end_the_decoder() -> None:
    """It goes to a whole group of processes; a service that stops finishes what runs."""
    before = children()
    blocks = read_blocks(io.BytesIO(encode("m4a", chirp(9.0, 48_000), 48_000)), CONFIG)
    first = next(blocks)
    (decoder,) = children() - before
    assert os.getpgid(decoder) != os.getpgrp()
    assert len(first) + sum(map(len, blocks)) > 8.9 * RATE_HZ


def test_a_video_without_sound_is_refused() -> None:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format="mp4") as container:
        track = container.add_stream("mpeg4", rate=10)
        track.width, track.height, track.pix_fmt = 32, 32, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        for packet in (*track.encode(frame), *track.encode(None)):
            container.mux(packet)
    with pytest.raises(AudioError, match="got a file without sound; needed: an audio track"):
        read(buffer.getvalue())


def outcome(content: bytes) -> int:
    """Return how many samples are read; 0 if the file is refused."""
    try:
        return len(read(content))
    except AudioError:
        return 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_cut_off_is_read_or_refused(kind: str) -> None:
    content = encode(kind, babble(2.0, rate_hz=48_000), 48_000)
    for share in (0.02, 0.3, 0.9, 0.99):
        assert outcome(content[: int(share * len(content))]) <= 2.2 * RATE_HZ


@pytest.mark.parametrize("kind", ["wav-16", "flac", "mp3", "opus", "m4a", "webm", "aac"])
def test_a_recording_that_is_too_long_is_refused(kind: str) -> None:
    content = encode(kind, np.zeros(48_000 * 3, np.float32), 48_000)
    with pytest.raises(AudioTooLongError, match="got over 2 s of audio; needed: at most 2 s"):
        read(content, AudioConfig(max_duration_s=2.0))
    assert len(read(content, AudioConfig(max_duration_s=4.0)))


def days_of_silence(kind: str) -> bytes:
    """A file of some kilobytes or megabytes that unpacks to hours."""
    buffer = io.BytesIO()
    form, subtype = {"flac": ("FLAC", "PCM_16"), "opus": ("OGG", "OPUS")}[kind]
    rate_hz, channels = {"flac": (192_000, 8), "opus": (48_000, 1)}[kind]
    with soundfile.SoundFile(buffer, "w", rate_hz, channels, format=form, subtype=subtype) as file:
        second = np.zeros((rate_hz, channels), np.float32)
        for _ in range(120):
            file.write(second)
    return buffer.getvalue()


def hide_length(flac: bytes) -> bytes:
    """Say in the header, as writers to a pipe do, that the length is not known."""
    assert flac[:4] == b"fLaC"
    content = bytearray(flac)
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    return bytes(content)


@pytest.mark.parametrize("kind", ["flac", "opus"])
def test_what_unpacks_to_much_more_costs_no_memory(kind: str) -> None:
    content = days_of_silence(kind)
    content = hide_length(content) if kind == "flac" else content
    tracemalloc.start()
    try:
        with pytest.raises(AudioTooLongError):
            for _ in read_blocks(io.BytesIO(content), CONFIG):
                pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    unpacked = 120 * 4 * {"flac": 192_000 * 8, "opus": 48_000}[kind]
    assert len(content) < unpacked / 200
    assert peak < 12_000_000


def test_a_length_that_is_claimed_is_believed_only_to_refuse() -> None:
    claims = bytearray(encode("flac", babble(1.0), RATE_HZ))
    claims[21:26] = bytes([claims[21] & 0xF0 | 0x0F]) + b"\xff" * 4
    with pytest.raises(AudioTooLongError):
        read(bytes(claims))


@pytest.mark.parametrize("claimed", [2**31 - 1, 2**31, 2**32 - 1, 2**32 - 8])
def test_a_wav_that_promises_more_than_it_has(claimed: int) -> None:
    assert len(read(native(struct.pack("<1000h", *range(1000)), claimed=claimed))) == 1000

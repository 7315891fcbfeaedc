"""Bytes to waveform and back: the strict native check, tolerant decoding, writing."""

from __future__ import annotations

import io
import os
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from config import AudioConfig, AudioError

PCM_SCALE = 32_768.0
MAX_CHUNKS = 64
CODEC_NAMES = {1: "PCM", 3: "IEEE float", 6: "A-law", 7: "mu-law", 0x55: "MP3"}
AUDIO_SUFFIXES = frozenset(
    [
        ".wav",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".aiff",
        ".aif",
        ".aifc",
        ".au",
        ".caf",
        ".w64",
        ".rf64",
        ".sph",
        ".nist",
    ]
)
_PCM = 1
EXTENSIBLE = 0xFFFE
_DECODE_BLOCK_FRAMES = 65_536

Waveform = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class WavHeader:
    """What a RIFF/WAVE header says, with the data's extent cut to the bytes that are there."""

    codec: int
    channels: int
    sample_rate_hz: int
    bits: int
    data_start: int
    data_bytes: int


def decode_native(wav_bytes: bytes, config: AudioConfig) -> Waveform:
    """Return the waveform of a native WAV file.

    Args:
        wav_bytes: a whole RIFF/WAVE file: mono, 16-bit PCM, `config.sample_rate_hz`. A data size
            beyond the file's end, as streaming writers leave it, is cut to the end.

    Returns:
        float32 `[samples]` in [-1, 1).

    Raises:
        AudioError: it is anything else; the message says what was got and what is needed.
    """
    header = read_wav_header(wav_bytes)
    _check_native(header, config)
    samples = np.frombuffer(
        wav_bytes, dtype="<i2", count=header.data_bytes // 2, offset=header.data_start
    )
    return samples.astype(np.float32) / np.float32(PCM_SCALE)


def read_wav_header(wav_bytes: bytes) -> WavHeader:
    """Walk the chunks of a RIFF/WAVE file up to its data; `AudioError` if there is none."""
    if not wav_bytes:
        raise AudioError("got 0 bytes; needed: a WAV file")
    if wav_bytes[:4] != b"RIFF" or wav_bytes[8:12] != b"WAVE":
        raise AudioError("not a WAV file: it does not start with RIFF and WAVE")
    fields: tuple[int, int, int, int] | None = None
    start = 12
    for _ in range(MAX_CHUNKS):
        if start + 8 > len(wav_bytes):
            break
        name, size = struct.unpack_from("<4sI", wav_bytes, start)
        body = start + 8
        if name == b"fmt " and size >= 16 and body + 16 <= len(wav_bytes):
            fields = _read_format(wav_bytes, body, size)
        elif name == b"data":
            if fields is None:
                break
            codec, channels, rate, bits = fields
            return WavHeader(
                codec=codec,
                channels=channels,
                sample_rate_hz=rate,
                bits=bits,
                data_start=body,
                data_bytes=min(size, len(wav_bytes) - body),
            )
        start = body + size + size % 2
    missing = "fmt" if fields is None else "data"
    raise AudioError(f"broken WAV file: no usable {missing} chunk")


def _read_format(wav_bytes: bytes, body: int, size: int) -> tuple[int, int, int, int]:
    """Return codec, channels, rate, bits; an extensible header's codec is in its sub-format."""
    codec, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", wav_bytes, body)
    if codec == EXTENSIBLE and size >= 26 and body + 26 <= len(wav_bytes):
        (codec,) = struct.unpack_from("<H", wav_bytes, body + 24)
    return codec, channels, rate, bits


def native_form(config: AudioConfig) -> str:
    """Say what is needed, for messages."""
    return f"needed: 1 channel, 16-bit PCM, {config.sample_rate_hz} Hz WAV"


def _check_native(header: WavHeader, config: AudioConfig) -> None:
    got = (header.codec, header.channels, header.sample_rate_hz, header.bits)
    if got != (_PCM, 1, config.sample_rate_hz, 16):
        codec = CODEC_NAMES.get(header.codec, f"codec {header.codec}")
        raise AudioError(
            f"got {header.channels} channel{'' if header.channels == 1 else 's'}, "
            f"{header.bits}-bit {codec}, {header.sample_rate_hz} Hz; {native_form(config)}"
        )
    if header.data_bytes < 2:
        raise AudioError("got 0 samples; needed: at least 1 sample")
    check_duration(header.data_bytes // 2, config)


def check_duration(num_samples: int, config: AudioConfig) -> None:
    """Raise `AudioError` for a clip over `config.max_duration_s`."""
    if num_samples > max_num_samples(config):
        raise AudioError(
            f"got over {config.max_duration_s:g} s of audio; "
            f"needed: at most {config.max_duration_s:g} s"
        )


def max_num_samples(config: AudioConfig) -> int:
    """Return the samples of the longest clip."""
    return int(config.max_duration_s * config.sample_rate_hz)


def decode_any(source: bytes | Path, config: AudioConfig) -> Waveform:
    """Return the waveform of any file that libsndfile opens, mixed to mono and resampled.

    Returns:
        float32 `[samples]` in [-1, 1] at `config.sample_rate_hz`, at least one sample.

    Raises:
        AudioError: unreadable, empty, longer than `config.max_duration_s`, or not finite.
    """
    if source == b"":
        raise AudioError("got 0 bytes; needed: an audio file")
    try:
        with soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else source) as f:
            rate_hz = f.samplerate
            mono = _read_mono(f, max_frames=int(config.max_duration_s * rate_hz), config=config)
    except (soundfile.SoundFileError, OSError, ValueError, TypeError) as error:
        raise AudioError(f"cannot read the audio: {reason_of(error)}") from error
    if not mono.size:
        raise AudioError("got 0 samples; needed: at least 1 sample")
    if not np.isfinite(mono).all():
        raise AudioError("got samples that are not finite numbers; needed: values in [-1, 1]")
    mono = np.clip(mono, -1.0, 1.0)
    if rate_hz != config.sample_rate_hz:
        mono = soxr.resample(mono, rate_hz, config.sample_rate_hz)
    return np.clip(mono, -1.0, 1.0) if mono.size else np.zeros(1, np.float32)


def _read_mono(
    file: soundfile.SoundFile, *, max_frames: int, config: AudioConfig
) -> NDArray[np.float32]:
    """Read in blocks, so that a header that promises too much costs nothing."""
    blocks, num_frames = [], 0
    while True:
        block = file.read(_DECODE_BLOCK_FRAMES, dtype="float32", always_2d=True)
        if not len(block):
            break
        num_frames += len(block)
        if num_frames > max_frames:
            raise AudioError(
                f"got over {config.max_duration_s:g} s of audio; "
                f"needed: at most {config.max_duration_s:g} s"
            )
        blocks.append(block.mean(axis=1))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def encode_native(waveform: Waveform, config: AudioConfig) -> bytes:
    """Return a native WAV file; `waveform` is float32 `[samples]` in [-1, 1]."""
    samples = np.clip(np.rint(waveform * PCM_SCALE), -PCM_SCALE, PCM_SCALE - 1).astype("<i2")
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, config.sample_rate_hz, subtype="PCM_16", format="WAV")
    return buffer.getvalue()


def write_native(path: Path, waveform: Waveform, config: AudioConfig) -> None:
    """Write a native WAV file; a broken-off write leaves no half file under `path`."""
    write_atomically(path, encode_native(waveform, config))


def write_atomically(path: Path, content: bytes | str, *, durable: bool = False) -> None:
    """Write beside `path`, then rename, so that a reader sees the old file or the new one.

    With `durable` it holds through a loss of power too, at the price of a wait for the disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def reason_of(error: Exception) -> str:
    """Return one line; libsndfile's own message names the object that held the bytes."""
    text = error.error_string if isinstance(error, soundfile.LibsndfileError) else str(error)
    return " ".join(text.split())

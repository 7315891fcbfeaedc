"""Audio that is broken, lies, or is more than it seems; by seed."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
import soundfile

NATIVE_HZ = 22_050
BOMB_S = 600
MAX_RECORDING_S = 300  # for the service: a bomb is longer


def wav_of(samples: bytes, *, channels: int = 1, rate_hz: int = NATIVE_HZ, bits: int = 16) -> bytes:
    codec, frame = 3 if bits == 32 else 1, channels * bits // 8
    form = struct.pack("<HHIIHH", codec, channels, rate_hz, rate_hz * frame % 2**32, frame, bits)
    data = struct.pack("<4sI", b"data", len(samples)) + samples
    return struct.pack("<4sI4s4sI", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16) + form + data


def _noise(draw: np.random.Generator, num_samples: int) -> bytes:
    return draw.integers(-9000, 9000, num_samples, dtype=np.int16).tobytes()


@cache
def _encoded(form: str, subtype: str, seconds: int, rate_hz: int) -> bytes:
    """Return silence: the longer it is, the better it is compressed."""
    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", samplerate=rate_hz, channels=1, format=form, subtype=subtype
    ) as writer:
        for _ in range(seconds):
            writer.write(np.zeros(rate_hz, np.float32))
    return file.getvalue()


def _truncated(draw: np.random.Generator) -> bytes:
    whole = [wav_of(_noise(draw, 2000)), _encoded("FLAC", "PCM_16", 1, 8000)]
    return whole[int(draw.integers(2))][: int(draw.integers(1, 45))]


def _cut_short(draw: np.random.Generator) -> bytes:
    """Return what a recorder leaves that was switched off: right up to its end."""
    return wav_of(_noise(draw, 2000))[: int(draw.integers(46, 4000))]


def _mislabelled(draw: np.random.Generator) -> bytes:
    starts = [b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"%PDF-1.7", b"\x7fELF", b"<html>", b"\x1f\x8b"]
    return starts[int(draw.integers(len(starts)))] + draw.bytes(int(draw.integers(1, 4000)))


def _huge_sizes(draw: np.random.Generator) -> bytes:
    file, size = bytearray(wav_of(b"")), int(draw.choice([2**31 - 1, 2**31, 2**32 - 1]))
    file[4:8] = file[40:44] = struct.pack("<I", size)
    return bytes(file)


def _huge_flac(draw: np.random.Generator) -> bytes:
    """Say in the header that there are 2**36 - 1 samples, which are not there."""
    file = bytearray(_encoded("FLAC", "PCM_16", 1, 8000)[:200])
    file[21] |= 0x0F
    file[22:26] = b"\xff" * 4
    return bytes(file) + draw.bytes(64)


def _endless_flac(_: np.random.Generator) -> bytes:
    """Leave open in the header how many samples there are: only decoding can tell."""
    file = bytearray(_encoded("FLAC", "PCM_16", BOMB_S, 8000))
    file[21] &= 0xF0
    file[22:26] = bytes(4)
    return bytes(file)


def _another_form(draw: np.random.Generator) -> bytes:
    """Return right audio that is no WAV, as which it is sent."""
    forms = [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16")]
    return _encoded(*forms[int(draw.integers(len(forms)))], 1, 16_000)


def _not_finite(draw: np.random.Generator) -> bytes:
    values = draw.choice(np.array([np.nan, np.inf, -np.inf, 0.5], np.float32), 500)
    return wav_of(values.astype("<f4").tobytes() + b"\0\0\xc0\x7f", bits=32)


def _zlib_bomb(_: np.random.Generator) -> bytes:
    return zlib.compress(bytes(4_000_000), 9)


# Each maker, and whether its file is odd but right, so that it may be transcribed.
AUDIO: dict[str, tuple[Callable[[np.random.Generator], bytes], bool]] = {
    "empty": (lambda _: b"", False),
    "random bytes": (lambda draw: draw.bytes(int(draw.integers(1, 5000))), False),
    "truncated": (_truncated, False),
    "cut short": (_cut_short, True),
    "mislabelled": (_mislabelled, False),
    "another form, mislabelled": (_another_form, True),
    "sizes of 2**31": (_huge_sizes, False),
    "2**36 samples of FLAC": (_huge_flac, False),
    "NaN samples": (_not_finite, False),
    "no samples": (lambda _: wav_of(b""), False),
    "no channels": (lambda draw: wav_of(_noise(draw, 99), channels=0), False),
    "0 Hz": (lambda draw: wav_of(_noise(draw, 99), rate_hz=0), False),
    "2**32 - 1 Hz": (lambda draw: wav_of(_noise(draw, 99), rate_hz=2**32 - 1), True),
    "compressed zeros": (_zlib_bomb, False),
    "FLAC bomb": (lambda _: _encoded("FLAC", "PCM_16", BOMB_S, 8000), False),
    "FLAC bomb of no length": (_endless_flac, False),
    "Vorbis bomb": (lambda _: _encoded("OGG", "VORBIS", BOMB_S, 8000), False),
    "Opus bomb": (lambda _: _encoded("OGG", "OPUS", BOMB_S, 8000), False),
    "1 sample": (lambda draw: wav_of(_noise(draw, 1)), True),
    "8 channels": (lambda draw: wav_of(_noise(draw, 8 * 2205), channels=8), True),
    "192 kHz": (lambda draw: wav_of(_noise(draw, 19_200), rate_hz=192_000), True),
    "1 Hz": (lambda draw: wav_of(_noise(draw, 3), rate_hz=1), True),
}

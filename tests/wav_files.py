"""WAV files byte by byte, for tests: as they should be, and as they should not."""

from __future__ import annotations

import struct

SAMPLES = struct.pack("<6h", 0, 1, -1, 16_384, 32_767, -32_768)
PCM_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")


def chunk(name: bytes, body: bytes, *, claimed: int | None = None) -> bytes:
    """Return a chunk, padded to an even size; `claimed` replaces the size in its header."""
    size = len(body) if claimed is None else claimed
    return struct.pack("<4sI", name, size) + body + b"\0" * (len(body) % 2)


def format_chunk(
    *, codec: int = 1, channels: int = 1, rate_hz: int = 22_050, bits: int = 16, extra: bytes = b""
) -> bytes:
    """Return a `fmt ` chunk."""
    frame_bytes = channels * bits // 8
    rate_bytes = rate_hz * frame_bytes % 2**32
    fields = struct.pack("<HHIIHH", codec, channels, rate_hz, rate_bytes, frame_bytes, bits)
    return chunk(b"fmt ", fields + extra)


def extensible_chunk(*, codec: int = 1, channels: int = 1, bits: int = 16) -> bytes:
    """Return a `fmt ` chunk of WAVE_FORMAT_EXTENSIBLE whose sub-format is `codec`."""
    extra = struct.pack("<HHIH", 22, bits, 0, codec) + PCM_GUID_TAIL
    return format_chunk(codec=0xFFFE, channels=channels, bits=bits, extra=extra)


def riff(*chunks: bytes) -> bytes:
    """Return a RIFF/WAVE file of `chunks`."""
    return chunk(b"RIFF", b"WAVE" + b"".join(chunks))


def native(data: bytes = SAMPLES, *, claimed: int | None = None) -> bytes:
    """Return a mono, 16-bit PCM, 22 050 Hz file."""
    return riff(format_chunk(), chunk(b"data", data, claimed=claimed))

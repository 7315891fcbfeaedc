"""What kind of audio file some bytes are: told by their content, never by a name."""

from __future__ import annotations

from dataclasses import dataclass

HEAD_BYTES = 64
_ID3_HEADER_BYTES = 10
_ASF = bytes.fromhex("3026b2758e66cf11")
_WAVE64 = bytes.fromhex("726966662e91cf11")
_MP4_STARTS = (b"ftyp", b"moov")
_QUICKTIME_STARTS = (b"mdat", b"wide", b"free", b"skip")  # words that a text may have there too
_WAVE_FORMS = (b"RIFF", b"RIFX", b"RF64", b"BW64")


@dataclass(frozen=True)
class Container:
    """A kind of audio file.

    Attributes:
        name: as a person calls it.
        demuxer: FFmpeg's name of what reads it.
        in_libsndfile: whether libsndfile reads it, so that no extra is needed.
    """

    name: str
    demuxer: str
    in_libsndfile: bool = True


WAV = Container("WAV", "wav")
AIFF = Container("AIFF", "aiff")
FLAC = Container("FLAC", "flac")
OGG = Container("Ogg", "ogg")
MP3 = Container("MP3", "mp3")
AAC = Container("AAC", "aac", in_libsndfile=False)
MP4 = Container("M4A or MP4", "mov", in_libsndfile=False)
MATROSKA = Container("WebM or Matroska", "matroska", in_libsndfile=False)
AMR = Container("AMR", "amr", in_libsndfile=False)
WMA = Container("WMA", "asf", in_libsndfile=False)
_STARTS = {
    b"fLaC": FLAC,
    b"OggS": OGG,
    b".snd": Container("AU", "au"),
    b"caff": Container("CAF", "caf"),
    b"NIST_1A": Container("NIST Sphere", "nistsphere"),
    _WAVE64: Container("Wave64", "w64"),
    b"\x1a\x45\xdf\xa3": MATROSKA,
    b"#!AMR": AMR,
    _ASF: WMA,
}


def tell_container(head: bytes) -> Container | None:
    """Return what a file is that starts so; None if no audio file that is known here does.

    Args:
        head: its first `HEAD_BYTES`, or all of it; behind an ID3 tag if it starts with one.
    """
    if head[:4] in _WAVE_FORMS and head[8:12] == b"WAVE":
        return WAV
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return AIFF
    if head[4:8] in _MP4_STARTS or (head[4:8] in _QUICKTIME_STARTS and head[0] < ord(" ")):
        return MP4
    found = (container for start, container in _STARTS.items() if head.startswith(start))
    return next(found, None) or _tell_stream(head)


def id3_bytes(head: bytes) -> int:
    """Return the length of the ID3 tag that a file starts with; 0 without one.

    Source: ID3 tag version 2.4.0, section 3.1: four times seven bits.
    """
    if head[:3] != b"ID3" or len(head) < _ID3_HEADER_BYTES or any(b > 0x7F for b in head[6:10]):
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte
    return _ID3_HEADER_BYTES + size


def _tell_stream(head: bytes) -> Container | None:
    """Tell bare frames by the header of the first (ISO 11172-3, 2.4.1.3; ISO 13818-7, 6.2.1)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    if head[1] & 0xF6 == 0xF0:
        return AAC if head[2] >> 2 & 0xF < 13 else None
    is_frame = head[1] >> 3 & 3 != 1 and head[2] >> 4 != 0xF and head[2] >> 2 & 3 != 3
    return MP3 if is_frame and head[1] & 0x06 else None

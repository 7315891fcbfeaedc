"""What a file is, by its first bytes."""

from __future__ import annotations

import numpy as np
import pytest

from speech.containers import HEAD_BYTES, id3_bytes, tell_container
from tests.media_files import KINDS, encode

NAMES = {
    "rf64": "WAV",
    "wave64": "Wave64",
    "vorbis": "Ogg",
    "opus": "Ogg",
    "webm": "WebM or Matroska",
    "matroska": "WebM or Matroska",
    **dict.fromkeys(["m4a", "mp4", "m4a-lossless", "mp4-fragmented"], "M4A or MP4"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_told_by_its_start(kind: str) -> None:
    content = encode(kind, np.zeros(48_000, np.float32), 48_000)
    container = tell_container(content[:HEAD_BYTES])
    assert container is not None
    assert container.name == NAMES.get(kind, kind.partition("-")[0].upper())


@pytest.mark.parametrize(
    "head",
    [
        b"\0\0\0\x08wide\0\0\x12\x34mdat",
        b"\0\0\0\x08free\0\0\x12\x34mdat",
        b"\0\0\0\x08skip\0\0\x12\x34mdat",
        b"\0\x12\x34\x56mdat\0\0\0\0",
        b"\0\0\0\x14ftypqt  ",
    ],
)
def test_quicktime_has_several_starts(head: bytes) -> None:
    container = tell_container(head)
    assert container is not None
    assert container.demuxer == "mov"


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"The wide world",
        b"Are free",
        b"R",
        b"hello",
        b"#EXTM3U\nhttp://127.0.0.1/secret\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"<?xml version='1.0'?><MPD></MPD>",
        b"RIFF\x10\0\0\0AVI LIST",
        b"RIFF\x10\0\0\0WEBPVP8 ",
        b"%PDF-1.7",
        b"PK\x03\x04",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0\x00\x10JFIF",
        b"\xff\xff\xff\xff\xff\xff",
        bytes(64),
    ],
)
def test_what_is_no_audio_is_not_taken_for_any(head: bytes) -> None:
    assert tell_container(head) is None


def test_the_length_of_an_id3_tag() -> None:
    assert id3_bytes(b"ID3\4\0\0\0\0\2\1" + bytes(9)) == 10 + 257
    assert id3_bytes(b"ID3\4\0\0\0\0\2") == 0
    assert id3_bytes(b"ID3\4\0\0\x80\0\2\1") == 0
    assert id3_bytes(b"fLaC") == 0

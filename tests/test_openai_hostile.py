"""Files that mean harm: each is read or refused, and leaves nothing behind."""

from __future__ import annotations

import gc
import io
import os
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient

import api
from predictor import Predictor
from service_config import ServerConfig
from serving.local import LocalBackend
from tests.clips import babble
from tests.media_files import WRITTEN_BY_FFMPEG, WRITTEN_BY_LIBSNDFILE, encode
from tests.wav_files import chunk, format_chunk, riff

URL = "/v1/audio/transcriptions"
ANSWERS = (200, 400, 413, 415)


@pytest.fixture(scope="module")
def client(model_folder: Path, tmp_path_factory) -> Iterator[TestClient]:
    config = ServerConfig(log_folder=tmp_path_factory.mktemp("logs"), max_recording_s=60.0)
    predictor = Predictor(LocalBackend(model_folder))
    with TestClient(api.create_app(config, load=lambda _: predictor)) as client:
        yield client


def status_of(client: TestClient, content: bytes) -> int:
    response = client.post(URL, files={"file": content}, data={"model": "tiny"})
    error = response.json().get("error")
    assert (error is None) == (response.status_code == 200)
    assert error is None or "\n" not in error["message"]
    return response.status_code


def num_children() -> int:
    me, found = str(os.getpid()), 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            found += path.read_text().rsplit(")", 1)[1].split()[1] == me
        except OSError:
            continue
    return found


def broken(kind: str, count: int) -> Iterator[bytes]:
    """Yield files of `kind` that were cut off, changed, begun by others, or filled up."""
    draw = np.random.default_rng(len(kind))
    whole = encode(kind, babble(0.4, rate_hz=24_000), 24_000)
    for i in range(count):
        content = bytearray(whole)
        if i % 4 == 0:
            content = content[: int(draw.integers(1, len(whole)))]
        elif i % 4 == 1:
            for place in draw.integers(4, min(200, len(whole)), 6):
                content[place] = int(draw.integers(0, 256))
        elif i % 4 == 2:
            for place in draw.integers(0, len(whole), 40):
                content[place] = int(draw.integers(0, 256))
        else:
            start = int(draw.integers(12, 100))
            content[start:] = draw.integers(0, 256, len(whole) - start, np.uint8).tobytes()
        yield bytes(content)


@pytest.mark.parametrize("kind", WRITTEN_BY_LIBSNDFILE)
def test_broken_files_that_libsndfile_reads(client: TestClient, kind: str) -> None:
    seen = Counter(status_of(client, content) for content in broken(kind, 12))
    assert set(seen) <= set(ANSWERS)


@pytest.mark.parametrize("kind", WRITTEN_BY_FFMPEG)
def test_broken_files_that_ffmpeg_reads(client: TestClient, kind: str) -> None:
    seen = Counter(status_of(client, content) for content in broken(kind, 4))
    assert set(seen) <= set(ANSWERS)


def bomb(kind: str) -> bytes:
    """Return a small file that unpacks to much, or claims to."""
    buffer = io.BytesIO()
    if kind == "flac":
        soundfile.write(buffer, np.zeros((192_000 * 90, 8), np.int16), 192_000, format="FLAC")
        return buffer.getvalue()
    if kind == "opus":
        soundfile.write(buffer, np.zeros(48_000 * 90), 48_000, format="OGG", subtype="OPUS")
        return buffer.getvalue()
    if kind == "slow wav":
        return riff(format_chunk(rate_hz=1), chunk(b"data", bytes(100_000)))
    if kind == "fast wav":
        return riff(format_chunk(rate_hz=2**31 - 1), chunk(b"data", bytes(100_000)))
    return m4a_of_many_samples()


def m4a_of_many_samples() -> bytes:
    """Say in four bytes that there are ten million packets, each of which takes an index entry."""
    content = bytearray(encode("m4a-lossless", np.zeros(48_000, np.float32), 48_000))
    count = 10_000_000
    sizes, times, chunks = (content.index(name) for name in (b"stsz", b"stts", b"stsc"))
    content[sizes + 8 : sizes + 16] = struct.pack(">II", 1, count)
    content[times + 12 : times + 16] = struct.pack(">I", count)
    content[chunks + 16 : chunks + 20] = struct.pack(">I", count)
    return bytes(content)


@pytest.mark.parametrize("kind", ["flac", "opus", "slow wav", "fast wav", "m4a"])
def test_bombs(client: TestClient, kind: str) -> None:
    content = bomb(kind)
    assert len(content) < 1_000_000
    assert status_of(client, content) in (400, 413)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_nothing_is_left_behind(client: TestClient) -> None:
    """No thread, process or open file; and no memory, once the first round has warmed it up."""
    files = [
        bomb("opus"),
        bomb("m4a"),
        b"hello",
        *(content for kind in ("wav-24", "flac", "mp3", "webm") for content in broken(kind, 4)),
    ]

    def round_of_all() -> tuple[int, int, int]:
        for content in files:
            assert status_of(client, content) in ANSWERS
        gc.collect()
        num_files = len(list(Path("/proc/self/fd").iterdir()))
        return threading.active_count(), num_children(), num_files

    round_of_all()
    before, memory = round_of_all(), resident_bytes()
    for _ in range(3):
        after = round_of_all()
    assert after == before
    assert before[1] == num_children()
    assert resident_bytes() - memory < 30_000_000

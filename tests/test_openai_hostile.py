"""Files that mean harm: each is read or refused, and leaves nothing behind."""

from __future__ import annotations

import gc
import io
import os
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple, dataclass
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
from tests.processes import children, needs_proc
from tests.wav_files import chunk, format_chunk, riff

URL = "/v1/audio/transcriptions"
ANSWERS = (200, 400, 413, 415)
SETTLE_S = 20.0  # anyio ends threads that were idle for 10 s, when the next one is needed
MAX_ROUND_BYTES = 10_000_000


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


@dataclass(frozen=True)
class Held:
    """What this process has of things that might be left behind."""

    threads: int
    processes: int
    files: int

    @classmethod
    def now(cls) -> Held:
        gc.collect()
        files = list(Path("/proc/self/fd").iterdir())
        return cls(threading.active_count(), len(children()), len(files))

    def is_within(self, other: Held) -> bool:
        """Whether it is no more of anything."""
        counts = zip(astuple(self), astuple(other), strict=True)
        return all(mine <= its for mine, its in counts)


def settled(client: TestClient, before: Held) -> Held:
    """Return what is held once that is no more than before, or is not so for long."""
    until, held = time.monotonic() + SETTLE_S, Held.now()
    while not held.is_within(before) and time.monotonic() < until:
        time.sleep(1)
        assert status_of(client, b"hello") in ANSWERS
        held = Held.now()
    return held


@needs_proc
def test_nothing_is_left_behind(client: TestClient) -> None:
    """No thread, process or open file; and no memory, once the first round has warmed it up."""
    files = [
        bomb("opus"),
        bomb("m4a"),
        b"hello",
        *(content for kind in ("wav-24", "flac", "mp3", "webm") for content in broken(kind, 4)),
    ]

    def growth_of_a_round() -> int:
        memory = resident_bytes()
        for content in files:
            assert status_of(client, content) in ANSWERS
        gc.collect()
        return resident_bytes() - memory

    growth_of_a_round()
    growth_of_a_round()
    before = Held.now()
    grown = [growth_of_a_round() for _ in range(3)]
    held = settled(client, before)
    assert held.is_within(before), f"{before}, and then {held}"
    assert min(grown) < MAX_ROUND_BYTES, f"each round adds to it: {grown}"

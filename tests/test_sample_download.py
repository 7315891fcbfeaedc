"""The front of an archive, from a real server on this machine."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from config import CorpusError
from training.importers import read_ljspeech
from training.sample_download import SAMPLE_FOLDER, download_sample

TEXTS = "".join(f"LJ001-{i:04d}|raw {i}|text {i}\n" for i in range(400))


def archive(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:bz2") as tar:
        for name, content in members:
            info = tarfile.TarInfo(f"LJSpeech-1.1/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def noise(count: int) -> list[tuple[str, bytes]]:
    draw = np.random.default_rng(0)
    return [(f"wavs/LJ001-{i:04d}.wav", draw.bytes(20_000)) for i in range(count)]


class Server(ThreadingHTTPServer):
    """Sends `content`, and counts how much of it was taken."""

    content = b""
    status = 200
    sent = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        try:
            for start in range(0, len(self.server.content), 1 << 16):
                self.server.sent += self.wfile.write(self.server.content[start : start + (1 << 16)])
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def url_of(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/x"


def test_only_the_front_is_taken(server: Server, tmp_path: Path) -> None:
    server.content = archive([("metadata.csv", TEXTS.encode()), *noise(400)])
    seen: list[tuple[int, int]] = []
    corpus = download_sample(
        tmp_path, num_clips=5, url=url_of(server), progress=lambda *done: seen.append(done)
    )
    assert corpus == tmp_path / SAMPLE_FOLDER
    clips = list(read_ljspeech(corpus))
    assert [clip.text for clip in clips] == [f"text {i}" for i in range(5)]
    assert [c.audio.read_bytes() for c in clips] == [content for _, content in noise(5)]
    assert seen == [(i, 5) for i in range(1, 6)]
    assert server.sent < len(server.content)
    assert [path.name for path in tmp_path.iterdir()] == [SAMPLE_FOLDER]
    server.status = 500
    assert download_sample(tmp_path, url=url_of(server)) == corpus


def test_texts_that_come_after_the_clips_are_waited_for(server: Server, tmp_path: Path) -> None:
    server.content = archive([*noise(9), ("metadata.csv", TEXTS.encode())])
    corpus = download_sample(tmp_path, num_clips=3, url=url_of(server))
    assert len(list(read_ljspeech(corpus))) == 3
    assert len(list((corpus / "wavs").iterdir())) == 3


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 404, "status 404"),
        (b"no archive", 200, "cannot take a sample"),
        (archive(noise(3)), 200, "3 clips and 0 texts"),
        (archive([("metadata.csv", TEXTS.encode()), *noise(30)])[:100_000], 200, "cannot take"),
        (archive([("wavs/a.wav", bytes(5 * 1024**2))]), 200, "5242880 bytes or is no file"),
    ],
)
def test_what_is_no_such_archive_leaves_nothing(
    server: Server, tmp_path: Path, content: bytes, status: int, words: str
) -> None:
    server.content, server.status = content, status
    with pytest.raises(CorpusError, match=words):
        download_sample(tmp_path, num_clips=20, url=url_of(server))
    assert not list(tmp_path.iterdir())


def test_no_server_at_all(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot take a sample of http://127"):
        download_sample(tmp_path, url="http://127.0.0.1:9/x", timeout_s=2)

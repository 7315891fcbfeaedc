"""The download of LJSpeech from a real server on this machine that misbehaves on request."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from config import CorpusError
from training.download import DownloadConfig, download, download_ljspeech, unpack

FAST = DownloadConfig(attempts=3, backoff_s=0.0, timeout_s=5.0)
CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `content`; `cuts` and `statuses` are used up, one a request.

    `ranges` holds the Range header of each request, None without one.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.knows_ranges = True
        self.tells_length = True
        self.wrong_starts: list[int] = []
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        """The address of the content."""
        return f"http://127.0.0.1:{self.server_port}/archive"


class Handler(BaseHTTPRequestHandler):
    """One answer, perhaps cut."""

    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        content, size = self.server.content, len(self.server.content)
        if self.server.statuses and (status := self.server.statuses.pop(0)) != 200:
            return self.answer(status, {"Content-Length": "0"}, b"")
        if asked is None or not self.server.knows_ranges:
            told = {"Content-Length": str(size)} if self.server.tells_length else {}
            return self.answer(200, told, content)
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= size:
            told = {"Content-Range": f"bytes */{size}"} if self.server.tells_length else {}
            return self.answer(416, {**told, "Content-Length": "0"}, b"")
        if self.server.wrong_starts:
            start = self.server.wrong_starts.pop(0)
        told = {"Content-Length": str(size - start)} if self.server.tells_length else {}
        told["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        return self.answer(206, told, content[start:])

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Send the answer, of its body only what this request's cut leaves."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: self.server.cuts.pop(0)] if self.server.cuts else body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def names(folder: Path) -> list[str]:
    """Return the names of what is in `folder`."""
    return sorted(path.name for path in folder.iterdir())


def test_a_download_with_its_progress(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = tmp_path / "new" / "file"
    download(
        path,
        url=server.url,
        sha256=SHA256.upper(),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["file"]
    assert server.ranges == [None]
    assert seen == sorted(seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert {total for _, total in seen} == {len(CONTENT)}


def test_a_connection_cut_again_and_again_is_resumed(server: Server, tmp_path: Path) -> None:
    server.cuts = [100_000, 200_000, 300_000, 400_000]
    seen: list[int] = []
    path = tmp_path / "file"
    # More cuts than attempts: whoever makes progress may go on.
    download(
        path,
        url=server.url,
        sha256=SHA256,
        progress=lambda done, _: seen.append(done),
        config=FAST,
    )
    assert path.read_bytes() == CONTENT
    assert server.ranges == [
        None,
        "bytes=100000-",
        "bytes=300000-",
        "bytes=600000-",
        "bytes=1000000-",
    ]
    assert seen == sorted(seen)


def test_what_an_earlier_run_left_is_resumed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    download(tmp_path / "file", url=server.url, sha256=SHA256, config=FAST)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


@pytest.mark.parametrize("cuts", [[], [2000], [500]])
def test_a_server_that_ignores_ranges_starts_anew(
    server: Server, tmp_path: Path, cuts: list[int]
) -> None:
    server.knows_ranges = False
    server.cuts = cuts
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    download(tmp_path / "file", url=server.url, sha256=SHA256, config=FAST)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_and_always_cuts_is_given_up(
    server: Server, tmp_path: Path
) -> None:
    server.knows_ranges = False
    server.cuts = [5000] * 100
    with pytest.raises(CorpusError, match="5000 bytes are kept, and a new download continues"):
        download(tmp_path / "file", url=server.url, sha256=SHA256, config=FAST)
    # The first brings something; three in a row then bring nothing new.
    assert len(server.ranges) == 4
    assert names(tmp_path) == ["file.part"]


@pytest.mark.parametrize("tells_length", [True, False])
def test_a_part_that_is_complete_needs_only_its_name(
    server: Server, tmp_path: Path, tells_length: bool
) -> None:
    server.tells_length = tells_length
    (tmp_path / "file.part").write_bytes(CONTENT)
    download(tmp_path / "file", url=server.url, sha256=SHA256, config=FAST)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert names(tmp_path) == ["file"]
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("start", [0, 999, 1001])
def test_a_server_that_answers_with_another_range_is_asked_for_the_whole(
    server: Server, tmp_path: Path, start: int
) -> None:
    server.wrong_starts = [start]
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    download(tmp_path / "file", url=server.url, sha256=SHA256, config=FAST)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-", None]


def test_a_range_that_only_its_own_header_betrays_as_cut_is_resumed(
    server: Server, tmp_path: Path
) -> None:
    server.tells_length = False
    server.cuts = [500]
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    download(tmp_path / "file", url=server.url, sha256=SHA256, config=FAST)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-", "bytes=1500-"]


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT + b"more")
    download(tmp_path / "file", url=server.url, sha256=SHA256, config=FAST)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    with pytest.raises(CorpusError, match=rf"got {len(CONTENT)} bytes with SHA-256 .*{SHA256}"):
        download(tmp_path / "file", url=server.url, sha256=SHA256, config=FAST)
    assert names(tmp_path) == []
    download(tmp_path / "file", url=server.url, sha256=SHA256, config=FAST)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_an_end_too_early_that_no_length_betrays_is_found_by_the_checksum(
    server: Server, tmp_path: Path
) -> None:
    server.tells_length = False
    server.cuts = [1000]
    with pytest.raises(CorpusError, match="got 1000 bytes with SHA-256"):
        download(tmp_path / "file", url=server.url, sha256=SHA256, config=FAST)
    assert names(tmp_path) == []


def test_busy_servers_are_asked_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429, 200]
    download(tmp_path / "file", url=server.url, sha256=SHA256, config=FAST)
    assert len(server.ranges) == 3
    server.statuses = [503] * 3
    with pytest.raises(CorpusError, match="got status 503; 0 bytes are kept"):
        download(tmp_path / "other", url=server.url, sha256=SHA256, config=FAST)


def test_a_refusal_is_final(server: Server, tmp_path: Path) -> None:
    server.statuses = [404]
    with pytest.raises(CorpusError, match="got status 404; needed: 200 or 206"):
        download(tmp_path / "file", url=server.url, sha256=SHA256, config=FAST)
    assert len(server.ranges) == 1


def test_no_server(tmp_path: Path) -> None:
    # Bound but never listening, so that nobody else takes the port.
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False) as silent:
        silent.server_bind()
        url = f"http://127.0.0.1:{silent.server_port}/"
        with pytest.raises(CorpusError, match=r"cannot download .*0 bytes are kept"):
            download(tmp_path / "file", url=url, sha256=SHA256, config=FAST)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "no address", "http://127.0.0.1:no/"])
def test_an_address_that_is_none(tmp_path: Path, url: str) -> None:
    with pytest.raises(CorpusError, match="cannot download"):
        download(tmp_path / "file", url=url, sha256=SHA256)


def test_a_file_that_is_there_is_kept_if_it_is_right(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    download(tmp_path / "file", url=server.url, sha256=SHA256)
    assert server.ranges == []
    (tmp_path / "file").write_bytes(CONTENT[:-1])
    download(tmp_path / "file", url=server.url, sha256=SHA256)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CorpusError, match="cannot write"):
        download(tmp_path / "file" / "below", url=server.url, sha256=SHA256)


def archive(entries: dict[str, bytes], *links: tuple[str, str]) -> bytes:
    """Return a tar.bz2 of files, and of symbolic links as (name, target)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:bz2") as tar:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return buffer.getvalue()


LJSPEECH = {"LJSpeech-1.1/metadata.csv": b"a|one|one\n", "LJSpeech-1.1/wavs/a.wav": b"RIFF"}


def test_ljspeech_is_downloaded_unpacked_and_then_left_alone(
    server: Server, tmp_path: Path
) -> None:
    server.content = archive(LJSPEECH)
    server.cuts = [50]
    sha256 = hashlib.sha256(server.content).hexdigest()
    # What a run that was killed while it unpacked leaves.
    left = tmp_path / ".LJSpeech-1.1.unpacking" / "LJSpeech-1.1" / "wavs"
    left.mkdir(parents=True)
    (left / "half.wav").touch()
    for _ in range(2):
        corpus = download_ljspeech(tmp_path, url=server.url, sha256=sha256, config=FAST)
        assert corpus == tmp_path / "LJSpeech-1.1"
        assert (corpus / "wavs" / "a.wav").read_bytes() == b"RIFF"
        assert names(corpus / "wavs") == ["a.wav"]
        assert names(tmp_path) == ["LJSpeech-1.1"]
    assert server.ranges == [None, "bytes=50-"]


def test_a_folder_of_that_name_without_a_corpus_is_not_touched(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "LJSpeech-1.1").mkdir()
    with pytest.raises(CorpusError, match=r"is there without metadata\.csv"):
        download_ljspeech(tmp_path, url=server.url, sha256=SHA256)
    assert server.ranges == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive({**LJSPEECH, "../escaped": b"x"}), "outside the destination"),
        (archive({**LJSPEECH, "LJSpeech-1.1/../../escaped": b"x"}), "outside the destination"),
        (archive(LJSPEECH, ("LJSpeech-1.1/link", "../../escaped")), "outside the destination"),
        (archive(LJSPEECH, ("LJSpeech-1.1/link", "/etc")), "absolute path"),
        (
            archive({"Other/metadata.csv": b"x"}),
            r"holds \['Other'\]; needed: LJSpeech-1.1/metadata",
        ),
        (archive({"LJSpeech-1.1/README": b"x"}), "needed: LJSpeech-1.1/metadata.csv"),
        (archive(LJSPEECH)[:-20], "cannot unpack"),
        (b"not an archive", "cannot unpack"),
    ],
)
def test_an_archive_is_unpacked_whole_or_not_at_all(
    tmp_path: Path, content: bytes, message: str
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "archive").write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        unpack(inner / "archive", inner / "LJSpeech-1.1")
    assert names(inner) == ["archive"]
    assert names(tmp_path) == ["inner"]


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"backoff_s": -1.0}, {"timeout_s": 0.0}])
def test_wrong_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="needed: "):
        DownloadConfig(**wrong)  # type: ignore[arg-type]

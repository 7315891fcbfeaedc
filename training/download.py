"""Download of LJSpeech-1.1: resumed where it broke off, verified, unpacked, then renamed."""

from __future__ import annotations

import hashlib
import re
import shutil
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from config import CorpusError

LJSPEECH_URL = "https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2"
LJSPEECH_SHA256 = "be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5"
LJSPEECH_FOLDER = "LJSpeech-1.1"
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class DownloadConfig:
    """How patient a download is.

    Attributes:
        attempts: requests in a row that may bring nothing new before the download fails.
        backoff_s: wait after the first of them; it doubles up to a minute.
        timeout_s: for connecting, and for each read.
    """

    attempts: int = 6
    backoff_s: float = 1.0
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.backoff_s < 0 or self.timeout_s <= 0:
            raise ValueError(f"{self}; needed: at least 1 attempt, a wait from 0, a timeout over 0")


class _DroppedError(Exception):
    """A request that did not bring the rest of the file; another may."""


def download_ljspeech(
    folder: Path,
    *,
    url: str = LJSPEECH_URL,
    sha256: str = LJSPEECH_SHA256,
    progress: Progress | None = None,
    config: DownloadConfig | None = None,
) -> Path:
    """Download LJSpeech-1.1 (2.7 GB) and unpack it (3.8 GB) below `folder`, if it is not there.

    The archive is removed once it is unpacked. A broken-off run leaves what it has downloaded, and
    the next one continues there. Returns the corpus, `folder/LJSpeech-1.1`; the arguments are
    those of `download`.

    Raises:
        CorpusError: as `download` and `unpack`.
    """
    corpus = folder / LJSPEECH_FOLDER
    if (corpus / "metadata.csv").is_file():
        return corpus
    if corpus.exists():
        raise CorpusError(f"{corpus} is there without metadata.csv; needed: to move it away first")
    archive = folder / f"{LJSPEECH_FOLDER}.tar.bz2"
    download(archive, url=url, sha256=sha256, progress=progress, config=config)
    unpack(archive, corpus)
    archive.unlink()
    return corpus


def download(
    path: Path,
    *,
    url: str,
    sha256: str,
    progress: Progress | None = None,
    config: DownloadConfig | None = None,
) -> None:
    """Download `url` to `path`, which gets its name only once its checksum is right.

    The bytes are collected in `path.part`, which a later call continues. A file that is at `path`
    already is kept if its checksum is right, else replaced. `sha256` is in hexadecimal;
    `progress` is called with the bytes that are there and those of the whole file (0: unknown).

    Raises:
        CorpusError: the server refuses, nothing new comes in `config.attempts` requests, the
            checksum is another (what was downloaded is removed), or the disk cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        if path.is_file() and _sha256(path) == sha256.lower():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        _collect(part, url, progress, config or DownloadConfig())
        if (got := _sha256(part)) != sha256.lower():
            size_bytes = _size_bytes(part)
            part.unlink()
            raise CorpusError(
                f"{url}: got {size_bytes} bytes with SHA-256 {got}; needed: {sha256}. "
                "They were removed; a new download may help"
            )
        part.replace(path)
    except OSError as error:
        raise CorpusError(f"cannot write {path}: {error}") from error


def unpack(archive: Path, corpus: Path) -> None:
    """Unpack the folder `corpus.name` of a tar archive to `corpus`, whole or not at all.

    Raises:
        CorpusError: not a tar archive, an unsafe one (paths that lead out, devices), without that
            folder and its `metadata.csv`, or the disk cannot be written.
    """
    temporary = corpus.with_name(f".{corpus.name}.unpacking")
    try:
        # What a killed run left.
        shutil.rmtree(temporary, ignore_errors=True)
        with tarfile.open(archive) as tar:
            tar.extractall(temporary, filter="data")
        if not (temporary / corpus.name / "metadata.csv").is_file():
            found = sorted(entry.name for entry in temporary.iterdir())[:5]
            raise CorpusError(f"{archive} holds {found}; needed: {corpus.name}/metadata.csv")
        (temporary / corpus.name).rename(corpus)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise CorpusError(f"cannot unpack {archive} to {corpus}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _collect(part: Path, url: str, progress: Progress | None, config: DownloadConfig) -> None:
    """Request again and again until `part` is as long as the server says the file is."""
    failures, most_bytes = 0, _size_bytes(part)
    with httpx.Client(timeout=config.timeout_s, follow_redirects=True) as client:
        while True:
            try:
                return _request_rest(client, part, url, progress)
            except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects) as error:
                raise CorpusError(f"cannot download {url!r}: {error}") from error
            except (_DroppedError, httpx.TransportError) as error:
                reason = str(error) or type(error).__name__
            failures = 0 if _size_bytes(part) > most_bytes else failures + 1
            most_bytes = max(most_bytes, _size_bytes(part))
            if failures >= config.attempts:
                raise CorpusError(
                    f"cannot download {url}: {reason}; {_size_bytes(part)} bytes are kept, "
                    "and a new download continues there"
                )
            time.sleep(min(60.0, config.backoff_s * 2 ** max(0, failures - 1)))


def _request_rest(client: httpx.Client, part: Path, url: str, progress: Progress | None) -> None:
    """Append what is missing to `part`; raise `_DroppedError` unless it is complete then."""
    start = _size_bytes(part)
    # Compressed bytes could not be counted against a range.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with client.stream("GET", url, headers=headers) as response:
        range_start, total_bytes = _content_range(response)
        if response.status_code == 416 and start:
            # A server that does not say how long the file is leaves it to the checksum.
            if total_bytes in (0, start):
                return
            part.unlink()
            raise _DroppedError(f"got status 416 for bytes from {start} of {total_bytes}")
        if response.status_code in _RETRIED:
            raise _DroppedError(f"got status {response.status_code}")
        if response.status_code not in (200, 206):
            raise CorpusError(f"{url}: got status {response.status_code}; needed: 200 or 206")
        resumed = response.status_code == 206 and range_start == start
        if response.status_code == 206 and not resumed:
            part.unlink(missing_ok=True)
            raise _DroppedError(f"got bytes from {range_start}; needed: from {start}")
        if not resumed:
            total_bytes = int(response.headers.get("Content-Length", 0))
        _append(response, part, "ab" if resumed else "wb", total_bytes, progress)
    if _size_bytes(part) < total_bytes:
        raise _DroppedError(f"got {_size_bytes(part)} bytes of {total_bytes}")


def _append(
    response: httpx.Response, part: Path, mode: str, total_bytes: int, progress: Progress | None
) -> None:
    with part.open(mode) as file:
        for block in response.iter_raw():
            file.write(block)
            if progress:
                progress(file.tell(), total_bytes)


def _content_range(response: httpx.Response) -> tuple[int, int]:
    """Return the first byte and the whole file's size; -1 and 0 where the server names none."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if not match:
        return -1, 0
    start, total = match.groups()
    return int(start) if start else -1, int(total) if total != "*" else 0


def _size_bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

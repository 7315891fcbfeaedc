"""A few clips of LJSpeech from the front of its archive, without the 2.7 GB that follow."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

import httpx

from config import CorpusError
from speech.audio import write_atomically
from training.download import LJSPEECH_URL

SAMPLE_FOLDER = "LJSpeech-1.1-sample"
_MAX_CLIP_BYTES = 4 * 1024**2
_MAX_METADATA_BYTES = 64 * 1024**2


def download_sample(
    folder: Path,
    *,
    num_clips: int = 100,
    url: str = LJSPEECH_URL,
    timeout_s: float = 30.0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Unpack LJSpeech while it comes, and hang up once `num_clips` clips and their texts are there.

    For a first look: what is not the whole archive has no checksum. Returns a corpus in LJSpeech's
    form, `folder/LJSpeech-1.1-sample`; one that is there already is kept.

    Args:
        progress: called with how many clips are there, and how many are wanted.

    Raises:
        CorpusError: the server refuses or hangs up, it is no such archive, or the disk cannot be
            written.
    """
    corpus = folder / SAMPLE_FOLDER
    if (corpus / "metadata.csv").is_file():
        return corpus
    temporary = folder / f".{SAMPLE_FOLDER}.unpacking"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        (temporary / "wavs").mkdir(parents=True)
        with httpx.stream("GET", url, timeout=timeout_s, follow_redirects=True) as response:
            if response.status_code != 200:
                raise CorpusError(f"{url}: got status {response.status_code}; needed: 200")
            stream = io.BufferedReader(_Incoming(response.iter_raw()), 1 << 16)
            _take(stream, temporary, num_clips, progress)
        temporary.rename(corpus)
    except (httpx.HTTPError, httpx.InvalidURL, tarfile.TarError, EOFError, OSError) as error:
        raise CorpusError(f"cannot take a sample of {url} to {corpus}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return corpus


class _Incoming(io.RawIOBase):
    """The bytes of an answer as a file that can only be read forward."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self.blocks, self.rest = blocks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self.rest:
            self.rest = next(self.blocks, b"")
        count = min(len(buffer), len(self.rest))
        buffer[:count], self.rest = self.rest[:count], self.rest[count:]
        return count


def _take(
    stream: IO[bytes] | io.BufferedReader,
    corpus: Path,
    num_clips: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Read members until there are enough clips, and the table of texts, wherever it lies."""
    lines: list[str] = []
    names: set[str] = set()
    with tarfile.open(fileobj=stream, mode="r|*") as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if path.name == "metadata.csv":
                content = _content(tar, member, _MAX_METADATA_BYTES)
                lines = content.decode("utf-8", "replace").splitlines()
            elif path.suffix == ".wav" and len(names) < num_clips:
                clip = _content(tar, member, _MAX_CLIP_BYTES)
                (corpus / "wavs" / path.name).write_bytes(clip)
                names.add(path.stem)
                if progress:
                    progress(len(names), num_clips)
            if lines and len(names) >= num_clips:
                break
    own = [line for line in lines if line.partition("|")[0] in names]
    if not own:
        raise CorpusError(
            f"got {len(names)} clips and {len(lines)} texts, none of which belong together; "
            "needed: an archive of LJSpeech"
        )
    write_atomically(corpus / "metadata.csv", "".join(f"{line}\n" for line in own))


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, max_bytes: int) -> bytes:
    file = tar.extractfile(member) if member.size <= max_bytes else None
    if file is None:
        raise CorpusError(
            f"{member.name} has {member.size} bytes or is no file; needed: {max_bytes} at most"
        )
    return file.read()

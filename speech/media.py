"""Audio that libsndfile does not read, through PyAV (FFmpeg): the extra `media`."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import select
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, BinaryIO

import numpy as np

from config import AudioError, GivenUpError
from speech.audio import Waveform

MEDIA_SUFFIXES = frozenset(
    [".m4a", ".mp4", ".m4b", ".mov", ".aac", ".webm", ".mka", ".mkv", ".amr", ".wma"]
)
_DECODER = Path(__file__).with_name("media_decoder.py")
_FAILED = 2  # as `media_decoder.py` has it, which needs PyAV to be imported
_MAX_LINE_BYTES = 4096
_SAMPLE_BYTES = 4
_BLOCK_FRAMES = 65_536
_FEWEST_PLACES, _MOST_PLACES = (
    4,
    8,
)  # each may take half a gigabyte, and mostly waits for its reader
_LONGEST_SILENCE_S, _LOOK_S = 60.0, 0.1
# All that Python and its libraries may need: keys and tokens are no business of the decoder's.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH", "TMPDIR")


def has_media() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


@contextmanager
def opened_media(
    file: BinaryIO, demuxer: str, *, given_up: threading.Event | None = None
) -> Iterator[MediaSource]:
    """Open a file as what it is known to be, in a process that ends with this context.

    There is room for some processes at a time, about one a processor: it waits for its place.

    Args:
        file: readable and seekable.
        demuxer: FFmpeg's name of the kind.
        given_up: set once nobody waits for the samples.

    Raises:
        AudioError: it is broken, has no sound, or takes too much to decode.
        GivenUpError: `given_up` was set, even if the process was busy.
    """
    with _place(given_up), _on_disk(file) as source, _process(source, demuxer) as process:
        yield MediaSource(process, given_up)


@contextmanager
def _place(given_up: threading.Event | None) -> Iterator[None]:
    places = _places()
    while not places.acquire(timeout=_LOOK_S):
        _check_wanted(given_up)
    try:
        yield
    finally:
        places.release()


@cache
def _places() -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(min(max(_FEWEST_PLACES, os.cpu_count() or 1), _MOST_PLACES))


def _check_wanted(given_up: threading.Event | None) -> None:
    if given_up is not None and given_up.is_set():
        raise GivenUpError("the client went while its file was decoded")


@contextmanager
def _process(source: BinaryIO, demuxer: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-P", str(_DECODER), demuxer],
        stdin=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        process_group=0,  # an interrupt from the keyboard is not for it: what runs is finished
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


class MediaSource:
    """The first audio track of a file."""

    def __init__(
        self, process: subprocess.Popen[bytes], given_up: threading.Event | None = None
    ) -> None:
        self._process = process
        samples, self._errors = _pipes(process)
        self._samples = _Output(samples, given_up)
        first = self._samples.readline()
        if not first:
            self._check_end()
        form = json.loads(first)
        self.rate_hz, self.channels = int(form["rate_hz"]), int(form["channels"])
        self.claimed_s: float | None = form["claimed_s"]

    def blocks(self) -> Iterator[Waveform]:
        """Yield float32 `[frames, channels]`, a second each at most."""
        frame_bytes = _SAMPLE_BYTES * self.channels
        size = frame_bytes * min(self.rate_hz, _BLOCK_FRAMES)
        while content := self._samples.read(size):
            whole = len(content) // frame_bytes * self.channels
            yield np.frombuffer(content, np.float32, whole).reshape(-1, self.channels)
        self._check_end()

    def _check_end(self) -> None:
        """Return if all was well; else raise what the process said."""
        said = self._errors.read(_MAX_LINE_BYTES).decode(errors="replace").strip()
        code = self._process.wait()
        if code == _FAILED and said:
            raise AudioError(said)
        if code:
            raise AudioError("cannot read the audio: FFmpeg failed on it")


class _Output:
    """What a process writes, awaited for as long as somebody waits for it, and no longer."""

    def __init__(self, pipe: IO[bytes], given_up: threading.Event | None) -> None:
        self._pipe, self._given_up = pipe, given_up
        self._waiting = select.poll()
        self._waiting.register(pipe, select.POLLIN)
        self._read = bytearray()

    def readline(self) -> bytes:
        """Return the first line, or what there is of it."""
        while b"\n" not in self._read and len(self._read) < _MAX_LINE_BYTES and self._more():
            pass
        return self._take(self._read.find(b"\n") + 1)

    def read(self, size: int) -> bytes:
        """Return so many bytes, or all up to the end."""
        while len(self._read) < size and self._more():
            pass
        return self._take(size)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._read[:size])
        del self._read[:size]
        return taken

    def _more(self) -> bool:
        """Read what there is; return whether there may be more."""
        ends_at = time.monotonic() + _LONGEST_SILENCE_S
        while not self._waiting.poll(1000 * _LOOK_S):
            _check_wanted(self._given_up)
            if time.monotonic() > ends_at:
                raise AudioError("got a file that takes too long to decode; needed: another form")
        content = os.read(self._pipe.fileno(), _BLOCK_FRAMES)
        self._read += content
        return bool(content)


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if process.stdout is None or process.stderr is None:
        raise ValueError("a process without pipes; needed: those of its outputs")
    return process.stdout, process.stderr


@contextmanager
def _on_disk(file: BinaryIO) -> Iterator[BinaryIO]:
    """Yield a file that another process can read from its start."""
    file.seek(0)
    try:
        os.lseek(file.fileno(), 0, os.SEEK_SET)  # the file's own place may be in a buffer of it
        yield file
    except io.UnsupportedOperation:  # it is in memory
        with TemporaryFile() as copy:
            shutil.copyfileobj(file, copy)
            copy.seek(0)
            yield copy

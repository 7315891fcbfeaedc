"""Audio that libsndfile does not read, through PyAV (FFmpeg): the extra `media`."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, BinaryIO

import numpy as np

from config import AudioError
from speech.audio import Waveform

_DECODER = Path(__file__).with_name("media_decoder.py")
_FAILED = 2  # as `media_decoder.py` has it, which needs PyAV to be imported
_MAX_LINE_BYTES = 4096
_SAMPLE_BYTES = 4


def has_media() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


@contextmanager
def opened_media(file: BinaryIO, demuxer: str) -> Iterator[MediaSource]:
    """Open a file as what it is known to be, in a process that ends with this context.

    Args:
        file: readable and seekable.
        demuxer: FFmpeg's name of the kind.

    Raises:
        AudioError: it is broken, has no sound, or takes too much to decode.
    """
    with _on_disk(file) as source:
        process = subprocess.Popen(
            [sys.executable, "-P", str(_DECODER), demuxer],
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,  # an interrupt from the keyboard is not for it: what runs is finished
        )
    try:
        yield MediaSource(process)
    finally:
        process.kill()
        process.communicate()


class MediaSource:
    """The first audio track of a file."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._samples, self._errors = _pipes(process)
        first = self._samples.readline(_MAX_LINE_BYTES)
        if not first:
            self._check_end()
        form = json.loads(first)
        self.rate_hz, self.channels = int(form["rate_hz"]), int(form["channels"])
        self.claimed_s: float | None = form["claimed_s"]

    def blocks(self) -> Iterator[Waveform]:
        """Yield float32 `[frames, channels]`, a second each."""
        frame_bytes = _SAMPLE_BYTES * self.channels
        while content := self._samples.read(frame_bytes * self.rate_hz):
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

"""Where live audio comes from: a microphone, or a file played as if it were one."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from config import AudioError
from speech.audio import PCM_SCALE, Waveform

CHUNK_S = 0.04
_MAX_WAITING = 1500  # chunks: a minute
_EXTRA = "pip install -e '.[microphone]'"
_LIBRARY = "on Debian and Ubuntu the package libportaudio2, elsewhere PortAudio"


@dataclass(frozen=True)
class Source:
    """Mono 16-bit little-endian PCM in pieces, each given out when it was heard."""

    sample_rate_hz: int
    chunks: Iterator[bytes]


def to_pcm(waveform: Waveform) -> bytes:
    """Return 16-bit little-endian PCM of float32 `[samples]` in [-1, 1]."""
    scaled = np.rint(np.clip(waveform, -1.0, 1.0) * PCM_SCALE)
    return np.minimum(scaled, PCM_SCALE - 1).astype("<i2").tobytes()


@contextmanager
def open_file(path: Path, *, speed: float, stop: threading.Event) -> Iterator[Source]:
    """Play a file that libsndfile opens, mixed to mono, until its end or until `stop` is set.

    Args:
        speed: 1 plays as fast as it was spoken.

    Raises:
        AudioError: the file cannot be read.
    """
    try:
        content = path.open("rb")  # libsndfile would not say why it cannot be opened
    except OSError as error:
        raise AudioError(f"cannot read {path}: {error.strerror}") from error
    try:
        with content, soundfile.SoundFile(content) as file:
            yield Source(file.samplerate, _play(file, speed, stop))
    except soundfile.LibsndfileError as error:
        raise AudioError(f"cannot read {path}: {error.error_string}") from error


def _play(file: soundfile.SoundFile, speed: float, stop: threading.Event) -> Iterator[bytes]:
    length, started, played = round(CHUNK_S * file.samplerate), time.monotonic(), 0
    while not stop.is_set():
        block = file.read(length, dtype="float32", always_2d=True)
        if not len(block):
            return
        if not np.isfinite(block).all():
            raise AudioError("got samples that are not finite numbers; needed: values in [-1, 1]")
        played += len(block)
        due_s = started + played / file.samplerate / speed - time.monotonic()
        if due_s > 0:
            stop.wait(due_s)
        yield to_pcm(block.mean(axis=1))


@contextmanager
def open_microphone(*, stop: threading.Event, device: str | None = None) -> Iterator[Source]:
    """Listen to a microphone until `stop` is set.

    Args:
        device: part of its name, or its number; the system's default if None.

    Raises:
        AudioError: no microphone, or what is needed for one is not installed.
    """
    sounddevice, heard = _import_sounddevice(), queue.Queue[bytes](_MAX_WAITING)

    def hear(block: Any, *_: object) -> None:
        if not heard.full():  # a machine that is a minute behind hears no more
            heard.put_nowait(bytes(block))

    try:
        chosen = int(device) if device and device.isdigit() else device
        rate_hz = round(sounddevice.query_devices(chosen, "input")["default_samplerate"])
        with sounddevice.RawInputStream(
            samplerate=rate_hz,
            blocksize=round(CHUNK_S * rate_hz),
            device=chosen,
            channels=1,
            dtype="int16",
            callback=hear,
        ):
            yield Source(rate_hz, _heard(heard, stop))
    except (sounddevice.PortAudioError, ValueError) as error:
        raise AudioError(f"no microphone can be used: {error}") from error


def _heard(heard: queue.Queue[bytes], stop: threading.Event) -> Iterator[bytes]:
    while not stop.is_set():
        try:
            yield heard.get(timeout=0.1)
        except queue.Empty:
            continue


def _import_sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise AudioError(f"a microphone needs the extra `microphone`: {_EXTRA}") from error
    except OSError as error:
        raise AudioError(f"a microphone needs a library, {_LIBRARY}: {error}") from error
    return sounddevice


def gathered(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what came since the last time, so that a slow caller gets more at a time.

    The chunks are taken in a thread; what that raises is raised here.
    """
    waiting: queue.Queue[bytes | BaseException | None] = queue.Queue(_MAX_WAITING)

    def take() -> None:
        try:
            for chunk in chunks:
                waiting.put(chunk)
            waiting.put(None)
        except BaseException as error:
            waiting.put(error)

    threading.Thread(target=take, name="audio", daemon=True).start()
    while True:
        items = [waiting.get()]
        while not waiting.empty():
            items.append(waiting.get())
        if together := b"".join(item for item in items if isinstance(item, bytes)):
            yield together
        if isinstance(items[-1], BaseException):
            raise items[-1]
        if items[-1] is None:
            return

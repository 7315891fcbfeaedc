"""Files of any kind and length to a waveform, a block at a time: memory holds one block."""

from __future__ import annotations

import io
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import soundfile
import soxr

from config import AudioConfig, AudioError, AudioTooLongError, UnsupportedAudioError
from speech.audio import Waveform, reason_of
from speech.containers import HEAD_BYTES, Container, id3_bytes, tell_container
from speech.media import has_media, opened_media

MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000
MAX_CHANNELS = 32
_BLOCK_FRAMES = 65_536
_KNOWN = "WAV, FLAC, MP3, Ogg (Vorbis, Opus), AIFF, M4A, MP4, AAC or WebM"


def read_blocks(
    file: BinaryIO, config: AudioConfig, *, given_up: threading.Event | None = None
) -> Generator[Waveform]:
    """Yield the waveform of an audio file: mixed to mono, resampled, about a second at a time.

    What the file is, its content says. libsndfile reads it, or PyAV what libsndfile cannot read.
    Close what is not read to its end.

    Args:
        file: readable and seekable; read from its start.
        given_up: set once nobody waits for the samples.

    Yields:
        float32 `[samples]` in [-1, 1] at `config.sample_rate_hz`.

    Raises:
        UnsupportedAudioError: no audio that is known, or PyAV is needed and not installed.
        AudioTooLongError: over `config.max_duration_s`; at once if the file says so itself.
        AudioError: broken, without samples, or samples that are not finite.
        GivenUpError: `given_up` was set while PyAV was at work.
    """
    with _readable():
        container = _tell(file)
    with _opened(file, container, given_up) as source:
        _check_form(source, config)
        resampler = _Resampler(source.rate_hz, config.sample_rate_hz)
        num_frames = 0
        for frames in source.blocks():
            num_frames += len(frames)
            _check_seconds(num_frames / source.rate_hz, config)
            yield from resampler.resample(_to_mono(frames))
        if not num_frames:
            raise AudioError("got 0 samples; needed: at least 1 sample")
        yield from resampler.end()


def read_recording(source: bytes | Path, config: AudioConfig) -> Waveform:
    """Return the waveform of a whole audio file: what `read_blocks` yields, in one piece.

    Returns:
        float32 `[samples]` in [-1, 1] at `config.sample_rate_hz`, at least one sample.

    Raises:
        AudioError: as `read_blocks`, and a file that cannot be opened.
    """
    with _readable():
        file = io.BytesIO(source) if isinstance(source, bytes) else _seekable(source)
    with file, closing(read_blocks(file, config)) as blocks:
        return np.concatenate(list(blocks))


def _seekable(path: Path) -> BinaryIO:
    """Open a file, or read all of what has no places in it, as a pipe."""
    file = path.open("rb")
    if file.seekable():
        return file
    with file:
        return io.BytesIO(file.read())


class Source(Protocol):
    """An opened file: its form, the duration that it claims, and its samples."""

    rate_hz: int
    channels: int
    claimed_s: float | None

    def blocks(self) -> Iterator[Waveform]:
        """Yield float32 `[frames, channels]`, each of about a second at most."""


class _Calm:
    """A file that stays where it is if it is sent where it cannot go.

    Broken headers make libsndfile seek before the start; an error has no way through its callbacks.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.tell, self._file = file.read, file.tell, file

    def seek(self, offset: int, whence: int = 0) -> int:
        with suppress(ValueError, OSError):
            self._file.seek(offset, whence)
        return self._file.tell()


class _SndfileSource:
    """A file that libsndfile reads."""

    def __init__(self, file: soundfile.SoundFile) -> None:
        self._file = file
        self.rate_hz, self.channels = file.samplerate, file.channels
        is_known = 0 < file.frames < 2**62
        self.claimed_s = file.frames / self.rate_hz if is_known and self.rate_hz else None

    def blocks(self) -> Iterator[Waveform]:
        """See `Source.blocks`."""
        size = min(_BLOCK_FRAMES, self.rate_hz)
        while True:
            with _readable():
                frames = self._file.read(size, dtype="float32", always_2d=True)
            if not len(frames):
                return
            yield frames


@contextmanager
def _opened(
    file: BinaryIO, container: Container, given_up: threading.Event | None
) -> Iterator[Source]:
    if not container.in_libsndfile:
        with _media(file, container, given_up) as source:
            yield source
        return
    try:
        with _readable():
            opened = soundfile.SoundFile(_Calm(file))
    except AudioError:
        if not has_media():
            raise
        with _media(file, container, given_up) as source:
            yield source
        return
    with opened:
        yield _SndfileSource(opened)


@contextmanager
def _media(
    file: BinaryIO, container: Container, given_up: threading.Event | None
) -> Iterator[Source]:
    if not has_media():
        raise UnsupportedAudioError(
            f"got {container.name} audio, which cannot be read here without PyAV; needed: "
            "pip install -e '.[media]' where it runs, or a file of WAV, FLAC, MP3 or Ogg"
        )
    with opened_media(file, container.demuxer, given_up=given_up) as source:
        yield source


@contextmanager
def _readable() -> Iterator[None]:
    """Say in one line what libsndfile finds wrong."""
    try:
        yield
    except (soundfile.SoundFileError, OSError, ValueError, TypeError) as error:
        raise AudioError(f"cannot read the audio: {reason_of(error)}") from error


def _tell(file: BinaryIO) -> Container:
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if not head:
        raise AudioError("got 0 bytes; needed: an audio file")
    if skipped := id3_bytes(head):
        file.seek(skipped)
        head = file.read(HEAD_BYTES)
    container = tell_container(head)
    file.seek(0)
    if container is None:
        raise UnsupportedAudioError(f"got content that is no known audio; needed: {_KNOWN}")
    return container


def _check_form(source: Source, config: AudioConfig) -> None:
    if not MIN_RATE_HZ <= source.rate_hz <= MAX_RATE_HZ:
        raise AudioError(
            f"got {source.rate_hz} Hz; needed: {MIN_RATE_HZ} to {MAX_RATE_HZ} samples a second"
        )
    if not 1 <= source.channels <= MAX_CHANNELS:
        raise AudioError(f"got {source.channels} channels; needed: 1 to {MAX_CHANNELS}")
    if source.claimed_s is not None:
        _check_seconds(source.claimed_s, config)


def _check_seconds(seconds: float, config: AudioConfig) -> None:
    if seconds > config.max_duration_s:
        limit = f"{config.max_duration_s:g} s"
        raise AudioTooLongError(f"got over {limit} of audio; needed: at most {limit}")


def _to_mono(frames: Waveform) -> Waveform:
    with np.errstate(invalid="ignore", over="ignore"):  # what comes of it is refused
        mono = frames.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise AudioError("got samples that are not finite numbers; needed: values in [-1, 1]")
    return np.clip(mono, -1.0, 1.0)


class _Resampler:
    """Changes the rate of a waveform that comes in blocks."""

    def __init__(self, rate_hz: int, wanted_hz: int) -> None:
        is_same = rate_hz == wanted_hz
        self._stream = None if is_same else soxr.ResampleStream(rate_hz, wanted_hz, 1)
        self._is_empty = True

    def resample(self, waveform: Waveform, *, is_end: bool = False) -> Iterator[Waveform]:
        if self._stream is not None:
            waveform = np.clip(self._stream.resample_chunk(waveform, last=is_end), -1.0, 1.0)
        if len(waveform):
            self._is_empty = False
            yield waveform

    def end(self) -> Iterator[Waveform]:
        yield from self.resample(np.zeros(0, np.float32), is_end=True)
        if self._is_empty:  # one sample of a higher rate is less than one of a lower
            yield np.zeros(1, np.float32)

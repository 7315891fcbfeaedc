"""Audio that libsndfile does not read, through PyAV (FFmpeg): the extra `media`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import av
import numpy as np

from config import AudioError
from speech.audio import Waveform

_PER_SECOND = 1_000_000


@contextmanager
def opened_media(file: BinaryIO, demuxer: str) -> Iterator[MediaSource]:
    """Open a file as what it is known to be; `AudioError` if it is broken or has no sound.

    FFmpeg is told the kind. Left to guess, it would also take playlists, which name other files.

    Args:
        file: readable and seekable, at its start.
        demuxer: FFmpeg's name of the kind.
    """
    with _readable():
        container = av.open(file, mode="r", format=demuxer)
    with container:
        if not container.streams.audio:
            raise AudioError("got a file without sound; needed: an audio track")
        yield MediaSource(container)


class MediaSource:
    """The first audio track of a file."""

    def __init__(self, container: av.container.InputContainer) -> None:
        self._container, self._track = container, container.streams.audio[0]
        self._track.codec_context.thread_count = 1
        self.rate_hz, self.channels = self._track.rate or 0, self._track.channels
        self.claimed_s = self._claimed_s()

    def _claimed_s(self) -> float | None:
        if self._track.duration and self._track.time_base:
            return float(self._track.duration * self._track.time_base)
        return self._container.duration / _PER_SECOND if self._container.duration else None

    def blocks(self) -> Iterator[Waveform]:
        """See `Source.blocks`; frames are gathered up to a second."""
        held: list[Waveform] = []
        num_held = 0
        for frames in self._frames():
            held.append(frames)
            num_held += len(frames)
            if num_held >= self.rate_hz:
                yield np.concatenate(held)
                held, num_held = [], 0
        if held:
            yield np.concatenate(held)

    def _frames(self) -> Iterator[Waveform]:
        resampler = av.AudioResampler(format="fltp")
        decoded = self._container.decode(self._track)
        while True:
            with _readable():
                frame = next(decoded, None)
                parts = resampler.resample(frame)
            for part in parts:
                if part.sample_rate != self.rate_hz:
                    raise AudioError(
                        f"got audio that changes from {self.rate_hz} Hz to {part.sample_rate} Hz; "
                        "needed: one rate"
                    )
                yield np.asarray(part.to_ndarray().T, np.float32)
            if frame is None:
                return


@contextmanager
def _readable() -> Iterator[None]:
    """Say in one line what FFmpeg finds wrong."""
    try:
        yield
    except (av.FFmpegError, ValueError, OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioError(f"cannot read the audio: {reason}") from error

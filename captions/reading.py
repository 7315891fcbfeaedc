"""What was said in a window of audio that grows: the window anew each time, or only what is new."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from captions.hearing import RecentAudio
from config import GivenUpError
from predictor import Predictor
from speech.audio import Waveform
from speech.decoding.decoder import DecodingOptions
from speech.segmentation import Span
from speech.transcript import Transcript

NOTHING: Waveform = np.zeros(0, np.float32)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How windows are transcribed.

    Args:
        whole: of windows that may be final,
        so_far: and of those that go on.
        given_up: set once nobody waits; what is asked then raises `GivenUpError`.
    """

    predictor: Predictor
    audio: RecentAudio
    whole: DecodingOptions
    so_far: DecodingOptions
    given_up: threading.Event | None = None


class Reader(Protocol):
    """Transcribes windows of one session; those of an utterance have the same start."""

    def so_far(self, window: Span) -> Transcript:
        """Return what is known of a window that goes on."""

    def whole(self, window: Span, rest: Waveform = NOTHING) -> Transcript:
        """Return what was said in a window, and the `rest` behind it, as if it ended there."""


class WindowReader:
    """Computes each window from its start, for networks that hear both ways."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._last: tuple[Span, Transcript] | None = None

    def so_far(self, window: Span) -> Transcript:
        """See `Reader.so_far`."""
        return self._transcribe(self._samples(window), self._reading.so_far)

    def whole(self, window: Span, rest: Waveform = NOTHING) -> Transcript:
        """See `Reader.whole`; what was asked last is not computed again."""
        if not len(rest) and self._last is not None and self._last[0] == window:
            return self._last[1]
        samples = np.concatenate([self._samples(window), rest])
        transcript = self._transcribe(samples, self._reading.whole)
        self._last = (window, transcript)
        return transcript

    def _samples(self, window: Span) -> Waveform:
        return self._reading.audio.between(window.start, window.end)

    def _transcribe(self, samples: Waveform, options: DecodingOptions) -> Transcript:
        given_up = self._reading.given_up
        return self._reading.predictor.transcribe_clip(samples, options, given_up=given_up)


class NoStreamsError(ValueError):
    """The model computes no clip while it is heard."""


class StreamReader:
    """Carries a network's state from window to window, and decodes all that it gave so far.

    What it says of a whole window is what the network says of it as one clip. A window that ends
    before what was heard already is computed from its start.
    """

    def __init__(self, reading: Reading) -> None:
        """Read with a model that has streams; `NoStreamsError` if it has none."""
        self._reading = reading
        self._last: tuple[Span, Transcript] | None = None
        self._restart(0)

    def so_far(self, window: Span) -> Transcript:
        """See `Reader.so_far`; the last frames wait for those after them."""
        self._hear(window)
        return self._decode(self._log_probs, window.num_samples, self._reading.so_far)

    def whole(self, window: Span, rest: Waveform = NOTHING) -> Transcript:
        """See `Reader.whole`; what was asked last is not computed again."""
        if not len(rest) and self._last is not None and self._last[0] == window:
            return self._last[1]
        self._hear(window)
        log_probs = [*self._log_probs, self._stream.finish(rest)]
        num_samples = window.num_samples + len(rest)
        transcript = self._decode(log_probs, num_samples, self._reading.whole)
        self._last = (window, transcript)
        return transcript

    def _restart(self, start: int) -> None:
        stream = self._reading.predictor.open_stream()
        if stream is None:
            raise NoStreamsError("the model has no streams; needed: forward GRUs, in this process")
        self._stream, self._start, self._end = stream, start, start
        self._log_probs: list[NDArray[np.float32]] = []

    def _hear(self, window: Span) -> None:
        """Compute what is new of a window."""
        given_up = self._reading.given_up
        if given_up is not None and given_up.is_set():
            raise GivenUpError("nobody waits for the captions")
        if window.start != self._start or window.end < self._end:
            self._restart(window.start)
        if window.end > self._end:
            samples = self._reading.audio.between(self._end, window.end)
            self._log_probs.append(self._stream.feed(samples))
            self._end = window.end

    def _decode(
        self, log_probs: Sequence[NDArray[np.float32]], num_samples: int, options: DecodingOptions
    ) -> Transcript:
        predictor = self._reading.predictor
        if any(map(len, log_probs)):
            return predictor.transcript_of(np.concatenate(log_probs), num_samples, options)
        return Transcript(
            text="",
            confidence=1.0,
            duration_s=round(num_samples / predictor.audio.sample_rate_hz, 3),
            model=predictor.pipeline.name,
        )


def make_reader(reading: Reading, *, streams: bool) -> Reader:
    """Return a reader that carries the network's state, if that is wanted and the model can."""
    if streams:
        with suppress(NoStreamsError):
            return StreamReader(reading)
    return WindowReader(reading)

"""Where there is speech in audio that goes on; and its last seconds, kept."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from speech.audio import Waveform
from speech.loudness import (
    Levels,
    SegmentationConfig,
    frame_length_of,
    frame_power,
    join_runs,
    loud_runs,
    over_noise,
    speech_runs,
    to_levels,
)
from speech.segmentation import Span


class RecentAudio:
    """The last blocks of a waveform that goes on, all of one length."""

    def __init__(self, block_length: int) -> None:
        self._block_length = block_length
        self._blocks: deque[Waveform] = deque()
        self.start = self.end = 0

    def append(self, block: Waveform) -> None:
        """Take the next block."""
        self._blocks.append(block)
        self.end += self._block_length

    def forget(self, before: int) -> None:
        """Drop the blocks that lie wholly before this sample."""
        while self._blocks and self.start + self._block_length <= before:
            self._blocks.popleft()
            self.start += self._block_length

    def between(self, start: int, end: int) -> Waveform:
        """Return float32 `[end - start]`; both lie in what is kept."""
        first, last = start - self.start, end - self.start
        blocks = list(self._blocks)[first // self._block_length : -(-last // self._block_length)]
        offset = first // self._block_length * self._block_length
        return np.concatenate(blocks)[first - offset : last - offset]


class SpeechTracker:
    """The levels of the last seconds, and where they say that there is speech.

    The same measure as for whole recordings (`speech.loudness`), but that the noise floor is
    that of the past: what is to come is not known.
    """

    def __init__(
        self, *, sample_rate_hz: int, config: SegmentationConfig, history_s: float
    ) -> None:
        self._rate_hz, self._config = sample_rate_hz, config
        self.frame_length = frame_length_of(sample_rate_hz, config)
        self._max_frames = round(history_s / config.frame_s)
        self._power: Levels = np.zeros((0, 1), np.float32)
        self._levels: Levels = self._power[:, 0]
        self._first_frame = 0

    def append(self, waveform: Waveform) -> None:
        """Take the next whole frames of audio."""
        power = np.concatenate([self._power, frame_power(waveform, self._rate_hz, self._config)])
        self._first_frame += max(0, len(power) - self._max_frames)
        self._power = power[-self._max_frames :]
        self._levels = to_levels(self._power, self._config)[:, 0]

    def speech(self, after: int) -> list[Span]:
        """Return the parts that are speech and end after this sample, without padding, in order."""
        return self._spans(speech_runs(self._levels, self._config), after)

    def loud(self, after: int) -> list[Span]:
        """Return what `speech` does, and what may be clicks, too."""
        loud = loud_runs(over_noise(self._levels, self._config), self._config)
        return self._spans(join_runs(loud, self._config), after)

    def quietest(self, span: Span) -> int:
        """Return the middle of the quietest frame in a span of what is kept."""
        first = span.start // self.frame_length - self._first_frame
        last = span.end // self.frame_length - self._first_frame
        quietest = first + int(self._levels[first:last].argmin())
        return (self._first_frame + quietest) * self.frame_length + self.frame_length // 2

    def _spans(self, runs: NDArray[np.int64], after: int) -> list[Span]:
        frames = (runs + self._first_frame) * self.frame_length
        spans = [Span(start, end) for start, end in frames.tolist()]
        return [span for span in spans if span.end > after]

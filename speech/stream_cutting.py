"""The pieces of a recording while it comes in: those that `cut` finds in the whole of it.

What has been heard decides a cut once nothing that follows can change it. So memory holds what is
undecided, some tens of seconds, however long the recording.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from speech.audio import Waveform
from speech.loudness import (
    Levels,
    SegmentationConfig,
    floor_step,
    frame_length_of,
    is_speech,
    join_runs,
    levels_of,
    loud_runs,
    noise_floor,
    quietest_frame,
    reach_of,
)
from speech.segmentation import Span, cut, how_many, widen

_STEP_FRAMES = 50


@dataclass(frozen=True)
class Piece:
    """A part of a recording: where it lies, and its samples."""

    span: Span
    samples: Waveform


def cut_stream(
    blocks: Iterable[Waveform], *, sample_rate_hz: int, config: SegmentationConfig
) -> Iterator[Piece]:
    """Yield the pieces of a recording, each as soon as no later sample can change it.

    Args:
        blocks: one after the other, each float32 `[samples]` in [-1, 1]. About a second each is
            best: they are held as they come.

    Raises:
        ValueError: a block has samples that are not finite.
    """
    stream = _Stream(sample_rate_hz, config)
    for block in blocks:
        yield from stream.add(block)
    yield from stream.end()


class _Tape:
    """The latest samples of a recording, by their places in it."""

    def __init__(self) -> None:
        self._blocks: deque[Waveform] = deque()
        self._start, self.end = 0, 0

    def add(self, block: Waveform) -> None:
        self._blocks.append(block)
        self.end += len(block)

    def read(self, start: int, end: int) -> Waveform:
        parts, place = [], self._start
        for block in self._blocks:
            parts.append(block[max(start - place, 0) : max(end - place, 0)])
            place += len(block)
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def forget(self, before: int) -> None:
        while self._blocks and self._start + len(self._blocks[0]) <= before:
            self._start += len(self._blocks.popleft())


class _Loudness:
    """Levels of the latest frames, and as far as it is certain by how much they are over noise.

    The noise floor of a frame is certain some seconds later: it is taken from both sides.
    """

    def __init__(self, config: SegmentationConfig) -> None:
        self._config = config
        self._step = floor_step(config)
        self._window = round(config.floor_window_s / config.frame_s)
        self._floors: list[float] = []
        self.first = 0
        self.levels: Levels = np.zeros(0, np.float32)
        self.over_noise: Levels = np.zeros(0, np.float32)

    @property
    def num_frames(self) -> int:
        """The recording's frames up to the last that has a level."""
        return self.first + len(self.levels)

    @property
    def num_certain(self) -> int:
        """The recording's frames up to the last that is certain."""
        return self.first + len(self.over_noise)

    def add(self, levels: Levels, *, is_end: bool) -> None:
        self.levels = np.append(self.levels, levels)
        while (centre := len(self._floors) * self._step) < self.num_frames:
            last = max(centre - self._window // 2, 0) + self._window
            if last > self.num_frames and not is_end:
                break
            self._floors.append(noise_floor(self.levels, centre - self.first, self._config))
        if self._floors:
            known = (len(self._floors) - 1) * self._step + 1
            self._settle(self.num_frames if is_end else known)

    def _settle(self, end: int) -> None:
        """Say of the frames before `end` how far they are over the noise."""
        frames = np.arange(self.num_certain, end)
        nearest = min(self.num_certain // self._step, len(self._floors) - 1)
        centres = np.arange(nearest, len(self._floors)) * self._step
        floors = np.interp(frames, centres, self._floors[nearest:]).astype(np.float32)
        start = len(self.over_noise)
        over = self.levels[start : start + len(frames)] - floors
        self.over_noise = np.append(self.over_noise, over)

    def forget(self, before: int) -> None:
        """Drop what lies before a frame, but for what later noise floors are taken from."""
        centre = len(self._floors) * self._step
        count = max(min(before, centre - self._window) - self.first, 0)
        self.levels, self.over_noise = self.levels[count:], self.over_noise[count:]
        self.first += count


class _Stream:
    """What of a recording is undecided: from `_anchor` on, a frame of no part or a part's first.

    Where a part was cut because it is too long, its rest begins within that frame, at `_resumed`.
    """

    def __init__(self, sample_rate_hz: int, config: SegmentationConfig) -> None:
        self._config, self._sample_rate_hz = config, sample_rate_hz
        self._frame_length = frame_length_of(sample_rate_hz, config)
        self._reach = reach_of(config)
        self._longest = int(config.max_piece_s * sample_rate_hz)
        self._padding = round(config.padding_s * sample_rate_hz)
        self._long_silence = round(config.long_silence_s * sample_rate_hz)
        self._tape, self._loudness = _Tape(), _Loudness(config)
        self._anchor, self._last_end = 0, 0
        self._resumed: int | None = None
        self._has_cut = False

    def add(self, block: Waveform) -> Iterator[Piece]:
        """Take the next samples; yield the pieces that they decide."""
        self._tape.add(block)
        new = self._tape.end // self._frame_length - self._loudness.num_frames
        if self._tape.end > self._longest and new >= _STEP_FRAMES + self._reach:
            self._listen(is_end=False)
            yield from self._cut(is_end=False)

    def end(self) -> Iterator[Piece]:
        """Yield the last pieces."""
        if self._tape.end <= self._longest:
            whole = self._tape.read(0, self._tape.end)
            for span in cut(whole, sample_rate_hz=self._sample_rate_hz, config=self._config):
                yield Piece(span, whole)
            return
        self._listen(is_end=True)
        yield from self._cut(is_end=True)

    def _listen(self, *, is_end: bool) -> None:
        """Find the levels of the frames whose neighbours have come."""
        known, length = self._loudness.num_frames, self._frame_length
        first, last = max(known - self._reach, 0), self._tape.end // length
        waveform = self._tape.read(first * length, last * length)
        levels = levels_of(waveform, self._sample_rate_hz, self._config)[:, 0]
        end = last if is_end else last - self._reach
        self._loudness.add(levels[known - first : end - first], is_end=is_end)

    def _cut(self, *, is_end: bool) -> Iterator[Piece]:
        parts, silent_until, is_open = self._parts(is_end)
        while parts:
            first = parts[0]
            if first.num_samples > self._longest:
                frame = self._quietest(first.start)
                end = self._resumed = frame * self._frame_length + self._frame_length // 2
                parts[0] = Span(end, first.end)
                self._anchor = frame
            else:
                quiet = silent_until - parts[-1].end
                settled = max(self._long_silence, 2 * self._padding)
                count = how_many(
                    parts,
                    longest=self._longest - 2 * self._padding,
                    long_silence=self._long_silence,
                    is_over=is_end or (not is_open and quiet >= settled),
                )
                if not count:
                    break
                end = parts[count - 1].end
                del parts[:count]
                self._resumed = None
                next_start = parts[0].start if parts else silent_until
                self._anchor = next_start // self._frame_length
            yield self._piece(Span(first.start, end), parts, silent_until, is_end=is_end)
        if not parts:
            self._anchor = max(self._anchor, silent_until // self._frame_length)
        self._forget()

    def _piece(
        self, span: Span, following: list[Span], silent_until: int, *, is_end: bool
    ) -> Piece:
        """Return a piece with its padding, which reaches to the middle of a silence at most."""
        low = (self._last_end + span.start) // 2 if self._has_cut else 0
        high = self._tape.end if is_end else silent_until
        if following:
            high = (span.end + following[0].start) // 2
        self._has_cut, self._last_end = True, span.end
        wide = widen(span, self._padding, longest=self._longest, low=low, high=high)
        return Piece(wide, self._tape.read(wide.start, wide.end))

    def _parts(self, is_end: bool) -> tuple[list[Span], int, bool]:
        """Return the parts with speech, up to which sample none follows, and if the last may grow.

        A part that may turn out to be a click is left out, and the silence ends where it starts.
        """
        over = self._loudness.over_noise[self._anchor - self._loudness.first :].copy()
        if self._resumed is not None and len(over):
            over[0] = math.inf
        runs = loud_runs(over, self._config)
        joined = join_runs(runs, self._config)
        certain = is_speech(joined, self._config)
        if self._resumed is not None:
            certain[:1] = True
        silent_from = self._silent_from(over)
        is_open = not is_end and len(joined) > 0 and self._may_grow(joined[-1, 1], silent_from)
        silent_until = silent_from
        if is_open and not certain[-1]:
            is_open, silent_until = False, int(joined[-1, 0])
        parts = [self._span(start, end) for start, end in joined[certain].tolist()]
        if parts and self._resumed is not None:
            parts[0] = Span(self._resumed, parts[0].end)
        if is_end and parts and parts[-1].end == self._loudness.num_frames * self._frame_length:
            parts[-1] = Span(parts[-1].start, self._tape.end)  # with what made no whole frame
        return parts, (self._anchor + silent_until) * self._frame_length, is_open

    def _silent_from(self, over: Levels) -> int:
        """Return where the loud frames at the end start; the end if there are none."""
        quiet = np.flatnonzero(over < self._config.off_db)
        return int(quiet[-1]) + 1 if len(quiet) else 0

    def _may_grow(self, end: int, last_loud: int) -> bool:
        """Whether what follows may belong to the part up to frame `end`."""
        return (last_loud - end) * self._config.frame_s < self._config.min_silence_s

    def _span(self, start: int, end: int) -> Span:
        length = self._frame_length
        return Span((self._anchor + start) * length, (self._anchor + end) * length)

    def _quietest(self, start: int) -> int:
        last = (start + self._longest) // self._frame_length
        first, longest = self._loudness.first, self._longest // self._frame_length
        return first + quietest_frame(self._loudness.levels, last - first, longest)

    def _forget(self) -> None:
        self._loudness.forget(self._anchor)
        next_frame = self._loudness.num_frames - self._reach
        undecided = self._anchor * self._frame_length - self._padding
        self._tape.forget(min(undecided, next_frame * self._frame_length))

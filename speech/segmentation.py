"""Long recordings to pieces: where there is speech, and where to cut between it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from speech.audio import Waveform
from speech.loudness import (
    SegmentationConfig,
    frame_length_of,
    levels_of,
    quietest_frame,
    speech_runs,
)

_BAND_HZ = 1000.0


@dataclass(frozen=True, order=True)
class Span:
    """The samples from `start` up to, but without, `end`."""

    start: int
    end: int

    @property
    def num_samples(self) -> int:
        """Its length."""
        return self.end - self.start


def find_speech(
    waveform: Waveform, *, sample_rate_hz: int, config: SegmentationConfig
) -> list[Span]:
    """Return where there is speech, with its padding, in order and without overlap.

    Steady noise is no speech, however loud, nor are clicks. Speech has dips: a sound that goes on
    evenly for `config.floor_window_s` is taken for noise. Where noise sets in, it is taken for
    speech for less than half of that. Beside the waveform this holds some tens of bytes a frame.

    Args:
        waveform: float32 `[samples]` in [-1, 1].

    Raises:
        ValueError: the waveform has other axes, or samples that are not finite.

    Source: two thresholds as in Rabiner and Sambur 1975; a low percentile of the energy as the
        noise floor as in Stahl, Fischer and Bippus 2000, here of one band.
    """
    loud = _Recording(waveform, sample_rate_hz, config).loud_parts()
    padding = round(config.padding_s * sample_rate_hz)
    return _padded(loud, padding, longest=len(waveform) + 2 * padding, num_samples=len(waveform))


def cut(waveform: Waveform, *, sample_rate_hz: int, config: SegmentationConfig) -> list[Span]:
    """Return the pieces of a recording that are to be transcribed, in order, without overlap.

    No speech, no piece: the network answers noise with invented letters, as its features are
    normalised. A recording of at most `config.max_piece_s` is one piece, whole. In a longer one
    each part with speech is in one piece; if it alone is longer than a piece, it is cut at its
    quietest places. All other cuts are in the longest silences that suit. Where both do not fit,
    padding gives way to `config.max_piece_s`.

    Under `config.short_s`, a recording is one piece if its level changes by `config.min_change_db`
    in some band. On clips by which the value was not chosen, heard are 99.4 % of 3 173 words of
    0.15 to 1.5 s, cut tightly out of sentences, and none of 5 000 steady noises (white, pink,
    brown, hum). In steady noise as loud as itself a word is missed one time in thirty.

    Args:
        waveform: float32 `[samples]` in [-1, 1].

    Raises:
        ValueError: the waveform has other axes, or samples that are not finite.
    """
    longest = int(config.max_piece_s * sample_rate_hz)
    if len(waveform) < min(config.short_s * sample_rate_hz, longest):
        is_heard = _change_db(waveform, sample_rate_hz, config) >= config.min_change_db
        return [Span(0, len(waveform))] if is_heard else []
    recording = _Recording(waveform, sample_rate_hz, config)
    parts = recording.loud_parts()
    if parts and len(waveform) <= longest:
        return [Span(0, len(waveform))]
    padding = round(config.padding_s * sample_rate_hz)
    long_silence = round(config.long_silence_s * sample_rate_hz)
    pieces = []
    while parts:
        first = parts[0]
        if first.num_samples > longest:
            end = recording.quietest(first.start, longest)
            parts[0] = Span(end, first.end)
        else:
            count = how_many(
                parts, longest=longest - 2 * padding, long_silence=long_silence, is_over=True
            )
            end = parts[count - 1].end
            del parts[:count]
        pieces.append(Span(first.start, end))
    return _padded(pieces, padding, longest=longest, num_samples=len(waveform))


def how_many(parts: Sequence[Span], *, longest: int, long_silence: int, is_over: bool) -> int:
    """Return how many of the first parts make a piece; 0 if later parts are to decide it.

    A full one ends at the longest silence of its second half.

    Args:
        is_over: no part follows, or only after a long silence.
    """
    best = (0, 0)
    for count in range(1, len(parts)):
        silence = parts[count].start - parts[count - 1].end
        if silence >= long_silence:
            return count
        if parts[count - 1].end - parts[0].start >= longest / 2:
            best = max(best, (silence, count))
        if parts[count].end - parts[0].start > longest:
            return best[1] or count
    return len(parts) if is_over else 0


def _padded(spans: list[Span], padding: int, *, longest: int, num_samples: int) -> list[Span]:
    """Widen each span, to the middle of the gap at most and to `longest` at most."""
    middles = [(a.end + b.start) // 2 for a, b in pairwise(spans)]
    rooms = zip(spans, [0, *middles], [*middles, num_samples], strict=False)
    return [widen(span, padding, longest=longest, low=low, high=high) for span, low, high in rooms]


def widen(span: Span, padding: int, *, longest: int, low: int, high: int) -> Span:
    """Return a span with padding: from `low` to `high` at most, and `longest` at most."""
    room = min(padding, max(0, longest - span.num_samples) // 2)
    return Span(max(low, span.start - room), min(high, span.end + room))


class _Recording:
    """The levels of a recording's frames, and what they say."""

    def __init__(self, waveform: Waveform, sample_rate_hz: int, config: SegmentationConfig) -> None:
        self._config = config
        self._num_samples = len(waveform)
        self._frame_length = frame_length_of(sample_rate_hz, config)
        self._levels = levels_of(waveform, sample_rate_hz, config)[:, 0]

    def loud_parts(self) -> list[Span]:
        """Return the speech without padding."""
        spans = [
            Span(start * self._frame_length, end * self._frame_length)
            for start, end in speech_runs(self._levels, self._config).tolist()
        ]
        if spans and spans[-1].end == len(self._levels) * self._frame_length:
            spans[-1] = Span(spans[-1].start, self._num_samples)  # with what made no whole frame
        return spans

    def quietest(self, start: int, longest: int) -> int:
        """Return the quietest place in the last third of the longest piece from `start` on."""
        last = (start + longest) // self._frame_length
        frame = quietest_frame(self._levels, last, longest // self._frame_length)
        return frame * self._frame_length + self._frame_length // 2


def _change_db(waveform: Waveform, sample_rate_hz: int, config: SegmentationConfig) -> float:
    """Return the range of the level, in the band of 1 kHz where it is widest.

    A short word may keep its power from start to end, but not in each band.
    """
    levels = levels_of(waveform, sample_rate_hz, config, band_hz=_BAND_HZ)
    return float(np.ptp(levels, axis=0).max()) if len(levels) else 0.0

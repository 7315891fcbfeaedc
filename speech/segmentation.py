"""Long recordings to pieces: where there is speech, and where to cut between it."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from speech.audio import Waveform

_BLOCK_FRAMES = 1024
_FLOOR_STEP_S = 1.0
_MEAN_S = 0.1
_BAND_HZ = 1000.0

Levels = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SegmentationConfig:
    """How speech is found, and how long a piece may be.

    A level is the power of the tenth of a second around a frame, in dB of full scale, so that a
    silence is measured up to a tenth shorter than it is, and speech up to a tenth longer.

    Args:
        max_piece_s: no piece is longer; a recording that is not longer is not cut.
        long_silence_s: a silence from this length on is in no piece, but for its edges.
        min_silence_s: what is quiet for less belongs to the speech around it.
        min_speech_s: what is loud for less is a click.
        padding_s: kept before and after speech, up to the middle of the silence.
        on_db: speech rises this far over the noise floor,
        off_db: and reaches as far as it stays this far over it.
        min_level_db: the floor is nowhere lower, so that digital silence has one.
        floor_percentile: the noise floor is this percentile of the levels around.
        floor_window_s: what counts as around, half of it on each side.
        low_cut_hz: hum and rumble below are not heard.
        frame_s: the detector's resolution.
        short_s: in a shorter recording what changes is speech: a word alone has no noise around it
            to rise over;
        min_change_db: in a band of 1 kHz its highest level is so far over its lowest.
    """

    max_piece_s: float = 20.0
    long_silence_s: float = 2.0
    min_silence_s: float = 0.2
    min_speech_s: float = 0.15
    padding_s: float = 0.2
    on_db: float = 6.0
    off_db: float = 3.0
    min_level_db: float = -80.0
    floor_percentile: float = 10.0
    floor_window_s: float = 10.0
    low_cut_hz: float = 200.0
    frame_s: float = 0.02
    short_s: float = 3.0
    min_change_db: float = 7.5

    def __post_init__(self) -> None:
        for name in (entry.name for entry in fields(self) if entry.name != "min_level_db"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} {value} is not a number from 0")
        if not -200 <= self.min_level_db < 0:
            raise ValueError(f"min_level_db {self.min_level_db} is not in -200 to 0")
        if not 0 < self.off_db <= self.on_db:
            raise ValueError(f"off_db {self.off_db} is not over 0 and at most on_db {self.on_db}")
        if self.floor_percentile >= 100:
            raise ValueError(f"floor_percentile {self.floor_percentile} is not under 100")
        if not 0 < 20 * self.frame_s <= min(self.max_piece_s, self.floor_window_s):
            raise ValueError(
                f"frame_s {self.frame_s} is not over 0 and at most a twentieth of "
                f"max_piece_s {self.max_piece_s} and of floor_window_s {self.floor_window_s}"
            )


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
    parts = deque(recording.loud_parts())
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
            count = _how_many(parts, longest=longest - 2 * padding, long_silence=long_silence)
            end = [parts.popleft() for _ in range(count)][-1].end
        pieces.append(Span(first.start, end))
    return _padded(pieces, padding, longest=longest, num_samples=len(waveform))


def _how_many(parts: deque[Span], *, longest: int, long_silence: int) -> int:
    """Return how many of the first parts make a piece.

    A full one ends at the longest silence of its second half.
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
    return len(parts)


def _padded(spans: list[Span], padding: int, *, longest: int, num_samples: int) -> list[Span]:
    """Widen each span, to the middle of the gap at most and to `longest` at most."""
    middles = [(a.end + b.start) // 2 for a, b in pairwise(spans)]
    padded = []
    for span, low, high in zip(spans, [0, *middles], [*middles, num_samples], strict=False):
        room = min(padding, max(0, longest - span.num_samples) // 2)
        padded.append(Span(max(low, span.start - room), min(high, span.end + room)))
    return padded


class _Recording:
    """The levels of a recording's frames, and what they say."""

    def __init__(self, waveform: Waveform, sample_rate_hz: int, config: SegmentationConfig) -> None:
        self._config = config
        self._num_samples = len(waveform)
        self._frame_length = samples_per_frame(sample_rate_hz, config)
        self._levels = _levels(waveform, sample_rate_hz, config)[:, 0]

    def loud_parts(self) -> list[Span]:
        """Return the speech without padding."""
        spans = [
            Span(start * self._frame_length, end * self._frame_length)
            for start, end in loud_runs(self._levels, self._config).tolist()
        ]
        if spans and spans[-1].end == len(self._levels) * self._frame_length:
            spans[-1] = Span(spans[-1].start, self._num_samples)  # with what made no whole frame
        return spans

    def quietest(self, start: int, longest: int) -> int:
        """Return the quietest place in the last third of the longest piece from `start` on."""
        last = (start + longest) // self._frame_length
        first = last - longest // self._frame_length // 3
        quietest = first + int(self._levels[first:last].argmin())
        return quietest * self._frame_length + self._frame_length // 2


def _change_db(waveform: Waveform, sample_rate_hz: int, config: SegmentationConfig) -> float:
    """Return the range of the level, in the band of 1 kHz where it is widest.

    A short word may keep its power from start to end, but not in each band.
    """
    levels = _levels(waveform, sample_rate_hz, config, band_hz=_BAND_HZ)
    return float(np.ptp(levels, axis=0).max()) if len(levels) else 0.0


def samples_per_frame(sample_rate_hz: int, config: SegmentationConfig) -> int:
    """Return the length of a frame of `config.frame_s`, in samples."""
    return max(1, round(config.frame_s * sample_rate_hz))


def _levels(
    waveform: Waveform,
    sample_rate_hz: int,
    config: SegmentationConfig,
    *,
    band_hz: float = math.inf,
) -> Levels:
    """Return float32 `[frames, bands]`: the mean power about each whole frame, in dB."""
    power = frame_power(waveform, sample_rate_hz, config, band_hz=band_hz)
    return to_levels(power, config)


def frame_power(
    waveform: Waveform,
    sample_rate_hz: int,
    config: SegmentationConfig,
    *,
    band_hz: float = math.inf,
) -> Levels:
    """Return float32 `[frames, bands]`: the power of each whole frame.

    The bands start at `config.low_cut_hz`; each is `band_hz` wide, the last one up to twice that.
    """
    if waveform.ndim != 1:
        raise ValueError(f"a waveform of shape {waveform.shape}; needed: [samples]")
    frame_length = samples_per_frame(sample_rate_hz, config)
    bin_hz, num_bins = sample_rate_hz / frame_length, frame_length // 2 + 1
    first_bin = min(math.ceil(config.low_cut_hz / bin_hz), num_bins - 1)
    width = max(1, round(min(band_hz / bin_hz, num_bins)))
    bands = [first_bin, *range(first_bin + width, num_bins - width + 1, width)]
    return _band_power(waveform, frame_length, bands)


def to_levels(power: Levels, config: SegmentationConfig) -> Levels:
    """Return the mean about each frame of float32 `[frames, bands]` powers, in dB."""
    if len(power):
        reach = round(_MEAN_S / config.frame_s) // 2
        around = np.pad(power, ((reach, reach), (0, 0)), mode="edge")
        power = sliding_window_view(around, 2 * reach + 1, axis=0).mean(axis=-1)
    return 10 * np.log10(np.maximum(power, np.float32(10 ** (config.min_level_db / 10))))


def _band_power(waveform: Waveform, frame_length: int, bands: list[int]) -> Levels:
    """Return float32 `[frames, bands]`: each whole frame's power, in bands from these bins on."""
    frames = waveform[: len(waveform) // frame_length * frame_length].reshape(-1, frame_length)
    window = np.hanning(frame_length + 1)[:-1].astype(np.float32)
    scale = np.float32(2 / (frame_length * np.square(window).sum()))
    power = np.empty((len(frames), len(bands)), np.float32)
    for start in range(0, len(frames), _BLOCK_FRAMES):
        block = frames[start : start + _BLOCK_FRAMES]
        if not np.isfinite(block).all():
            raise ValueError("a waveform with samples that are not finite; needed: all finite")
        spectrum = np.fft.rfft(block * window, axis=1)
        squares = np.square(spectrum.real) + np.square(spectrum.imag)
        power[start : start + _BLOCK_FRAMES] = scale * np.add.reduceat(squares, bands, axis=1)
    return power


def _noise_floor(levels: Levels, config: SegmentationConfig) -> Levels:
    """Return the low percentile of the levels around each frame, float32 `[frames]`."""
    window = min(len(levels), round(config.floor_window_s / config.frame_s))
    rank = int(window * config.floor_percentile / 100)
    step = max(1, round(_FLOOR_STEP_S / config.frame_s))
    centres = np.arange(0, len(levels), step)
    starts = np.clip(centres - window // 2, 0, len(levels) - window).tolist()
    floors = [np.partition(levels[start : start + window], rank)[rank] for start in starts]
    return np.interp(np.arange(len(levels)), centres, floors).astype(np.float32)


def loud_runs(levels: Levels, config: SegmentationConfig) -> NDArray[np.int64]:
    """Return int64 `[runs, 2]`: the first frame of each loud run, and the one behind its last."""
    if not len(levels):
        return np.zeros((0, 2), np.int64)
    above = levels - _noise_floor(levels, config)
    edges = np.flatnonzero(np.diff(above >= config.off_db, prepend=False, append=False))
    peaks = np.maximum.reduceat(np.append(above, 0), edges)[::2]
    runs = edges.reshape(-1, 2)[peaks >= config.on_db]
    silences = runs[1:, 0] - runs[:-1, 1]
    apart = np.flatnonzero(silences * config.frame_s >= config.min_silence_s)
    firsts, lasts = np.append(-1, apart) + 1, np.append(apart, len(runs) - 1)
    joined = np.stack([runs[firsts, 0], runs[lasts, 1]], axis=1) if len(runs) else runs
    return joined[(joined[:, 1] - joined[:, 0]) * config.frame_s >= config.min_speech_s]

"""How loud a recording is, frame by frame, and how far that is over its noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from speech.audio import Waveform

_BLOCK_FRAMES = 1024
_FLOOR_STEP_S = 1.0
_MEAN_S = 0.1

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


def frame_length_of(sample_rate_hz: int, config: SegmentationConfig) -> int:
    """Return the samples of a frame of the detector."""
    return max(1, round(config.frame_s * sample_rate_hz))


def levels_of(
    waveform: Waveform,
    sample_rate_hz: int,
    config: SegmentationConfig,
    *,
    band_hz: float = math.inf,
) -> Levels:
    """Return float32 `[frames, bands]`: the mean power about each whole frame, in dB.

    Bands as those of `frame_power`.
    """
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
    frame_length = frame_length_of(sample_rate_hz, config)
    bin_hz, num_bins = sample_rate_hz / frame_length, frame_length // 2 + 1
    first_bin = min(math.ceil(config.low_cut_hz / bin_hz), num_bins - 1)
    width = max(1, round(min(band_hz / bin_hz, num_bins)))
    bands = [first_bin, *range(first_bin + width, num_bins - width + 1, width)]
    return _band_power(waveform, frame_length, bands)


def to_levels(power: Levels, config: SegmentationConfig) -> Levels:
    """Return the mean about each frame of float32 `[frames, bands]` powers, in dB."""
    if len(power):
        reach = reach_of(config)
        around = np.pad(power, ((reach, reach), (0, 0)), mode="edge")
        power = sliding_window_view(around, 2 * reach + 1, axis=0).mean(axis=-1)
    return 10 * np.log10(np.maximum(power, np.float32(10 ** (config.min_level_db / 10))))


def reach_of(config: SegmentationConfig) -> int:
    """Return how many frames on each side a frame's level is the mean of."""
    return round(_MEAN_S / config.frame_s) // 2


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


def floor_step(config: SegmentationConfig) -> int:
    """Return how many frames one noise floor is from the next; between them it is a line."""
    return max(1, round(_FLOOR_STEP_S / config.frame_s))


def noise_floor(levels: Levels, centre: int, config: SegmentationConfig) -> float:
    """Return the low percentile of the levels around a frame."""
    window = min(len(levels), round(config.floor_window_s / config.frame_s))
    rank = int(window * config.floor_percentile / 100)
    start = min(max(centre - window // 2, 0), len(levels) - window)
    return float(np.partition(levels[start : start + window], rank)[rank])


def over_noise(levels: Levels, config: SegmentationConfig) -> Levels:
    """Return by how many dB each frame is over the noise floor, float32 `[frames]`."""
    if not len(levels):
        return levels
    centres = np.arange(0, len(levels), floor_step(config))
    floors = [noise_floor(levels, centre, config) for centre in centres.tolist()]
    return levels - np.interp(np.arange(len(levels)), centres, floors).astype(np.float32)


def loud_runs(over_noise: Levels, config: SegmentationConfig) -> NDArray[np.int64]:
    """Return int64 `[runs, 2]`: the first frame of each loud run, and the one behind its last."""
    edges = np.flatnonzero(np.diff(over_noise >= config.off_db, prepend=False, append=False))
    peaks = np.maximum.reduceat(np.append(over_noise, 0), edges)[::2]
    return edges.reshape(-1, 2)[peaks >= config.on_db]


def join_runs(runs: NDArray[np.int64], config: SegmentationConfig) -> NDArray[np.int64]:
    """Return int64 `[parts, 2]`: loud runs, joined where the silence between them is short."""
    silences = runs[1:, 0] - runs[:-1, 1]
    apart = np.flatnonzero(silences * config.frame_s >= config.min_silence_s)
    firsts, lasts = np.append(-1, apart) + 1, np.append(apart, len(runs) - 1)
    return np.stack([runs[firsts, 0], runs[lasts, 1]], axis=1) if len(runs) else runs


def speech_runs(levels: Levels, config: SegmentationConfig) -> NDArray[np.int64]:
    """Return int64 `[parts, 2]`: the first frame of each part that is speech, and behind its last.

    Args:
        levels: float32 `[frames]`, of all that is heard.
    """
    parts = join_runs(loud_runs(over_noise(levels, config), config), config)
    return parts[is_speech(parts, config)]


def is_speech(parts: NDArray[np.int64], config: SegmentationConfig) -> NDArray[np.bool_]:
    """Return bool `[parts]`: which are too long for a click."""
    return np.asarray((parts[:, 1] - parts[:, 0]) * config.frame_s >= config.min_speech_s)


def quietest_frame(levels: Levels, last: int, longest: int) -> int:
    """Return the quietest frame of the last third of the `longest` frames before frame `last`."""
    first = last - longest // 3
    return first + int(levels[first:last].argmin())

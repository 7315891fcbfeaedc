"""Pieces of a recording while it comes in are those of the whole recording."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech.loudness import SegmentationConfig
from speech.segmentation import Span, cut
from speech.stream_cutting import cut_stream

RATE_HZ = 8000
CONFIG = SegmentationConfig()
TIGHT = SegmentationConfig(max_piece_s=4.0, floor_window_s=8.0, long_silence_s=0.7)
CLOSE = SegmentationConfig(max_piece_s=5.0, long_silence_s=0.3, padding_s=0.4)


def blocks_of(waveform: np.ndarray, sizes: list[int]) -> Iterator[np.ndarray]:
    """Cut into blocks of these sizes, again and again."""
    start = 0
    for size in itertools.cycle(sizes):
        if start >= len(waveform):
            return
        yield waveform[start : start + size]
        start += size


def check(waveform: np.ndarray, config: SegmentationConfig, sizes: list[int]) -> list[Span]:
    """Compare with the whole waveform's pieces, and return them."""
    whole = cut(waveform, sample_rate_hz=RATE_HZ, config=config)
    found = list(cut_stream(blocks_of(waveform, sizes), sample_rate_hz=RATE_HZ, config=config))
    assert [piece.span for piece in found] == whole
    for piece in found:
        span = piece.span
        np.testing.assert_array_equal(piece.samples, waveform[span.start : span.end])
    return whole


def bursts(parts: list[tuple[float, float, float]], *, seed: int = 3) -> np.ndarray:
    """Return noise at -65 dB with louder parts: each a duration, a level, and a silence after."""
    draw = np.random.default_rng(seed)
    levels = []
    for duration_s, level_db, silence_s in parts:
        syllables = np.abs(np.sin(np.arange(round(duration_s * RATE_HZ)) * np.pi * 4 / RATE_HZ))
        levels += [10 ** (level_db / 20) * (0.1 + syllables), np.zeros(round(silence_s * RATE_HZ))]
    envelope = np.concatenate([np.zeros(RATE_HZ), *levels]) + 10 ** (-65 / 20)
    return (envelope * draw.uniform(-1, 1, len(envelope))).astype(np.float32)


PART = st.tuples(
    st.sampled_from([0.05, 0.1, 0.3, 1.0, 2.5, 6.0, 15.0]),
    st.sampled_from([-62.0, -58.0, -50.0, -25.0, -10.0]),
    st.sampled_from([0.02, 0.15, 0.25, 0.5, 0.9, 2.5, 8.0]),
)


@settings(max_examples=60)
@given(
    parts=st.lists(PART, min_size=4, max_size=25),
    config=st.sampled_from([CONFIG, TIGHT, CLOSE]),
    size=st.sampled_from([1600, 8000, 8192, 50_000]),
)
def test_pieces_are_those_of_the_whole(parts, config: SegmentationConfig, size: int) -> None:
    check(bursts(parts), config, [size])


@pytest.mark.parametrize("sizes", [[8000], [1], [7, 90_000], [2_000_000]], ids=str)
def test_the_sizes_of_blocks_do_not_matter(sizes: list[int]) -> None:
    waveform = bursts([(1.2, -20.0, 0.5), (3.0, -25.0, 2.4), (7.0, -15.0, 0.3)] * 3)
    waveform = waveform[: 25 * RATE_HZ] if sizes == [1] else waveform
    assert len(check(waveform, CONFIG, sizes)) >= 2


@pytest.mark.parametrize("seconds", [0.0, 0.3, 2.0, 19.99, 20.0, 20.01, 20.5, 45.0])
def test_recordings_of_any_length(seconds: float) -> None:
    waveform = bursts([(2.0, -20.0, 0.6)] * 20)[: round(seconds * RATE_HZ)]
    check(waveform, CONFIG, [RATE_HZ])


@pytest.mark.parametrize("level", [0.0, 0.001, 0.5])
def test_silence_and_steady_noise_have_no_pieces(level: float, rng: np.random.Generator) -> None:
    waveform = (level * rng.uniform(-1, 1, 60 * RATE_HZ)).astype(np.float32)
    assert check(waveform, CONFIG, [RATE_HZ]) == []


def test_speech_without_a_pause_is_cut_at_its_quietest(rng: np.random.Generator) -> None:
    waveform = bursts([(90.0, -20.0, 0.0)])
    spans = check(waveform, CONFIG, [RATE_HZ])
    assert len(spans) >= 4
    assert all(span.num_samples <= 20 * RATE_HZ for span in spans)


def test_a_sound_that_rises_for_minutes(rng: np.random.Generator) -> None:
    """It stays over a floor that follows it, long undecided."""
    level_db = np.linspace(-79, -1, 100 * RATE_HZ)
    waveform = (10 ** (level_db / 20) * rng.uniform(-1, 1, len(level_db))).astype(np.float32)
    check(waveform, CONFIG, [RATE_HZ])


def test_a_piece_comes_soon_after_it_is_certain() -> None:
    waveform = bursts([(5.0, -20.0, 3.0)] * 40)
    read = 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal read
        for block in blocks_of(waveform, [RATE_HZ]):
            read += len(block)
            yield block

    pieces = cut_stream(blocks(), sample_rate_hz=RATE_HZ, config=CONFIG)
    late = [(read - piece.span.end) / RATE_HZ for piece in pieces]
    assert len(late) == 40
    assert max(late[3:]) < 12, "half the noise floor's window, a long silence and a few blocks"


@pytest.mark.parametrize("parts", [[(5.0, -20.0, 3.0)], [(60.0, -20.0, 0.0)], [(0.0, 0.0, 60.0)]])
def test_memory_is_that_of_some_minutes(parts: list[tuple[float, float, float]]) -> None:
    minute = bursts(parts * (60 // round(sum(p[0] + p[2] for p in parts))))
    recording = itertools.chain.from_iterable(blocks_of(minute, [RATE_HZ]) for _ in range(12))
    copies = (block.copy() for block in recording)
    tracemalloc.start()
    try:
        for _ in cut_stream(copies, sample_rate_hz=RATE_HZ, config=CONFIG):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.3 * 12 * minute.nbytes


def test_samples_that_are_not_finite_are_refused() -> None:
    waveform = bursts([(2.0, -20.0, 0.6)] * 20)
    waveform[30 * RATE_HZ] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        list(cut_stream([waveform], sample_rate_hz=RATE_HZ, config=CONFIG))

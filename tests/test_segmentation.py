"""Where there is speech, and where long recordings are cut: known bursts, noises, real clips."""

from __future__ import annotations

import json
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import AudioConfig
from speech import segmentation
from speech.audio import Waveform, decode_native
from speech.loudness import SegmentationConfig
from speech.segmentation import Span, cut, find_speech

RATE_HZ = 8000
CONFIG = SegmentationConfig()
EDGE_S = 0.07  # the tenth of a second over which levels are means, and a frame
NOISE_DB = [None, -70.0, -55.0, -40.0]


def seconds(number: float) -> int:
    return round(number * RATE_HZ)


def syllables(duration_s: float, *, level_db: float = -20.0) -> np.ndarray:
    """A tone that dips by 20 dB four times a second, loud at its start and end."""
    times = np.arange(seconds(duration_s)) / RATE_HZ
    envelope = 0.1 + 0.9 * np.cos(np.pi * 4 * times) ** 2
    envelope[-seconds(min(0.1, duration_s)) :] = 1
    return 10 ** (level_db / 20) * envelope * np.sin(2 * np.pi * 440 * times)


def noise(kind: str, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Steady noise with a mean power of 1."""
    times = np.arange(num_samples) / RATE_HZ
    if kind.startswith("hum"):
        hum_hz = float(kind.removeprefix("hum"))
        x = sum(np.sin(2 * np.pi * hum_hz * k * times + k) / k for k in range(1, 12))
    else:
        slope = {"white": 0.0, "pink": 0.5, "brown": 1.0}[kind]
        spectrum = np.fft.rfft(rng.standard_normal(num_samples))
        bins = np.arange(len(spectrum))
        x = np.fft.irfft(spectrum / np.maximum(bins, 20 * num_samples / RATE_HZ) ** slope)
        x = np.resize(x, num_samples)
    return x / np.std(x)


def lay_out(
    silences_s: list[float], bursts_s: list[float], *, noise_db: float | None = -60.0
) -> tuple[Waveform, list[Span]]:
    """Return silence, burst, silence, burst …, silence, and where the bursts are."""
    parts, spans, start = [], [], 0
    for silence_s, burst_s in zip(silences_s, [*bursts_s, 0.0], strict=True):
        burst = syllables(burst_s) if burst_s else np.zeros(0)
        parts += [np.zeros(seconds(silence_s)), burst]
        start += seconds(silence_s)
        spans.append(Span(start, start + len(burst)))
        start += len(burst)
    waveform = np.concatenate(parts)
    if noise_db is not None:
        hiss = np.random.default_rng(0).standard_normal(len(waveform))
        waveform += 10 ** (noise_db / 20) * hiss
    return waveform.astype(np.float32), spans[:-1]


def speech_of(waveform: Waveform, config: SegmentationConfig = CONFIG) -> list[Span]:
    return find_speech(waveform, sample_rate_hz=RATE_HZ, config=config)


def pieces_of(waveform: Waveform, config: SegmentationConfig = CONFIG) -> list[Span]:
    return cut(waveform, sample_rate_hz=RATE_HZ, config=config)


def check_order(spans: list[Span], waveform: Waveform) -> None:
    assert all(0 <= span.start < span.end <= len(waveform) for span in spans)
    assert all(a.end <= b.start for a, b in pairwise(spans))


def check_each_in_one(parts: list[Span], spans: list[Span]) -> None:
    """Each part lies in one span; as spans do not overlap, no sample of it is in another."""
    for part in parts:
        assert sum(s.start <= part.start and part.end <= s.end for s in spans) == 1


@pytest.mark.parametrize("noise_db", NOISE_DB)
@pytest.mark.parametrize("silence_s", [0.35, 0.6, 1.0, 3.0])
def test_each_burst_is_found_with_its_padding(silence_s: float, noise_db: float | None) -> None:
    durations_s = [0.15, 0.5, 2.0, 4.3, 0.8, 3.1]
    waveform, bursts = lay_out([silence_s] * 7, durations_s, noise_db=noise_db)
    found = speech_of(waveform)
    check_order(found, waveform)
    assert len(found) == len(bursts)
    padding_s = min(CONFIG.padding_s, silence_s / 2 - EDGE_S)
    for burst, span in zip(bursts, found, strict=True):
        for early in (burst.start - span.start, span.end - burst.end):
            assert padding_s <= early / RATE_HZ <= CONFIG.padding_s + EDGE_S


@pytest.mark.parametrize("noise_db", NOISE_DB)
@pytest.mark.parametrize("silence_s", [0.35, 0.6, 1.0, 3.0])
def test_no_cut_falls_into_a_burst(silence_s: float, noise_db: float | None) -> None:
    waveform, bursts = lay_out([silence_s] * 25, [0.4, 3.0, 1.1, 5.2] * 6, noise_db=noise_db)
    pieces = pieces_of(waveform)
    check_order(pieces, waveform)
    check_each_in_one(bursts, pieces)
    assert max(piece.num_samples for piece in pieces) <= seconds(20)
    assert len(pieces) >= 4


def test_a_long_silence_is_left_out_and_a_short_one_kept() -> None:
    waveform, bursts = lay_out([40, 1.0, 7.0, 0.5, 30], [2.0, 2.0, 2.0, 2.0])
    pieces = pieces_of(waveform)
    assert len(pieces) == 2
    check_each_in_one(bursts, pieces)
    kept_s = sum(piece.num_samples for piece in pieces) / RATE_HZ
    assert 9.5 + 4 * CONFIG.padding_s <= kept_s <= 9.5 + 4 * (CONFIG.padding_s + EDGE_S)


def test_a_full_piece_ends_at_the_longest_silence_of_its_second_half() -> None:
    silences_s = [0.5, 0.4, 1.5, 0.4, 1.2, 0.4, 0.6, 0.4, 0.4]
    waveform, bursts = lay_out(silences_s, [3.0] * 8)
    pieces = pieces_of(waveform)
    check_each_in_one(bursts, pieces)
    end, start = pieces[0].end, pieces[1].start
    assert bursts[3].end < end < start < bursts[4].start
    assert bursts[3].end - bursts[0].start < seconds(20) < bursts[5].end - bursts[0].start


def test_a_minute_without_a_pause_is_cut_at_its_quietest_places() -> None:
    minute = syllables(60)
    dips_s = [15.125, 31.125, 48.125]  # each one of its many dips, made deeper
    for dip_s in dips_s:
        minute[seconds(dip_s - 0.1) : seconds(dip_s + 0.1)] *= 0.5
    hiss = 1e-4 * np.random.default_rng(0).standard_normal(seconds(70))
    waveform = (np.pad(minute, seconds(5)) + hiss).astype(np.float32)
    assert len(speech_of(waveform)) == 1
    pieces = pieces_of(waveform)
    assert len(pieces) == 4
    assert all(a.end == b.start for a, b in pairwise(pieces))
    for piece, dip_s in zip(pieces, dips_s, strict=False):
        assert abs(piece.end / RATE_HZ - 5 - dip_s) <= EDGE_S
    assert pieces[0].start <= seconds(5)
    assert pieces[-1].end >= seconds(65)


@given(
    layout=st.lists(st.tuples(st.floats(0.0, 4.0), st.floats(0.05, 9.0)), min_size=0, max_size=14),
    last_s=st.floats(0.0, 6.0),
    noise_db=st.sampled_from(NOISE_DB),
    max_piece_s=st.sampled_from([3.0, 10.0, 20.0]),
)
def test_any_layout_is_covered_in_order_and_within_bounds(
    layout: list[tuple[float, float]], last_s: float, noise_db: float | None, max_piece_s: float
) -> None:
    silences_s = [silence_s for silence_s, _ in layout]
    waveform, _ = lay_out([*silences_s, last_s], [b for _, b in layout], noise_db=noise_db)
    config = SegmentationConfig(max_piece_s=max_piece_s, short_s=0)
    found, pieces = speech_of(waveform, config), pieces_of(waveform, config)
    check_order(found, waveform)
    check_order(pieces, waveform)
    assert all(piece.num_samples <= seconds(max_piece_s) for piece in pieces)
    assert bool(found) == bool(pieces)
    # All speech is covered: without its padding, which gives way to the longest piece.
    bare = SegmentationConfig(max_piece_s=max_piece_s, padding_s=0)
    covered = np.zeros(len(waveform), bool)
    for piece in pieces:
        covered[piece.start : piece.end] = True
    for part in speech_of(waveform, bare):
        assert covered[part.start : part.end].all()
        if part.num_samples <= seconds(max_piece_s):
            check_each_in_one([part], pieces)


@pytest.mark.parametrize("gain_db", [-45.0, -25.0, 15.0])
def test_a_change_of_level_loses_nothing(gain_db: float) -> None:
    waveform, bursts = lay_out([0.7] * 31, [2.1, 0.6, 3.0] * 10, noise_db=-75)
    third = len(waveform) // 3
    waveform[third : 2 * third] *= 10 ** (gain_db / 20)
    check_each_in_one(bursts, pieces_of(waveform))


def test_noise_that_sets_in_hides_no_speech_and_is_soon_known() -> None:
    waveform, bursts = lay_out([1.0, 0.8, 0.8, 0.8, 60.0], [2.0] * 4, noise_db=-70)
    waveform, later = np.concatenate([waveform, waveform]), len(waveform)
    loud = noise("pink", later, np.random.default_rng(0)) * 10 ** (-38 / 20)
    waveform[later:] += loud.astype(np.float32)
    both = [*bursts, *(Span(b.start + later, b.end + later) for b in bursts)]
    pieces = pieces_of(waveform)
    check_each_in_one(both, pieces)
    noise_only_s = sum(p.num_samples for p in pieces) / RATE_HZ - 2 * 10.4
    assert noise_only_s < CONFIG.floor_window_s / 2 + 1


@pytest.mark.parametrize("disturbance", ["offset", "hum50", "hum60"])
def test_an_offset_or_a_loud_hum_changes_little(disturbance: str) -> None:
    waveform, bursts = lay_out([0.8] * 13, [2.1, 0.6, 3.0] * 4)
    added = np.ones(len(waveform))
    if disturbance != "offset":
        added = np.sin(2 * np.pi * float(disturbance[3:]) * np.arange(len(waveform)) / RATE_HZ)
    found = speech_of((0.1 * waveform + 0.3 * added).astype(np.float32))
    assert len(found) == len(bursts)
    check_each_in_one(bursts, found)


@pytest.mark.parametrize("duration_s", [0.05, 5.0, 120.0])
@pytest.mark.parametrize("level_db", [-80.0, -50.0, -10.0])
@pytest.mark.parametrize("kind", ["white", "pink", "brown", "hum50", "hum60"])
def test_steady_noise_is_no_speech(
    kind: str, level_db: float, duration_s: float, rng: np.random.Generator
) -> None:
    waveform = 10 ** (level_db / 20) * noise(kind, seconds(duration_s), rng)
    waveform = np.clip(waveform + 0.01, -1, 1).astype(np.float32)
    assert speech_of(waveform) == []
    assert pieces_of(waveform) == []


@pytest.mark.parametrize("level_db", [-60.0, -35.0, -10.0])
@pytest.mark.parametrize("kind", ["white", "pink", "brown", "hum50", "hum60"])
def test_short_steady_noise_is_no_piece(kind: str, level_db: float) -> None:
    """But for one time in a hundred, among the shortest of brown noise."""
    clips = [
        10 ** (level_db / 20) * noise(kind, seconds(duration_s), np.random.default_rng(seed))
        for duration_s in (0.1, 0.15, 0.3, 0.7, 1.5, 2.9)
        for seed in range(20)
    ]
    heard = sum(bool(pieces_of(clip.astype(np.float32))) for clip in clips)
    assert heard <= (1 if kind == "brown" else 0)


@pytest.mark.parametrize(("step_db", "is_heard"), [(8.0, True), (7.0, False)])
@pytest.mark.parametrize(("tone_hz", "steady_hz"), [(440, 1600), (1600, 2700), (2700, 440)])
def test_a_short_recording_is_heard_by_the_range_of_one_band(
    tone_hz: float, steady_hz: float, step_db: float, is_heard: bool
) -> None:
    """A tone that rises, under a louder one in another band that does not."""
    times = np.arange(seconds(2)) / RATE_HZ
    rise = 10 ** (np.where(times < 1, -step_db, 0) / 20)
    tones = [np.sin(2 * np.pi * hz * times) for hz in (tone_hz, steady_hz)]
    waveform = 0.05 * rise * tones[0] + 0.3 * tones[1]
    assert bool(pieces_of(waveform.astype(np.float32))) == is_heard


@pytest.mark.parametrize("noise_db", [-26.0, -40.0, None])
@pytest.mark.parametrize("padding_s", [0.0, 0.3, 1.2])
def test_a_word_alone_is_one_whole_piece(padding_s: float, noise_db: float | None) -> None:
    """With nothing around it, in silence, in steady noise 5 dB and more below it."""
    waveform, _ = lay_out([padding_s, padding_s], [0.4], noise_db=noise_db)
    assert pieces_of(waveform) == [Span(0, len(waveform))]


def test_words_cut_tightly_out_of_a_sentence_are_heard() -> None:
    data = Path(__file__).parent / "data"
    known = json.loads((data / "timed_words.json").read_text(encoding="utf-8"))
    rate_hz = AudioConfig().sample_rate_hz
    waveform = decode_native((data / "timed_words.wav").read_bytes(), AudioConfig())
    words = [
        waveform[round(start_s * rate_hz) : round(end_s * rate_hz)]
        for start_s, end_s in zip(known["starts"], known["ends"], strict=True)
        if end_s - start_s >= 0.15
    ]
    assert len(words) >= 15
    for word in words:
        assert cut(word, sample_rate_hz=rate_hz, config=CONFIG) == [Span(0, len(word))]


def test_a_recording_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short one by bands, a longer one by its level."""
    calls = []
    whole = segmentation.levels_of
    monkeypatch.setattr(
        segmentation,
        "levels_of",
        lambda *words, **names: calls.append(names) or whole(*words, **names),
    )
    pieces_of(syllables(2.9).astype(np.float32))
    pieces_of(syllables(3.1).astype(np.float32))
    assert calls == [{"band_hz": 1000.0}, {}]


@pytest.mark.parametrize("num_samples", [0, 1, 159, 160, 161, 8000, 400_000])
def test_digital_silence_is_no_speech(num_samples: int) -> None:
    assert speech_of(np.zeros(num_samples, np.float32)) == []
    assert pieces_of(np.zeros(num_samples, np.float32)) == []


def test_noise_with_short_gaps_is_no_speech(rng: np.random.Generator) -> None:
    waveform = 0.01 * noise("pink", seconds(60), rng).astype(np.float32)
    for start_s in range(2, 58, 5):
        waveform[seconds(start_s) :][: seconds(0.3)] = 0
    assert speech_of(waveform) == []


def test_speech_reaches_as_far_as_the_lower_threshold(rng: np.random.Generator) -> None:
    """A weak end, 4.5 dB over the noise, belongs to speech; alone it is none."""
    bare = SegmentationConfig(padding_s=0)
    waveform = 0.01 * noise("white", seconds(12), rng)
    waveform[seconds(6) : seconds(7)] *= 10 ** (4.5 / 20)
    assert speech_of(waveform.astype(np.float32), bare) == []
    waveform[seconds(5) : seconds(6)] += syllables(1)
    (found,) = speech_of(waveform.astype(np.float32), bare)
    assert found.start / RATE_HZ == pytest.approx(5, abs=EDGE_S)
    assert found.end / RATE_HZ == pytest.approx(7, abs=EDGE_S)


def test_clicks_are_no_speech(rng: np.random.Generator) -> None:
    waveform = (1e-3 * rng.standard_normal(seconds(60))).astype(np.float32)
    for start_s in range(2, 58, 3):
        waveform[seconds(start_s) :][:40] += 0.9
    assert speech_of(waveform) == []


@pytest.mark.parametrize(("level_db", "is_speech"), [(-72.0, True), (-76.0, False)])
def test_levels_are_in_decibels_of_full_scale(level_db: float, is_speech: bool) -> None:
    """Between digital silence a tone must be `on_db` over `min_level_db`: -74 dB."""
    times = np.arange(seconds(1)) / RATE_HZ
    tone = np.sqrt(2) * 10 ** (level_db / 20) * np.sin(2 * np.pi * 1000 * times)
    assert bool(speech_of(np.pad(tone, seconds(2)).astype(np.float32))) == is_speech


def test_a_short_clip_with_speech_is_one_whole_piece() -> None:
    waveform, _ = lay_out([4.0, 8.0], [8.0])
    assert len(waveform) == seconds(20)
    assert pieces_of(waveform) == [Span(0, len(waveform))]
    longer = np.append(waveform, np.float32(0))
    assert len(pieces_of(longer)) == 1
    assert pieces_of(longer) != [Span(0, len(longer))]


def test_padding_ends_at_the_recordings_ends() -> None:
    waveform, _ = lay_out([0.05, 0.3], [3.0])
    (found,) = speech_of(waveform)
    assert found.start == 0
    assert seconds(3.25) <= found.end < len(waveform)


def test_what_is_behind_the_last_whole_frame_is_kept() -> None:
    waveform, _ = lay_out([22.0, 0.0], [1.01])
    bare = SegmentationConfig(padding_s=0)
    assert speech_of(waveform, bare)[-1].end == pieces_of(waveform, bare)[-1].end == len(waveform)


def test_memory_does_not_grow_with_the_recording() -> None:
    waveform, _ = lay_out([0.5] * 25, [3.0] * 24)
    peaks_bytes = []
    for copies in (5, 20):
        recording = np.tile(waveform, copies)
        tracemalloc.start()
        assert pieces_of(recording)
        peaks_bytes.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks_bytes[1] < recording.nbytes / 5
    assert peaks_bytes[1] - peaks_bytes[0] < 15 * len(waveform) / 160 * 50


def test_a_waveform_must_have_one_axis_and_finite_samples() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 8000\); needed: \[samples\]"):
        speech_of(np.zeros((2, 8000), np.float32))
    with pytest.raises(ValueError, match="not finite"):
        pieces_of(np.full(8000, np.nan, np.float32))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_piece_s", 0.3),
        ("max_piece_s", float("nan")),
        ("padding_s", -0.1),
        ("off_db", 0.0),
        ("off_db", 7.0),
        ("on_db", float("inf")),
        ("min_level_db", 0.0),
        ("min_level_db", float("-inf")),
        ("floor_percentile", 100.0),
        ("floor_window_s", 0.1),
        ("frame_s", 0.0),
        ("short_s", -1.0),
        ("min_change_db", float("nan")),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        SegmentationConfig(**{name: value})


def real_clips(folder: Path, count: int) -> list[Waveform]:
    paths = sorted((folder / "wavs").glob("*.wav"))[:count]
    return [decode_native(path.read_bytes(), AudioConfig()) for path in paths]


def test_a_real_clip_is_one_whole_piece(ljspeech: Path) -> None:
    for clip in real_clips(ljspeech, 30):
        pieces = cut(clip, sample_rate_hz=AudioConfig().sample_rate_hz, config=CONFIG)
        assert pieces == [Span(0, len(clip))]


@pytest.mark.parametrize("max_piece_s", [12.0, 20.0])
def test_joined_real_clips_are_cut_where_nobody_speaks(
    max_piece_s: float, ljspeech: Path, rng: np.random.Generator
) -> None:
    """Where a clip is within 20 dB of its loud quarter, it is in a piece, and no cut is near."""
    rate_hz = AudioConfig().sample_rate_hz
    parts, is_loud = [], []
    for clip in real_clips(ljspeech, 20):
        frames = clip[: len(clip) // 220 * 220].reshape(-1, 220)
        power = np.square(frames).mean(axis=1)
        loud = power > np.quantile(power, 0.75) / 100
        silence = 5e-4 * rng.standard_normal(round(rng.uniform(0.3, 1.0) * rate_hz / 220) * 220)
        parts += [frames.ravel(), silence.astype(np.float32)]
        is_loud += [loud.repeat(220), np.zeros(len(silence), bool)]
    waveform, speaks = np.concatenate(parts), np.concatenate(is_loud)
    config = SegmentationConfig(max_piece_s=max_piece_s)
    pieces = cut(waveform, sample_rate_hz=rate_hz, config=config)
    check_order(pieces, waveform)
    assert len(pieces) >= len(waveform) / rate_hz / max_piece_s
    assert max(piece.num_samples for piece in pieces) <= max_piece_s * rate_hz
    for piece in pieces:
        for boundary in {piece.start, piece.end} - {0}:
            assert not speaks[boundary - 1100 : boundary + 1100].any()
        speaks[piece.start : piece.end] = False
    assert not speaks.any()

"""Caption sessions over real models, without HTTP."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soxr

from captions.events import Caption, Final, Partial, caption_from_json
from captions.hearing import RecentAudio, SpeechTracker
from captions.pcm import PcmStream
from captions.session import CaptionSession
from captions.settings import CaptionConfig
from captions.sources import to_pcm
from captions.stability import Committing
from config import AudioConfig, GivenUpError
from predictor import Predictor
from serving.local import LocalBackend
from speech.audio import decode_native
from speech.decoding.decoder import Decoder
from speech.loudness import SegmentationConfig, levels_of
from speech.segmentation import Span
from speech.transcript import Word
from tests.clips import babble

ROOT = Path(__file__).parents[1]
RATE_HZ = 22_050


@pytest.fixture(scope="module")
def predictor(model_folder: Path) -> Predictor:
    return Predictor(LocalBackend(model_folder))


@pytest.fixture(scope="module")
def bundled_predictor(bundled: Path) -> Predictor:
    backend = LocalBackend(bundled)
    return Predictor(backend, decoder=Decoder.of_model(bundled, backend.pipeline.alphabet))


def quiet(duration_s: float, *, seed: int = 3) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return (0.0005 * draw.standard_normal(round(duration_s * RATE_HZ))).astype(np.float32)


def joined(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts).astype(np.float32)


def captions_of(
    session: CaptionSession, waveform: np.ndarray, *, chunk: int = 882
) -> list[Caption]:
    """Feed a waveform in pieces, and end."""
    captions = []
    for start in range(0, len(waveform), chunk):
        captions += session.feed(waveform[start : start + chunk])
    return captions + session.finalize()


def finals(captions: Sequence[Caption]) -> list[Caption]:
    return [caption for caption in captions if isinstance(caption, Final) and caption.text]


def sample(name: str) -> np.ndarray:
    return decode_native((ROOT / f"Data/samples/{name}.wav").read_bytes(), AudioConfig())


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Three utterances with pauses of a second, the first of two clips."""
    names = ("sample", "canoe", "harbour")
    parts = [part for name in names for part in (sample(name), quiet(1.0))]
    return joined(quiet(0.7), *parts)


def test_the_finals_are_what_the_whole_clips_say(
    bundled_predictor: Predictor, speech: np.ndarray
) -> None:
    captions = captions_of(CaptionSession(bundled_predictor), speech)
    heard = " ".join(final.text for final in finals(captions))
    clips = [sample(name) for name in ("sample", "canoe", "harbour")]
    whole = " ".join(t.text for t in bundled_predictor.transcribe_waveforms(clips))
    assert len(finals(captions)) >= 3
    assert jiwer.wer(whole, heard) <= 0.15


def test_words_lie_where_they_were_said(bundled_predictor: Predictor) -> None:
    clip = sample("sample")
    (alone,) = bundled_predictor.transcribe_waveforms([clip])
    session = CaptionSession(bundled_predictor)
    (final,) = finals(captions_of(session, joined(quiet(3.0), clip, quiet(1.0))))
    assert final.text == " ".join(word.text for word in final.words)
    times = {word.text: word.start_s for word in final.words}
    for word in alone.words:
        if word.text in times and alone.text.split().count(word.text) == 1:
            assert times[word.text] == pytest.approx(word.start_s + 3.0, abs=0.15)
    assert final.start_s <= final.words[0].start_s
    assert final.end_s >= final.words[-1].end_s
    assert final.start_s == pytest.approx(3.0, abs=0.3)
    assert 0 < final.confidence <= 1


@pytest.mark.parametrize("chunk", [160, 5000, 10**9])
def test_how_audio_is_cut_into_chunks_does_not_change_the_finals(
    predictor: Predictor, speech: np.ndarray, chunk: int
) -> None:
    by_steps = finals(captions_of(CaptionSession(predictor), speech))
    assert len(by_steps) >= 3
    assert finals(captions_of(CaptionSession(predictor), speech, chunk=chunk)) == by_steps


def test_partials_come_before_finals_and_twice_a_second(predictor: Predictor) -> None:
    waveform = joined(quiet(1.0), babble(6.0), quiet(1.0))
    captions = captions_of(CaptionSession(predictor), waveform)
    assert isinstance(captions[-1], Final)
    partials = captions[:-1]
    assert all(isinstance(caption, Partial) for caption in partials)
    assert len(partials) >= 12
    assert {caption.id for caption in captions} == {0}
    ends = [caption.end_s for caption in partials]
    assert ends == sorted(ends)


def test_audio_that_comes_all_at_once_gives_one_partial(predictor: Predictor) -> None:
    (only,) = CaptionSession(predictor).feed(joined(quiet(1.0), babble(6.0)))
    assert isinstance(only, Partial)


def test_once_it_is_silent_a_partial_has_all_the_words_of_the_final(predictor: Predictor) -> None:
    captions = captions_of(CaptionSession(predictor), joined(quiet(1.0), babble(2.0), quiet(1.0)))
    assert captions[-2].text == captions[-1].text
    assert captions[-1].text


@pytest.mark.parametrize(("pause_s", "count"), [(0.25, 1), (0.9, 2)])
def test_silence_ends_an_utterance_and_a_short_pause_does_not(
    predictor: Predictor, pause_s: float, count: int
) -> None:
    said = joined(quiet(1.0), babble(2.0), quiet(pause_s), babble(2.0, seed=2), quiet(1.0))
    found = finals(captions_of(CaptionSession(predictor), said))
    assert [final.id for final in found] == list(range(count))
    assert found[0].start_s == pytest.approx(1.0, abs=0.3)
    assert found[-1].end_s == pytest.approx(5.0 + pause_s, abs=0.3)


def test_a_final_comes_as_soon_as_the_silence_is_long_enough(predictor: Predictor) -> None:
    session = CaptionSession(predictor)
    assert not finals(session.feed(joined(quiet(1.0), babble(2.0))))
    waited_s = 0.0
    while not finals(session.feed(quiet(0.02, seed=round(1000 * waited_s)))):
        waited_s += 0.02
    assert 0.3 <= waited_s <= CaptionConfig().endpoint_silence_s + 0.1


def test_an_utterance_without_pause_is_cut_and_nothing_of_it_is_lost(
    predictor: Predictor,
) -> None:
    config = CaptionConfig(max_utterance_s=4.0)
    found = finals(captions_of(CaptionSession(predictor, config), babble(21.0)))
    assert len(found) >= 5
    assert max(final.end_s - final.start_s for final in found) <= 4.1
    for before, after in pairwise(found):
        assert after.start_s == pytest.approx(before.end_s, abs=0.25)
    assert found[-1].end_s == pytest.approx(21.0, abs=0.3)


def test_finalize_ends_the_utterance_and_the_session_goes_on(predictor: Predictor) -> None:
    session = CaptionSession(predictor)
    session.feed(joined(quiet(1.0), babble(2.0)))
    (first,) = session.finalize()
    assert isinstance(first, Final)
    assert first.end_s == pytest.approx(3.0, abs=0.1)
    assert session.finalize() == []
    rest = captions_of(session, joined(quiet(1.0), babble(2.0, seed=4), quiet(1.0)))
    (second,) = finals(rest)
    assert second.id == first.id + 1
    assert second.start_s == pytest.approx(4.0, abs=0.3)
    assert session.duration_s == pytest.approx(7.0, abs=0.001)


@pytest.mark.parametrize("waveform", [np.zeros(5 * RATE_HZ, np.float32), quiet(5.0), quiet(0.01)])
def test_silence_says_nothing(predictor: Predictor, waveform: np.ndarray) -> None:
    assert captions_of(CaptionSession(predictor), waveform) == []


def test_noise_is_not_kept_however_long_it_goes_on(predictor: Predictor) -> None:
    session, minute = CaptionSession(predictor), quiet(60.0)
    for _ in range(4):
        assert session.feed(minute) == []
    assert session.duration_s == 240
    kept = session._audio.end - session._audio.start
    assert kept <= 2 * RATE_HZ
    assert len(session._tracker._power) <= 15 / 0.02
    assert session._pending.base is None


def test_speech_without_end_is_kept_for_one_utterance(predictor: Predictor) -> None:
    session, config = CaptionSession(predictor), CaptionConfig()
    for seed in range(10):
        session.feed(babble(5.0, seed=seed + 1))
        kept = session._audio.end - session._audio.start
        assert kept <= (config.max_utterance_s + 1) * RATE_HZ


def test_who_has_gone_is_not_worked_for(predictor: Predictor) -> None:
    gone = threading.Event()
    session = CaptionSession(predictor, given_up=gone)
    session.feed(quiet(1.0))
    gone.set()
    with pytest.raises(GivenUpError):
        session.feed(babble(3.0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"endpoint_silence_s": 0.3}, "under twice the padding"),
        ({"endpoint_silence_s": float("nan")}, "endpoint_silence_s nan"),
        ({"max_utterance_s": 30.0}, "max_utterance_s 30.0 is not in 1 to 20.0"),
        ({"partial_interval_s": 0.0}, "partial_interval_s 0.0"),
        ({"agreement": 0}, "got agreement 0"),
    ],
)
def test_settings_are_checked(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CaptionConfig(**values)


def words_of(text: str) -> list[Word]:
    return [Word(text=w, start_s=0.0, end_s=0.0, confidence=1.0) for w in text.split()]


def timed(*words: tuple[str, float]) -> list[Word]:
    """Return words of 0.4 s that start at these seconds."""
    return [
        Word(text=text, start_s=start_s, end_s=start_s + 0.4, confidence=1.0)
        for text, start_s in words
    ]


DECODINGS = [
    timed(("the", 0.1)),
    timed(("the", 0.1), ("old", 0.6), ("how", 1.1)),
    timed(("the", 0.1), ("old", 0.6), ("house", 1.1)),
    timed(("a", 0.1), ("cold", 0.5), ("house", 1.1), ("stood", 1.6)),
    timed(("a", 0.1), ("cold", 0.5), ("house", 1.1), ("stood", 1.6)),
]


@pytest.mark.parametrize(
    ("agreement", "shown"),
    [
        (1, ["the", "the old how", "the old how", "the old how stood", "the old how stood"]),
        (2, ["", "the", "the old", "the old house", "the old house stood"]),
        (3, ["", "", "the", "the", "the"]),
    ],
)
def test_words_are_shown_once_decodings_agree_and_then_left(
    agreement: int, shown: list[str]
) -> None:
    stabiliser = Committing(agreement=agreement)
    texts = [" ".join(w.text for w in stabiliser.add(words)) for words in DECODINGS]
    assert texts == shown


def test_what_replaces_the_words_is_shown_from_then_on() -> None:
    stabiliser = Committing(agreement=2)
    for words in DECODINGS[:3]:
        stabiliser.add(words)
    stabiliser.replace(DECODINGS[3][:3])
    assert [word.text for word in stabiliser.add(DECODINGS[3])] == ["a", "cold", "house"]
    assert [word.text for word in stabiliser.add(DECODINGS[4])][3:] == ["stood"]


def test_recent_audio_is_what_was_appended(rng: np.random.Generator) -> None:
    whole, audio = rng.uniform(-1, 1, 1000).astype(np.float32), RecentAudio(100)
    for block in whole.reshape(-1, 100):
        audio.append(block)
    audio.forget(before=450)
    assert (audio.start, audio.end) == (400, 1000)
    for start, end in [(400, 1000), (450, 451), (599, 601), (500, 600)]:
        np.testing.assert_array_equal(audio.between(start, end), whole[start:end])


def test_the_tracker_s_levels_are_those_of_the_whole() -> None:
    tracker = SpeechTracker(sample_rate_hz=RATE_HZ, config=SegmentationConfig(), history_s=30.0)
    said = joined(quiet(1.0), babble(2.0))
    said = said[: len(said) // (2 * tracker.frame_length) * 2 * tracker.frame_length]
    for block in said.reshape(-1, 2 * tracker.frame_length):
        tracker.append(block)
    whole = levels_of(said, RATE_HZ, SegmentationConfig())[:, 0]
    np.testing.assert_allclose(tracker._levels, whole, atol=1e-3)


def test_the_tracker_s_quietest_place_is_where_the_level_is_lowest() -> None:
    tracker = SpeechTracker(sample_rate_hz=RATE_HZ, config=SegmentationConfig(), history_s=5.0)
    said = joined(babble(3.0), quiet(0.3), babble(3.0))
    tracker.append(said[: len(said) // tracker.frame_length * tracker.frame_length])
    place = tracker.quietest(Span(2 * RATE_HZ, 5 * RATE_HZ))
    assert 3.0 <= place / RATE_HZ <= 3.3


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000, 192_000])
def test_pcm_in_pieces_is_resampled_as_the_whole(rng: np.random.Generator, rate_hz: int) -> None:
    waveform = (0.3 * np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz)).astype(np.float32)
    content, stream = to_pcm(waveform), PcmStream(sample_rate_hz=rate_hz, model_rate_hz=RATE_HZ)
    cuts = np.sort(rng.integers(0, len(content), 20)).tolist()
    pieces = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    assert any(len(piece) % 2 for piece in pieces)
    got = np.concatenate([*(stream.push(piece) for piece in pieces), stream.flush()])
    wanted = waveform if rate_hz == RATE_HZ else soxr.resample(waveform, rate_hz, RATE_HZ)
    np.testing.assert_allclose(got, wanted, atol=1e-3)
    again = np.concatenate([stream.push(content), stream.flush()])
    np.testing.assert_allclose(again, wanted, atol=1e-3)


@pytest.mark.parametrize("rate_hz", [7_999, 192_001, -1])
def test_rates_out_of_bounds(rate_hz: int) -> None:
    with pytest.raises(ValueError, match=f"got sample_rate_hz {rate_hz}; needed: 8000 to 192000"):
        PcmStream(sample_rate_hz=rate_hz, model_rate_hz=RATE_HZ)


def test_captions_go_through_json() -> None:
    words = tuple(words_of("the old house"))
    for kind in (Partial, Final):
        caption = kind(
            id=3, text="the old house", start_s=1.0, end_s=2.0, confidence=0.5, words=words
        )
        assert caption_from_json(caption.to_json()) == caption
        assert "words" not in caption.to_json(words=False)
    for wrong in ({}, {"type": "end"}, {"type": "final"}, {"type": "final", "words": [1]}):
        with pytest.raises(ValueError, match="needed: a partial or a final"):
            caption_from_json(wrong)

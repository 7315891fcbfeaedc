"""Captions by a model that carries its state from partial to partial."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from captions.events import Caption, Final
from captions.hearing import RecentAudio
from captions.reading import Reading, StreamReader, WindowReader, make_reader
from captions.session import CaptionSession
from captions.settings import CaptionConfig
from config import GivenUpError
from predictor import Predictor
from recogniser import Unobserved
from serving.local import LocalBackend
from serving.local_stream import LocalStream
from serving_config import BatchingConfig
from speech.audio import Waveform
from speech.decoding.decoder import DecodingOptions
from speech.segmentation import Span
from tests.clips import babble
from tests.models import TinyModel

RATE_HZ, BLOCK = 22_050, 441
WINDOWED = CaptionConfig(streams=False)


class CountedStream(LocalStream):
    """Tells how many samples it is fed."""

    def __init__(self, loaded: object, weights: list, on_feed: Callable[[int], None]) -> None:
        super().__init__(loaded, weights)
        self._on_feed = on_feed

    def feed(self, samples: Waveform) -> np.ndarray:
        self._on_feed(len(samples))
        return super().feed(samples)


class Counted(LocalBackend):
    """Counts the samples that its streams are fed, and the clips that are computed whole."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.num_samples = self.num_clips = 0

    def open_stream(self) -> CountedStream | None:
        return CountedStream(self._loaded, self._weights or [], self._count)

    def log_probs(self, waveforms, given_up=None):
        self.num_clips += len(waveforms)
        return super().log_probs(waveforms, given_up)

    def _count(self, num_samples: int) -> None:
        self.num_samples += num_samples


@pytest.fixture
def backend(streaming_model: TinyModel) -> Counted:
    return Counted(streaming_model.folder)


@pytest.fixture
def predictor(backend: Counted) -> Predictor:
    return Predictor(backend)


def quiet(duration_s: float) -> np.ndarray:
    draw = np.random.default_rng(3)
    return (0.0005 * draw.standard_normal(round(duration_s * RATE_HZ))).astype(np.float32)


def said() -> np.ndarray:
    parts = quiet(0.7), babble(3.0), quiet(0.9), babble(2.0, seed=2), quiet(0.25), babble(1.5)
    return np.concatenate([*parts, quiet(0.8)])


def captions_of(session: CaptionSession, waveform: np.ndarray, *, chunk: int) -> list[Caption]:
    captions = []
    for start in range(0, len(waveform), chunk):
        captions += session.feed(waveform[start : start + chunk])
    return captions + session.finalize()


def finals(captions: Sequence[Caption]) -> list[Caption]:
    return [caption for caption in captions if isinstance(caption, Final)]


def check_same(found: Sequence[Caption], wanted: Sequence[Caption]) -> None:
    """Compare captions; their confidence is rounded, and may be so to either side."""
    assert len(found) == len(wanted) > 0
    for ours, other in zip(found, wanted, strict=True):
        assert ours.text == other.text
        assert (ours.id, ours.start_s, ours.end_s) == (other.id, other.start_s, other.end_s)
        assert ours.confidence == pytest.approx(other.confidence, abs=2e-4)


@pytest.mark.parametrize("chunk", [160, 882, 10_000, 10**9])
def test_the_finals_are_those_of_whole_windows(predictor: Predictor, chunk: int) -> None:
    found = finals(captions_of(CaptionSession(predictor), said(), chunk=chunk))
    wanted = finals(captions_of(CaptionSession(predictor, WINDOWED), said(), chunk=882))
    assert len(wanted) == 2
    assert all(final.text for final in wanted)
    check_same(found, wanted)


def test_utterances_that_are_cut_are_read_again_up_to_the_cut(predictor: Predictor) -> None:
    config = CaptionConfig(max_utterance_s=3.0)
    windowed = replace(config, streams=False)
    clip = babble(13.0)
    found = finals(captions_of(CaptionSession(predictor, config), clip, chunk=882))
    wanted = finals(captions_of(CaptionSession(predictor, windowed), clip, chunk=882))
    assert len(wanted) >= 4
    check_same(found, wanted)


def test_the_network_hears_each_sample_once(backend: Counted, predictor: Predictor) -> None:
    waveform = said()
    captions = captions_of(CaptionSession(predictor), waveform, chunk=882)
    assert len(captions) >= 8
    assert 5 * RATE_HZ < backend.num_samples <= len(waveform)
    assert backend.num_clips == 0


class Told(Unobserved):
    """Counts how often it was told that the network answered."""

    def __init__(self) -> None:
        self.num_computed = 0

    def computed(self) -> None:
        self.num_computed += 1


def test_whoever_observes_hears_that_the_network_answers(predictor: Predictor) -> None:
    told = Told()
    captions = captions_of(CaptionSession(predictor.observed(told)), said(), chunk=8820)
    assert told.num_computed >= len(finals(captions)) > 0


def test_partials_say_what_the_end_of_the_clip_will_not_change(predictor: Predictor) -> None:
    """All but the last frames of the whole clip's log-probabilities."""
    clip, stream = babble(3.0), predictor.open_stream()
    assert stream is not None
    (whole,) = predictor.backend.log_probs([clip])
    so_far = stream.feed(clip[: 2 * RATE_HZ])
    assert len(so_far) > 30
    np.testing.assert_allclose(so_far, whole[: len(so_far)], rtol=0, atol=1e-4)
    first = stream.finish(clip[2 * RATE_HZ :])
    np.testing.assert_allclose(np.concatenate([so_far, first]), whole, rtol=0, atol=1e-4)
    rest = [stream.feed(clip[2 * RATE_HZ :]), stream.finish(clip[:0])]
    np.testing.assert_allclose(np.concatenate(rest), first, rtol=0, atol=1e-4)


def make_reading(predictor: Predictor, clip: np.ndarray, **others: object) -> Reading:
    audio = RecentAudio(BLOCK)
    for block in clip[: len(clip) // BLOCK * BLOCK].reshape(-1, BLOCK):
        audio.append(block)
    options = {"whole": DecodingOptions(), "so_far": DecodingOptions()}
    return Reading(predictor=predictor, audio=audio, **options, **others)


def test_a_window_that_begins_has_no_words(predictor: Predictor) -> None:
    reader = StreamReader(make_reading(predictor, babble(2.0)))
    early = reader.so_far(Span(0, 2 * BLOCK))
    assert (early.text, early.words, early.duration_s) == ("", (), 0.04)


def test_windows_that_shrink_move_and_grow(predictor: Predictor) -> None:
    reading = make_reading(predictor, babble(4.0))
    ours, other = StreamReader(reading), WindowReader(reading)
    rest = babble(0.3, seed=5)
    for start, end in [(0, 60), (0, 90), (0, 50), (30, 80), (30, 80), (30, 150), (0, 199)]:
        window = Span(start * BLOCK, end * BLOCK)
        ours.so_far(window)
        for behind in (rest, rest[:0]):
            found, wanted = ours.whole(window, behind), other.whole(window, behind)
            assert found.text == wanted.text != ""
            assert found.duration_s == wanted.duration_s


def test_who_has_gone_is_not_worked_for(predictor: Predictor) -> None:
    gone = threading.Event()
    reader = StreamReader(make_reading(predictor, babble(2.0), given_up=gone))
    reader.so_far(Span(0, 20 * BLOCK))
    gone.set()
    with pytest.raises(GivenUpError):
        reader.so_far(Span(0, 40 * BLOCK))


@pytest.fixture
def batched(streaming_model: TinyModel) -> Iterator[Predictor]:
    predictor = Predictor(LocalBackend(streaming_model.folder)).batching(BatchingConfig())
    with closing(predictor.backend):
        yield predictor


def test_streams_pass_by_the_batches(batched: Predictor) -> None:
    reading = make_reading(batched, babble(2.0))
    assert isinstance(make_reader(reading, streams=True), StreamReader)
    assert isinstance(make_reader(reading, streams=False), WindowReader)
    window = Span(0, 80 * BLOCK)
    texts = {make_reader(reading, streams=s).whole(window).text for s in (True, False)}
    assert len(texts) == 1


def test_a_model_that_hears_both_ways_reads_windows(model_folder: Path) -> None:
    predictor = Predictor(LocalBackend(model_folder))
    assert predictor.open_stream() is None
    reading = make_reading(predictor, babble(1.0))
    assert isinstance(make_reader(reading, streams=True), WindowReader)
    with pytest.raises(ValueError, match="the model has no streams"):
        StreamReader(reading)

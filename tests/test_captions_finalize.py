"""Utterances that are ended from outside: nothing is lost, and nothing is heard twice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from captions.events import Caption, Final
from captions.session import CaptionSession
from captions.settings import CaptionConfig
from config import AudioConfig
from predictor import Predictor
from serving.local import LocalBackend
from speech.audio import decode_native
from speech.decoding.decoder import Decoder
from tests.clips import babble

ROOT = Path(__file__).parents[1]
RATE_HZ = 22_050
STEP = 882


class Noting(Predictor):
    """Notes what it is given."""

    noted: list[np.ndarray]

    def transcribe_clip(self, waveform, options=None, *, given_up=None):
        self.noted.append(waveform)
        return super().transcribe_clip(waveform, options, given_up=given_up)


@pytest.fixture(scope="module")
def predictor(bundled: Path) -> Predictor:
    backend = LocalBackend(bundled)
    return Predictor(backend, decoder=Decoder.of_model(bundled, backend.pipeline.alphabet))


def quiet(duration_s: float) -> np.ndarray:
    draw = np.random.default_rng(3)
    return (0.0005 * draw.standard_normal(round(duration_s * RATE_HZ))).astype(np.float32)


def sample(name: str) -> np.ndarray:
    return decode_native((ROOT / f"Data/samples/{name}.wav").read_bytes(), AudioConfig())


def finals(captions: list[Caption]) -> list[Final]:
    return [caption for caption in captions if isinstance(caption, Final) and caption.text]


def fed(session: CaptionSession, waveform: np.ndarray) -> list[Caption]:
    """Feed a waveform step by step."""
    starts = range(0, len(waveform), STEP)
    return [one for start in starts for one in session.feed(waveform[start : start + STEP])]


def test_what_is_behind_a_cut_is_heard_whenever_the_session_ends(predictor: Predictor) -> None:
    """From a step before the utterance is too long and cut to some steps after it."""
    waveform = np.concatenate([quiet(0.7), sample("sample"), sample("canoe")]).astype(np.float32)
    config = CaptionConfig(max_utterance_s=5.0, streams=False)
    session, num_steps = CaptionSession(predictor, config), 0
    while not finals(session.feed(waveform[num_steps * STEP : (num_steps + 1) * STEP])):
        num_steps += 1
    texts = []
    for steps in range(num_steps - 1, num_steps + 4):
        session = CaptionSession(predictor, config)
        heard = finals(fed(session, waveform[: steps * STEP]) + session.finalize())
        assert heard[-1].end_s == pytest.approx(steps * STEP / RATE_HZ, abs=0.3), steps
        texts.append(" ".join(final.text for final in heard).split())
    assert min(map(len, texts)) >= max(map(len, texts)) - 2, texts


@pytest.mark.parametrize("into_it_s", [0.04, 0.08, 0.12, 0.16])
def test_speech_that_has_just_begun_is_left_to_what_follows(
    predictor: Predictor, into_it_s: float
) -> None:
    clip = np.concatenate([quiet(2.0), sample("sample"), quiet(1.0)]).astype(np.float32)
    whole = CaptionSession(predictor)
    (final,) = finals(fed(whole, clip) + whole.finalize())
    cut = round((final.words[0].start_s + into_it_s) * RATE_HZ)
    session = CaptionSession(predictor)
    captions = fed(session, clip[:cut]) + session.finalize()
    captions += fed(session, clip[cut:]) + session.finalize()
    assert " ".join(one.text for one in finals(captions)).split()[:3] == final.text.split()[:3]


def heard_of(
    predictor: Noting, waveform: np.ndarray, ends: Sequence[int], **settings: float
) -> list[tuple[int, int]]:
    """Feed a waveform, ended at these samples and at its end; return what each final is of."""
    predictor.noted = []
    config = CaptionConfig(partial_interval_s=1000.0, streams=False, **settings)
    session = CaptionSession(predictor, config)
    for start, end in pairwise([0, *ends, len(waveform)]):
        fed(session, waveform[start:end])
        session.finalize()
    places = []
    for noted in predictor.noted:
        (start,) = np.flatnonzero(
            (np.lib.stride_tricks.sliding_window_view(waveform, 8) == noted[:8]).all(axis=1)
        ).tolist()
        np.testing.assert_array_equal(waveform[start : start + len(noted)], noted)
        places.append((start, start + len(noted)))
    return places


@pytest.mark.parametrize(
    "ends",
    [
        pytest.param([60 * STEP + 870], id="in a step"),
        pytest.param([60 * STEP + 870] * 2, id="twice"),
        pytest.param([60 * STEP, 63 * STEP], id="again after a little"),
        pytest.param([60 * STEP + 870, 62 * STEP + 3, 64 * STEP + 1, 90 * STEP], id="often"),
    ],
)
def test_every_sample_of_speech_that_goes_on_is_in_one_final(
    model_folder: Path, ends: list[int]
) -> None:
    waveform = np.concatenate([quiet(0.5), babble(4.0)]).astype(np.float32)
    places = heard_of(Noting(LocalBackend(model_folder)), waveform, ends)
    assert len(places) >= 2
    for (_, end), (start, _) in pairwise(places):
        assert start == end
    assert places[0][0] <= 0.5 * RATE_HZ
    assert places[-1][1] == len(waveform)

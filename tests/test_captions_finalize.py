"""Utterances that are ended from outside: nothing is lost, and nothing is heard twice."""

from __future__ import annotations

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
    """Notes how many samples it is given."""

    lengths: list[int]

    def transcribe_clip(self, waveform, options=None, *, given_up=None):
        self.lengths.append(len(waveform))
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


def test_no_sample_is_in_two_finals(model_folder: Path) -> None:
    predictor = Noting(LocalBackend(model_folder))
    config = CaptionConfig(partial_interval_s=1000.0, streams=False)
    session = CaptionSession(predictor, config)
    first, second = STEP * 60 + STEP - 12, STEP * 40
    waveform = np.concatenate([quiet(0.5), babble(10.0)]).astype(np.float32)[: first + second]
    predictor.lengths = []
    fed(session, waveform[:first])
    session.finalize()
    fed(session, waveform[first:])
    session.finalize()
    assert len(predictor.lengths) == 2
    assert sum(predictor.lengths) <= len(waveform)
    assert predictor.lengths[1] <= second

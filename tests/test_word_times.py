"""Times of words, on synthesised words that were joined with known silences."""

import json
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import pytest

from predictor import load_predictor
from service_config import ServerConfig
from speech.transcript import Transcript

DATA = Path(__file__).parent / "data"
MAX_MEDIAN_START_ERROR_S = 0.06
MAX_MEDIAN_END_ERROR_S = 0.08


@pytest.fixture(scope="module")
def known() -> dict[str, list]:
    return json.loads((DATA / "timed_words.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def transcript() -> Transcript:
    predictor = load_predictor(ServerConfig(compile_clips=False))
    return predictor.transcribe((DATA / "timed_words.wav").read_bytes())


def test_starts_and_ends_are_where_the_words_are(known, transcript: Transcript) -> None:
    found = [word.text for word in transcript.words]
    blocks = SequenceMatcher(a=known["words"], b=found, autojunk=False).get_matching_blocks()
    pairs = [(i + k, j + k) for i, j, size in blocks for k in range(size)]
    assert len(pairs) >= 0.6 * len(known["words"]), "too few for a median"
    starts = [abs(transcript.words[j].start_s - known["starts"][i]) for i, j in pairs]
    ends = [abs(transcript.words[j].end_s - known["ends"][i]) for i, j in pairs]
    assert np.median(starts) < MAX_MEDIAN_START_ERROR_S
    assert np.median(ends) < MAX_MEDIAN_END_ERROR_S


def test_words_are_the_text_in_order_within_the_clip(transcript: Transcript) -> None:
    assert " ".join(word.text for word in transcript.words) == transcript.text
    times = [time for word in transcript.words for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= transcript.duration_s
    assert all(0 <= word.confidence <= 1 for word in transcript.words)

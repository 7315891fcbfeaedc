"""Greedy CTC decoding held against its definition, written out."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import DecodingError
from speech.alphabet import BLANK, Alphabet
from speech.decoding.greedy import greedy_confidence, greedy_decode

ALPHABET = Alphabet((BLANK, " ", "a", "b"))
CLIPS = st.lists(st.lists(st.floats(-9, 9), min_size=4, max_size=4), min_size=1, max_size=12)


def log_softmax(scores: list[list[float]]) -> np.ndarray:
    """Return float32 log-probabilities."""
    values = np.array(scores, np.float64)
    return (values - np.log(np.exp(values).sum(axis=1, keepdims=True))).astype(np.float32)


def along(path: str, *, probability: float = 0.7) -> np.ndarray:
    """Return log-probabilities whose best path is `path`, written with "-" for the blank."""
    rest = (1 - probability) / (len(ALPHABET) - 1)
    table = np.full((len(path), len(ALPHABET)), rest, np.float32)
    for frame, character in zip(table, path, strict=True):
        frame["- ab".index(character)] = probability
    return np.log(table)


def naive_decode(log_probs: np.ndarray) -> str:
    """Return the text, frame by frame."""
    text, previous = "", None
    for frame in log_probs.tolist():
        best = frame.index(max(frame))
        if best != previous and best != 0:
            text += "- ab"[best]
        previous = best
    while "  " in text:
        text = text.replace("  ", " ")
    return text.strip(" ")


def naive_confidence(log_probs: np.ndarray) -> float:
    """Return the geometric mean over the frames that are not blank, or over all."""
    frames = log_probs.tolist()
    spoken = [frame for frame in frames if frame.index(max(frame)) != 0] or frames
    product = math.prod(math.exp(max(frame)) for frame in spoken)
    return product ** (1 / len(spoken))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("-", ""),
        ("----", ""),
        ("a", "a"),
        ("aaaa", "a"),
        ("a-a", "aa"),
        ("aa--aab-", "aab"),
        ("abab", "abab"),
        ("a -b", "a b"),
        (" a - b ", "a b"),
        (" - - ", ""),
        ("--a", "a"),
    ],
)
def test_repeats_merge_and_blanks_vanish(path: str, text: str) -> None:
    assert greedy_decode(along(path), ALPHABET) == text


@given(CLIPS)
def test_the_text_is_that_of_the_definition(scores: list[list[float]]) -> None:
    log_probs = log_softmax(scores)
    assert greedy_decode(log_probs, ALPHABET) == naive_decode(log_probs)


@given(CLIPS)
def test_the_confidence_is_that_of_the_definition(scores: list[list[float]]) -> None:
    log_probs = log_softmax(scores)
    confidence = greedy_confidence(log_probs, ALPHABET)
    assert 0.25 - 1e-6 <= confidence <= 1 + 1e-6
    assert confidence == pytest.approx(naive_confidence(log_probs), rel=1e-5)


def test_certain_blanks_do_not_hide_an_unsure_letter() -> None:
    log_probs = np.concatenate([along("-" * 50, probability=0.999), along("a", probability=0.4)])
    assert greedy_confidence(log_probs, ALPHABET) == pytest.approx(0.4, rel=1e-5)
    assert greedy_confidence(log_probs[:50], ALPHABET) == pytest.approx(0.999, rel=1e-5)


@given(CLIPS, st.integers(1, 4))
def test_frames_that_repeat_change_nothing(scores: list[list[float]], times: int) -> None:
    log_probs = log_softmax(scores)
    slower = log_probs.repeat(times, axis=0)
    assert greedy_decode(slower, ALPHABET) == greedy_decode(log_probs, ALPHABET)
    expected = pytest.approx(greedy_confidence(log_probs, ALPHABET), rel=1e-5)
    assert greedy_confidence(slower, ALPHABET) == expected


def test_impossible_symbols_are_no_trouble() -> None:
    log_probs = np.full((3, 4), -np.inf, np.float32)
    log_probs[:, 2] = 0
    assert greedy_decode(log_probs, ALPHABET) == "a"
    assert greedy_confidence(log_probs, ALPHABET) == 1


@pytest.mark.parametrize("shape", [(0, 4), (5, 3), (5, 5), (4,), (1, 5, 4)])
@pytest.mark.parametrize("decode", [greedy_decode, greedy_confidence])
def test_another_shape_is_refused_by_what_it_is(
    decode: Callable[[np.ndarray, Alphabet], object], shape: tuple[int, ...]
) -> None:
    with pytest.raises(DecodingError) as raised:
        decode(np.zeros(shape, np.float32), ALPHABET)
    assert str(shape) in str(raised.value)
    assert "needed: at least one frame by 4 symbols" in str(raised.value)

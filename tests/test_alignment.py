"""Forced alignment held against every path there is."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import DecodingError
from speech.alphabet import num_ctc_frames
from speech.decoding.alignment import align, states_of

SYMBOLS = 4
CLIPS = st.integers(1, 6).flatmap(
    lambda frames: st.lists(
        st.lists(st.floats(-8, 0), min_size=SYMBOLS, max_size=SYMBOLS),
        min_size=frames,
        max_size=frames,
    )
)
LABELS = st.lists(st.integers(1, SYMBOLS - 1), max_size=4)


def collapsed(path: tuple[int, ...], blank_index: int = 0) -> list[int]:
    return [label for label, _ in itertools.groupby(path) if label != blank_index]


def best_score(log_probs: np.ndarray, labels: list[int], blank_index: int = 0) -> float:
    """Return the score of the likeliest of all paths that collapse to `labels`."""
    frames = np.arange(len(log_probs))
    paths = itertools.product(range(log_probs.shape[1]), repeat=len(frames))
    return max(
        float(log_probs[frames, path].sum(dtype=np.float64))
        for path in paths
        if collapsed(path, blank_index) == labels
    )


def path_of(
    spans: np.ndarray, labels: list[int], num_frames: int, blank_index: int = 0
) -> tuple[int, ...]:
    """Return the path that has each label on its span's frames and blanks elsewhere."""
    path = [blank_index] * num_frames
    for label, (start, end) in zip(labels, spans.tolist(), strict=True):
        path[start:end] = [label] * (end - start)
    return tuple(path)


def assert_sound(spans: np.ndarray, labels: list[int], num_frames: int) -> None:
    assert spans.shape == (len(labels), 2)
    assert spans.dtype == np.int64
    edges = spans.reshape(-1)
    assert (np.diff(edges) >= 0).all(), "in order, not overlapping"
    assert (spans[:, 0] < spans[:, 1]).all(), "each label has a frame"
    if labels:
        assert edges[0] >= 0
        assert edges[-1] <= num_frames
    assert collapsed(path_of(spans, labels, num_frames)) == labels


@given(CLIPS, LABELS)
def test_the_path_is_the_best_of_all(scores: list[list[float]], labels: list[int]) -> None:
    log_probs = np.array(scores, np.float32)
    if num_ctc_frames(labels) > len(log_probs):
        with pytest.raises(DecodingError):
            align(log_probs, labels)
        return
    spans = align(log_probs, labels)
    assert_sound(spans, labels, len(log_probs))
    path = path_of(spans, labels, len(log_probs))
    found = float(log_probs[np.arange(len(path)), path].sum(dtype=np.float64))
    assert found == pytest.approx(best_score(log_probs, labels), abs=1e-4)


def test_the_blank_may_have_another_index(rng: np.random.Generator) -> None:
    log_probs = rng.normal(0, 2, (5, SYMBOLS)).astype(np.float32)
    path = path_of(align(log_probs, [0, 0, 2], blank_index=3), [0, 0, 2], 5, blank_index=3)
    found = float(log_probs[np.arange(5), path].sum())
    assert found == pytest.approx(best_score(log_probs, [0, 0, 2], blank_index=3), abs=1e-4)


@pytest.mark.parametrize("labels", [[1], [1, 2, 3], [1, 1], [2, 2, 2, 1], [3, 1, 1, 3]])
def test_exactly_enough_frames_leave_one_path(labels: list[int], rng: np.random.Generator) -> None:
    num_frames = num_ctc_frames(labels)
    spans = align(rng.normal(0, 5, (num_frames, SYMBOLS)).astype(np.float32), labels)
    assert_sound(spans, labels, num_frames)
    assert (spans[:, 1] - spans[:, 0] == 1).all()


def test_equal_letters_are_told_apart_by_a_blank() -> None:
    log_probs = np.full((6, SYMBOLS), -9, np.float32)
    log_probs[:, 1] = 0  # the letter all the time; the blank is least unlikely at frame 3
    log_probs[3, 0] = -4
    np.testing.assert_array_equal(align(log_probs, [1, 1]), [[0, 3], [4, 6]])


def test_a_label_keeps_its_frames_and_blanks_theirs() -> None:
    said = [0, 0, 1, 1, 0, 2, 3, 3, 3, 0]
    log_probs = np.full((len(said), SYMBOLS), -9, np.float32)
    log_probs[np.arange(len(said)), said] = -0.1
    np.testing.assert_array_equal(align(log_probs, [1, 2, 3]), [[2, 4], [5, 6], [6, 9]])


def test_no_label_has_no_frames(rng: np.random.Generator) -> None:
    for num_frames in (0, 1, 7):
        assert_sound(align(rng.normal(size=(num_frames, SYMBOLS)).astype("f4"), []), [], num_frames)


@pytest.mark.parametrize(
    ("num_frames", "labels", "message"),
    [
        (0, [1], "1 labels do not fit into 0 frames; needed: 1"),
        (2, [1, 2, 3], "3 labels do not fit into 2 frames; needed: 3"),
        (2, [1, 1], "2 labels do not fit into 2 frames; needed: 3"),
    ],
)
def test_too_many_labels_are_refused(num_frames: int, labels: list[int], message: str) -> None:
    with pytest.raises(DecodingError, match=message):
        align(np.zeros((num_frames, SYMBOLS), np.float32), labels)


def test_impossible_frames_are_passed_where_there_are_fewest(rng: np.random.Generator) -> None:
    for labels in ([1], [1, 1], [1, 2, 3], [2, 1, 2]):
        for share in (0.3, 0.7, 1.0):
            log_probs = rng.normal(-3, 1, (6, SYMBOLS)).astype(np.float32)
            log_probs[rng.random(log_probs.shape) < share] = -math.inf
            spans = align(log_probs, labels)
            assert_sound(spans, labels, len(log_probs))
            path = path_of(spans, labels, len(log_probs))
            passed = np.maximum(log_probs, -1e6)
            found = float(passed[np.arange(6), path].sum(dtype=np.float64))
            assert found == pytest.approx(best_score(passed, labels), abs=1e-3)


def test_a_long_clip_is_aligned_as_it_was_said(rng: np.random.Generator) -> None:
    labels = rng.integers(1, SYMBOLS, 400).tolist()
    said: list[int] = []
    for label in labels:
        said += [0] * int(rng.integers(1, 5)) + [label] * int(rng.integers(1, 5))
    log_probs = rng.normal(-8, 1, (len(said), SYMBOLS)).astype(np.float32)
    log_probs[np.arange(len(said)), said] = -0.1
    spans = align(log_probs, labels)
    assert path_of(spans, labels, len(said)) == tuple(said)


def test_the_states_are_labels_between_blanks() -> None:
    assert states_of([3, 1]).tolist() == [0, 3, 0, 1, 0]
    assert states_of([], 2).tolist() == [2]
    assert states_of([0], 9).tolist() == [9, 0, 9]

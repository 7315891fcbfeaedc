"""Confidence against what was right: hand-worked figures and independent references."""

from pathlib import Path

import numpy as np
import pytest

from training.reliability import measure_reliability, plot_reliability, right_words


def test_right_words_are_those_in_place() -> None:
    reference, hypothesis = "the old house stood near", "the house stud near by"
    assert right_words(reference, hypothesis).tolist() == [True, True, False, True, False]
    assert right_words("", "a b").tolist() == [False, False]
    assert right_words("a b", "").tolist() == []


def test_a_worked_example() -> None:
    r = measure_reliability(
        [0.95, 0.92, 0.15, 0.12, 1.0, 0.0], [True, True, False, True, True, False]
    )
    # pairs of right and wrong: 4 * 2, of which 0.12 against 0.15 is the only one the wrong way
    assert r.auroc == pytest.approx(7 / 8)
    assert (r.counts[0], r.counts[1], r.counts[9]) == (1, 2, 3)
    bins = [(1, 0.0, 0.0), (2, 0.135, 0.5), (3, (0.95 + 0.92 + 1) / 3, 1.0)]
    assert r.ece == pytest.approx(sum(n * abs(c - a) for n, c, a in bins) / 6)


def test_auroc_is_the_share_of_pairs(rng) -> None:
    sure, right = rng.random(200).round(1), rng.random(200) < 0.6
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in sure[right] for b in sure[~right]]
    assert measure_reliability(sure, right).auroc == pytest.approx(np.mean(pairs))


def test_what_is_calibrated_has_no_error(rng) -> None:
    sure = rng.random(200_000)
    r = measure_reliability(sure, rng.random(200_000) < sure)
    assert r.ece < 0.01
    assert measure_reliability(sure**3, rng.random(200_000) < sure).ece > 0.1


def test_one_kind_of_outcome_has_no_ranking() -> None:
    assert np.isnan(measure_reliability([0.5, 0.6], [True, True]).auroc)
    with pytest.raises(ValueError, match="needed: as many, some"):
        measure_reliability([], [])


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "plots" / "r.png"
    plot_reliability(path, measure_reliability([0.2, 0.9], [False, True]), title="two words")
    assert path.read_bytes().startswith(b"\x89PNG")

"""Rates and intervals: worked by hand, and against many samples whose truth is known."""

import numpy as np
import pytest

from training.analysis_statistics import compare, rate


def samples(rng: np.random.Generator, *, clips: int, mean: float = 0.2) -> np.ndarray:
    """Return int `[clips, 2]`, errors and words; clips differ in how hard they are."""
    words = rng.integers(3, 20, clips)
    hard = rng.beta(4 * mean, 4 * (1 - mean), clips)
    return np.column_stack([rng.binomial(words, hard), words])


def test_a_rate_pools_its_clips() -> None:
    found = rate([1, 0, 3], [4, 2, 4])
    assert (found.errors, found.count, found.value) == (4, 10, 0.4)
    assert (found.low, found.high) == (None, None)  # three clips say nothing about others


def test_the_interval_holds_the_truth_as_often_as_it_says(rng: np.random.Generator) -> None:
    held = 0
    for _ in range(200):
        found = rate(*samples(rng, clips=60).T)
        held += found.low <= 0.2 <= found.high
    assert 180 <= held <= 199


def test_the_interval_narrows_with_the_root_of_the_clips(rng: np.random.Generator) -> None:
    few, many = (rate(*samples(rng, clips=clips).T) for clips in (100, 1600))
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(4, rel=0.25)


def test_no_error_in_many_words_is_not_no_error_at_all() -> None:
    found = rate([0] * 10, [10] * 10)
    assert (found.value, found.low) == (0, 0)
    assert (1 - found.high) ** 100 == pytest.approx(0.05)


def test_equal_clips_leave_no_doubt_and_equal_draws_equal_intervals() -> None:
    assert (rate([1] * 6, [4] * 6).low, rate([1] * 6, [4] * 6).high) == (0.25, 0.25)
    table = samples(np.random.default_rng(3), clips=30).T
    assert rate(*table) == rate(*table)


def test_nothing_has_no_rate() -> None:
    with pytest.raises(ValueError, match="a rate of nothing"):
        rate([0, 0], [0, 0])


def test_a_comparison_worked_by_hand() -> None:
    """Each clip moves its rate by 1/100: the variances are 10/9 of 10 times its square."""
    few = np.array([[0, 10], [2, 10]] * 5)
    many = np.array([[4, 10], [6, 10]] * 5)
    found = compare(few, many, paired=False)
    reach = 1.959964 * np.sqrt(2 * 10 / 9 * 10 * 0.01**2)
    assert (found.first, found.second, found.ratio) == (0.1, 0.5, pytest.approx(0.2))
    assert (found.first_count, found.second_count) == (100, 100)
    assert (found.low, found.high) == pytest.approx((-0.4 - reach, -0.4 + reach))
    assert found.is_clear
    paired = compare(few, many, paired=True)  # the second is the first and 0.4, clip by clip
    assert (paired.low, paired.high) == pytest.approx((-0.4, -0.4))
    assert not compare(few, few, paired=True).is_clear


def test_a_comparison_agrees_with_drawing_again(rng: np.random.Generator) -> None:
    first, second = samples(rng, clips=80, mean=0.4), samples(rng, clips=80)
    found = compare(first, second, paired=True)
    picks = rng.integers(0, 80, (4000, 80))
    drawn = [table[picks].sum(axis=1) for table in (first, second)]
    differences = drawn[0][:, 0] / drawn[0][:, 1] - drawn[1][:, 0] / drawn[1][:, 1]
    low, high = np.quantile(differences, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.01)


def test_chance_alone_is_seldom_clear_among_twenty_groups(rng: np.random.Generator) -> None:
    alarms = 0
    for _ in range(200):
        clips = samples(rng, clips=400)
        groups = np.split(clips, 20)
        found = [
            compare(group, np.vstack([*groups[:i], *groups[i + 1 :]]), paired=False, comparisons=20)
            for i, group in enumerate(groups)
        ]
        alarms += any(comparison.is_clear for comparison in found)
    assert alarms <= 10  # of 200; more than every second without the correction


def test_a_few_clips_without_an_error_prove_little(rng: np.random.Generator) -> None:
    """They do not scatter at all, but the others show that clips do."""
    lucky = np.array([[0, 5]] * 10)
    others = samples(rng, clips=200, mean=0.1)
    assert not compare(lucky, others, paired=False, comparisons=20).is_clear
    assert compare(np.repeat(lucky, 20, axis=0), others, paired=False, comparisons=20).is_clear


def test_too_few_clips_are_not_compared() -> None:
    nine, ten = np.array([[1, 5]] * 9), np.array([[1, 5]] * 10)
    assert compare(nine, ten, paired=False) is None
    assert compare(np.vstack([nine, [[0, 0]]]), ten, paired=True) is None
    assert compare(ten, ten, paired=True) is not None

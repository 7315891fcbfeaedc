"""Error rates with the interval that chance leaves them, and when two of them differ.

Clips are drawn, not words: the words of a clip share its speaker, its room and its errors. Source:
Bisani and Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance evaluation".
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
FEWEST_CLIPS = 5  # for an interval
FEWEST_COMPARED = 10  # clips on each side of a comparison
_RISK = 0.05
_CHUNK = 100


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Errors in so many words, characters or clips.

    Attributes:
        value: `errors / count`; over 1 where much was added.
        low: end of the 95 % interval; None where fewer than `FEWEST_CLIPS` clips have any count.
        high: its other end.
    """

    errors: int
    count: int
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two rates, and the interval of the first less the second.

    Attributes:
        first_count: of what could be wrong in the first; `second_count` in the second.
        ratio: first over second; None if the second is 0.
        low: end of the interval of the difference; its risk is shared among all comparisons made.
        high: its other end.
    """

    first: float
    second: float
    first_count: int
    second_count: int
    ratio: float | None
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves 0 out, so that chance hardly explains the difference."""
        return self.low > 0 or self.high < 0


def resampled_sums(values: ArrayLike, *, seed: int = 0) -> NDArray[np.float64]:
    """Return `[RESAMPLES, columns]`: sums of `[clips, columns]` over clips drawn with return."""
    table = np.asarray(values, float)
    draw, num_clips = np.random.default_rng(seed), len(table)
    evenly = np.full(num_clips, 1 / num_clips)
    chunks = [
        draw.multinomial(num_clips, evenly, size=_CHUNK) @ table for _ in range(RESAMPLES // _CHUNK)
    ]
    return np.concatenate(chunks)


def rate(errors: ArrayLike, counts: ArrayLike) -> Rate:
    """Return the rate of all clips together.

    Without an error the upper end is the rate at which one sample of so many words in 20 would
    still show none (Hanley and Lippman-Hand 1983): resampling knows only errors that it has seen.

    Args:
        errors: `[clips]`.
        counts: `[clips]`, of words or whatever can be wrong.

    Raises:
        ValueError: nothing is counted.
    """
    table = np.column_stack([errors, counts]).astype(float)
    total_errors, count = table.sum(axis=0)
    if not count:
        raise ValueError("a rate of nothing; needed: at least one count over 0")
    low, high = None, None
    if np.count_nonzero(table[:, 1]) >= FEWEST_CLIPS:
        low, high = _interval(table) if total_errors else (0.0, 1 - _RISK ** float(1 / count))
    return Rate(
        errors=round(total_errors),
        count=round(count),
        value=float(total_errors / count),
        low=low,
        high=high,
    )


def _interval(table: NDArray[np.float64]) -> tuple[float, float]:
    sums = resampled_sums(table)
    sums = sums[sums[:, 1] > 0]
    low, high = np.quantile(sums[:, 0] / sums[:, 1], [_RISK / 2, 1 - _RISK / 2])
    return float(low), float(high)


def compare(
    first: ArrayLike, second: ArrayLike, *, paired: bool, comparisons: int = 1
) -> Comparison | None:
    """Compare two rates, each `[clips, 2]`: errors and counts.

    The interval is that of ratio estimates over clips (Cochran 1977, "Sampling techniques",
    section 6.3 and following). Clips of one side may be alike by chance, as where none has an
    error: sides that are not paired are taken to scatter at least as both do together.

    Args:
        paired: the rows of both are the same clips.
        comparisons: how many are made at a time; the more, the wider the interval (Bonferroni).

    Returns:
        None where a side has fewer than `FEWEST_COMPARED` clips with any count.
    """
    left, right = np.asarray(first, float), np.asarray(second, float)
    if min(np.count_nonzero(left[:, 1]), np.count_nonzero(right[:, 1])) < FEWEST_COMPARED:
        return None
    if paired:
        variance = _variance(_influence(left) - _influence(right))
    else:
        own = _variance(_influence(left)) + _variance(_influence(right))
        variance = max(own, _common_variance(left, right))
    reach = NormalDist().inv_cdf(1 - _RISK / 2 / comparisons) * variance**0.5
    (errors, count), (other_errors, other_count) = left.sum(axis=0), right.sum(axis=0)
    a, b = float(errors / count), float(other_errors / other_count)
    return Comparison(
        first=a,
        second=b,
        first_count=round(count),
        second_count=round(other_count),
        ratio=a / b if b else None,
        low=a - b - reach,
        high=a - b + reach,
    )


def _influence(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `[clips]`: by how much each clip moves the rate, to first order."""
    errors, counts = table.T
    return (errors - errors.sum() / counts.sum() * counts) / counts.sum()


def _variance(influence: NDArray[np.float64]) -> float:
    """Return the variance of a sum over clips that were drawn as these were; its mean is 0."""
    return float(np.sum(influence**2)) * len(influence) / (len(influence) - 1)


def _common_variance(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Return the variance of the difference if clips of both sides scatter alike, by their size."""
    sides = (left, right)
    scatter = sum(float(np.sum((_influence(side) * side[:, 1].sum()) ** 2)) for side in sides)
    squares = [float(np.sum(side[:, 1] ** 2)) for side in sides]
    shares = (square / side[:, 1].sum() ** 2 for side, square in zip(sides, squares, strict=True))
    return scatter / sum(squares) * float(sum(shares))

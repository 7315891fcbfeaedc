"""Which character became which, as shares that can be drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.analysis_words import NOTHING, Confusions

FEWEST_SAID = 10
_MOST_SYMBOLS = 40
_WITHIN_COLOURS = 0.95
_BLEACHING = 2.0


@dataclass(frozen=True, kw_only=True)
class ConfusionMatrix:
    """What each character of the references became.

    Attributes:
        symbols: in order; the last one is `NOTHING`.
        shares: float `[said, understood]`; NaN where it was right, or was said too seldom.
        limit: share at which colours end, above 0.
    """

    symbols: tuple[str, ...]
    shares: NDArray[np.float64]
    limit: float

    @property
    def highest(self) -> float:
        """The largest share; 0 where there is none."""
        return float(np.nan_to_num(self.shares).max())

    @property
    def is_capped(self) -> bool:
        """Whether a share lies above where colours end."""
        return self.highest > self.limit


def confusion_matrix(confusions: Confusions) -> ConfusionMatrix:
    """Return the shares of the most frequent symbols, the right ones left out."""
    symbols = confusions.symbols[-_MOST_SYMBOLS:]
    if len(confusions.symbols) > _MOST_SYMBOLS:
        frequent = sorted(confusions.symbols[:-1], key=confusions.occurrences)[-_MOST_SYMBOLS:]
        symbols = (*sorted(frequent), NOTHING)
    places = [confusions.symbols.index(symbol) for symbol in symbols]
    counts = np.array(confusions.counts, float)[np.ix_(places, places)]
    said = np.array([confusions.occurrences(symbol) for symbol in symbols])
    shares = counts / np.maximum(1, said)[:, np.newaxis]
    np.fill_diagonal(shares, np.nan)
    shares[said < FEWEST_SAID] = np.nan
    return ConfusionMatrix(symbols=symbols, shares=shares, limit=_limit(shares, said))


def _limit(shares: NDArray[np.float64], said: NDArray[np.int64]) -> float:
    """Return where colours are to end: one rare character must not bleach all others.

    Of the characters that were confused, `_WITHIN_COLOURS` as they were said have no larger share;
    but colours hold all shares where the largest is less than `_BLEACHING` times as much. What was
    added does not count: its shares always sum to 1.
    """
    highest = np.nan_to_num(shares).max(axis=1)
    places = np.flatnonzero(highest[:-1])
    if not len(places):
        return float(highest.max()) or 1.0
    places = places[np.argsort(highest[places])]
    below = np.cumsum(said[places]) / said[places].sum()
    limit = highest[places[np.argmax(below >= _WITHIN_COLOURS)]]
    return float(limit if highest.max() >= _BLEACHING * limit else highest.max())

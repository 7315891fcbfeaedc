"""Whether confidence can be trusted: it ranks right words over wrong, and is the share right.

Source: expected calibration error and reliability diagrams as in Guo et al. 2017, "On Calibration
of Modern Neural Networks", section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jiwer
import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BINS = 10


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Of all words of a split.

    Attributes:
        auroc: chance that a right word is surer than a wrong one; NaN where all are alike.
        ece: mean distance between a bin's confidence and its share of right words.
        edges: of the bins, one more than these.
        counts: words a bin.
        confidence: mean a bin, 0 where it is empty.
        accuracy: share of right words a bin, 0 where it is empty.
    """

    auroc: float
    ece: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]


def right_words(reference: str, hypothesis: str) -> NDArray[np.bool_]:
    """Return bool `[hypothesis words]`: which of them the best word alignment finds in place."""
    right = np.zeros(len(hypothesis.split()), bool)
    if reference and hypothesis:
        for chunk in jiwer.process_words(reference, hypothesis).alignments[0]:
            if chunk.type == "equal":
                right[chunk.hyp_start_idx : chunk.hyp_end_idx] = True
    return right


def measure_reliability(confidences: Sequence[float], right: Sequence[bool]) -> Reliability:
    """Compare float `[words]` in [0, 1] with whether each word was right.

    Raises:
        ValueError: there is no word, or not one outcome a confidence.
    """
    sure, correct = np.asarray(confidences, float), np.asarray(right, bool)
    if len(sure) != len(correct) or not len(sure):
        raise ValueError(f"{len(sure)} confidences, {len(correct)} outcomes; needed: as many, some")
    edges = np.linspace(0, 1, _BINS + 1)
    place = np.clip(np.digitize(sure, edges) - 1, 0, _BINS - 1)
    counts = np.bincount(place, minlength=_BINS)
    full = np.maximum(counts, 1)
    confidence = np.bincount(place, sure, minlength=_BINS) / full
    accuracy = np.bincount(place, correct, minlength=_BINS) / full
    return Reliability(
        auroc=_auroc(sure, correct),
        ece=float((counts * np.abs(confidence - accuracy)).sum() / counts.sum()),
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        confidence=tuple(confidence.tolist()),
        accuracy=tuple(accuracy.tolist()),
    )


def _auroc(sure: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """Return the Mann-Whitney statistic as a share of all pairs; ties count half."""
    num_right, num_wrong = int(correct.sum()), int((~correct).sum())
    if not num_right or not num_wrong:
        return float("nan")
    ranks = rankdata(sure)[correct].sum()
    return float((ranks - num_right * (num_right + 1) / 2) / (num_right * num_wrong))


def plot_reliability(path: Path, reliability: Reliability, *, title: str) -> None:
    """Draw confidence against the share of right words, and how many words a bin has."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5.5), layout="constrained")
    draw_reliability(figure, reliability)
    figure.suptitle(f"{title}\nAUROC {reliability.auroc:.3f}, ECE {reliability.ece:.3f}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def draw_reliability(
    figure: Figure, reliability: Reliability, *, colour: str = "#4477aa", line: str = "#555555"
) -> None:
    """Fill a figure with what `plot_reliability` draws; `line` is where bars should end."""
    top, bottom = figure.subplots(2, height_ratios=[4, 1], sharex=True)
    middles = np.add(reliability.edges[:-1], reliability.edges[1:]) / 2
    filled = np.array(reliability.counts) > 0
    width = 1 / _BINS * 0.9
    top.bar(middles[filled], np.array(reliability.accuracy)[filled], width, color=colour)
    top.plot([0, 1], [0, 1], "--", color=line, label="as sure as right")
    top.set(ylabel="share of words that are right", ylim=(0, 1), xlim=(0, 1))
    top.legend(loc="upper left", frameon=False)
    bottom.bar(middles, reliability.counts, width, color="#999999")
    bottom.set(xlabel="confidence", ylabel="words")

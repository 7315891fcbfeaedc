"""How sure a transcript is: for each word, the probability that it is right.

A logistic regression over a few measures of the word, fitted to validation clips whose words were
found right or wrong.

Source: confidence by logistic regression (Platt 1999, "Probabilistic Outputs for Support Vector
Machines"), over posterior and n-best measures as in Jiang 2005, "Confidence measures for speech
recognition: A survey", section 2.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config import ModelError
from speech.audio import write_atomically
from speech.decoding.beam import Hypothesis

FILE_NAME = "confidence.json"
MEASURES = ("mean", "least", "agreement", "greedy", "length", "pace")


@dataclass(frozen=True, kw_only=True)
class ConfidenceModel:
    """Weights of `MEASURES`, and what is added: confidence is the logistic function of the sum."""

    weights: tuple[float, ...]
    bias: float

    def __post_init__(self) -> None:
        if len(self.weights) != len(MEASURES):
            raise ModelError(f"got {len(self.weights)} weights; needed: one each of {MEASURES}")
        if not np.isfinite([*self.weights, self.bias]).all():
            raise ModelError(
                f"got weights {self.weights}, bias {self.bias}; needed: finite numbers"
            )

    def confidences(self, measures: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return float64 `[words]` in [0, 1] for float64 `[words, measures]`."""
        return np.asarray(1 / (1 + np.exp(-(measures @ np.array(self.weights) + self.bias))))


def measure_words(
    words: Sequence[str],
    spans: NDArray[np.int64],
    log_probs: NDArray[np.float32],
    labels: Sequence[int],
    hypotheses: Sequence[Hypothesis],
    greedy_words: Sequence[str],
) -> NDArray[np.float64]:
    """Return float64 `[words, measures]`, in the order of `MEASURES`.

    Args:
        spans: int64 `[labels, 2]`: the frames of each of the text's labels, spaces included.
        labels: of the text whose words these are, single spaces between them.
        hypotheses: the likeliest texts of the clip.
        greedy_words: of the best path.
    """
    peaks = [
        float(log_probs[start:end, label].max())
        for label, (start, end) in zip(labels, spans, strict=True)
    ]
    shares = _shares(hypotheses)
    texts = [set(hypothesis.text.split()) for hypothesis in hypotheses]
    greedy, rows, place = set(greedy_words), [], 0
    for word in words:
        own = np.array(peaks[place : place + len(word)])
        frames = spans[place + len(word) - 1, 1] - spans[place, 0]
        agreeing = sum(share for share, text in zip(shares, texts, strict=True) if word in text)
        rows.append(
            [
                own.mean(),
                own.min(),
                np.log(max(agreeing, 1e-3)),
                float(word in greedy),
                np.log(len(word)),
                np.log(frames / len(word)),
            ]
        )
        place += len(word) + 1
    return np.array(rows, np.float64).reshape(len(words), len(MEASURES))


def _shares(hypotheses: Sequence[Hypothesis]) -> list[float]:
    scores = np.array([hypothesis.score for hypothesis in hypotheses])
    if not len(scores):
        return []
    shares = np.exp(scores - scores.max())
    return list(shares / shares.sum())


def read_confidence(folder: Path) -> ConfidenceModel | None:
    """Read `folder/confidence.json`; None if the model has none.

    Raises:
        ModelError: it is broken or of other measures.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["measures"] != list(MEASURES):
            raise ModelError(f"measures {values['measures']}; needed: {list(MEASURES)}")
        weights = tuple(map(float, values["weights"]))
        return ConfidenceModel(weights=weights, bias=float(values["bias"]))
    except ModelError as error:
        raise ModelError(f"{path} is not a confidence model: {error}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is not a confidence model: {error!r}") from error


def write_confidence(folder: Path, model: ConfidenceModel, *, notes: dict[str, Any]) -> Path:
    """Write `folder/confidence.json`, with what it was fitted to; return its path."""
    content = {"measures": MEASURES, **asdict(model), **notes}
    path = folder / FILE_NAME
    write_atomically(path, json.dumps(content, indent=2) + "\n")
    return path

"""What a predictor returns."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word of a transcript.

    Attributes:
        text: the word, without spaces.
        start_s: where it starts, seconds from the clip's start.
        end_s: where it ends; not before `start_s`.
        confidence: in [0, 1], that it is right.
    """

    text: str
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """A text that may have been said; scores, natural logarithms, compare texts of one clip."""

    text: str
    score: float


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """The text of one clip.

    Attributes:
        text: normalised text; empty for silence.
        confidence: in [0, 1]: the share of its words that are expected to be right.
        duration_s: the clip's duration in seconds.
        model: name of the model that wrote it.
        words: in order, with times and confidence.
        alternatives: the likeliest texts, each once, best first, the first being `text`; there if
            more than one was asked for.
    """

    text: str
    confidence: float
    duration_s: float
    model: str
    words: tuple[Word, ...] = ()
    alternatives: tuple[Alternative, ...] = ()

    def to_json(self, *, words: bool = False) -> dict[str, Any]:
        """Return plain values for a JSON document, with the words if wanted."""
        values = asdict(self)
        if not words:
            del values["words"]
        if not self.alternatives:
            del values["alternatives"]
        return values

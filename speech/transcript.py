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
class Transcript:
    """The text of one clip.

    Attributes:
        text: normalised text; empty for silence.
        confidence: in [0, 1], see `speech.decoding.greedy_confidence`.
        duration_s: the clip's duration in seconds.
        model: name of the model that wrote it.
    """

    text: str
    confidence: float
    duration_s: float
    model: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a JSON document."""
        return asdict(self)

"""How live captions are made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from speech.loudness import SegmentationConfig


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """When an utterance ends, and what is shown of it before.

    Args:
        endpoint_silence_s: what is quiet for so long ends an utterance; at least twice
            `speech.padding_s`, so that an utterance's padding is its own.
        max_utterance_s: a longer one is cut at the quietest place of its last third.
        partial_interval_s: audio between two partial results, if the machine keeps up.
        agreement: a word is shown once so many decodings in a row have it.
        partial_decoder: greedy or beam; that of the finals if None.
        speech: how speech is told from noise.
        streams: a model that can carries its state from partial to partial; if not, each utterance
            is computed from its start each time, as by models that hear both ways.
    """

    endpoint_silence_s: float = 0.35
    max_utterance_s: float = 15.0
    partial_interval_s: float = 0.4
    agreement: int = 2
    partial_decoder: str | None = None
    speech: SegmentationConfig = field(default_factory=lambda: SegmentationConfig(padding_s=0.175))
    streams: bool = True

    def __post_init__(self) -> None:
        for name in ("endpoint_silence_s", "max_utterance_s", "partial_interval_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} {value} is not a number over 0")
        if self.endpoint_silence_s < 2 * self.speech.padding_s:
            raise ValueError(
                f"endpoint_silence_s {self.endpoint_silence_s} is under twice the padding of "
                f"{self.speech.padding_s} s"
            )
        if not 1.0 <= self.max_utterance_s <= self.speech.max_piece_s:
            raise ValueError(
                f"max_utterance_s {self.max_utterance_s} is not in 1 to {self.speech.max_piece_s}"
            )
        if self.agreement < 1:
            raise ValueError(f"got agreement {self.agreement}; needed: at least 1")

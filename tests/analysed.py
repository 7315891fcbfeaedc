"""Clips for tests of analyses: made of texts, with or without a speaker."""

from __future__ import annotations

from training.analysis_clip import Clip, clip_of
from training.evaluate import Scored
from training.manifest import Split, Utterance


def heard(
    reference: str,
    hypothesis: str,
    *,
    name: str = "a",
    corpus: str = "x",
    speaker: str = "x/x",
    duration_s: float = 2.0,
    snr_db: float | None = 20.0,
    confidence: float = 0.5,
) -> Clip:
    """Return a clip that was understood so, every word as surely."""
    scored = Scored(
        id=f"{corpus}/{name}",
        speaker=speaker,
        duration_s=duration_s,
        reference=reference,
        hypothesis=hypothesis,
        confidence=confidence,
        wer=0.0,
        word_confidences=(confidence,) * len(hypothesis.split()),
    )
    utterance = Utterance(
        id=scored.id,
        corpus=corpus,
        speaker=speaker,
        audio="",
        text=reference,
        num_samples=1,
        split=Split.test,
    )
    return clip_of(scored, utterance, snr_db)

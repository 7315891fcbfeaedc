"""A clip that was evaluated, with its words aligned."""

from __future__ import annotations

from dataclasses import dataclass

from config import CorpusError
from training.analysis_words import Kind, Step, align_words, count_errors
from training.evaluate import Scored
from training.manifest import Utterance


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One clip, what was said and what was understood.

    Attributes:
        speaker: empty where the manifest knows none.
        snr_db: estimated; None where the clip is too short for that.
        steps: the words, aligned.
        word_errors: of all kinds; `words` are those of the reference.
        characters: of the reference, spaces with them.
    """

    id: str
    corpus: str
    speaker: str
    duration_s: float
    snr_db: float | None
    reference: str
    hypothesis: str
    word_confidences: tuple[float, ...]
    steps: tuple[Step, ...]
    word_errors: int
    words: int
    character_errors: int
    characters: int

    @property
    def wer(self) -> float:
        """Errors a word of the reference."""
        return self.word_errors / self.words

    @property
    def characters_a_second(self) -> float:
        """How fast was spoken, silences counted in."""
        return self.characters / self.duration_s

    def count(self, kind: Kind) -> int:
        """Return how many of its steps are of a kind."""
        return sum(step.kind == kind for step in self.steps)


def clip_of(scored: Scored, utterance: Utterance, snr_db: float | None) -> Clip:
    """Return a clip of an evaluation with its words aligned.

    A speaker that is named as its corpus is none: importers write that where nobody is named.

    Raises:
        CorpusError: its reference is empty.
    """
    if not scored.reference:
        raise CorpusError(f"{scored.id}: the reference is empty; needed: at least one word")
    nobody = {utterance.corpus, f"{utterance.corpus}/{utterance.corpus}", f"{utterance.corpus}/"}
    return Clip(
        id=scored.id,
        corpus=utterance.corpus,
        speaker="" if scored.speaker in nobody else scored.speaker,
        duration_s=scored.duration_s,
        snr_db=snr_db,
        reference=scored.reference,
        hypothesis=scored.hypothesis,
        word_confidences=scored.word_confidences,
        steps=align_words(scored.reference, scored.hypothesis),
        **count_errors(scored.reference, scored.hypothesis)._asdict(),
    )

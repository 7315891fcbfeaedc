"""What was heard for what: alignments, the most frequent errors, confused characters."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal, NamedTuple, Protocol

import jiwer

Kind = Literal["equal", "substitution", "deletion", "insertion"]

NOTHING = ""
_EXAMPLES = 3
_CONTEXT = 2  # words on each side of an example


class Step(NamedTuple):
    """One step of an alignment; an empty side says that there is nothing on it."""

    reference: str
    hypothesis: str

    @property
    def kind(self) -> Kind:
        """What it is: equal, or an error of one of the three kinds."""
        if self.reference == self.hypothesis:
            return "equal"
        if not self.reference:
            return "insertion"
        return "substitution" if self.hypothesis else "deletion"


class ErrorCounts(NamedTuple):
    """Of one text: errors in words, words of the reference; the same in characters."""

    word_errors: int
    words: int
    character_errors: int
    characters: int


class Aligned(Protocol):
    """A clip with its aligned words."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """Its words, aligned."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """Where an error happened: the clip, and the reference's words around it."""

    id: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class WordError:
    """An error and how often it was made.

    Attributes:
        occurrences: how often the reference holds its word; of an insertion, the hypotheses.
    """

    kind: Kind
    reference: str
    hypothesis: str
    count: int
    occurrences: int
    examples: tuple[Example, ...]


@dataclass(frozen=True, kw_only=True)
class Confusions:
    """Characters heard for characters.

    Attributes:
        symbols: in order; the last one is `NOTHING`, for what was left out or added.
        counts: a row a symbol of the reference, a column a symbol of the hypothesis.
    """

    symbols: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    def occurrences(self, symbol: str) -> int:
        """Return how often the reference holds a symbol; of `NOTHING`, how many were added."""
        return sum(self.counts[self.symbols.index(symbol)])

    def most_frequent(self, limit: int, *, replaced: bool) -> list[tuple[Step, int]]:
        """Return the confusions of most counts, each with its count.

        Args:
            replaced: those of a character for another; else those that were left out or added.
        """
        pairs = [
            (step, count)
            for reference, row in zip(self.symbols, self.counts, strict=True)
            for hypothesis, count in zip(self.symbols, row, strict=True)
            if count
            and (step := Step(reference, hypothesis)).kind != "equal"
            and (step.kind == "substitution") == replaced
        ]
        return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:limit]


def align_words(reference: str, hypothesis: str) -> tuple[Step, ...]:
    """Return the words of both texts, aligned with the fewest errors (jiwer)."""
    return _steps(jiwer.process_words(reference, hypothesis))


def align_characters(reference: str, hypothesis: str) -> tuple[Step, ...]:
    """Return the characters of both texts, aligned with the fewest errors (jiwer)."""
    return _steps(jiwer.process_characters(reference, hypothesis))


def count_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """Count the errors of a text in words and in characters (jiwer)."""
    words = jiwer.process_words(reference, hypothesis)
    characters = jiwer.process_characters(reference, hypothesis)
    return ErrorCounts(
        words.substitutions + words.deletions + words.insertions,
        words.hits + words.substitutions + words.deletions,
        characters.substitutions + characters.deletions + characters.insertions,
        characters.hits + characters.substitutions + characters.deletions,
    )


def _steps(output: jiwer.WordOutput | jiwer.CharacterOutput) -> tuple[Step, ...]:
    references, hypotheses = output.references[0], output.hypotheses[0]
    return tuple(
        Step(reference, hypothesis)
        for chunk in output.alignments[0]
        for reference, hypothesis in zip_longest(
            references[chunk.ref_start_idx : chunk.ref_end_idx],
            hypotheses[chunk.hyp_start_idx : chunk.hyp_end_idx],
            fillvalue=NOTHING,
        )
    )


def frequent_errors(clips: Sequence[Aligned], limit: int = 20) -> dict[Kind, list[WordError]]:
    """Return each kind's errors, the most frequent first, with the first examples of each."""
    counts: Counter[Step] = Counter()
    said: Counter[str] = Counter()
    written: Counter[str] = Counter()
    examples: defaultdict[Step, list[Example]] = defaultdict(list)
    for clip in clips:
        said.update(step.reference for step in clip.steps)
        written.update(step.hypothesis for step in clip.steps)
        for place, step in enumerate(clip.steps):
            if step.kind == "equal":
                continue
            counts[step] += 1
            if len(examples[step]) < _EXAMPLES:
                examples[step].append(_example(clip, place))
    found: dict[Kind, list[WordError]] = {"substitution": [], "deletion": [], "insertion": []}
    for step, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if len(found[step.kind]) < limit:
            error = WordError(
                kind=step.kind,
                reference=step.reference,
                hypothesis=step.hypothesis,
                count=count,
                occurrences=said[step.reference] if step.reference else written[step.hypothesis],
                examples=tuple(examples[step]),
            )
            found[step.kind].append(error)
    return found


def _example(clip: Aligned, place: int) -> Example:
    before = [step.reference for step in clip.steps[:place] if step.reference]
    after = [step.reference for step in clip.steps[place + 1 :] if step.reference]
    return Example(
        id=clip.id, before=" ".join(before[-_CONTEXT:]), after=" ".join(after[:_CONTEXT])
    )


def confused_characters(pairs: Iterable[tuple[str, str]]) -> Confusions:
    """Count which character was heard for which, over texts: reference and hypothesis."""
    counts: Counter[Step] = Counter()
    for reference, hypothesis in pairs:
        counts.update(align_characters(reference, hypothesis))
    heard = {symbol for step in counts for symbol in step} - {NOTHING}
    symbols = (*sorted(heard), NOTHING)
    return Confusions(
        symbols=symbols,
        counts=tuple(
            tuple(counts[Step(reference, hypothesis)] for hypothesis in symbols)
            for reference in symbols
        ),
    )

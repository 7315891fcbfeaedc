"""Where a model fails: figures of an evaluation, whole and in parts, each with its interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.analysis_clip import Clip
from training.analysis_groups import (
    DURATION_EDGES_S,
    SNR_EDGES_DB,
    Group,
    by_name,
    by_range,
    group_of,
    speaking_rate_edges,
)
from training.analysis_noise import NoiseCurve
from training.analysis_statistics import Comparison, Rate, compare, rate
from training.analysis_words import (
    Confusions,
    Kind,
    WordError,
    confused_characters,
    frequent_errors,
)
from training.reliability import Reliability, measure_reliability

_UNKNOWN_WORDS = 30


@dataclass(frozen=True, kw_only=True)
class UnknownWord:
    """A word of the references that the language model does not know."""

    word: str
    count: int
    wrong: int


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Words of the references, wrong or not, inside the language model's list and outside.

    A word is wrong that was substituted or left out; words that were added have no place here.
    Either rate is None where there is no such word.
    """

    size: int
    inside: Rate | None
    outside: Rate | None
    difference: Comparison | None
    unknown: tuple[UnknownWord, ...]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How far confidence can be trusted; `wrong` is the share of written words that are wrong.

    Attributes:
        expected: what confidence says that share is.
        excess: `wrong` compared with `expected`.
    """

    reliability: Reliability
    wrong: Rate
    expected: float
    excess: Comparison | None


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """All figures of a report."""

    total: Group
    faultless: Rate
    by_duration: tuple[Group, ...]
    by_speaking_rate: tuple[Group, ...]
    by_snr: tuple[Group, ...]
    by_speaker: tuple[Group, ...]
    by_corpus: tuple[Group, ...]
    dropped_or_added: Comparison | None
    errors: dict[Kind, list[WordError]]
    confusions: Confusions
    vocabulary: Vocabulary | None
    calibration: Calibration | None
    noise: NoiseCurve | None
    clips: tuple[Clip, ...]


def analyse(
    clips: Sequence[Clip],
    *,
    known_words: frozenset[str] | None = None,
    noise: NoiseCurve | None = None,
) -> Analysis:
    """Return all figures of evaluated clips.

    Args:
        known_words: by the model's language model of words; None if there is none.
        noise: what was measured with noise added.
    """
    if not clips:
        raise ValueError("no clip to analyse")
    counts = np.array([[c.count("deletion"), c.words, c.count("insertion")] for c in clips])
    return Analysis(
        total=group_of("all", clips),
        faultless=rate([clip.word_errors == 0 for clip in clips], [1] * len(clips)),
        by_duration=by_range(clips, lambda clip: clip.duration_s, DURATION_EDGES_S, "s"),
        by_speaking_rate=by_range(
            clips,
            lambda clip: clip.characters_a_second,
            speaking_rate_edges(clips),
            "chars/s",
        ),
        by_snr=by_range(clips, lambda clip: clip.snr_db, SNR_EDGES_DB, "dB"),
        by_speaker=by_name(clips, lambda clip: clip.speaker),
        by_corpus=by_name(clips, lambda clip: clip.corpus),
        dropped_or_added=compare(counts[:, :2], counts[:, [2, 1]], paired=True),
        errors=frequent_errors(clips),
        confusions=confused_characters((clip.reference, clip.hypothesis) for clip in clips),
        vocabulary=None if known_words is None else measure_vocabulary(clips, known_words),
        calibration=measure_calibration(clips),
        noise=noise,
        clips=tuple(clips),
    )


def measure_vocabulary(clips: Sequence[Clip], known_words: frozenset[str]) -> Vocabulary:
    """Return how often words inside and outside a list are wrong."""
    outside, inside = np.zeros((2, len(clips), 2), int)
    said: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for row, clip in enumerate(clips):
        for step in clip.steps:
            if not step.reference:
                continue
            is_wrong, is_known = step.kind != "equal", step.reference in known_words
            (inside if is_known else outside)[row] += (is_wrong, 1)
            if not is_known:
                said[step.reference] += 1
                wrong[step.reference] += is_wrong
    ranked = sorted(said, key=lambda word: (-wrong[word], -said[word], word))
    return Vocabulary(
        size=len(known_words),
        inside=rate(*inside.T) if inside[:, 1].any() else None,
        outside=rate(*outside.T) if outside[:, 1].any() else None,
        difference=compare(outside, inside, paired=True),
        unknown=tuple(
            UnknownWord(word=word, count=said[word], wrong=wrong[word])
            for word in ranked[:_UNKNOWN_WORDS]
        ),
    )


def measure_calibration(clips: Sequence[Clip]) -> Calibration | None:
    """Compare the written words' confidence with which of them are right; None without words."""
    sure = [value for clip in clips for value in clip.word_confidences]
    if not sure:
        return None
    right = [step.kind == "equal" for clip in clips for step in clip.steps if step.hypothesis]
    counts = np.array([[_wrongly_written(clip), len(clip.word_confidences)] for clip in clips])
    doubts = np.array([[sum(1 - value for value in clip.word_confidences)] for clip in clips])
    return Calibration(
        reliability=measure_reliability(sure, right),
        wrong=rate(counts[:, 0], counts[:, 1]),
        expected=1 - float(np.mean(sure)),
        excess=compare(counts, np.hstack([doubts, counts[:, 1:]]), paired=True),
    )


def _wrongly_written(clip: Clip) -> int:
    return clip.count("substitution") + clip.count("insertion")

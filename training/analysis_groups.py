"""Clips by what they have in common, each group compared with all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

import numpy as np
from numpy.typing import NDArray

from training.analysis_clip import Clip
from training.analysis_statistics import Comparison, Rate, compare, rate

DURATION_EDGES_S = (0.0, 2.0, 5.0, 10.0, 20.0, inf)
SNR_EDGES_DB = (-inf, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, inf)
_RATE_GROUPS = 5
_CLIPS_A_RATE_GROUP = 20
FEWEST_FOR_RATE_GROUPS = 2 * _CLIPS_A_RATE_GROUP


@dataclass(frozen=True, kw_only=True)
class Group:
    """Clips that have something in common, and their rates.

    Attributes:
        difference: of their WER from that of all other clips; None where either are too few.
    """

    name: str
    clips: int
    wer: Rate
    cer: Rate
    substitutions: int
    deletions: int
    insertions: int
    difference: Comparison | None = None


def by_name(clips: Sequence[Clip], name_of: Callable[[Clip], str]) -> tuple[Group, ...]:
    """Return a group a name; clips without a name belong to none.

    The highest WER comes first, but what has too few clips for an interval last: a single clip may
    well be the worst by chance.
    """
    named = [clip for clip in clips if name_of(clip)]
    members: dict[str, list[Clip]] = {}
    for clip in named:
        members.setdefault(name_of(clip), []).append(clip)
    groups = _compared(members, named)
    return tuple(sorted(groups, key=_rank))


def _rank(group: Group) -> tuple[bool, float, str]:
    return group.wer.low is None, -group.wer.value, group.name


def by_range(
    clips: Sequence[Clip],
    value_of: Callable[[Clip], float | None],
    edges: Sequence[float],
    unit: str,
) -> tuple[Group, ...]:
    """Return a group a range, those without clips left out; the lower edge belongs to a range."""
    known = [(value, clip) for clip in clips if (value := value_of(clip)) is not None]
    members = {
        range_name(low, high, unit): found
        for low, high in pairwise(edges)
        if (found := [clip for value, clip in known if low <= value < high])
    }
    return _compared(members, [clip for _, clip in known])


def range_name(low: float, high: float, unit: str) -> str:
    """Return a range in words."""
    if low in (0, -inf):
        return "any" if high == inf else f"under {high:g} {unit}"
    return f"{low:g} {unit} and over" if high == inf else f"{low:g} to {high:g} {unit}"


def speaking_rate_edges(clips: Sequence[Clip]) -> tuple[float, ...]:
    """Return edges between groups of about as many clips each, in characters a second."""
    num_groups = max(1, min(_RATE_GROUPS, len(clips) // _CLIPS_A_RATE_GROUP))
    rates = [clip.characters_a_second for clip in clips]
    inner = np.quantile(rates, np.arange(1, num_groups) / num_groups).round(1)
    return (0.0, *sorted(set(inner.tolist())), inf)


def _compared(members: dict[str, list[Clip]], clips: Sequence[Clip]) -> tuple[Group, ...]:
    """Return each group, compared with the clips that are not in it."""
    groups = []
    for name, group in members.items():
        inside = {id(clip) for clip in group}
        rest = [clip for clip in clips if id(clip) not in inside]
        difference = (
            compare(_words(group), _words(rest), paired=False, comparisons=len(members))
            if rest
            else None
        )
        groups.append(group_of(name, group, difference))
    return tuple(groups)


def _words(clips: Sequence[Clip]) -> NDArray[np.int64]:
    return np.array([[clip.word_errors, clip.words] for clip in clips])


def group_of(name: str, clips: Sequence[Clip], difference: Comparison | None = None) -> Group:
    """Return the rates of clips together."""
    return Group(
        name=name,
        clips=len(clips),
        wer=rate([clip.word_errors for clip in clips], [clip.words for clip in clips]),
        cer=rate([clip.character_errors for clip in clips], [clip.characters for clip in clips]),
        substitutions=sum(clip.count("substitution") for clip in clips),
        deletions=sum(clip.count("deletion") for clip in clips),
        insertions=sum(clip.count("insertion") for clip in clips),
        difference=difference,
    )

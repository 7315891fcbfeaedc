"""What stands out, in plain sentences; what chance explains as well is not said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from training.analysis import Analysis, Calibration, Vocabulary
from training.analysis_groups import Group
from training.analysis_noise import NoiseCurve, NoiseLevel
from training.analysis_statistics import Comparison, Rate

Chapter = Literal[
    "summary",
    "duration",
    "speaking-rate",
    "snr",
    "noise",
    "speaker",
    "corpus",
    "errors",
    "characters",
    "vocabulary",
    "confidence",
    "worst",
]

_THIN = "\u202f"  # between digits and before "%", where no line may break
_FEW_UNITS = 10


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A sentence, and the chapter of the report that has its figures."""

    chapter: Chapter
    text: str


def percent(value: float) -> str:
    """Return a share as people read it: "12 %", below 10 % with one decimal."""
    hundred = 100 * value
    return f"{hundred:.1f}{_THIN}%" if 0 < abs(hundred) < 9.95 else f"{hundred:.0f}{_THIN}%"


def number(value: int) -> str:
    """Return a count with thin spaces between thousands."""
    return f"{value:,}".replace(",", _THIN)


def counted(count: int, unit: str) -> str:
    """Return a count with its unit: "1 clip", "1 034 words"."""
    return f"{number(count)}\u00a0{unit}{'' if count == 1 else 's'}"


def interval(rate: Rate) -> str:
    """Return "21 % to 27 %", or why there is none."""
    if rate.low is None or rate.high is None:
        return "too few clips"
    return f"{percent(rate.low)} to {percent(rate.high)}"


def find(analysis: Analysis) -> list[Finding]:
    """Return the findings that the intervals support, in the order of the report."""
    return [
        *_groups("duration", analysis.by_duration, "Clips of"),
        *_groups("speaking-rate", analysis.by_speaking_rate, "Clips spoken at"),
        *_groups("snr", analysis.by_snr, "Clips with an estimated SNR of"),
        *_noise(analysis.noise),
        *_groups("speaker", analysis.by_speaker, "The clips of speaker"),
        *_groups("corpus", analysis.by_corpus, "The clips of corpus"),
        *_dropped_or_added(analysis.dropped_or_added),
        *_vocabulary(analysis.vocabulary),
        *_confidence(analysis.calibration),
    ]


def _groups(chapter: Chapter, groups: Sequence[Group], subject: str) -> Iterator[Finding]:
    """Name the group that is clearly worse than the others by most, and the one clearly better."""
    clear = [group for group in groups if group.difference and group.difference.is_clear]
    for verdict, found in (
        ("more", max(clear, key=_gap, default=None)),
        ("fewer", min(clear, key=_gap, default=None)),
    ):
        if found and found.difference and (_gap(found) > 0) == (verdict == "more"):
            yield Finding(chapter=chapter, text=_group_sentence(found, subject, verdict))


def _gap(group: Group) -> float:
    return group.difference.first - group.difference.second if group.difference else 0.0


def _group_sentence(group: Group, subject: str, verdict: str) -> str:
    difference = group.difference
    if difference is None:
        raise ValueError(f"group {group.name} was compared with nothing")
    return (
        f"{subject} {group.name} have {verdict} errors than the others: WER "
        f"{percent(difference.first)} on {counted(group.clips, 'clip')} with "
        f"{counted(group.wer.count, 'word')}, against {percent(difference.second)} on the others' "
        f"{counted(difference.second_count, 'word')}."
    )


def _noise(curve: NoiseCurve | None) -> Iterator[Finding]:
    """Name the least noise that clearly costs words, and the least that doubles the errors."""
    if curve is None:
        return
    noisy = [level for level in curve.levels if level.increase and level.increase.low > 0]
    if not noisy:
        return
    yield Finding(chapter="noise", text=_noise_sentence(noisy[0], curve))
    doubled = [level for level in noisy[1:] if _factor(level) >= 2]
    if doubled and _factor(noisy[0]) < 2:
        yield Finding(chapter="noise", text=_noise_sentence(doubled[0], curve))


def _noise_sentence(level: NoiseLevel, curve: NoiseCurve) -> str:
    clean = curve.levels[0].wer
    factor = _factor(level)
    times = f" ({factor:.1f} times as many errors)" if factor >= 1.2 else ""
    return (
        f"Pink noise {level.snr_db:g}\u00a0dB below the speech raises WER from "
        f"{percent(clean.value)} to {percent(level.wer.value)}{times}, on the same "
        f"{counted(curve.clips, 'clip')}."
    )


def _factor(level: NoiseLevel) -> float:
    return level.increase.ratio or 0.0 if level.increase else 0.0


def _dropped_or_added(comparison: Comparison | None) -> Iterator[Finding]:
    if comparison is None or not comparison.is_clear:
        return
    dropped = round(comparison.first * comparison.first_count)
    added = round(comparison.second * comparison.second_count)
    more, fewer = max(dropped, added), min(dropped, added)
    if more < _FEW_UNITS:
        return
    verbs = ("left out", "added") if dropped > added else ("added", "left out")
    often = f"{more / fewer:.1f} times as often as" if fewer else "but never"
    yield Finding(
        chapter="errors",
        text=f"Words are {verbs[0]} {often} {verbs[1]}: {number(more)} against {number(fewer)}.",
    )


def _vocabulary(vocabulary: Vocabulary | None) -> Iterator[Finding]:
    if vocabulary is None or vocabulary.difference is None or not vocabulary.difference.is_clear:
        return
    d = vocabulary.difference
    often = f"{d.ratio:.1f} times as often" if d.ratio else "while the others never are"
    yield Finding(
        chapter="vocabulary",
        text=f"Words outside the language model's list are wrong {often}: {percent(d.first)} of "
        f"{number(d.first_count)} against {percent(d.second)} of {number(d.second_count)}.",
    )


def _confidence(calibration: Calibration | None) -> Iterator[Finding]:
    if calibration is None or calibration.excess is None or not calibration.excess.is_clear:
        return
    excess = calibration.excess
    verdict = "too high" if excess.low > 0 else "too low"
    yield Finding(
        chapter="confidence",
        text=f"Confidence is {verdict}: it expects {percent(excess.second)} of the written words "
        f"to be wrong, and {percent(excess.first)} of {number(excess.first_count)} are.",
    )

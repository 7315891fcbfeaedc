"""What `prepare` found, for people: sizes, durations, speaking rates and rejections."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.table import Table
from rich.text import Text

from config import AudioConfig
from speech.audio import write_atomically
from training.corpus import Checked, Prepared, durations_s
from training.manifest import Split, Utterance

ALL = "all"
MAX_EXAMPLES = 5
_HEADINGS = (
    "corpus",
    "split",
    "hours",
    "utterances",
    "speakers",
    "seconds: min / median / p95 / max",
    "characters a second: p5 / median / p95",
)


@dataclass(frozen=True, kw_only=True)
class SplitSummary:
    """One corpus' share of one split; `all` stands for every corpus or every split.

    Attributes:
        min_s, median_s, p95_s, max_s: durations of utterances.
        characters_per_s_p5, …: of normalised text, spaces included, over the whole clip.
    """

    corpus: str
    split: str
    hours: float
    utterances: int
    speakers: int
    min_s: float
    median_s: float
    p95_s: float
    max_s: float
    characters_per_s_p5: float
    characters_per_s_median: float
    characters_per_s_p95: float


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """How many clips one reason rejected, and up to `MAX_EXAMPLES` of their ids."""

    reason: str
    clips: int
    examples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CorpusReport:
    """Summaries by corpus and split, then by split over all corpora; rejections, most first."""

    summaries: tuple[SplitSummary, ...]
    rejections: tuple[Rejection, ...]


def build_report(prepared: Prepared, audio_config: AudioConfig) -> CorpusReport:
    """Return the report of what `training.corpus.prepare` found."""
    groups: dict[tuple[str, str], list[Utterance]] = defaultdict(list)
    corpora = {utterance.corpus: None for utterance in prepared.utterances}
    for utterance in prepared.utterances:
        for corpus in (utterance.corpus, ALL):
            groups[corpus, str(utterance.split)].append(utterance)
    groups[ALL, ALL] = prepared.utterances
    order = [(corpus, str(split)) for corpus in corpora for split in Split]
    order += [*((ALL, str(split)) for split in Split), (ALL, ALL)]
    return CorpusReport(
        summaries=tuple(
            _summarise(corpus, split, groups[corpus, split], audio_config)
            for corpus, split in order
            if groups.get((corpus, split))
        ),
        rejections=_group_rejections(prepared.rejected),
    )


def write_report(output: Path, prepared: Prepared, audio_config: AudioConfig) -> CorpusReport:
    """Write `report.json` and `report.md` into the folder `output`, and return the report."""
    report = build_report(prepared, audio_config)
    content = json.dumps(asdict(report), indent=1)
    write_atomically(output / "report.json", f"{content}\n")
    write_atomically(output / "report.md", to_markdown(report))
    return report


def report_table(report: CorpusReport) -> Table:
    """Return the report for a Rich console; rejections stand below the table."""
    table = Table(caption=_rejections_text(report), caption_justify="left")
    for index, heading in enumerate(_HEADINGS):
        table.add_column(heading, justify="left" if index < 2 else "right")
    for summary in report.summaries:
        # Text, not str: a corpus may be named like Rich's markup.
        table.add_row(*map(Text, _cells(summary)), end_section=_ends_section(summary, report))
    return table


def to_markdown(report: CorpusReport) -> str:
    """Return the report as a page of GitHub's Markdown."""
    lines = ["# Corpus report", "", _markdown_row(_HEADINGS)]
    lines.append(_markdown_row("---" if i < 2 else "---:" for i in range(len(_HEADINGS))))
    lines += [_markdown_row(_cells(summary)) for summary in report.summaries]
    lines += ["", "## Rejected clips", ""]
    if not report.rejections:
        return "\n".join([*lines, "None.", ""])
    lines += [_markdown_row(("reason", "clips", "examples")), "|---|---:|---|"]
    for rejection in report.rejections:
        examples = ", ".join(rejection.examples)
        lines.append(_markdown_row((rejection.reason, f"{rejection.clips:,}", examples)))
    return "\n".join([*lines, ""])


def _summarise(
    corpus: str, split: str, utterances: list[Utterance], audio_config: AudioConfig
) -> SplitSummary:
    durations = durations_s(utterances, audio_config)
    rates = np.array([len(utterance.text) for utterance in utterances]) / durations
    median_s, p95_s = np.percentile(durations, [50, 95])
    rate_p5, rate_median, rate_p95 = np.percentile(rates, [5, 50, 95])
    return SplitSummary(
        corpus=corpus,
        split=split,
        hours=float(durations.sum() / 3600),
        utterances=len(utterances),
        speakers=len({utterance.speaker for utterance in utterances}),
        min_s=float(durations.min()),
        median_s=float(median_s),
        p95_s=float(p95_s),
        max_s=float(durations.max()),
        characters_per_s_p5=float(rate_p5),
        characters_per_s_median=float(rate_median),
        characters_per_s_p95=float(rate_p95),
    )


def _group_rejections(rejected: Iterable[Checked]) -> tuple[Rejection, ...]:
    ids: dict[str, list[str]] = defaultdict(list)
    for entry in rejected:
        # A file's name need not be UTF-8, but a report is.
        ids[entry.reason].append(entry.id.encode("utf-8", "backslashreplace").decode())
    return tuple(
        Rejection(reason=reason, clips=len(found), examples=tuple(sorted(found)[:MAX_EXAMPLES]))
        for reason, found in sorted(ids.items(), key=lambda item: (-len(item[1]), item[0]))
    )


def _cells(summary: SplitSummary) -> tuple[str, ...]:
    durations = (summary.min_s, summary.median_s, summary.p95_s, summary.max_s)
    rates = (
        summary.characters_per_s_p5,
        summary.characters_per_s_median,
        summary.characters_per_s_p95,
    )
    return (
        summary.corpus,
        summary.split,
        f"{summary.hours:.2f}",
        f"{summary.utterances:,}",
        f"{summary.speakers:,}",
        " / ".join(f"{value:.1f}" for value in durations),
        " / ".join(f"{value:.1f}" for value in rates),
    )


def _ends_section(summary: SplitSummary, report: CorpusReport) -> bool:
    last = [s for s in report.summaries if s.corpus == summary.corpus][-1]
    return summary is last


def _rejections_text(report: CorpusReport) -> Text:
    lines = [
        f"rejected: {rejection.clips:,} × {rejection.reason} ({', '.join(rejection.examples)}"
        f"{', …' if rejection.clips > len(rejection.examples) else ''})"
        for rejection in report.rejections
    ]
    return Text("\n".join(lines) or "no clip was rejected")


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(_markdown_cell(cell) for cell in cells) + " |"


def _markdown_cell(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())

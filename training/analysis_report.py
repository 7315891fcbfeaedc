"""An analysis as one HTML page that needs nothing else, and as JSON beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template
from typing import Any

from markupsafe import Markup, escape

from speech.audio import Waveform, write_atomically
from training import analysis_chapters as chapters
from training.analysis import Analysis
from training.analysis_clip import Clip
from training.analysis_errors import characters, errors
from training.analysis_findings import Finding, counted, find, percent
from training.analysis_groups import FEWEST_FOR_RATE_GROUPS
from training.analysis_page import Section, join, link, paragraph
from training.analysis_worst import WorstConfig, show_worst, worst

KIND = "stt analysis"
FORMAT = 1
_TEMPLATE = "analysis_report.html"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What was evaluated, with what, and when.

    Attributes:
        source: name of the manifest or corpus, with the split if there is one.
        decoder: in words.
        date: UTC, as `2026-11-21 19:00`.
        not_scored: clips that could not be.
    """

    model: str
    source: str
    decoder: str
    date: str
    not_scored: int = 0


def figures_of(page: Path) -> Path:
    """Return where the figures of a page go.

    Raises:
        ValueError: another file is there, as the report that `stt prepare` writes.
    """
    path = page.with_suffix(".json")
    if path.exists() and not _is_ours(path):
        raise ValueError(f"{path} is there and is no analysis; needed: another --output")
    return path


def _is_ours(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("kind") == KIND


def write_report(
    path: Path,
    analysis: Analysis,
    origin: Origin,
    *,
    read: Callable[[Clip], Waveform],
    sample_rate_hz: int,
    config: WorstConfig,
) -> list[Path]:
    """Write the page to `path` and its figures beside it; return both paths.

    Args:
        read: returns the samples of a clip, at `sample_rate_hz`.
    """
    findings = find(analysis)
    shown = worst(analysis.clips, config.clips)
    clips = show_worst(
        shown, read, sample_rate_hz=sample_rate_hz, max_audio_bytes=config.max_audio_bytes
    )
    page = to_html(analysis, findings, origin, _worst_section(analysis, shown, clips))
    figures = figures_of(path)
    write_atomically(figures, to_json(analysis, findings, origin))
    write_atomically(path, page)
    return [path, figures]


def to_html(
    analysis: Analysis, findings: Sequence[Finding], origin: Origin, worst_clips: Section
) -> str:
    """Return the page."""
    sections = [*_sections(analysis, findings), worst_clips]
    template = Path(__file__).with_name(_TEMPLATE).read_text(encoding="utf-8")
    contents = join(*(Markup("<li>{}</li>\n").format(link(s.anchor, s.title)) for s in sections))
    lead = f"{origin.model} on {origin.source}, {origin.decoder}, {origin.date} UTC."
    if origin.not_scored:
        lead += f" {counted(origin.not_scored, 'clip')} could not be scored."
    return Template(template).substitute(
        title=escape(f"Where {origin.model} fails"),
        lead=escape(lead),
        contents=contents,
        sections=join(*(section.to_html() for section in sections)),
        footer=escape("Written by stt analyze. The same figures for programs: the .json beside."),
    )


def _sections(analysis: Analysis, findings: Sequence[Finding]) -> list[Section]:
    total = analysis.total.wer
    return [
        chapters.summary(analysis, findings),
        chapters.groups("duration", "By duration", "Duration", analysis.by_duration, total),
        chapters.groups(
            "speaking-rate",
            "By speaking rate",
            "Speaking rate",
            analysis.by_speaking_rate,
            total,
            note="Characters of the reference, spaces with them, by the clip's whole duration.",
            fewest=FEWEST_FOR_RATE_GROUPS,
        ),
        chapters.groups(
            "snr",
            "By estimated noise",
            "Estimated SNR",
            analysis.by_snr,
            total,
            note="The clip's mean power over that of its quietest tenth, which is taken for noise "
            "alone: a clip without pauses seems noisier than it is.",
        ),
        *([chapters.noise(analysis.noise)] if analysis.noise else []),
        _speakers(analysis),
        chapters.groups("corpus", "By corpus", "Corpus", analysis.by_corpus, total),
        errors(analysis.errors),
        characters(analysis.confusions),
        chapters.vocabulary(analysis.vocabulary),
        chapters.confidence(analysis.calibration),
    ]


def _speakers(analysis: Analysis) -> Section:
    unknown = sum(not clip.speaker for clip in analysis.clips)
    note = f"The speaker of {counted(unknown, 'clip')} is not known." if unknown else ""
    if unknown == len(analysis.clips):
        text = paragraph("The manifest knows no speakers.")
        return Section(anchor="speaker", title="By speaker", content=text)
    return chapters.groups(
        "speaker", "By speaker", "Speaker", analysis.by_speaker, analysis.total.wer, note=note
    )


def _worst_section(analysis: Analysis, shown: Sequence[Clip], clips: Markup) -> Section:
    if not shown:
        text = paragraph("No clip has an error.")
        return Section(anchor="worst", title="Worst clips", content=text)
    mistakes = sum(clip.word_errors for clip in shown)
    share = mistakes / analysis.total.wer.errors
    note = (
        f"{counted(len(shown), 'clip')} with the most errors a word: {percent(share)} of all "
        "errors. What was said stands over what was understood: ≠ another word, "
        "− left out, + added. This page holds their recordings: pass it on only to those who may "
        "hear them."
    )
    content = join(paragraph(note, kind="legend"), clips)
    return Section(anchor="worst", title="Worst clips", content=content)


def to_json(analysis: Analysis, findings: Sequence[Finding], origin: Origin) -> str:
    """Return all figures; what is not a number is null, and words are not aligned."""
    values = asdict(analysis)
    for clip, entry in zip(analysis.clips, values["clips"], strict=True):
        del entry["steps"]
        entry["wer"] = clip.wer
    content = {
        "kind": KIND,
        "format": FORMAT,
        **asdict(origin),
        "findings": [asdict(finding) for finding in findings],
        **values,
    }
    return json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""The chapters of a report: each figure as a picture, a table and a word on how to read it."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from training.analysis import Analysis, Calibration, Vocabulary
from training.analysis_findings import Finding, counted, interval, number, percent
from training.analysis_groups import Group
from training.analysis_noise import NoiseCurve, NoiseLevel
from training.analysis_page import (
    Cell,
    Section,
    beside,
    bullets,
    folded,
    join,
    link,
    paragraph,
    picture,
    table,
)
from training.analysis_plots import (
    MOST_BARS,
    plot_calibration,
    plot_groups,
    plot_noise,
)
from training.analysis_statistics import Rate

_THIN_SHOWN = 5


def summary(analysis: Analysis, findings: Sequence[Finding]) -> Section:
    """Return the figures at a glance, and what stands out."""
    total = analysis.total
    audio_s = sum(clip.duration_s for clip in analysis.clips)
    cards = [
        ("Word error rate", percent(total.wer.value), _range(total.wer)),
        ("Character error rate", percent(total.cer.value), _range(total.cer)),
        ("Clips", number(total.clips), f"{audio_s / 60:.1f} minutes"),
        ("Words", number(total.wer.count), counted(total.wer.errors, "error")),
        ("Clips without an error", percent(analysis.faultless.value), _range(analysis.faultless)),
    ]
    found: Markup = paragraph(
        "Nothing stands out: no part of these clips differs from the rest by more than chance "
        "explains."
    )
    if findings:
        found = bullets(
            Markup("{} {}").format(finding.text, link(finding.chapter, "Figures"))
            for finding in findings
        )
    errors = (
        f"The errors: {counted(total.substitutions, 'substitution')} (S), "
        f"{counted(total.deletions, 'deletion')} (D) and "
        f"{counted(total.insertions, 'insertion')} (I)."
    )
    content = join(
        Markup('<dl class="cards">{}</dl>\n').format(join(*(_card(*card) for card in cards))),
        Markup('<div class="findings"><h3>What stands out</h3>{}</div>').format(found),
        paragraph(errors),
        paragraph(
            "Intervals hold the true figure in 95 of 100 such samples of clips. What stands out "
            "is said only where chance hardly explains it; the more groups are compared, the more "
            "that takes. Clips of one speaker are alike, so that other speakers may differ by "
            "more than an interval says.",
            kind="note",
        ),
    )
    return Section(anchor="summary", title="Summary", content=content)


def _card(name: str, value: str, more: str) -> Markup:
    return Markup("<div><dt>{}</dt><dd>{}<small>{}</small></dd></div>").format(name, value, more)


def _range(rate: Rate) -> str:
    return "too few clips for an interval" if rate.low is None else interval(rate)


def groups(
    anchor: str,
    title: str,
    by: str,
    found: Sequence[Group],
    total: Rate,
    *,
    note: str = "",
    fewest: int = 0,
) -> Section:
    """Return a chapter of error rates by what clips have in common.

    Args:
        by: what that is, for captions.
        note: how it is to be read.
        fewest: clips that it takes to part them.
    """
    if len(found) < 2:
        only = paragraph(_no_groups(found, fewest))
        return Section(anchor=anchor, title=title, content=join(_note(note), only))
    shown, rest = _split(found)
    axis = by[0].lower() + by[1:]
    columns = (by, "WER", "95 % interval", "Clips", "Words", "CER", "S / D / I")
    tables = table(f"Error rates by {axis}", columns, map(_group_row, shown))
    if rest:
        more = table(f"Error rates by {axis}, the others", columns, map(_group_row, rest))
        tables = join(tables, folded(f"{len(rest)} more", more))
    alt = f"Bars of the word error rate by {axis}, with intervals; the table has the figures."
    chart = picture(plot_groups(shown, total), alt=alt)
    return Section(anchor=anchor, title=title, content=join(_note(note), beside(chart, tables)))


def _no_groups(found: Sequence[Group], fewest: int) -> str:
    """Say why there is nothing to compare."""
    if not found:
        return "No clip has one."
    if found[0].clips < fewest:
        return f"Too few clips to part: {number(found[0].clips)}; it takes {number(fewest)}."
    return f"All clips are alike in this: {found[0].name}."


def _split(found: Sequence[Group]) -> tuple[list[Group], list[Group]]:
    """Return the groups to draw, and those that tell little: many of very few clips, or beyond."""
    thin = [group for group in found if group.wer.low is None]
    hidden = thin if _THIN_SHOWN < len(thin) < len(found) else []
    shown = [group for group in found if group not in hidden]
    return shown[:MOST_BARS], [*shown[MOST_BARS:], *hidden]


def _note(text: str) -> Markup:
    return paragraph(text) if text else Markup("")


def _group_row(group: Group) -> list[Cell]:
    return [
        group.name,
        percent(group.wer.value),
        interval(group.wer),
        number(group.clips),
        number(group.wer.count),
        percent(group.cer.value),
        f"{number(group.substitutions)} / {number(group.deletions)} / {number(group.insertions)}",
    ]


def noise(curve: NoiseCurve) -> Section:
    """Return the chapter of error rates with noise added."""
    shown = table(
        f"Error rates of the same {counted(curve.clips, 'clip')} with noise",
        ("SNR", "WER", "95 % interval", "CER", "Against as they are"),
        [_noise_row(level) for level in curve.levels],
    )
    alt = "Curve of the word error rate over the signal-to-noise ratio; the table has the figures."
    note = (
        "Pink noise, as of wind or a fan, was added to clips; at 0 dB it is as strong as the clip. "
        "Noise that clips hold already comes on top of it."
    )
    content = join(paragraph(note), beside(picture(plot_noise(curve), alt=alt), shown))
    return Section(anchor="noise", title="With noise added", content=content)


def _noise_row(level: NoiseLevel) -> list[Cell]:
    name = "as they are" if level.snr_db is None else f"{level.snr_db:g} dB"
    against = "" if level.snr_db is None else "too few clips"
    if level.increase:
        low, high = (f"{100 * value:+.0f}" for value in (level.increase.low, level.increase.high))
        against = f"{low} to {high} points"
    return [
        name,
        percent(level.wer.value),
        interval(level.wer),
        percent(level.cer.value),
        against,
    ]


def vocabulary(found: Vocabulary | None) -> Section:
    """Return the chapter of words inside and outside the language model's list."""
    title = "Words outside the language model"
    if found is None:
        text = paragraph("The model has no language model of words, so no list to compare with.")
        return Section(anchor="vocabulary", title=title, content=text)
    parts = (("inside the list", found.inside), ("outside the list", found.outside))
    rates = table(
        f"Words of the references, by the list of {counted(found.size, 'word')}",
        ("Words", "Said", "Wrong", "Share", "95 % interval"),
        [
            [name, number(r.count), number(r.errors), percent(r.value), interval(r)]
            for name, r in parts
            if r
        ],
    )
    note = "A word is wrong that another word was understood for, or that was left out."
    if not found.unknown:
        return Section(anchor="vocabulary", title=title, content=join(paragraph(note), rates))
    unknown = table(
        "Words outside the list, most often wrong first",
        ("Word", "Said", "Wrong"),
        [[word.word, number(word.count), number(word.wrong)] for word in found.unknown],
    )
    content = join(paragraph(note), rates, folded("Which words", unknown))
    return Section(anchor="vocabulary", title=title, content=content)


def confidence(found: Calibration | None) -> Section:
    """Return the chapter on how far confidence can be trusted."""
    title = "Confidence"
    if found is None:
        text = paragraph("No word was written, so there is no confidence to judge.")
        return Section(anchor="confidence", title=title, content=text)
    r = found.reliability
    bins = zip(r.edges, r.edges[1:], r.counts, r.confidence, r.accuracy, strict=False)
    shown = table(
        f"Confidence of {counted(sum(r.counts), 'written word')}",
        ("Confidence", "Words", "Mean", "Right"),
        [
            [f"{percent(low)} to {percent(high)}", number(count), percent(mean), percent(right)]
            for low, high, count, mean, right in bins
            if count
        ],
    )
    ranks = (
        ""
        if r.auroc != r.auroc
        else (
            f" A right word is surer than a wrong one in {percent(r.auroc)} of all pairs (AUROC)."
        )
    )
    note = (
        f"Words of confidence 80 % should be right 80 % of the time. On average the two are "
        f"{100 * r.ece:.1f} points apart (expected calibration error).{ranks}"
    )
    alt = "Bars of the share of right words over confidence; the table has the figures."
    chart = picture(plot_calibration(r), alt=alt)
    return Section(
        anchor="confidence", title=title, content=join(paragraph(note), beside(chart, shown))
    )

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
    FEWEST_SAID,
    MOST_BARS,
    plot_calibration,
    plot_confusions,
    plot_groups,
    plot_noise,
    symbol_name,
)
from training.analysis_statistics import Rate
from training.analysis_words import Confusions, Example, Kind, Step, WordError

_CONFUSIONS = 8
_ERRORS = 10
_THIN_SHOWN = 5
_ERROR_TITLES: dict[Kind, str] = {
    "substitution": "Substitutions: another word was understood",
    "deletion": "Deletions: a word was left out",
    "insertion": "Insertions: a word was added",
}


def summary(analysis: Analysis, findings: Sequence[Finding]) -> Section:
    """Return the figures at a glance, and what stands out."""
    total = analysis.total
    audio_s = sum(clip.duration_s for clip in analysis.clips)
    cards = [
        ("Word error rate", percent(total.wer.value), _range(total.wer)),
        ("Character error rate", percent(total.cer.value), _range(total.cer)),
        ("Clips", number(total.clips), f"{audio_s / 60:.1f} minutes"),
        ("Words", number(total.wer.count), f"{number(total.wer.errors)} errors"),
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
        f"Of the errors {number(total.substitutions)} are substitutions (S), "
        f"{number(total.deletions)} deletions (D) and {number(total.insertions)} insertions (I)."
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
    anchor: str, title: str, by: str, found: Sequence[Group], total: Rate, *, note: str = ""
) -> Section:
    """Return a chapter of error rates by what clips have in common.

    Args:
        by: what that is, for captions.
        note: how it is to be read.
    """
    if len(found) < 2:
        only = f"All clips are alike in this: {found[0].name}." if found else "No clip has one."
        return Section(anchor=anchor, title=title, content=join(_note(note), paragraph(only)))
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


def errors(found: dict[Kind, list[WordError]]) -> Section:
    """Return the chapter of the most frequent errors of words."""
    note = (
        "A count beside how often the word was said (of insertions: was written). The examples "
        "have the words around it as they were said."
    )
    tables = [_error_table(kind, rows) for kind, rows in found.items() if rows]
    content = join(paragraph(note), *tables) if tables else paragraph("No word is wrong.")
    return Section(anchor="errors", title="Most frequent errors", content=content)


def _error_table(kind: Kind, rows: Sequence[WordError]) -> Markup:
    columns = {
        "substitution": ("Said", "Understood", "Times", "Of", "Examples"),
        "deletion": ("Left out", "Times", "Of", "Examples"),
        "insertion": ("Added", "Times", "Of", "Examples"),
    }[kind]
    texts = [i for i, name in enumerate(columns) if name not in ("Times", "Of")]
    title, cells = _ERROR_TITLES[kind], [_error_row(row) for row in rows]
    shown = table(title, columns, cells[:_ERRORS], texts=texts)
    if len(cells) > _ERRORS:
        rest = table(f"{title}, continued", columns, cells[_ERRORS:], texts=texts)
        shown = join(shown, folded(f"{len(cells) - _ERRORS} more", rest))
    return shown


def _error_row(error: WordError) -> list[Cell]:
    words = [word for word in (error.reference, error.hypothesis) if word]
    examples = Markup("<br>").join(_example(error, example) for example in error.examples[:2])
    return [*words, number(error.count), number(error.occurrences), examples]


def _example(error: WordError, example: Example) -> Markup:
    word = error.reference or f"+{error.hypothesis}"
    return Markup('{} <mark>{}</mark> {} <span class="note">{}</span>').format(
        example.before, word, example.after, example.id
    )


def characters(confusions: Confusions) -> Section:
    """Return the chapter of confused characters."""
    tables = [
        _character_table(caption, found, confusions)
        for caption, replaced in (("A character for another", True), ("Left out or added", False))
        if (found := confusions.most_frequent(_CONFUSIONS, replaced=replaced))
    ]
    if not tables:
        text = paragraph("No character is wrong.")
        return Section(anchor="characters", title="Confused characters", content=text)
    alt = "Matrix of which character was understood for which; the tables have the most frequent."
    note = (
        "The share of each character that became another; ␣ is the space, ∅ is nothing: a "
        "character that was left out, or was added. The right ones are left out of the picture, "
        f"and the rows of characters that were said fewer than {FEWEST_SAID} times."
    )
    chart = picture(plot_confusions(confusions), alt=alt)
    content = join(paragraph(note), beside(chart, join(*tables)))
    return Section(anchor="characters", title="Confused characters", content=content)


def _character_table(
    caption: str, found: Sequence[tuple[Step, int]], confusions: Confusions
) -> Markup:
    rows = [
        [
            symbol_name(step.reference),
            symbol_name(step.hypothesis),
            number(count),
            number(confusions.occurrences(step.reference)),
        ]
        for step, count in found
    ]
    return table(caption, ("Said", "Understood", "Times", "Of"), rows, texts=(0, 1))


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

"""The report's chapters on what was heard for what: words and characters."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from training.analysis_confusions import FEWEST_SAID, confusion_matrix
from training.analysis_findings import number, percent
from training.analysis_page import Cell, Section, beside, folded, join, paragraph, picture, table
from training.analysis_plots import plot_confusions, symbol_name
from training.analysis_words import Confusions, Example, Kind, Step, WordError

_CONFUSIONS = 8
_ERRORS = 10
_ERROR_TITLES: dict[Kind, str] = {
    "substitution": "Substitutions: another word was understood",
    "deletion": "Deletions: a word was left out",
    "insertion": "Insertions: a word was added",
}


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
    matrix = confusion_matrix(confusions)
    alt = "Matrix of which character was understood for which; the tables have the most frequent."
    note = (
        "The share of each character that became another; ␣ is the space, ∅ is nothing: a "
        "character that was left out, or was added. The right ones are left out of the picture, "
        f"and the rows of characters that were said fewer than {FEWEST_SAID} times."
    )
    if matrix.is_capped:
        note += (
            f" Colours end at {percent(matrix.limit)}, so that the small shares can be told apart: "
            f"what lies above, up to {percent(matrix.highest)}, looks alike."
        )
    chart = picture(plot_confusions(matrix), alt=alt)
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

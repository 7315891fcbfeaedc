"""Parts of an HTML page; whatever is not `Markup` is escaped."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from training.analysis_plots import Picture

Cell = Markup | str | int


@dataclass(frozen=True, kw_only=True)
class Section:
    """A chapter of the page: its anchor, its title, and what stands in it."""

    anchor: str
    title: str
    content: Markup

    def to_html(self) -> Markup:
        """Return it with its heading."""
        return Markup('<section id="{0}" aria-labelledby="{0}-h"><h2 id="{0}-h">{1}</h2>\n').format(
            self.anchor, self.title
        ) + Markup("{}</section>\n").format(self.content)


def join(*parts: Markup) -> Markup:
    """Return the parts one after the other."""
    return Markup("").join(parts)


def paragraph(text: str, *, kind: str = "") -> Markup:
    """Return a paragraph, of a class if one is given."""
    return Markup("<p{}>{}</p>\n").format(Markup(' class="{}"').format(kind) if kind else "", text)


def bullets(items: Iterable[Markup | str]) -> Markup:
    """Return an unordered list."""
    return Markup("<ul>{}</ul>\n").format(
        join(*(Markup("<li>{}</li>").format(item) for item in items))
    )


def link(anchor: str, text: str) -> Markup:
    """Return a link within the page."""
    return Markup('<a href="#{}">{}</a>').format(anchor, text)


def table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    texts: Collection[int] = (0,),
) -> Markup:
    """Return a table that scrolls by itself where it is wider than the screen.

    Args:
        columns: headings.
        rows: of as many cells; the first one names the row.
        texts: which columns hold text; the others hold figures.
    """
    head = join(*(_cell("th", name, i in texts, "col") for i, name in enumerate(columns)))
    body = join(*(_row(row, texts) for row in rows))
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="{0}"><table>'
        "<caption><span>{0}</span></caption><thead><tr>{1}</tr></thead><tbody>{2}</tbody></table></div>\n"
    ).format(caption, head, body)


def _row(cells: Sequence[Cell], texts: Collection[int]) -> Markup:
    first = _cell("th", cells[0], 0 in texts, "row")
    rest = (_cell("td", cell, i in texts) for i, cell in enumerate(cells[1:], start=1))
    return Markup("<tr>{}</tr>\n").format(join(first, *rest))


def _cell(tag: str, content: Cell, is_text: bool, scope: str = "") -> Markup:
    kind = Markup("") if is_text else Markup(' class="figure"')
    scoped = Markup(' scope="{}"').format(scope) if scope else ""
    return Markup("<{0}{1}{2}>{3}</{0}>").format(tag, scoped, kind, content)


def picture(image: Picture, *, alt: str) -> Markup:
    """Return a picture that follows the page's theme; `alt` says what it shows."""
    return Markup(
        '<picture><source media="(prefers-color-scheme: dark)" srcset="{}">'
        '<img src="{}" alt="{}"></picture>\n'
    ).format(_svg_uri(image.dark), _svg_uri(image.light), alt)


def beside(left: Markup, right: Markup) -> Markup:
    """Return two parts side by side where the screen is wide enough."""
    return Markup('<div class="beside"><div>{}</div><div>{}</div></div>\n').format(left, right)


def folded(summary: str, content: Markup) -> Markup:
    """Return a part that opens on a click."""
    return Markup("<details><summary>{}</summary>{}</details>\n").format(summary, content)


def data_uri(content: bytes, media_type: str) -> str:
    """Return bytes as an address that holds them."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _svg_uri(content: bytes) -> str:
    return data_uri(content, "image/svg+xml")

"""What the notebook shows: pictures, players beside texts, a line that is written anew."""

from __future__ import annotations

import base64
import io
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jiwer

from training.manifest import Utterance

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ipython: Any = import_module("IPython.display")  # it has no types

_PERIOD_S = 0.5


class Line:
    """One line of text under a cell, written anew at most twice a second."""

    def __init__(self, title: str, *, scale: float = 1.0, unit: str = "") -> None:
        """Count in `unit`, of which one is `1 / scale` of what is told."""
        self.title, self.scale, self.unit = title, scale, unit
        self.text, self.written_at = "", 0.0
        self.handle: Any = None

    def __call__(self, done: int, total: int) -> None:
        """Show how much is done; a total of 0 is unknown."""
        text = f"{self.title}: {done * self.scale:.0f}"
        if total:
            text += f" of {total * self.scale:.0f}"
        self.write(f"{text} {self.unit}".rstrip())
        if done == total:
            self.finish()

    def write(self, text: str) -> None:
        """Show `text` unless the last one is too young."""
        self.text = text
        if time.monotonic() - self.written_at >= _PERIOD_S:
            self.finish()

    def finish(self) -> None:
        """Show the latest text now."""
        self.written_at = time.monotonic()
        content = {"text/plain": self.text}
        if self.handle is None:
            self.handle = ipython.display(content, raw=True, display_id=True)
        else:
            self.handle.update(content, raw=True)


def show(figure: Figure) -> None:
    """Show a figure as a picture; needs no matplotlib back end."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    ipython.display(ipython.Image(data=buffer.getvalue()))


def show_markdown(text: str) -> None:
    """Show formatted text, its headings below those of the notebook."""
    ipython.display(ipython.Markdown(re.sub("^#", "###", text, flags=re.MULTILINE)))


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A clip to listen to, what was said, and what was understood if that is known."""

    audio: Path
    reference: str
    hypothesis: str | None = None


def pair_with_audio(scored: Sequence[Any], utterances: Sequence[Utterance]) -> list[Heard]:
    """Return evaluated clips with their recordings, found by id."""
    audio = {u.id: Path(u.audio) for u in utterances}
    return [
        Heard(audio=audio[clip.id], reference=clip.reference, hypothesis=clip.hypothesis)
        for clip in scored
    ]


def show_players(clips: Sequence[Heard]) -> None:
    """Show a player for each clip beside its texts; words that differ are marked."""
    ipython.display(ipython.HTML(players_html(clips)))


def players_html(clips: Sequence[Heard]) -> str:
    """Return a table with the recordings in it."""
    return f"<table>{''.join(map(_row, clips))}</table>"


def _row(clip: Heard) -> str:
    sound = base64.b64encode(clip.audio.read_bytes()).decode()
    player = f'<audio controls preload="metadata" src="data:audio/wav;base64,{sound}"></audio>'
    if clip.hypothesis is None:
        texts = escape(clip.reference)
    else:
        reference, hypothesis = _mark_differences(clip.reference, clip.hypothesis)
        texts = f"<b>reference</b> {reference}<br><b>hypothesis</b> {hypothesis}"
    cell = 'style="text-align: left"'
    return f"<tr><td>{player}</td><td {cell}>{texts}</td></tr>"


def _mark_differences(reference: str, hypothesis: str) -> tuple[str, str]:
    """Return both texts as HTML, the words of which the other text has no equal marked."""
    if not (reference and hypothesis):
        return _marked(reference.split(), set()), _marked(hypothesis.split(), set())
    wrong: tuple[set[int], set[int]] = (set(), set())
    for chunk in jiwer.process_words(reference, hypothesis).alignments[0]:
        if chunk.type != "equal":
            wrong[0].update(range(chunk.ref_start_idx, chunk.ref_end_idx))
            wrong[1].update(range(chunk.hyp_start_idx, chunk.hyp_end_idx))
    return _marked(reference.split(), wrong[0]), _marked(hypothesis.split(), wrong[1])


def _marked(words: Sequence[str], wrong: set[int]) -> str:
    if not words:
        return "<i>nothing</i>"
    return " ".join(
        f"<mark>{escape(word)}</mark>" if i in wrong else escape(word)
        for i, word in enumerate(words)
    )

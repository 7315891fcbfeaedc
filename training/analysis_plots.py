"""The report's pictures: SVG, once for light pages and once for dark ones."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.analysis_confusions import ConfusionMatrix
from training.analysis_findings import counted, percent
from training.analysis_groups import Group
from training.analysis_noise import NoiseCurve
from training.analysis_statistics import Rate
from training.analysis_words import NOTHING
from training.reliability import Reliability, draw_reliability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH_IN = 4.6  # of a phone's screen, so that text is read there as it stands
_LONGEST_NAME = 24
MOST_BARS = 20
_COLOUR_TICKS = 4  # as far apart as each other, so that labels have room


@dataclass(frozen=True, kw_only=True)
class Theme:
    """Colours of a picture whose background is the page's."""

    text: str
    faint: str
    bar: str
    mark: str
    colour_map: str


LIGHT = Theme(text="#1b2026", faint="#8a94a0", bar="#3a7ca5", mark="#b3432b", colour_map="Blues")
DARK = Theme(text="#e6e9ec", faint="#77818c", bar="#62a5cf", mark="#f08a6c", colour_map="cividis")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture in both themes, each an SVG document."""

    light: bytes
    dark: bytes


def draw(paint: Callable[[Figure, Theme], None], *, height_in: float) -> Picture:
    """Let `paint` fill a figure in each theme."""
    return Picture(
        light=_render(paint, LIGHT, height_in=height_in),
        dark=_render(paint, DARK, height_in=height_in),
    )


def _render(paint: Callable[[Figure, Theme], None], theme: Theme, *, height_in: float) -> bytes:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "stt",
        "text.parse_math": False,  # names of speakers are no formulas
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": theme.faint,
        "grid.color": theme.faint,
        "grid.alpha": 0.3,
        **dict.fromkeys(
            ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"),
            theme.text,
        ),
    }
    buffer = io.BytesIO()
    with rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has it
        figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
        paint(figure, theme)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()


def plot_groups(groups: Sequence[Group], total: Rate) -> Picture:
    """Draw the WER of each group as a bar with its interval, beside that of all clips."""

    def paint(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        for place, group in enumerate(groups):
            _draw_bar(axes, place, group.wer, theme)
        axes.axvline(total.value, color=theme.mark, linestyle="--", linewidth=1.2)
        axes.set_yticks(range(len(groups)), [_label(group) for group in groups], fontsize=9)
        axes.invert_yaxis()
        axes.set(xlabel=f"WER (dashed: all clips, {percent(total.value)})", xlim=(0, None))
        axes.xaxis.set_major_formatter(lambda value, _: percent(value) if value else "0")
        axes.grid(axis="x")
        axes.set_axisbelow(True)

    return draw(paint, height_in=0.9 + 0.46 * len(groups))


def _label(group: Group) -> str:
    name = group.name
    if len(name) > _LONGEST_NAME:
        half = _LONGEST_NAME // 2 - 1
        name = f"{name[:half]}…{name[-half:]}"
    return f"{name}\n{counted(group.clips, 'clip')}, {counted(group.wer.count, 'word')}"


def _draw_bar(axes: Any, place: int, rate: Rate, theme: Theme) -> None:
    """Draw a bar; a hollow one where the clips are too few for an interval."""
    known = rate.low is not None and rate.high is not None
    face = theme.bar if known else "none"
    axes.barh(place, rate.value, 0.6, color=face, edgecolor=theme.bar, alpha=0.85)
    if rate.low is not None and rate.high is not None:
        axes.plot([rate.low, rate.high], [place, place], color=theme.text, linewidth=1.6)
        axes.plot([rate.low, rate.high], [place, place], "|", color=theme.text, markersize=7)


def plot_noise(curve: NoiseCurve) -> Picture:
    """Draw WER over SNR, noisier to the right, with the interval as a band."""
    clean, noisy = curve.levels[0].wer, curve.levels[1:]
    snrs_db = np.array([level.snr_db for level in noisy], float)
    # Where there is no interval these are not numbers, and no band is drawn.
    rates = np.array([[level.wer.value, level.wer.low, level.wer.high] for level in noisy], float).T

    def paint(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        axes.axhline(clean.value, color=theme.mark, linestyle="--", linewidth=1.2)
        axes.fill_between(snrs_db, rates[1], rates[2], color=theme.bar, alpha=0.3, linewidth=0)
        axes.plot(snrs_db, rates[0], "o-", color=theme.bar)
        axes.set_xticks(snrs_db)
        axes.invert_xaxis()
        axes.set(
            xlabel="SNR in dB: ever more noise",
            ylabel=f"WER (dashed: as they are, {percent(clean.value)})",
            ylim=(0, None),
        )
        axes.yaxis.set_major_formatter(lambda value, _: percent(value) if value else "0")
        axes.grid()

    return draw(paint, height_in=3.3)


def plot_confusions(matrix: ConfusionMatrix) -> Picture:
    """Draw what each character of the references became, as a share."""
    from matplotlib.colors import PowerNorm

    def paint(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        norm = PowerNorm(0.5, vmin=0, vmax=matrix.limit)  # most shares are small
        image = axes.imshow(
            matrix.shares, cmap=theme.colour_map, norm=norm, interpolation="nearest"
        )
        names = [symbol_name(symbol) for symbol in matrix.symbols]
        axes.set_xticks(range(len(names)), names, fontsize=7.5)
        axes.set_yticks(range(len(names)), names, fontsize=7.5)
        axes.tick_params(length=0, pad=2)
        axes.set(xlabel="understood (∅: left out)", ylabel="said (∅: nothing, so added)")
        bar = figure.colorbar(
            image,
            ax=axes,
            location="top",
            shrink=0.7,
            aspect=40,
            pad=0.02,
            extend="max" if matrix.is_capped else "neither",
            ticks=norm.inverse(np.linspace(0, 1, _COLOUR_TICKS)),
        )
        bar.ax.tick_params(labelsize=8)
        bar.ax.xaxis.set_major_formatter(lambda value, _: percent(value) if value else "0")
        bar.outline.set_visible(False)

    return draw(paint, height_in=5.0)


def symbol_name(symbol: str) -> str:
    """Return a character as it can be seen: the space and nothing have signs."""
    return {" ": "␣", NOTHING: "∅"}.get(symbol, symbol)


def plot_calibration(reliability: Reliability) -> Picture:
    """Draw confidence against the share of right words."""

    def paint(figure: Figure, theme: Theme) -> None:
        draw_reliability(figure, reliability, colour=theme.bar, line=theme.mark)

    return draw(paint, height_in=4.4)

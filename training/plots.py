"""Pictures for people: a clip and what the network sees of it, learning curves, a posterior."""

from __future__ import annotations

import csv
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from config import AudioConfig, DecodingError, FeatureConfig, ModelError
from speech.audio import Waveform
from speech.decoding.alignment import align
from speech.features import extract_features
from speech.pipeline import Pipeline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DYNAMIC_RANGE_DB = 80.0
_LINE = 110  # characters of a title
_MARK = "#ff3344"


def _new_figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def plot_clip(
    waveform: Waveform, text: str, *, audio: AudioConfig, features: FeatureConfig
) -> Figure:
    """Draw a clip: waveform, spectrogram in decibels, and the features that the network gets.

    Args:
        waveform: float32 `[samples]` in [-1, 1].
        text: what is said, for the title.
    """
    rate = audio.sample_rate_hz
    duration_s = len(waveform) / rate
    x, _ = extract_features(
        waveform[np.newaxis], np.array([len(waveform)], np.int32), features, sample_rate_hz=rate
    )
    figure = _new_figure(11, 7)
    top, middle, bottom = figure.subplots(3, height_ratios=[1, 2, 2], sharex=True)
    top.plot(np.arange(len(waveform)) / rate, waveform, linewidth=0.4, color="#4477aa")
    top.set(ylabel="amplitude", xlim=(0, duration_s))
    top.set_title(fill(text, _LINE), fontsize=10)
    _draw_spectrogram(middle, waveform, rate)
    end_s = features.frame_step * x.shape[1] / rate
    bottom.imshow(
        np.asarray(x[0]).T,
        origin="lower",
        aspect="auto",
        extent=(0, end_s, 0, features.num_bins),
        vmin=-3,
        vmax=3,
    )
    kind = "mel band" if features.kind == "log_mel" else "frequency bin"
    bottom.set(xlabel="time in s", ylabel=f"{kind}, normalised", xlim=(0, duration_s))
    return figure


def _draw_spectrogram(axes: Any, waveform: Waveform, rate: int) -> None:
    padded = np.pad(waveform, (0, max(0, 1024 - len(waveform))))
    with np.errstate(divide="ignore"):  # digital silence has no decibels
        levels, _, _, image = axes.specgram(padded, NFFT=512, Fs=rate, noverlap=384)
    loudest = 10 * float(np.log10(max(levels.max(), 1e-12)))
    image.set_clim(loudest - _DYNAMIC_RANGE_DB, loudest)
    axes.set(ylabel="frequency in Hz", ylim=(0, min(8000, rate / 2)))


def plot_curves(log: Path) -> Figure:
    """Draw loss, error rates and rate of learning by epoch from a run's `log.csv`.

    Raises:
        ModelError: no such log, or without an epoch.
    """
    columns = _read_log(log)
    epochs = columns["epoch"]
    marker = "o" if len(epochs) < 30 else ""
    figure = _new_figure(11, 3.6)
    left, middle, right = figure.subplots(1, 3)
    left.plot(epochs, columns["loss"], marker=marker, color="#4477aa")
    left.set(title="training loss, nats a label", ylim=(0, None))
    for name, color in (("wer", "#cc3311"), ("cer", "#ee9922")):
        values = columns[f"validation_{name}"]
        best = int(np.argmin(values))
        label = f"{name.upper()}, best {values[best]:.3f} in epoch {epochs[best]:.0f}"
        middle.plot(epochs, values, marker=marker, color=color, label=label)
    middle.set(title="error rates of the validation split", ylim=(0, None))
    middle.legend(loc="best", fontsize=8)
    right.plot(epochs, columns["learning_rate"], marker=marker, color="#228833")
    right.set(title="rate of learning", ylim=(0, None))
    for axes in (left, middle, right):
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    return figure


def _read_log(path: Path) -> dict[str, NDArray[np.float64]]:
    names = ("epoch", "loss", "learning_rate", "validation_wer", "validation_cer")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            # An epoch that was done again after a crash counts once.
            rows = {row["epoch"]: row for row in csv.DictReader(file)}
        columns = {n: np.array([float(row[n]) for row in rows.values()]) for n in names}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"cannot read {path} ({error!r}); needed: the log of a run") from error
    if not rows:
        raise ModelError(f"{path} has no epoch yet; needed: one that is done")
    return columns


def plot_posterior(
    log_probs: NDArray[np.float32], reference: str, pipeline: Pipeline, *, hypothesis: str = ""
) -> Figure:
    """Draw how likely each symbol is in each frame, and where the reference would lie in it.

    The red marks are the likeliest path through exactly the reference's symbols (Viterbi): on
    bright cells the network agrees, on dark ones it heard something else.

    Args:
        log_probs: float32 `[frames, symbols]`, natural logarithm.
        reference: normalised text.
    """
    alphabet, frame_s = pipeline.alphabet, pipeline.output_frame_s
    num_frames, num_symbols = log_probs.shape
    names = ["blank", *("␣" if s == " " else s for s in alphabet.symbols[1:])]
    figure = _new_figure(max(8.0, min(24.0, 2.2 * num_frames * frame_s)), 7)
    axes = figure.subplots()
    image = axes.imshow(
        np.exp(log_probs).T,
        aspect="auto",
        extent=(0, num_frames * frame_s, num_symbols - 0.5, -0.5),
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    figure.colorbar(image, ax=axes, label="probability", pad=0.01)
    axes.set_yticks(range(num_symbols), names, fontsize=8)
    axes.set_xlabel("time in s")
    lines = [f"reference: {reference}", f"hypothesis: {hypothesis}"]
    try:
        labels = alphabet.encode(reference)
        spans = align(log_probs, labels, blank_index=alphabet.blank_index)
    except DecodingError as error:
        lines.append(f"no alignment: {error}")
    else:
        _draw_alignment(axes, spans * frame_s, labels, reference)
    axes.set_title("\n".join(fill(line, _LINE) for line in lines), fontsize=10, loc="left", pad=16)
    return figure


def _draw_alignment(
    axes: Any, spans_s: NDArray[np.floating], labels: list[int], reference: str
) -> None:
    """Mark each label's span in its row, and name the words along the top."""
    for (start_s, end_s), label in zip(spans_s, labels, strict=True):
        axes.plot([start_s, end_s], [label, label], color=_MARK, linewidth=2.5)
    axes.plot(spans_s.mean(axis=1), labels, color=_MARK, linewidth=0.6, alpha=0.6)
    position = 0
    for word in reference.split():
        start = reference.index(word, position)
        position = start + len(word)
        start_s, end_s = spans_s[start, 0], spans_s[position - 1, 1]
        place = ((start_s + end_s) / 2, -0.5)
        axes.annotate(word, place, (0, 3), textcoords="offset points", ha="center", fontsize=8)
        axes.axvline(start_s, color="white", linewidth=0.4, alpha=0.5)

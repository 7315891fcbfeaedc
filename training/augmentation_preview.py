"""Pictures and sounds of each change that training makes, for people to judge."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from numpy.typing import NDArray

from config import LOG_MEL, AudioConfig
from speech.audio import write_atomically, write_native
from speech.features import extract_features
from training.augmentation import (
    STRENGTHS,
    AugmentationConfig,
    augment_features,
    augment_waveforms,
)

OVERVIEW = "overview.png"

_COLOURS = (-2.0, 3.0)  # of features, which have mean 0 and deviation 1
_DPI = 100

Waveform = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A clip after a change: float32 `[samples]` and its log-mel features `[frames, bands]`."""

    name: str
    title: str
    waveform: Waveform
    features: NDArray[np.float32]


def write_preview(
    waveform: Waveform,
    output: Path,
    *,
    seed: int,
    noises: Path | None,
    audio: AudioConfig,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write `<change>.png` and `<change>.wav` for each change, always made, and an overview.

    Args:
        waveform: float32 `[samples]` in [-1, 1].
        output: a folder; files of these names in it are replaced, each when it is whole.
        seed: decides what is drawn.
        noises: folder of recordings; without it there is no recorded noise.
        audio: the waveform's form.
        progress: called with what is done and the total.

    Returns:
        The overview's path.
    """
    before = _example("unchanged", "unchanged", STRENGTHS["none"], waveform, seed, audio)
    configs = preview_configs(noises)
    write_native(output / "unchanged.wav", waveform, audio)
    examples = [before]
    for done, (name, (title, config)) in enumerate(configs.items(), start=1):
        example = _example(name, title, config, waveform, seed, audio)
        examples.append(example)
        write_native(output / f"{name}.wav", example.waveform, audio)
        write_atomically(output / f"{name}.png", _compare(before, example, audio))
        if progress:
            progress(done, len(configs) + 1)
    write_atomically(output / OVERVIEW, _overview(examples, audio))
    if progress:
        progress(len(configs) + 1, len(configs) + 1)
    return output / OVERVIEW


def preview_configs(noises: Path | None) -> dict[str, tuple[str, AugmentationConfig]]:
    """Return by file name a title and the strong settings in which that change alone is sure."""
    strong = replace(STRENGTHS["strong"], recorded_noise_folder=str(noises) if noises else "")
    silent = {name: 0.0 for name in vars(strong) if name.endswith("_probability")}

    def alone(*names: str, **settings: Any) -> AugmentationConfig:
        sure = {f"{name}_probability": 1.0 for name in names}
        return replace(strong, **{**silent, **sure, **settings})

    changes = {
        "speed": ("speed: tempo and pitch together", alone("speed")),
        "tempo": ("tempo alone", alone("tempo")),
        "pitch": ("pitch alone", alone("pitch")),
        "pause": ("pauses before and after", alone("pause")),
        "reverb": ("a room", alone("reverb")),
        "noise": ("generated noise", alone("noise")),
        "recorded-noise": ("recorded noise", alone("recorded_noise")),
        "gain": ("loudness", alone("gain")),
        "band": ("band limits", alone("band")),
        "telephone-8khz": ("telephone, 8 kHz", alone("telephone", telephone_wide_share=0.0)),
        "telephone-16khz": ("telephone, 16 kHz", alone("telephone", telephone_wide_share=1.0)),
        "masks": ("masks of features", alone("frequency_mask", "time_mask")),
        "all": ("as training draws them", strong),
    }
    if noises is None:
        del changes["recorded-noise"]
    return changes


def _example(
    name: str,
    title: str,
    config: AugmentationConfig,
    waveform: Waveform,
    seed: int,
    audio: AudioConfig,
) -> Example:
    seeds = tf.constant([seed, 0], tf.int64)
    rate = audio.sample_rate_hz
    new, num_samples = augment_waveforms(
        tf.constant(waveform[np.newaxis]),
        tf.constant([len(waveform)]),
        seeds,
        config,
        sample_rate_hz=rate,
    )
    features, num_frames = extract_features(new, num_samples, LOG_MEL, sample_rate_hz=rate)
    features = augment_features(features, num_frames, seeds, config)
    return Example(name=name, title=title, waveform=new[0].numpy(), features=features[0].numpy())


def _compare(before: Example, after: Example, audio: AudioConfig) -> bytes:
    """Draw waveform and features of a clip before and after a change, side by side."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=[1, 2])
    for column, example in enumerate((before, after)):
        _draw_waveform(axes[0, column], example, audio)
        image = _draw_features(axes[1, column], example, audio)
        axes[0, column].set_title(example.title)
        axes[1, column].set_xlabel("seconds")
    axes[0, 0].set_ylabel("amplitude")
    axes[1, 0].set_ylabel("mel band")
    axes[0, 0].set_xlim(0, _longest_s((before, after), audio))
    figure.colorbar(image, ax=axes[1], label="deviations from the band's mean")
    return _to_png(figure)


def _overview(examples: Sequence[Example], audio: AudioConfig) -> bytes:
    """Draw the features of all examples on one scale of time."""
    rows = -(-len(examples) // 2)
    figure = Figure(figsize=(12, 1.9 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False)
    for axis, example in zip(axes.flat, examples, strict=False):
        image = _draw_features(axis, example, audio)
        axis.set_title(example.title, fontsize=10)
    for axis in axes.flat[len(examples) :]:
        axis.set_axis_off()
    axes[0, 0].set_xlim(0, _longest_s(examples, audio))
    figure.supxlabel("seconds")
    figure.supylabel("mel band")
    figure.colorbar(image, ax=axes, label="deviations from the band's mean", aspect=50)
    return _to_png(figure)


def _draw_waveform(axis: Any, example: Example, audio: AudioConfig) -> None:
    """Draw the lowest and the highest sample of each of some thousand stretches."""
    stretch = max(1, len(example.waveform) // 2000)
    whole = example.waveform[: len(example.waveform) // stretch * stretch].reshape(-1, stretch)
    seconds = np.arange(len(whole)) * stretch / audio.sample_rate_hz
    axis.fill_between(seconds, whole.min(axis=1), whole.max(axis=1), color="#4477aa", linewidth=0.5)
    axis.axhline(0, color="#888888", linewidth=0.5)


def _draw_features(axis: Any, example: Example, audio: AudioConfig) -> Any:
    frames, bands = example.features.shape
    seconds = frames * LOG_MEL.frame_step / audio.sample_rate_hz
    lowest, highest = _COLOURS
    return axis.imshow(
        example.features.T,
        origin="lower",
        aspect="auto",
        extent=(0, seconds, 0, bands),
        vmin=lowest,
        vmax=highest,
        cmap="magma",
        interpolation="nearest",
    )


def _longest_s(examples: Sequence[Example], audio: AudioConfig) -> float:
    return max(len(example.waveform) for example in examples) / audio.sample_rate_hz


def _to_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()

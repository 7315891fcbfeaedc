"""Pictures: what they hold is compared with what was computed, not looked at."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config import AudioConfig, FeatureConfig, ModelError
from speech.alphabet import Alphabet
from speech.decoding.alignment import align
from speech.features import extract_features
from speech.pipeline import Pipeline
from training.plots import plot_clip, plot_curves, plot_posterior
from training.presets import PRESETS

AUDIO = AudioConfig()
LOG = """epoch,loss,learning_rate,validation_wer,validation_cer
1,3.0,0.001,1.0,0.9
2,2.0,0.0005,0.8,0.5
3,1.5,0.0001,0.9,0.4
"""


def drawn(figure: Any) -> bytes:
    """Return the picture; warnings are errors here."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=40)
    assert buffer.getvalue().startswith(b"\x89PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("features", [FeatureConfig(), PRESETS["small"].features])
def test_a_clip_shows_its_waveform_and_the_very_features(
    features: FeatureConfig, rng: np.random.Generator
) -> None:
    waveform = rng.uniform(-0.5, 0.5, 22_050).astype(np.float32)
    figure = plot_clip(waveform, "two words", audio=AUDIO, features=features)
    drawn(figure)
    top, middle, bottom = figure.axes
    assert top.get_title() == "two words"
    np.testing.assert_array_equal(top.lines[0].get_ydata(), waveform)
    assert middle.get_ylabel() == "frequency in Hz"
    expected, _ = extract_features(
        waveform[np.newaxis], np.array([22_050]), features, sample_rate_hz=22_050
    )
    np.testing.assert_array_equal(bottom.images[0].get_array(), expected[0].numpy().T)


def test_a_tone_is_bright_at_its_frequency() -> None:
    tone = np.sin(2 * np.pi * 2000 * np.arange(22_050) / 22_050).astype(np.float32)
    figure = plot_clip(tone, "", audio=AUDIO, features=FeatureConfig())
    image = figure.axes[1].images[0]
    low_hz, high_hz = image.get_extent()[2:]
    levels = np.ma.getdata(image.get_array()).mean(axis=1)
    rows = len(levels)
    row = rows - 1 - int(levels.argmax())  # the image's first row is the highest frequency
    assert low_hz + (row + 0.5) * (high_hz - low_hz) / rows == pytest.approx(2000, abs=60)


@pytest.mark.parametrize("num_samples", [1, 300, 4000])
def test_silence_and_very_short_clips_are_drawn(num_samples: int) -> None:
    silence = np.zeros(num_samples, np.float32)
    drawn(plot_clip(silence, "nothing", audio=AUDIO, features=FeatureConfig()))


def test_curves_are_those_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text(LOG, encoding="utf-8")
    figure = plot_curves(log)
    drawn(figure)
    loss, rates, rate = figure.axes
    assert list(loss.lines[0].get_xdata()) == [1, 2, 3]
    assert list(loss.lines[0].get_ydata()) == [3.0, 2.0, 1.5]
    labels = [text.get_text() for text in rates.get_legend().get_texts()]
    assert labels == ["WER, best 0.800 in epoch 2", "CER, best 0.400 in epoch 3"]
    assert list(rate.lines[0].get_ydata()) == [0.001, 0.0005, 0.0001]


def test_an_epoch_done_twice_and_columns_of_others_do_no_harm(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text(
        "seconds,epoch,loss,learning_rate,validation_wer,validation_cer\n"
        "9,1,3,0.1,1,1\n9,2,8,0.1,1,1\n9,2,2,0.1,1,1\n",
        encoding="utf-8",
    )
    assert list(plot_curves(log).axes[0].lines[0].get_ydata()) == [3.0, 2.0]


@pytest.mark.parametrize("content", [None, "", LOG.splitlines()[0], "epoch,loss\n1,2\n"])
def test_a_log_of_no_use_is_named(tmp_path: Path, content: str | None) -> None:
    log = tmp_path / "log.csv"
    if content is not None:
        log.write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=r"log\.csv.*needed"):
        plot_curves(log)


def posterior(path: list[int], num_symbols: int) -> np.ndarray:
    probabilities = np.full((len(path), num_symbols), 0.1 / (num_symbols - 1))
    probabilities[np.arange(len(path)), path] = 0.9
    return np.log(probabilities).astype(np.float32)


def pipeline() -> Pipeline:
    small = PRESETS["small"]
    return Pipeline(
        name="x",
        audio=AUDIO,
        features=small.features,
        network=small.network,
        alphabet=Alphabet(),
    )


def test_a_posterior_with_the_alignment_of_its_reference() -> None:
    alphabet, frame_s = Alphabet(), pipeline().output_frame_s
    labels = alphabet.encode("a cat")
    log_probs = posterior([0, labels[0], 0, *labels[1:], 0, 0], len(alphabet))
    figure = plot_posterior(log_probs, "a cat", pipeline(), hypothesis="a bat")
    drawn(figure)
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), np.exp(log_probs).T)
    spans = align(log_probs, labels) * frame_s
    for line, span, label in zip(axes.lines, spans, labels, strict=False):
        np.testing.assert_allclose(line.get_xdata(), span)
        assert set(line.get_ydata()) == {label}
    assert [text.get_text() for text in axes.texts] == ["a", "cat"]
    middles_s = [text.xy[0] for text in axes.texts]
    np.testing.assert_allclose(middles_s, [1.5 * frame_s, 5.5 * frame_s])
    assert axes.get_title(loc="left") == "reference: a cat\nhypothesis: a bat"
    assert [t.get_text() for t in axes.get_yticklabels()][:4] == ["blank", "␣", "'", "a"]


def test_a_reference_too_long_for_the_frames_is_said_so() -> None:
    figure = plot_posterior(posterior([0, 0], len(Alphabet())), "a cat", pipeline())
    drawn(figure)
    assert "no alignment: 5 labels do not fit" in figure.axes[0].get_title(loc="left")

"""Tuning finds what it should, on clips whose best settings are known, and writes it beside."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from config import CorpusError, ServerConfig
from predictor import load_predictor
from speech.decoding.confidence import read_confidence
from speech.decoding.decoder import Decoder, read_decoding
from tests.test_decoder import ALPHABET, heard
from training.manifest import read_manifest
from training.tuning import Heard, fit_confidence, fit_logistic, hear, tune


@pytest.fixture
def model(bundled: Path, tmp_path: Path) -> Path:
    """A copy of the bundled model without what tuning writes."""
    folder = tmp_path / "model"
    shutil.copytree(bundled, folder)
    (folder / "confidence.json").unlink()
    (folder / "language_model" / "decoding.json").unlink()
    return folder


def clips(sure: float) -> list[Heard]:
    texts = ["the king was here", "he said that it was so", "quozzyk went to the river"]
    return [
        Heard(reference=text, log_probs=heard(text, sure=sure, seed=i))
        for i, text in enumerate(texts)
    ]


def test_the_lowest_error_rate_wins_and_is_written(model: Path) -> None:
    predictor, seen = load_predictor(ServerConfig(model=model)), []
    surface = tune(model, predictor, clips(0.9), lambda done, total: seen.append((done, total)))
    assert surface.wer.shape == (len(surface.lm_weights), len(surface.word_scores))
    place = surface.lm_weights.index(surface.best.lm_weight)
    column = surface.word_scores.index(surface.best.word_score)
    assert surface.wer[place, column] == surface.wer.min() < surface.wer.max()
    assert read_decoding(model) == surface.best
    assert seen[-1] == (surface.wer.size, surface.wer.size)


def test_hear_gives_what_the_network_gives(bundled: Path, tmp_path: Path) -> None:
    wav = Path("Data/samples/sample.wav").resolve()
    row = {
        "id": "a/b", "corpus": "a", "speaker": "a", "audio": str(wav), "text": "the old house",
        "num_samples": 100_000, "split": "validation",
    }  # fmt: skip
    (tmp_path / "manifest.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    predictor = load_predictor(ServerConfig(model=bundled))
    (clip,) = hear(predictor, read_manifest(tmp_path), lambda done, total: None)
    assert clip.reference == "the old house"
    assert clip.log_probs.shape[1] == len(ALPHABET)
    with pytest.raises(CorpusError, match="needed: a validation split"):
        hear(predictor, [], lambda done, total: None)


def test_a_logistic_regression_is_found_again(rng) -> None:
    measures = rng.normal(size=(40_000, 6)) * [1, 2, 0.5, 1, 3, 1]
    weights, bias = np.array([1.0, -0.5, 2.0, 0.0, 0.2, -1.0]), 0.7
    right = rng.random(40_000) < expit(measures @ weights + bias)
    model = fit_logistic(measures, right)
    truth = expit(measures @ weights + bias)
    assert np.abs(model.confidences(measures) - truth).mean() < 0.03
    with pytest.raises(CorpusError, match="3 of 3 words are right"):
        fit_logistic(measures[:3], np.ones(3, bool))


def test_confidence_is_written_beside_the_model(model: Path) -> None:
    decoder = Decoder.of_model(model, ALPHABET)
    wrong = [Heard(reference="not this at all", log_probs=heard("the dog ran off", sure=0.3))]
    fitted = fit_confidence(model, decoder, [*clips(0.95), *wrong])
    assert read_confidence(model) == fitted
    after = Decoder.of_model(model, ALPHABET).decode(clips(0.95)[0].log_probs)
    assert all(word.confidence > 0.5 for word in after.words)

"""Settings of a model's decoder, found on its validation split: weights, then confidence."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jiwer
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brute, minimize
from scipy.special import expit, log_expit

from config import CorpusError, DecodingConfig, to_json
from predictor import Predictor
from speech.alphabet import normalise
from speech.audio import decode_native, write_atomically
from speech.decoding.beam import BeamDecoder
from speech.decoding.confidence import MEASURES, ConfidenceModel, write_confidence
from speech.decoding.decoder import LANGUAGE_MODEL, SETTINGS, Decoder
from training.manifest import Utterance
from training.reliability import right_words

LM_WEIGHTS = (0.8, 3.1, 0.2)
WORD_SCORES = (-1.5, 1.1, 0.5)
_RIDGE = 1e-2
_BATCH = 16

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A clip's normalised reference, and its log-probabilities float32 `[frames, symbols]`."""

    reference: str
    log_probs: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Word error rates float64 `[lm_weights, word_scores]`, and the settings of the lowest."""

    lm_weights: tuple[float, ...]
    word_scores: tuple[float, ...]
    wer: NDArray[np.float64]
    best: DecodingConfig


def hear(predictor: Predictor, utterances: Sequence[Utterance], progress: Progress) -> list[Heard]:
    """Run the network once over the clips; everything after that is decoding alone."""
    if not utterances:
        raise CorpusError("got no utterance; needed: a validation split")
    heard: list[Heard] = []
    for start in range(0, len(utterances), _BATCH):
        batch = utterances[start : start + _BATCH]
        clips = [decode_native(Path(u.audio).read_bytes(), predictor.audio) for u in batch]
        for utterance, log_probs in zip(batch, predictor.backend.log_probs(clips), strict=True):
            text = normalise(utterance.text, predictor.pipeline.alphabet)
            heard.append(Heard(reference=text, log_probs=log_probs))
        progress(len(heard), len(utterances))
    return heard


def tune(folder: Path, predictor: Predictor, heard: Sequence[Heard], progress: Progress) -> Surface:
    """Search the weights with the lowest word error rate, and write them beside the model.

    Writes `folder/language_model/decoding.json`.
    """
    alphabet, config = predictor.pipeline.alphabet, predictor.decoder.config
    references = [clip.reference for clip in heard]
    ranges = (slice(*LM_WEIGHTS), slice(*WORD_SCORES))
    total = int(np.prod([len(np.arange(r.start, r.stop, r.step)) for r in ranges]))
    done = 0

    def error_rate(weights: NDArray[np.float64]) -> float:
        nonlocal done
        done += 1
        lm_weight, word_score = map(float, weights)
        own = replace(config, decoder="beam", lm_weight=lm_weight, word_score=word_score)
        decoder = BeamDecoder(alphabet, own, folder / LANGUAGE_MODEL)
        texts = [decoder.decode(clip.log_probs)[0].text for clip in heard]
        progress(done, total)
        return float(jiwer.wer(references, texts))

    best, _, grid, values = brute(error_rate, ranges, full_output=True, finish=None)
    found = replace(
        config,
        decoder="beam",
        lm_weight=round(float(best[0]), 3),
        word_score=round(float(best[1]), 3),
    )
    write_atomically(folder / SETTINGS, json.dumps(to_json(found), indent=2) + "\n")
    return Surface(
        lm_weights=tuple(np.round(grid[0][:, 0], 3).tolist()),
        word_scores=tuple(np.round(grid[1][0], 3).tolist()),
        wer=np.asarray(values, np.float64),
        best=found,
    )


def fit_confidence(folder: Path, decoder: Decoder, heard: Sequence[Heard]) -> ConfidenceModel:
    """Fit a logistic regression to which words were right, and write it beside the model.

    Writes `folder/confidence.json`. Source: Platt 1999; a small ridge keeps weights finite.
    """
    measures, right = [], []
    for clip in heard:
        decoded = decoder.decode(clip.log_probs)
        measures.append(decoded.measures)
        right.append(right_words(clip.reference, decoded.text))
    model = fit_logistic(np.concatenate(measures), np.concatenate(right))
    notes = {"fitted_to": {"split": "validation", "words": int(sum(map(len, right)))}}
    write_confidence(folder, model, notes=notes)
    return model


def fit_logistic(measures: NDArray[np.float64], right: NDArray[np.bool_]) -> ConfidenceModel:
    """Return the weights that make bool `[words]` likeliest given float64 `[words, measures]`.

    Raises:
        CorpusError: all words are right, or all wrong: nothing can be learnt from that.
    """
    if right.all() or not right.any():
        raise CorpusError(f"{right.sum()} of {len(right)} words are right; needed: some, not all")
    means, spread = measures.mean(axis=0), measures.std(axis=0) + 1e-9
    standard = np.column_stack([(measures - means) / spread, np.ones(len(measures))])
    signs = np.where(right, 1.0, -1.0)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margins = signs * (standard @ weights)
        ridge = np.append(weights[:-1], 0.0) * _RIDGE
        value = -log_expit(margins).mean() + 0.5 * float(ridge @ weights)
        return value, -(standard.T @ (signs * expit(-margins))) / len(signs) + ridge

    found = minimize(loss, np.zeros(len(MEASURES) + 1), jac=True, method="L-BFGS-B").x
    weights = found[:-1] / spread
    return ConfidenceModel(weights=tuple(weights.tolist()), bias=float(found[-1] - weights @ means))

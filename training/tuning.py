"""Settings of a model's decoder, found on its validation split: weights, then confidence."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from config import CorpusError, DecodingConfig
from predictor import Predictor
from speech.alphabet import Alphabet, normalise
from speech.audio import decode_native, write_atomically
from speech.config_json import to_json
from speech.decoding.beam import BeamDecoder
from speech.decoding.confidence import FILE_NAME as CONFIDENCE_FILE
from speech.decoding.confidence import MEASURES, ConfidenceModel, write_confidence
from speech.decoding.decoder import SETTINGS, Decoder
from speech.decoding.rescoring import WordModel
from speech.loudness import SegmentationConfig
from training.manifest import Utterance
from training.reliability import right_words

LONGEST_CLIP_S = SegmentationConfig().max_piece_s
_RIDGE = 1e-2
_BATCH = 4  # clips, of which each may be as long as a piece
_WIDER = 3  # steps

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Values of a weight to try: `low` to `high`; `least` to `most` if the best is at an edge."""

    low: float
    high: float
    step: float
    least: float
    most: float

    @property
    def values(self) -> tuple[float, ...]:
        """From `low` to `high`, both included."""
        count = round((self.high - self.low) / self.step) + 1
        return tuple(round(self.low + i * self.step, 3) for i in range(count))

    def is_edge(self, value: float) -> bool:
        """Whether something better may lie on the other side of `value`."""
        return value in (self.values[0], self.values[-1])

    def around(self, value: float) -> Axis:
        """Return the axis, a few steps longer where `value` is its edge and that is allowed."""
        low, high, reach = self.low, self.high, _WIDER * self.step
        if value == self.values[0]:
            low = round(max(self.least, low - reach), 3)
        elif value == self.values[-1]:
            high = round(min(self.most, high + reach), 3)
        return replace(self, low=low, high=high)


LM_WEIGHTS = Axis(low=0.8, high=3.0, step=0.2, least=0.0, most=6.0)
WORD_SCORES = Axis(low=-1.5, high=1.0, step=0.5, least=-6.0, most=4.0)
WORD_LM_WEIGHTS = Axis(low=0.0, high=2.0, step=0.25, least=0.0, most=6.0)
UNKNOWN_WORD_SCORES = Axis(low=-4.0, high=0.0, step=1.0, least=-4.0, most=6.0)  # names can win


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A clip's normalised reference, and its log-probabilities float32 `[frames, symbols]`."""

    reference: str
    log_probs: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A confidence model, and how many words it was fitted to."""

    model: ConfidenceModel
    num_words: int


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Word error rates float64 `[rows, columns]`, and the settings of the lowest.

    `names` are the two settings that were tried; `at_edge` those for which a value outside of the
    table may be better still.
    """

    names: tuple[str, str]
    rows: tuple[float, ...]
    columns: tuple[float, ...]
    wer: NDArray[np.float64]
    best: DecodingConfig
    at_edge: tuple[str, ...] = ()


def hear(predictor: Predictor, utterances: Sequence[Utterance], progress: Progress) -> list[Heard]:
    """Run the network once over the clips; everything after that is decoding alone.

    Clips over `LONGEST_CLIP_S` are left out: a predictor would cut them, and nothing says where
    to cut their texts. So are clips in which no word is said.

    Raises:
        CorpusError: no clip is left.
    """
    if not utterances:
        raise CorpusError("got no utterance; needed: a validation split")
    longest = LONGEST_CLIP_S * predictor.audio.sample_rate_hz
    heard: list[Heard] = []
    for start in range(0, len(utterances), _BATCH):
        batch = [
            (clip, normalise(u.text, predictor.pipeline.alphabet))
            for u in utterances[start : start + _BATCH]
            if len(clip := decode_native(Path(u.audio).read_bytes(), predictor.audio)) <= longest
            and normalise(u.text, predictor.pipeline.alphabet)
        ]
        found = predictor.backend.log_probs([clip for clip, _ in batch]) if batch else []
        for (_, text), log_probs in zip(batch, found, strict=True):
            heard.append(Heard(reference=text, log_probs=log_probs))
        progress(min(start + _BATCH, len(utterances)), len(utterances))
    if not heard:
        raise CorpusError(
            f"all {len(utterances)} clips are longer than {LONGEST_CLIP_S:g} s or without words; "
            "needed: utterances"
        )
    return heard


def search(
    language_model: Path,
    alphabet: Alphabet,
    config: DecodingConfig,
    heard: Sequence[Heard],
    progress: Progress,
) -> Surface:
    """Find the weights with the lowest word error rate, and otherwise the settings of `config`.

    What is searched grows as long as the best lies at its edge and may lie beyond. Of equal rates
    the one among the lowest others is taken: on few clips many pairs are equal.

    Raises:
        CorpusError: not even the best gets more words right than wrong ones: the texts are of
            other clips, or the network knows nothing yet.
    """
    beam = BeamDecoder(alphabet, config, language_model)

    def texts(settings: DecodingConfig) -> list[str]:
        decoder = beam.with_config(replace(settings, decoder="beam"))
        return [decoder.decode(clip.log_probs)[0].text for clip in heard]

    axes = {"lm_weight": LM_WEIGHTS, "word_score": WORD_SCORES}
    return _search(axes, config, texts, heard, progress)


def search_words(
    language_model: Path,
    words: WordModel,
    alphabet: Alphabet,
    config: DecodingConfig,
    heard: Sequence[Heard],
    progress: Progress,
) -> Surface:
    """Find, as `search` does, the weights with which `words` chooses among the texts of a beam."""
    beam = BeamDecoder(alphabet, config, language_model)
    found = [beam.decode(clip.log_probs, n_best=config.beam_width) for clip in heard]

    def texts(settings: DecodingConfig) -> list[str]:
        return [words.rescore(hypotheses, settings)[0].text for hypotheses in found]

    axes = {"word_lm_weight": WORD_LM_WEIGHTS, "unknown_word_score": UNKNOWN_WORD_SCORES}
    return _search(axes, config, texts, heard, progress)


def _search(
    axes: dict[str, Axis],
    config: DecodingConfig,
    texts: Callable[[DecodingConfig], list[str]],
    heard: Sequence[Heard],
    progress: Progress,
) -> Surface:
    """Try all pairs of values of two settings, and more as long as the best is at an edge."""
    references = [clip.reference for clip in heard]
    (first, second), (rows, columns) = axes, axes.values()
    rates: dict[tuple[float, float], float] = {}

    def settings_of(pair: tuple[float, float]) -> DecodingConfig:
        values: dict[str, Any] = dict(zip(axes, pair, strict=True))
        return replace(config, decoder="beam", **values)

    while True:
        grid = list(product(rows.values, columns.values))
        for pair in [pair for pair in grid if pair not in rates]:
            rates[pair] = float(jiwer.wer(references, texts(settings_of(pair))))
            progress(len(rates), len(grid))
        wer = np.reshape([rates[pair] for pair in grid], (len(rows.values), -1))
        best = _lowest(grid, wer, rows, columns)
        wider = rows.around(best[0]), columns.around(best[1])
        if wider == (rows, columns):
            break
        rows, columns = wider
    if rates[best] >= 1:
        raise CorpusError(
            f"the lowest word error rate is {rates[best]:.2f}; needed: a trained model and its own "
            "validation clips"
        )
    edges = {first: rows.is_edge(best[0]), second: columns.is_edge(best[1])}
    return Surface(
        names=(first, second),
        rows=rows.values,
        columns=columns.values,
        wer=wer,
        best=settings_of(best),
        at_edge=tuple(name for name, is_edge in edges.items() if is_edge),
    )


def _lowest(
    grid: list[tuple[float, float]], wer: NDArray[np.float64], rows: Axis, columns: Axis
) -> tuple[float, float]:
    """Return the best pair: of equal rates, among the lowest others, and not at an edge."""
    around = uniform_filter(wer, 3, mode="nearest").round(6)

    def rank(place: int) -> tuple[float, float, bool]:
        row, column = grid[place]
        return wer.flat[place], around.flat[place], rows.is_edge(row) or columns.is_edge(column)

    return grid[min(range(len(grid)), key=rank)]


def fit_confidence(decoder: Decoder, heard: Sequence[Heard]) -> Fitted:
    """Fit a logistic regression to which words were right.

    Source: Platt 1999; a small ridge keeps weights finite.

    Raises:
        CorpusError: all words are right, or all wrong.
    """
    measures, right = [], []
    for clip in heard:
        decoded = decoder.decode(clip.log_probs)
        measures.append(decoded.measures)
        right.append(right_words(clip.reference, decoded.text))
    model = fit_logistic(np.concatenate(measures), np.concatenate(right))
    return Fitted(model=model, num_words=int(sum(map(len, right))))


def write_tuned(folder: Path, config: DecodingConfig, fitted: Fitted | None) -> None:
    """Write `folder/language_model/decoding.json`, and `folder/confidence.json` if one was fitted.

    A `confidence.json` that was fitted to another decoder is never left beside new settings.
    """
    write_atomically(folder / SETTINGS, json.dumps(to_json(config), indent=2) + "\n")
    if fitted:
        notes = {"fitted_to": {"split": "validation", "words": fitted.num_words}}
        write_confidence(folder, fitted.model, notes=notes)
    else:
        (folder / CONFIDENCE_FILE).unlink(missing_ok=True)


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

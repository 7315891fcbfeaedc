"""Log-probabilities of a clip to its text, words, times and confidence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from config import LARGEST_BEAM_WIDTH, DecodingConfig, ModelError
from speech.alphabet import Alphabet
from speech.config_json import decoding_from_json
from speech.decoding.alignment import align
from speech.decoding.beam import BeamDecoder, Hypothesis
from speech.decoding.confidence import ConfidenceModel, measure_words, read_confidence
from speech.decoding.greedy import greedy_confidence, greedy_decode, greedy_score
from speech.decoding.hotwords import HotWord, lift
from speech.decoding.rescoring import WordModel

LANGUAGE_MODEL = Path("language_model", "characters.arpa.gz")
WORD_MODEL = Path("language_model", "words.arpa.gz")
SETTINGS = Path("language_model", "decoding.json")
_COMPARED = 8
_GREEDY = DecodingConfig(decoder="greedy", lm_weight=0.0)


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """What one request wants otherwise than the model's own settings.

    Args:
        decoder: greedy or beam; the model's own if None.
        beam_width: texts kept a frame, 1 to 1024; the model's own if None.
        n_best: texts to give, the best first, at least 1. There may be fewer: the best path is one.
        hotwords: words and phrases that are known to come.

    Raises:
        ValueError: a setting is none of these.
    """

    decoder: str | None = None
    beam_width: int | None = None
    n_best: int = 1
    hotwords: tuple[HotWord, ...] = ()

    def __post_init__(self) -> None:
        if self.decoder not in (None, "greedy", "beam"):
            raise ValueError(f"got decoder {self.decoder!r}; needed: greedy or beam")
        if self.beam_width is not None and not 1 <= self.beam_width <= LARGEST_BEAM_WIDTH:
            raise ValueError(
                f"got beam_width {self.beam_width}; needed: 1 to {LARGEST_BEAM_WIDTH}, or None"
            )
        if self.n_best < 1:
            raise ValueError(f"got n_best {self.n_best}; needed: at least 1")


@dataclass(frozen=True, kw_only=True)
class DecodedWord:
    """A word with its frames, the last one exclusive, and its confidence in [0, 1]."""

    text: str
    start: int
    end: int
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A clip's text, its words, and the likeliest texts, each once, of which it is the first.

    `measures` float64 `[words, measures]` is what the words' confidence is judged by.
    """

    text: str
    confidence: float
    words: tuple[DecodedWord, ...]
    measures: NDArray[np.float64]
    hypotheses: tuple[Hypothesis, ...]


class Decoder:
    """Decodes with a model's language model, settings and confidence; safe for several threads."""

    def __init__(
        self,
        alphabet: Alphabet,
        config: DecodingConfig,
        *,
        language_model: Path | None = None,
        words: WordModel | None = None,
        confidence: ConfidenceModel | None = None,
    ) -> None:
        self.alphabet, self.config = alphabet, config
        self._beam = BeamDecoder(alphabet, config, language_model)
        self._word_model, self._confidence = words, confidence

    @classmethod
    def of_model(cls, folder: Path, alphabet: Alphabet, *, tuned: bool = True) -> Decoder:
        """Load what `folder` has of `language_model/` and `confidence.json`.

        Without a language model the best path is the model's own decoder.

        Args:
            tuned: with what `stt lm tune` found, not with the usual settings.

        Raises:
            ModelError: a file is broken.
        """
        language_model = folder / LANGUAGE_MODEL
        has_one = language_model.exists()
        return cls(
            alphabet,
            _own_settings(folder, tuned) if has_one else _GREEDY,
            language_model=language_model if has_one else None,
            words=WordModel(folder / WORD_MODEL) if (folder / WORD_MODEL).exists() else None,
            confidence=read_confidence(folder) if tuned else None,
        )

    def decode(
        self, log_probs: NDArray[np.float32], options: DecodingOptions | None = None
    ) -> Decoded:
        """Return the text of float32 `[frames, symbols]`, only the clip's valid frames.

        With hot words the text that they were lifted in comes before the one it replaces.
        """
        options = options or DecodingOptions()
        greedy = greedy_decode(log_probs, self.alphabet)
        is_beam = (options.decoder or self.config.decoder) == "beam"
        if not is_beam:
            score = greedy_score(log_probs, self.alphabet)
            hypotheses = [Hypothesis(text=greedy, score=score)]
        else:
            hypotheses = self._search(log_probs, options)
        best = lift(hypotheses[0], log_probs, options.hotwords, self.alphabet)
        others = [h for h in hypotheses if h.text != best.text]
        # What hot words gain is no sign that the other words of the text are right.
        compared = [replace(best, score=hypotheses[0].score), *others][:_COMPARED]
        spans, measures = self._measure(best.text, log_probs, compared, greedy)
        words = self._words(best.text.split(), spans, measures, is_beam=is_beam)
        return Decoded(
            text=best.text,
            confidence=self._overall(words, log_probs, is_beam=is_beam),
            words=words,
            measures=measures,
            hypotheses=tuple([best, *others][: options.n_best]),
        )

    def _search(self, log_probs: NDArray[np.float32], options: DecodingOptions) -> list[Hypothesis]:
        width = options.beam_width or self.config.beam_width
        count = max(options.n_best, _COMPARED)
        if self._word_model is None:
            return self._beam.decode(log_probs, beam_width=width, n_best=count)
        found = self._beam.decode(log_probs, beam_width=width, n_best=width)
        return self._word_model.rescore(found, self.config)[:count]

    def _overall(
        self, words: Sequence[DecodedWord], log_probs: NDArray[np.float32], *, is_beam: bool
    ) -> float:
        """Return the share of the words that are expected to be right.

        Without words, or where nothing was fitted, how sure the best path is, as the SavedModel
        says it. What is fitted is fitted to the beam's texts: the best path has no others.
        """
        if words and self._confidence and is_beam:
            return float(np.mean([word.confidence for word in words]))
        return greedy_confidence(log_probs, self.alphabet)

    def _measure(
        self,
        text: str,
        log_probs: NDArray[np.float32],
        hypotheses: Sequence[Hypothesis],
        greedy: str,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return int64 `[labels, 2]`, the frames of the text's labels, and its words' measures."""
        labels = self.alphabet.encode(text)
        spans = align(log_probs, labels, blank_index=self.alphabet.blank_index)
        words = text.split()
        measures = measure_words(words, spans, log_probs, labels, hypotheses, greedy.split())
        return spans, measures

    def _words(
        self,
        words: Sequence[str],
        spans: NDArray[np.int64],
        measures: NDArray[np.float64],
        *,
        is_beam: bool,
    ) -> tuple[DecodedWord, ...]:
        if not words:
            return ()
        if self._confidence and is_beam:
            confidences = self._confidence.confidences(measures)
        else:
            confidences = np.exp(measures[:, 0])  # the geometric mean of its letters' peaks
        ends = np.cumsum([len(word) + 1 for word in words]) - 2
        starts = np.concatenate([[0], ends[:-1] + 2])
        rows = zip(words, spans[starts, 0], spans[ends, 1], confidences, strict=True)
        return tuple(
            DecodedWord(text=word, start=int(start), end=int(end), confidence=float(confidence))
            for word, start, end, confidence in rows
        )


def _own_settings(folder: Path, tuned: bool) -> DecodingConfig:
    return read_decoding(folder) if tuned else DecodingConfig()


def read_decoding(folder: Path) -> DecodingConfig:
    """Read what `stt lm tune` wrote beside the model; the usual settings if there is nothing.

    Raises:
        ModelError: the file is broken.
    """
    path = folder / SETTINGS
    if not path.exists():
        return DecodingConfig()
    try:
        return decoding_from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error

"""CTC beam search over characters, with a character language model if there is one.

Source: prefix beam search (Hannun et al. 2014, section 2) with a character n-gram in the place of
a word one, so that every spelling is possible; the search is flashlight-text's, in C++.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from flashlight.lib.text.decoder import (
    LM,
    CriterionType,
    LexiconFreeDecoder,
    LexiconFreeDecoderOptions,
    ZeroLM,
)
from numpy.typing import NDArray

from config import DecodingConfig, DecodingError, ModelError
from speech.alphabet import Alphabet
from speech.decoding.arpa import UNKNOWN, load_arpa
from speech.decoding.greedy import check_log_probs

SPACE = "<space>"


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """A text that may have been said.

    Attributes:
        text: normalised, single spaces.
        score: of the network, the language model and the spaces together, as in `BeamDecoder`; of
            the best path its log-probability; with hot words, as in `lift`. For comparing texts of
            one clip.
    """

    text: str
    score: float


class BeamDecoder:
    """Finds the likeliest texts of clips; calls may come from several threads, one runs at a time.

    A text's score is the natural logarithm of a sum over its paths, those that the beam has kept,
    and over the spellings of it that differ in spaces at the ends or in a row. Each path counts
    with the network's probability, times 10 to the power of `lm_weight * log10 P` of the spelling
    and its end (so one unit of `lm_weight` is worth 0.43 of the natural logarithm), and times the
    exponential of `word_score` for each frame that is a space.
    """

    def __init__(
        self, alphabet: Alphabet, config: DecodingConfig, language_model: Path | None = None
    ) -> None:
        """Load `language_model`, an ARPA file over `symbol_names(alphabet)`, gzipped or not.

        Raises:
            ModelError: the file is not a language model of the alphabet's symbols.
        """
        self.alphabet, self.config = alphabet, config
        names = symbol_names(alphabet)
        self._space = names.index(SPACE) if SPACE in names else -1
        self._language_model = _load(language_model, names) if language_model else ZeroLM()

    def with_config(self, config: DecodingConfig) -> BeamDecoder:
        """Return a decoder of the same language model with other settings."""
        other = copy(self)
        other.config = config
        return other

    def decode(
        self, log_probs: NDArray[np.float32], *, beam_width: int | None = None, n_best: int = 1
    ) -> list[Hypothesis]:
        """Return the `n_best` likeliest texts, best first; fewer if the beam holds fewer.

        Args:
            log_probs: float32 `[frames, symbols]`, only the clip's valid frames.
            beam_width: in the place of the one of `config`.

        Raises:
            DecodingError: the symbols are not those of the alphabet, or a frame has no likeliest
                symbol (NaN).
        """
        check_log_probs(log_probs, self.alphabet)
        if not np.isfinite(log_probs.max(axis=1)).all():
            raise DecodingError("a frame's log-probabilities are NaN or infinite; needed: numbers")
        blank = self.alphabet.blank_index
        kept = kept_frames(log_probs, blank, self.config.blank_share)
        dropped = float(log_probs[~kept, blank].sum(dtype=np.float64))
        frames = np.ascontiguousarray(log_probs[kept], np.float32)
        decoder = self._decoder(self.config.beam_width if beam_width is None else beam_width)
        scores: dict[str, float] = {}
        for result in decoder.decode(frames.ctypes.data, *frames.shape):
            text = self._text(np.array(result.tokens[1:-1]))  # without its own spaces at the ends
            scores[text] = float(np.logaddexp(scores.get(text, -np.inf), result.score + dropped))
        best = sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:n_best]
        return [Hypothesis(text=text, score=score) for text, score in best]

    def _decoder(self, beam_width: int) -> LexiconFreeDecoder:
        options = LexiconFreeDecoderOptions(
            beam_size=beam_width,
            beam_size_token=min(self.config.max_symbols, len(self.alphabet)),
            beam_threshold=self.config.beam_threshold,
            lm_weight=self.config.lm_weight,
            sil_score=self.config.word_score,
            log_add=True,
            criterion_type=CriterionType.CTC,
        )
        blank = self.alphabet.blank_index
        return LexiconFreeDecoder(options, self._language_model, self._space, blank, [])

    def _text(self, path: NDArray[np.int64]) -> str:
        emitted = (np.diff(path, prepend=-1) != 0) & (path != self.alphabet.blank_index)
        return " ".join(self.alphabet.decode(path[emitted]).split())


def join_hypotheses(parts: Sequence[Sequence[Hypothesis]], *, n_best: int) -> list[Hypothesis]:
    """Return the `n_best` likeliest texts of clips in a row, best first; fewer if there are fewer.

    A text's score is the sum of its parts'; of the ways to make one text, the best counts. Halves
    are joined, so that a long recording's text is not copied once a clip.

    Args:
        parts: of each clip its texts, at least one, best first.
    """
    if not parts:
        return [Hypothesis(text="", score=0.0)]
    if len(parts) == 1:
        return list(parts[0][:n_best])
    half = len(parts) // 2
    first, second = (join_hypotheses(p, n_best=n_best) for p in (parts[:half], parts[half:]))
    return _join_two(first, second, n_best)


def _join_two(
    first: Sequence[Hypothesis], second: Sequence[Hypothesis], n_best: int
) -> list[Hypothesis]:
    """Look at pairs best first, no further than is needed: at most one more a pair is open."""
    scores: dict[str, float] = {}
    open_pairs = [(-(first[0].score + second[0].score), 0, 0)]
    while open_pairs and len(scores) < n_best:
        cost, i, j = heapq.heappop(open_pairs)
        text = " ".join(h.text for h in (first[i], second[j]) if h.text)
        scores.setdefault(text, -cost)
        following = [(i, j + 1)] if j else [(i, j + 1), (i + 1, j)]  # so each pair comes once
        for i, j in following:
            if i < len(first) and j < len(second):
                heapq.heappush(open_pairs, (-(first[i].score + second[j].score), i, j))
    return [Hypothesis(text=text, score=score) for text, score in scores.items()]


def symbol_names(alphabet: Alphabet) -> list[str]:
    """Return the words by which a language model knows the symbols: a space cannot be one."""
    return [SPACE if symbol == " " else symbol for symbol in alphabet.symbols]


def _load(path: Path, names: list[str]) -> LM:
    language_model = load_arpa(path, names)
    start = language_model.start(False)
    symbols = [*names[1:], UNKNOWN]
    scores = {name: language_model.score(start, 1 + i)[1] for i, name in enumerate(symbols)}
    unknown = {name for name, score in scores.items() if score == scores[UNKNOWN]}
    if SPACE in unknown or len(unknown) == len(scores):
        example = SPACE if SPACE in unknown else names[-1]
        raise ModelError(
            f"the language model {path} does not know {example!r}; needed: one whose words are the "
            "alphabet's symbols"
        )
    return language_model


def kept_frames(
    log_probs: NDArray[np.float32], blank_index: int, share: float
) -> NDArray[np.bool_]:
    """Return bool `[frames]`: all but those that are almost surely blank after another such one."""
    is_blank = log_probs[:, blank_index] > np.log(share)
    return ~(is_blank & np.concatenate([[False], is_blank[:-1]]))

"""The texts of a beam search, judged anew by a language model of words.

A model of characters can write any word, but sees no further than one or two words back; a model of
words sees further and knows only its own. The first searches, the second chooses among what was
found. Source: n-best rescoring, Ostendorf et al. 1991.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from config import DecodingConfig, ModelError
from speech.decoding.arpa import load_arpa, read_vocabulary
from speech.decoding.beam import Hypothesis


class WordModel:
    """An n-gram model of words."""

    def __init__(self, path: Path) -> None:
        """Load an ARPA file, gzipped or not.

        Raises:
            ModelError: the file is not a language model, or it has no words.
        """
        words = read_vocabulary(path)
        if not words:
            raise ModelError(f"{path} has no words; needed: what `stt lm build --words` writes")
        self._index = {word: index for index, word in enumerate(words)}
        self._model = load_arpa(path, words)

    def judge(self, text: str) -> tuple[float, int]:
        """Return log10 P of a text with its end, and how many of its words are unknown.

        Unknown words count with the probability that the model gives to any such word.
        """
        total, unknown, state = 0.0, 0, self._model.start(False)
        for word in text.split():
            index = self._index.get(word, len(self._index))
            unknown += index == len(self._index)
            state, score = self._model.score(state, index)
            total += score
        return total + float(self._model.finish(state)[1]), unknown

    def rescore(self, hypotheses: Sequence[Hypothesis], config: DecodingConfig) -> list[Hypothesis]:
        """Return the texts with their new scores, best first.

        To a score is added `word_lm_weight` times log10 P, as a beam does with `lm_weight`, and
        `unknown_word_score` for each unknown word.
        """
        judged = []
        for hypothesis in hypotheses:
            log10_probability, unknown = self.judge(hypothesis.text)
            gain = config.word_lm_weight * log10_probability + config.unknown_word_score * unknown
            judged.append(replace(hypothesis, score=hypothesis.score + gain))
        return sorted(judged, key=lambda hypothesis: (-hypothesis.score, hypothesis.text))

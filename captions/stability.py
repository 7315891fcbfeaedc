"""Which words of a partial result to show, so that few are taken back."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import takewhile
from typing import Protocol

from speech.transcript import Word

Words = tuple[Word, ...]


class Stabiliser(Protocol):
    """Follows the decodings of one utterance that is being spoken."""

    def add(self, words: Sequence[Word]) -> Words:
        """Return what is to be shown after another decoding."""

    def replace(self, words: Sequence[Word]) -> None:
        """Take these for shown, whatever was before."""


class Committing:
    """Shows words on which the last decodings agree, and then leaves them until the final.

    Only what lies behind the words that are shown is looked at in a new decoding.

    Source: LocalAgreement-n, Liu, Spanakis and Niehues 2020, section 3.2; as in Macháček, Dabre and
        Bojar 2023, section 3, with times telling what is new.
    """

    def __init__(self, *, agreement: int) -> None:
        """Wait for as many decodings in a row to agree as `agreement`; 1 shows each at once."""
        self._agreement = agreement
        self._earlier: deque[Words] = deque(maxlen=agreement - 1)
        self._shown: Words = ()

    def add(self, words: Sequence[Word]) -> Words:
        """Return the words shown so far, and those that are sure enough now."""
        new = self._behind(words)
        texts = [_texts(self._behind(earlier)) for earlier in self._earlier]
        if len(texts) == self._agreement - 1:
            count = min((num_common(text, _texts(new)) for text in texts), default=len(new))
            self._shown += new[:count]
        self._earlier.append(tuple(words))
        return self._shown

    def replace(self, words: Sequence[Word]) -> None:
        """Take these for shown; only what comes behind them is still to be decided."""
        self._shown = tuple(words)

    def _behind(self, words: Sequence[Word]) -> Words:
        end_s = self._shown[-1].end_s if self._shown else 0.0
        return tuple(word for word in words if (word.start_s + word.end_s) / 2 > end_s)


def _texts(words: Sequence[Word]) -> list[str]:
    return [word.text for word in words]


def num_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many words both begin with."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

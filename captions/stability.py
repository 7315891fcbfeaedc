"""Which words of a partial result to show, so that few are taken back."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import takewhile

from speech.transcript import Word


class Stabiliser:
    """Shows the words on which the last decodings of an utterance agree.

    Source: LocalAgreement-n, Liu, Spanakis and Niehues 2020, section 3.2.
    """

    def __init__(self, *, agreement: int, held_back_words: int) -> None:
        """Show what so many decodings in a row have in common.

        Args:
            agreement: 1 shows each decoding as it is.
            held_back_words: of the newest decoding's end are not shown.
        """
        self._held_back = held_back_words
        self._earlier: deque[tuple[str, ...]] = deque(maxlen=agreement - 1)
        self._agreement = agreement

    def shown(self, words: Sequence[Word]) -> tuple[Word, ...]:
        """Return the first words of the newest decoding, as many as are to be shown."""
        texts = tuple(word.text for word in words)
        count = max(0, len(words) - self._held_back)
        if len(self._earlier) < self._agreement - 1:
            count = 0
        for earlier in self._earlier:
            count = min(count, _num_common(earlier, texts))
        self._earlier.append(texts)
        return tuple(words[:count])


def _num_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many words both begin with."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

"""Text and labels: the symbols a network can write, and one normalisation for all text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from config import CorpusError, ModelError

BLANK = "<blank>"
ENGLISH = (BLANK, " ", "'", *"abcdefghijklmnopqrstuvwxyz")

_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ`´", "'"))
_FOLDED_LETTERS = str.maketrans({"æ": "ae", "œ": "oe", "ø": "o", "ß": "ss", "ł": "l", "đ": "d"})
_WORD_JOINERS = re.compile(r"[-‐‑‒–—―−/_…,;:!?&+=*|()\[\]{}<>\"“”„«»~\\@•·、。]")


@dataclass(frozen=True)
class Alphabet:
    """The symbols of a network's output, by index; index 0 is CTC's blank.

    Each symbol after the blank is one character. `fold_accents` says whether normalisation turns
    "é" into "e"; an alphabet that holds accented letters keeps them.
    """

    symbols: tuple[str, ...] = ENGLISH

    def __post_init__(self) -> None:
        if len(self.symbols) < 2 or self.symbols[0] != BLANK:
            raise ModelError(
                f"an alphabet starts with {BLANK} and has a symbol after it; "
                f"got {list(self.symbols[:3])}"
            )
        wrong = [symbol for symbol in self.symbols[1:] if len(symbol) != 1]
        if wrong or len(set(self.symbols)) != len(self.symbols):
            raise ModelError(
                f"symbols must be single characters, each once; got {wrong or 'twins'}"
            )

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def blank_index(self) -> int:
        """Index of the blank."""
        return 0

    @property
    def fold_accents(self) -> bool:
        """Whether no symbol carries an accent, so that normalisation may remove them."""
        return all(symbol.isascii() for symbol in self.symbols)

    def encode(self, text: str) -> list[int]:
        """Return the labels of normalised `text`; `CorpusError` names characters it lacks."""
        index = {symbol: i for i, symbol in enumerate(self.symbols)}
        if unknown := sorted({character for character in text if character not in index}):
            raise CorpusError(f"symbols outside the alphabet: {' '.join(map(repr, unknown))}")
        return [index[character] for character in text]

    def decode(self, labels: Iterable[int]) -> str:
        """Return the text of `labels`, which hold no blank."""
        return "".join(self.symbols[label] for label in labels)

    @classmethod
    def read(cls, path: Path) -> Alphabet:
        """Read a UTF-8 file of one symbol a line, the first being the blank.

        A line with nothing but one space is the space. Lines starting with "# " are comments.
        """
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"cannot read the alphabet {path}: {error}") from error
        return cls(tuple(line for line in lines if line and not line.startswith("# ")))

    def to_lines(self) -> str:
        """Return what `read` reads."""
        return "".join(f"{symbol}\n" for symbol in self.symbols)


def normalise(text: str, alphabet: Alphabet) -> str:
    """Return `text` as it is trained on and scored: one case, no punctuation, single spaces.

    Unicode is folded (NFKD, accents dropped unless the alphabet has them), typographic apostrophes
    become "'", dashes, commas, brackets and their like become spaces, and other
    punctuation (full stops) is dropped unless
    the alphabet has it. Letters and digits that the alphabet lacks stay, so that `encode` reports
    them: numbers must be spelled out by the corpus.
    """
    known = set(alphabet.symbols)
    text = _lower(text, alphabet).translate(_APOSTROPHES)
    if alphabet.fold_accents:
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(c for c in decomposed if not unicodedata.combining(c))
        # Compatibility forms turn out to be capitals ("™"), folded letters ("ǽ") or quotes ("ŉ").
        text = _lower(text, alphabet).translate(_FOLDED_LETTERS).translate(_APOSTROPHES)
    else:
        text = unicodedata.normalize("NFC", text)
    text = _WORD_JOINERS.sub(lambda m: m.group() if m.group() in known else " ", text)
    kept = (c for c in text if c in known or c.isspace() or unicodedata.category(c)[0] in "LN")
    words = (_strip_quotes(word) for word in "".join(kept).split())
    return " ".join(word for word in words if word)


def num_ctc_frames(labels: Sequence[int]) -> int:
    """Return how many frames CTC needs for `labels`: one a label, one more between equal ones."""
    return len(labels) + sum(a == b for a, b in pairwise(labels))


def _lower(text: str, alphabet: Alphabet) -> str:
    """Return `text` in small letters if the alphabet's are; its own letters ("ß") stay whole."""
    text = unicodedata.normalize("NFC", text)
    known = set(alphabet.symbols)
    if any(symbol != symbol.lower() for symbol in known):
        return text
    return "".join(c if c in known else c.casefold() for c in text.lower())


def _strip_quotes(word: str) -> str:
    """Drop apostrophes that quote; keep those that belong ("don't", "'tis", "students'")."""
    if word.startswith("'") and word.endswith("'"):
        return word.strip("'")
    return word

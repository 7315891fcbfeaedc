"""Sentences for a language model: text files and manifests, less what is held out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from config import CorpusError
from speech.alphabet import Alphabet, normalise
from speech.decoding.beam import SPACE
from training.importer_tables import piped_lines, tabbed_lines
from training.manifest import Split, Utterance

_TABLES = {".csv": piped_lines, ".psv": piped_lines, ".tsv": tabbed_lines}


@dataclass
class TextCounts:
    """What became of the texts.

    Attributes:
        kept: sentences to learn from.
        held_out: left out because a validation or test split has them.
        foreign: left out because of characters, most often digits, that the alphabet lacks.
    """

    kept: int = 0
    held_out: int = 0
    foreign: int = 0


def read_sentences(path: Path) -> Iterator[str]:
    """Yield the lines of a text file; the texts of a table.

    A table is `id|text` (`.csv`, `.psv`) or `id TAB text` (`.tsv`).

    Raises:
        CorpusError: it cannot be read as UTF-8, or a line of a table has one column.
    """
    if lines_of := _TABLES.get(path.suffix.lower()):
        yield from (text for _, _, text in lines_of(path))
        return
    try:
        with path.open(encoding="utf-8-sig") as lines:
            yield from lines
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"cannot read {path}: {error}; needed: a UTF-8 file") from error


def prepare_text(
    lines: Iterable[str],
    alphabet: Alphabet,
    counts: TextCounts,
    *,
    held_out: AbstractSet[str] = frozenset(),
) -> Iterator[str]:
    """Yield lines as normalised sentences, and count in `counts` what is yielded and left out.

    Left out are lines without a letter, lines with characters that the alphabet lacks, and lines
    that are `held_out`, which are normalised texts.
    """
    known = set(alphabet.symbols[1:])
    for line in lines:
        sentence = normalise(line, alphabet)
        if not known.issuperset(sentence):
            counts.foreign += 1
        elif sentence in held_out:
            counts.held_out += 1
        elif sentence:
            counts.kept += 1
            yield sentence


def training_sentences(
    files: Iterable[Path],
    utterances: Iterable[Utterance],
    alphabet: Alphabet,
    counts: TextCounts,
    *,
    held_out: AbstractSet[str] = frozenset(),
) -> Iterator[str]:
    """Yield the sentences of text files, as often as they are there, then of training splits.

    A text of the training splits counts once, however many speakers read it, and not at all if a
    file has it.
    """
    read_aloud = dict.fromkeys(texts_of(utterances, alphabet, [Split.train]))
    for path in files:
        for sentence in prepare_text(read_sentences(path), alphabet, counts, held_out=held_out):
            read_aloud.pop(sentence, None)
            yield sentence
    yield from prepare_text(read_aloud, alphabet, counts, held_out=held_out)


def texts_of(
    utterances: Iterable[Utterance], alphabet: Alphabet, splits: Sequence[Split]
) -> list[str]:
    """Return the different texts of `splits`, sorted, normalised with this `alphabet`."""
    return sorted({normalise(u.text, alphabet) for u in utterances if u.split in splits})


def as_characters(sentence: str) -> list[str]:
    """Return a sentence as a character model sees it: its characters, the space by its name."""
    return [SPACE if character == " " else character for character in sentence]


def as_words(sentence: str) -> list[str]:
    """Return a sentence as a word model sees it."""
    return sentence.split()

"""Readers of corpora as they are published: each gives clips with their text, nothing decoded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from config import CorpusError
from training.importer_tables import (
    TABLE_SUFFIXES,
    Clip,
    column_rows,
    find_audio,
    piped_lines,
    read_columns,
    read_lines,
    read_table,
)

Importer = Callable[[Path], Iterator[Clip]]

KNOWN_FORMS = """a folder with metadata.csv (LJSpeech: id|raw|normalised);
a folder with *.trans.txt below it (LibriSpeech);
a folder with clips/ and validated.tsv, or train.tsv, dev.tsv and test.tsv (Common Voice);
a file .csv (columns id or audio, text, perhaps speaker), .jsonl (the same keys),
.txt or .psv (lines id|text)"""
COMMON_VOICE_COLUMNS = {"client_id", "path", "sentence"}


def read_ljspeech(folder: Path) -> Iterator[Clip]:
    """Read `metadata.csv` (`id|raw|normalised`, unquoted) with audio in any folder beside it.

    A `speakers.csv` (`id,speaker`) names speakers; without one the corpus is one speaker, but for
    ids of CMU ARCTIC, which begin with the speaker, as `slt_arctic_a0001` does.
    """
    speakers = read_columns(folder / "speakers.csv", "id", "speaker")
    audio = find_audio(folder)
    for _, name, text in piped_lines(folder / "metadata.csv"):
        yield Clip(
            name=name,
            audio=audio.get(name, folder / "wavs" / f"{name}.wav"),
            text=text,
            speaker=speakers.get(name) or _arctic_speaker(name) or folder.resolve().name,
        )


def _arctic_speaker(name: str) -> str | None:
    found = re.match(r"([a-z]+)_arctic_[ab]\d{4}", name)
    return found[1] if found else None


def read_librispeech(folder: Path) -> Iterator[Clip]:
    """Read every `*.trans.txt` below `folder`: lines `speaker-chapter-number TEXT`.

    `folder` may be the corpus, one subset, one speaker or one chapter; audio lies beside the
    transcripts.
    """
    for transcripts in sorted(folder.rglob("*.trans.txt")):
        audio = find_audio(transcripts.parent)
        for number, line in read_lines(transcripts):
            name, _, text = line.strip().partition(" ")
            speaker, hyphen, _ = name.partition("-")
            if not hyphen:
                raise CorpusError(
                    f"{transcripts}, line {number}: got {line[:60]!r}; "
                    "needed: speaker-chapter-number TEXT"
                )
            yield Clip(
                name=name,
                audio=audio.get(name, transcripts.parent / f"{name}.flac"),
                text=text,
                speaker=speaker,
            )


def read_common_voice(folder: Path) -> Iterator[Clip]:
    """Read `validated.tsv`, or without it train, dev and test joined, with audio in `clips/`.

    Only the columns client_id, path and sentence are read; quotes are plain characters.
    """
    audio = find_audio(folder / "clips")
    for table in _common_voice_tables(folder):
        for number, row in column_rows(table, COMMON_VOICE_COLUMNS, tabs=True):
            path, text = row["path"], row["sentence"]
            if not path or text is None:
                raise CorpusError(
                    f"{table}, line {number}: got path {path!r} and sentence {text!r}; needed: both"
                )
            name = path.removesuffix(".mp3")
            yield Clip(
                name=name,
                audio=audio.get(name, folder / "clips" / path),
                text=text,
                speaker=row["client_id"] or folder.resolve().name,
            )


def _common_voice_tables(folder: Path) -> list[Path]:
    """Return the tables to read; none if `folder` has not Common Voice's form."""
    validated = folder / "validated.tsv"
    if not (folder / "clips").is_dir():
        return []
    if validated.is_file():
        return [validated]
    return [p for name in ("train", "dev", "test") if (p := folder / f"{name}.tsv").is_file()]


def importer_for(corpus: Path) -> Importer:
    """Return the reader for the corpus at `corpus`, judged by the files that are there.

    Raises:
        CorpusError: there is nothing at `corpus`, or it has none of `KNOWN_FORMS`.
    """
    if not corpus.exists():
        raise CorpusError(f"{corpus}: no such file or folder; needed: a corpus, as {KNOWN_FORMS}")
    if corpus.name == "manifest.jsonl":
        raise CorpusError(f"{corpus} is a manifest already; needed: the corpora it was made of")
    if corpus.is_file() and corpus.suffix.lower() in TABLE_SUFFIXES:
        return read_table
    if (corpus / "metadata.csv").is_file():
        return read_ljspeech
    if _common_voice_tables(corpus):
        return read_common_voice
    if corpus.is_dir() and next(corpus.rglob("*.trans.txt"), None):
        return read_librispeech
    raise CorpusError(f"{corpus}: not a corpus of a known form; needed: {KNOWN_FORMS}")

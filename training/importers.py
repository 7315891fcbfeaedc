"""Readers of corpora as they are published: each gives clips with their text, nothing decoded."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from config import CorpusError

AUDIO_SUFFIXES = (".wav", ".flac", ".opus", ".ogg", ".mp3")


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One entry of a corpus; `text` is as published."""

    name: str
    audio: Path
    text: str
    speaker: str


def read_ljspeech(folder: Path) -> Iterator[Clip]:
    """Read `metadata.csv` (`id|raw|normalised`, unquoted) with audio in any folder beside it.

    A `speakers.csv` (`id,speaker`) names speakers; without one the corpus is one speaker.
    """
    speakers = read_columns(folder / "speakers.csv", "id", "speaker")
    audio = find_audio(folder)
    for number, line in enumerate(read_lines(folder / "metadata.csv"), start=1):
        columns = line.split("|")
        if len(columns) < 2:
            raise CorpusError(
                f"{folder / 'metadata.csv'}, line {number}: got {line[:60]!r}; "
                "needed: id|text or id|raw|normalised"
            )
        name = columns[0]
        yield Clip(
            name=name,
            audio=audio.get(name, folder / "wavs" / f"{name}.wav"),
            text=columns[-1],
            speaker=speakers.get(name, folder.name),
        )


def find_audio(folder: Path) -> dict[str, Path]:
    """Return every audio file below `folder` by its name without suffix."""
    return {p.stem: p for p in sorted(folder.rglob("*")) if p.suffix.lower() in AUDIO_SUFFIXES}


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 file that are not empty; `CorpusError` if it cannot be read."""
    try:
        return [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"cannot read {path}: {error}") from error


def read_columns(path: Path, key: str, value: str) -> dict[str, str]:
    """Return one column of a CSV file by another; empty if there is no such file."""
    if not path.exists():
        return {}
    rows = csv.DictReader(read_lines(path))
    if rows.fieldnames is None or not {key, value} <= set(rows.fieldnames):
        raise CorpusError(f"{path}: got columns {rows.fieldnames}; needed: {key},{value}")
    return {row[key]: row[value] for row in rows}


Importer = Callable[[Path], Iterator[Clip]]


def importer_for(corpus: Path) -> Importer:
    """Return the reader for the corpus at `corpus`, judged by the files that are there."""
    if (corpus / "metadata.csv").is_file():
        return read_ljspeech
    raise CorpusError(f"{corpus}: not a corpus of a known form")

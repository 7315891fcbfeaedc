"""Plain tables of clips (CSV, JSON lines, `id|text`), and what every importer reads files with."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from config import CorpusError
from speech.audio import AUDIO_SUFFIXES

TABLE_SUFFIXES = (".csv", ".jsonl", ".txt", ".psv")
AUDIO_KEYS = ("audio", "path", "audio_filepath", "file_name")
ROW_NEEDED = "needed: id or audio (or path, audio_filepath, file_name), and text"

Row = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One entry of a corpus; `text` is as published."""

    name: str
    audio: Path
    text: str
    speaker: str


def read_table(path: Path) -> Iterator[Clip]:
    """Read a table of clips whose audio lies beside it or in any folder below.

    `x.csv` has a header, `x.jsonl` one object a line: `text`, an `id` or a path of the audio
    (`audio`, `path`, `audio_filepath` or `file_name`, relative to the table), and perhaps
    `speaker`. `x.txt` and `x.psv` hold lines `id|text` or `path|text`, unquoted. Without speakers
    the table is one speaker. An id, or a path without folders, is looked for below the folder.

    Raises:
        CorpusError: unreadable, or a row without the above; the message names its line.
    """
    readers = {".csv": column_rows, ".jsonl": _json_rows}
    rows = readers.get(path.suffix.lower(), _piped_rows)(path)
    found = find_audio(path.parent)
    for number, row in rows:
        try:
            yield _clip(row, path, found)
        except CorpusError as error:
            raise CorpusError(f"{path}, line {number}: {error}") from None


def piped_lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line number, first and last column of `id|text` lines; quotes are plain characters."""
    for number, line in read_lines(path):
        columns = line.split("|")
        if len(columns) < 2:
            raise CorpusError(
                f"{path}, line {number}: got {line[:60]!r}; needed: id|text or id|raw|normalised"
            )
        yield number, columns[0].strip(), columns[-1]


def tabbed_lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line number, id and text of `id TAB text` lines; quotes are plain characters."""
    for number, line in read_lines(path):
        name, tab, text = line.partition("\t")
        if not tab:
            raise CorpusError(f"{path}, line {number}: got {line[:60]!r}; needed: id TAB text")
        yield number, name.strip(), text.strip()


def find_audio(folder: Path) -> dict[str, Path]:
    """Return the audio files below `folder` by name without suffix; the least deep of twins."""
    paths = [p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES]
    found: dict[str, Path] = {}
    for path in sorted(paths, key=lambda p: (len(p.parts), p)):
        found.setdefault(path.stem, path)
    return found


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the numbers, from 1, and text of lines that are not blank; only a newline ends one."""
    lines = enumerate(read_text(path).split("\n"), start=1)
    return ((number, line) for number, line in lines if line.strip())


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, with or without a mark; `CorpusError` if unreadable."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"cannot read {path}: {error}; needed: a UTF-8 file") from error


def read_columns(path: Path, key: str, value: str) -> dict[str, str]:
    """Return one column of a CSV file by another; empty if there is no such file.

    Raises:
        CorpusError: a column is missing, a row is short, or a key has two values.
    """
    if not path.is_file():
        return {}
    columns: dict[str, str] = {}
    for number, row in column_rows(path, {key, value}):
        name, entry = row.get(key), row.get(value)
        if not name or not entry:
            raise CorpusError(f"{path}, line {number}: got {entry!r} for {name!r}; needed: both")
        if columns.setdefault(str(name).strip(), str(entry).strip()) != str(entry).strip():
            raise CorpusError(
                f"{path}, line {number}: got a second {value} {entry!r} for {name!r}; "
                f"needed: one, as before ({columns[str(name).strip()]!r})"
            )
    return columns


def column_rows(
    path: Path, needed: set[str] | None = None, *, tabs: bool = False
) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Yield line number and row of a CSV file; with `tabs`, quotes are plain characters.

    Without `needed`, the columns must be those of a table of clips.
    """
    text = io.StringIO(read_text(path))
    if tabs:
        rows = csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        rows = csv.DictReader(text)
    try:
        names = set(rows.fieldnames or ())
        if needed is None and not ("text" in names and names & {"id", *AUDIO_KEYS}):
            raise CorpusError(f"{path}: got columns {rows.fieldnames}; {ROW_NEEDED}")
        if needed is not None and not needed <= names:
            columns = (", " if tabs else ",").join(sorted(needed))
            raise CorpusError(f"{path}: got columns {rows.fieldnames}; needed: {columns}")
        for row in rows:
            yield rows.line_num, row
    except csv.Error as error:
        raise CorpusError(
            f"{path}, line {rows.line_num} is not {'TSV' if tabs else 'CSV'}: {error}"
        ) from error


def _json_rows(path: Path) -> Iterator[tuple[int, Row]]:
    for number, line in read_lines(path):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise CorpusError(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise CorpusError(f"{path}, line {number}: got {line[:60]!r}; needed: an object")
        yield number, row


def _piped_rows(path: Path) -> Iterator[tuple[int, Row]]:
    for number, name, text in piped_lines(path):
        is_path = Path(name).suffix.lower() in AUDIO_SUFFIXES
        yield number, {"audio" if is_path else "id": name, "text": text}


def _clip(row: Row, table: Path, found: dict[str, Path]) -> Clip:
    if row.get("offset") not in (None, 0, "", "0", "0.0"):
        raise CorpusError(f"got a clip at offset {row['offset']} of a file; needed: a file a clip")
    name, text = _value(row, "id"), row.get("text")
    source = next((value for key in AUDIO_KEYS if (value := _value(row, key))), "")
    if not isinstance(text, str) or not (name or source):
        raise CorpusError(f"got {dict(row)!r:.120}; {ROW_NEEDED}")
    return Clip(
        name=name or _name_of(source, table.parent),
        audio=_locate(source or name, table.parent, found, is_path=bool(source)),
        text=text,
        speaker=_value(row, "speaker") or table.stem,
    )


def _value(row: Row, key: str) -> str:
    value = row.get(key)
    if value is not None and not isinstance(value, str | int):
        raise CorpusError(f"got {value!r:.60} for {key}; needed: a string")
    return "" if value is None else str(value).strip()


def _name_of(source: str, folder: Path) -> str:
    path = folder / source
    inside = path.relative_to(folder) if path.is_relative_to(folder) else path
    return inside.with_suffix("").as_posix().lstrip("/")


def _locate(source: str, folder: Path, found: dict[str, Path], *, is_path: bool) -> Path:
    """Return the audio file; a path with folders is never replaced by a namesake elsewhere."""
    path = folder / source
    if is_path and (path.is_file() or len(Path(source).parts) > 1):
        return path
    return found.get(Path(source).stem if is_path else source, path)

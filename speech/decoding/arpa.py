"""Language models in ARPA files, gzipped or not, as KenLM loads them."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

from flashlight.lib.text.decoder import LM
from flashlight.lib.text.decoder.kenlm import KenLM
from flashlight.lib.text.dictionary import Dictionary

from config import ModelError
from quiet_start import standard_error_unheard

UNKNOWN = "<unk>"
MAX_ORDER = 6  # of the KenLM in flashlight-text


def load_arpa(path: Path, names: Iterable[str]) -> LM:
    """Load a model in which `names` have the indices 0, 1, …, and `UNKNOWN` the next one.

    Raises:
        ModelError: there is no file, or KenLM cannot load it.
    """
    if not path.is_file():
        raise ModelError(f"no language model {path}")
    dictionary = Dictionary()
    for name in [*names, UNKNOWN]:
        dictionary.add_entry(name)
    try:
        with standard_error_unheard():  # a bar, and advice on another kind of file
            return KenLM(str(path), dictionary)
    except (RuntimeError, UnicodeDecodeError) as error:  # the latter: its message quotes the file
        raise ModelError(
            f"cannot load the language model {path}: {_reason(error)}; needed: an ARPA file of "
            f"order 2 to {MAX_ORDER}"
        ) from error


def read_vocabulary(path: Path) -> list[str]:
    """Return the units of a model but for `UNKNOWN` and the ends of a sentence, as they stand.

    Raises:
        ModelError: the file cannot be read, or is no ARPA file.
    """
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8")
            if _is_gzipped(path)
            else path.open(encoding="utf-8") as lines
        ):
            units = list(_units(cast("Iterator[str]", lines)))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read the language model {path}: {error}") from error
    if not units:
        raise ModelError(f"{path} names no words; needed: an ARPA file")
    return [unit for unit in units if unit not in (UNKNOWN, "<s>", "</s>")]


def _units(lines: Iterator[str]) -> Iterator[str]:
    """Yield the second column of what follows `\\1-grams:`, until the next heading."""
    for line in lines:
        if line.startswith("\\1-grams:"):
            break
    for line in lines:
        if line.startswith("\\"):
            return
        columns = line.split("\t")
        if len(columns) > 1:
            yield columns[1].strip()


def _is_gzipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _reason(error: Exception) -> str:
    """Return what KenLM found, without the place in its own source and the ways to build it."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not text"
    lines = str(error).split("threw", 1)[-1].strip().splitlines()
    return lines[min(1, len(lines) - 1)].split(".  ")[0]

"""A manifest: the utterances that training, evaluation and language models read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from config import CorpusError
from speech.audio import write_atomically


class Split(StrEnum):
    """The side of an utterance."""

    train = "train"
    validation = "validation"
    test = "test"


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One clip in native form and what is said in it.

    Attributes:
        id: `corpus/name`, unique in a manifest.
        audio: path of a native WAV file; absolute once it is read.
        text: normalised, every character in the alphabet.
        num_samples: at the native sample rate.
    """

    id: str
    corpus: str
    speaker: str
    audio: str
    text: str
    num_samples: int
    split: Split


def write_manifest(path: Path, utterances: list[Utterance]) -> None:
    """Write one JSON object a line; audio below the manifest's folder is written relative."""
    folder, lines = path.parent.resolve(), []
    for utterance in utterances:
        audio = Path(utterance.audio).absolute()
        if audio.is_relative_to(folder):
            audio = audio.relative_to(folder)
        entry = {**asdict(utterance), "audio": str(audio)}
        lines.append(json.dumps(entry, ensure_ascii=False) + "\n")
    write_atomically(path, "".join(lines))


def read_manifest(path: Path, *splits: Split) -> list[Utterance]:
    """Return the utterances of `splits`, or all; audio paths are absolute.

    `path` is a manifest, or a folder with a `manifest.jsonl`.

    Raises:
        CorpusError: no such file, or a line of it is not an utterance.
    """
    if path.is_dir():
        path = path / "manifest.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CorpusError(
            f"cannot read the manifest {path} ({reason}); needed: what `stt prepare` writes"
        ) from error
    utterances = [
        _parse(line, path, number) for number, line in enumerate(lines, start=1) if line.strip()
    ]
    return [u for u in utterances if not splits or u.split in splits]


def fingerprint(utterances: list[Utterance]) -> str:
    """Return a SHA-256 of what is said, how long and on which side; not of where the audio lies."""
    digest = hashlib.sha256()
    for u in sorted(utterances, key=lambda u: u.id):
        digest.update(f"{u.id}\0{u.text}\0{u.num_samples}\0{u.split}\n".encode())
    return digest.hexdigest()


def _parse(line: str, path: Path, number: int) -> Utterance:
    try:
        entry = json.loads(line)
        entry["audio"] = str(path.parent.resolve() / entry["audio"])
        utterance = Utterance(**{**entry, "split": Split(entry["split"])})
        _check_types(utterance)
        return utterance
    except (ValueError, TypeError, KeyError) as error:
        raise CorpusError(f"{path}, line {number} is not an utterance: {error}") from error


def _check_types(utterance: Utterance) -> None:
    for name, value in vars(utterance).items():
        kind = int if name == "num_samples" else str
        if not isinstance(value, kind) or value is True:
            raise TypeError(f"got {name} {value!r}; needed: {kind.__name__}")
    if utterance.num_samples < 1:
        raise ValueError(f"got num_samples {utterance.num_samples}; needed: at least 1")

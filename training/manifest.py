"""A manifest: the utterances that training, evaluation and language models read."""

from __future__ import annotations

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
        audio: path of a native WAV file.
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
    lines = []
    for utterance in utterances:
        entry = asdict(utterance)
        audio = Path(utterance.audio)
        if audio.is_relative_to(path.parent.resolve()):
            entry["audio"] = str(audio.relative_to(path.parent.resolve()))
        lines.append(json.dumps(entry, ensure_ascii=False) + "\n")
    write_atomically(path, "".join(lines))


def read_manifest(path: Path, *splits: Split) -> list[Utterance]:
    """Return the utterances of `splits`, or all.

    Raises:
        CorpusError: no such file, or a line of it is not an utterance.
    """
    if path.is_dir():
        path = path / "manifest.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CorpusError(
            f"cannot read the manifest {path} ({error.strerror}); needed: what `stt prepare` writes"
        ) from error
    utterances = [_parse(line, path, number) for number, line in enumerate(lines, start=1)]
    return [u for u in utterances if not splits or u.split in splits]


def _parse(line: str, path: Path, number: int) -> Utterance:
    try:
        entry = json.loads(line)
        entry["audio"] = str(path.parent.resolve() / entry["audio"])
        return Utterance(**{**entry, "split": Split(entry["split"])})
    except (ValueError, TypeError, KeyError) as error:
        raise CorpusError(f"{path}, line {number} is not an utterance: {error}") from error

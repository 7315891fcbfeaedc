"""What `stt evaluate` measures: a split of a manifest, or a corpus whole."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

from config import AudioConfig, CorpusError
from speech.audio import write_atomically
from speech.pipeline import Pipeline
from training.corpus import (
    PrepareConfig,
    Prepared,
    Progress,
    check_clips,
    corpus_name,
    import_clips,
    usable_of,
)
from training.corpus_report import build_report
from training.importer_tables import TABLE_SUFFIXES
from training.importers import importer_for
from training.manifest import Split, Utterance, read_manifest

_KEYS_OF_A_MANIFEST = {"id", "audio", "text", "num_samples", "split"}


@dataclass(frozen=True, kw_only=True)
class Source:
    """What to measure, and where the report goes.

    Attributes:
        folder: of the report.
        parts: of the report's name, after the model's.
        utterances: of a manifest; None for a corpus, which is still to be read.
    """

    path: Path
    folder: Path
    parts: tuple[str, ...]
    utterances: list[Utterance] | None


def find_source(
    path: Path, *, split: Split | None, corpus: str | None, output: Path | None
) -> Source:
    """Return what `path` names, a manifest's split (test if None) or a corpus.

    Args:
        corpus: only this one of a manifest.
        output: folder of the report; by default a manifest's own, for a corpus the current one.

    Raises:
        CorpusError: `path` is neither, the manifest has no such clip, or the report would be
            written into the corpus.
        ValueError: a split or a corpus is asked of a corpus.
    """
    if is_corpus(path):
        if split or corpus:
            raise ValueError(
                f"{path} is a corpus and measured whole; --split and --corpus are needed only "
                "with what `stt prepare` wrote"
            )
        folder = folder_of_report(path, output)
        return Source(path=path, folder=folder, parts=(corpus_name(path),), utterances=None)
    split = split or Split.test
    utterances = [u for u in read_manifest(path, split) if corpus is None or u.corpus == corpus]
    if not utterances:
        raise CorpusError(f"{path} has no {split} utterance of {corpus or 'any corpus'}")
    return Source(
        path=path,
        folder=output or (path if path.is_dir() else path.parent),
        parts=(split, corpus) if corpus else (split,),
        utterances=utterances,
    )


def is_corpus(source: Path) -> bool:
    """Whether `source` is a corpus or a table of clips, not what `stt prepare` wrote.

    A folder with a `manifest.jsonl` is a manifest whatever else it holds.

    Raises:
        CorpusError: it is neither.
    """
    if source.is_dir():
        if (source / "manifest.jsonl").exists():
            return False
        try:
            importer_for(source)
        except CorpusError as error:
            raise CorpusError(f"{error}; or a manifest, what `stt prepare` writes") from error
        return True
    if not source.exists():
        raise CorpusError(
            f"cannot read the manifest or corpus {source}: no such file or folder; needed: "
            "what `stt prepare` writes, or a corpus"
        )
    return source.suffix.lower() in TABLE_SUFFIXES and not _is_manifest(source)


def _is_manifest(file: Path) -> bool:
    """Whether a file is a manifest by name, or by its first line: a table may be .jsonl too."""
    if file.name == "manifest.jsonl":
        return True
    if file.suffix.lower() != ".jsonl":
        return False
    try:
        with file.open(encoding="utf-8") as lines:
            first = json.loads(next((line for line in lines if line.strip()), "null"))
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and first.keys() >= _KEYS_OF_A_MANIFEST


def folder_of_report(corpus: Path, output: Path | None) -> Path:
    """Return `output`, or the current folder unless that is in the corpus.

    Raises:
        CorpusError: the report would lie in the corpus' folder.
    """
    folder = output or Path()
    if corpus.is_dir() and folder.resolve().is_relative_to(corpus.resolve()):
        raise CorpusError(
            f"the report would be written into the corpus {corpus}; needed: --output, outside of it"
        )
    return folder


def read_corpus(
    corpus: Path,
    work: Path,
    pipeline: Pipeline,
    audio: AudioConfig,
    progress: Progress | None = None,
) -> Prepared:
    """Return all clips of `corpus` as one split, test; a `splits.csv` in it decides nothing.

    Texts that CTC could not learn in the audio's time are kept: they count against the model.

    Args:
        work: folder for native copies of clips in other forms; the corpus is only read.
        pipeline: of the model; its alphabet says which texts can be scored.
        audio: of the predictor: the native form, and the longest clip.

    Raises:
        CorpusError: the corpus cannot be read, or no clip of it is usable.
    """
    config = PrepareConfig(
        audio=audio,
        alphabet=pipeline.alphabet,
        features=pipeline.features,
        network=pipeline.network,
    )
    try:
        checked = check_clips(import_clips([corpus]), work, config, progress, must_fit=False)
    except OSError as error:
        raise CorpusError(f"cannot read {corpus} or write below {work}: {error}") from error
    return Prepared(
        utterances=[entry.to_utterance(Split.test) for entry in usable_of(checked)],
        rejected=[entry for entry in checked if entry.problem],
    )


def unusable_to_markdown(prepared: Prepared, audio: AudioConfig) -> str:
    """Return the report's section on clips that could not be scored; empty if all could."""
    if not prepared.rejected:
        return ""
    total = len(prepared.utterances) + len(prepared.rejected)
    lines = [f"\n## Not scored: {len(prepared.rejected)} of {total} clips\n"]
    for rejection in build_report(prepared, audio).rejections:
        more = ", …" if rejection.clips > len(rejection.examples) else ""
        names = ", ".join(f"`{name}`" for name in rejection.examples)
        lines.append(f"- {rejection.clips} × {rejection.reason}: {names}{more}")
    return "\n".join(lines) + "\n"


def write_unusable(folder: Path, name: str, prepared: Prepared, audio: AudioConfig) -> list[Path]:
    """Add what could not be scored to the report `name.md`, and list it in `name-not-scored.csv`.

    Where all was scored, the list of an earlier run is removed.

    Returns:
        The list, if there is one.
    """
    report, table = folder / f"{name}.md", folder / f"{name}-not-scored.csv"
    if not prepared.rejected:
        table.unlink(missing_ok=True)
        return []
    write_atomically(
        report, report.read_text(encoding="utf-8") + unusable_to_markdown(prepared, audio)
    )
    buffer = io.StringIO()
    rows = csv.writer(buffer, lineterminator="\n")
    rows.writerow(("id", "problem"))
    rows.writerows(sorted((entry.id, entry.problem) for entry in prepared.rejected))
    # A file's name need not be UTF-8, but a report is.
    write_atomically(table, buffer.getvalue().encode("utf-8", "backslashreplace").decode())
    return [table]

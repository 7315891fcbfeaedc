"""Corpora to one manifest: import, convert, check, split, report."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from config import AudioConfig, AudioError, CorpusError, FeatureConfig, NetworkConfig
from speech import audio
from speech.alphabet import Alphabet, normalise, num_ctc_frames
from training.importers import Clip, importer_for, read_columns
from training.manifest import Split, Utterance, write_manifest

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """What `prepare` checks clips against, and how much text it holds out of training."""

    audio: AudioConfig = field(default_factory=AudioConfig)
    alphabet: Alphabet = field(default_factory=Alphabet)
    features: FeatureConfig
    network: NetworkConfig
    validation_share: float = 0.02
    test_share: float = 0.02
    workers: int = 4

    def __post_init__(self) -> None:
        held_out = self.validation_share + self.test_share
        if min(self.validation_share, self.test_share) < 0 or held_out >= 1:
            raise ValueError(
                f"shares {self.validation_share} and {self.test_share}; "
                "needed: not negative, under 1 together"
            )


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A clip after its check: `problem` is empty, or says why it is rejected."""

    id: str
    corpus: str
    speaker: str
    audio: str
    text: str
    num_samples: int
    problem: str


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What `prepare` found: the manifest's utterances, and the clips that were rejected."""

    utterances: list[Utterance]
    rejected: list[Checked]


def prepare(
    corpora: list[Path], output: Path, config: PrepareConfig, progress: Progress | None = None
) -> Prepared:
    """Import `corpora` into `output/manifest.jsonl`, audio in native form below `output/audio`.

    Native WAV files stay where they are. What an earlier, broken-off run has checked is kept in
    `output/checked.jsonl` and not done again.

    Args:
        corpora: folders or files in any form that `training.importers` reads.
        progress: called with clips done and clips in all.
    Raises:
        CorpusError: a corpus cannot be read, two have the same name, or no clip is usable.
    """
    clips = _import(corpora)
    checked = _check_all(clips, output, config, progress)
    usable = [entry for entry in checked if not entry.problem]
    if not usable:
        problems = Counter(entry.problem for entry in checked).most_common(3)
        raise CorpusError(f"no usable clip among {len(checked)}: {problems}")
    sides = _assign_splits(usable, _fixed_splits(corpora, usable), config)
    utterances = [
        Utterance(
            id=entry.id,
            corpus=entry.corpus,
            speaker=entry.speaker,
            audio=entry.audio,
            text=entry.text,
            num_samples=entry.num_samples,
            split=sides[entry.text],
        )
        for entry in usable
    ]
    write_manifest(output / "manifest.jsonl", utterances)
    return Prepared(utterances=utterances, rejected=[e for e in checked if e.problem])


def _corpus_name(corpus: Path) -> str:
    return corpus.resolve().stem if corpus.is_file() else corpus.resolve().name


def _import(corpora: list[Path]) -> list[tuple[str, Clip]]:
    names = Counter(_corpus_name(corpus) for corpus in corpora)
    if twins := [name for name, count in names.items() if count > 1]:
        raise CorpusError(f"several corpora are named {twins}; needed: different folder names")
    clips = [(_corpus_name(c), clip) for c in corpora for clip in importer_for(c)(c)]
    ids = Counter((name, clip.name) for name, clip in clips)
    if twins_of_ids := [f"{n}/{i}" for (n, i), count in ids.items() if count > 1]:
        raise CorpusError(f"ids occur twice: {twins_of_ids[:5]}")
    return clips


def _check_all(
    clips: list[tuple[str, Clip]], output: Path, config: PrepareConfig, progress: Progress | None
) -> list[Checked]:
    """Check clips in parallel, appending each result to a journal that a later run reads."""
    journal = output / "checked.jsonl"
    journal.parent.mkdir(parents=True, exist_ok=True)
    done = _read_journal(journal)
    todo = [(n, c) for n, c in clips if not _is_done(done.get(f"{n}/{c.name}"), c, config)]
    num_done = len(clips) - len(todo)
    with (
        journal.open("a", encoding="utf-8") as file,
        ThreadPoolExecutor(config.workers) as pool,
    ):
        results = pool.map(lambda item: _check_clip(*item, output, config), todo)
        for (_, clip), entry in zip(todo, results, strict=True):
            done[entry.id] = (_identity(clip, config), entry)
            file.write(json.dumps([_identity(clip, config), vars(entry)]) + "\n")
            num_done += 1
            if progress:
                progress(num_done, len(clips))
    return [done[f"{name}/{clip.name}"][1] for name, clip in clips]


def _identity(clip: Clip, config: PrepareConfig) -> str:
    """Return what a check's result depends on, so that a changed corpus is checked anew."""
    size = clip.audio.stat().st_size if clip.audio.is_file() else -1
    return repr((str(clip.audio), size, clip.text, clip.speaker, config))


def _is_done(known: tuple[str, Checked] | None, clip: Clip, config: PrepareConfig) -> bool:
    return (
        known is not None
        and known[0] == _identity(clip, config)
        and (bool(known[1].problem) or Path(known[1].audio).is_file())
    )


def _read_journal(journal: Path) -> dict[str, tuple[str, Checked]]:
    """Read what was checked; a line broken by a crash counts as not checked."""
    done: dict[str, tuple[str, Checked]] = {}
    for line in journal.read_text(encoding="utf-8").splitlines() if journal.exists() else ():
        try:
            identity, values = json.loads(line)
            entry = Checked(**values)
        except (ValueError, TypeError):
            continue
        done[entry.id] = (identity, entry)
    return done


def _check_clip(corpus: str, clip: Clip, output: Path, config: PrepareConfig) -> Checked:
    text, labels, problem = normalise(clip.text, config.alphabet), [], ""
    path, num_samples = clip.audio, 0
    try:
        labels = config.alphabet.encode(text)
        path, num_samples = _to_native(clip, output / "audio" / corpus, config.audio)
    except (AudioError, CorpusError) as error:
        problem = str(error)
    if not problem:
        problem = find_problem(labels, num_samples, config.features, config.network)
    return Checked(
        id=f"{corpus}/{clip.name}",
        corpus=corpus,
        speaker=f"{corpus}/{clip.speaker}",
        audio=str(path.resolve()),
        text=text,
        num_samples=num_samples,
        problem=problem,
    )


def find_problem(
    labels: list[int], num_samples: int, features: FeatureConfig, network: NetworkConfig
) -> str:
    """Say why CTC cannot learn a clip, or nothing if it can."""
    if not labels:
        return "empty text"
    num_frames = max(1, 1 + (num_samples - features.frame_length) // features.frame_step)
    got, needed = network.num_output_frames(num_frames), num_ctc_frames(labels)
    if needed > got:
        return f"text too long for the audio: needs {needed} frames, the network gives {got}"
    return ""


def _to_native(clip: Clip, folder: Path, config: AudioConfig) -> tuple[Path, int]:
    """Return the path of a native WAV of the clip, the original if it is one, and its length."""
    if not clip.audio.is_file():
        raise AudioError(f"no audio file {clip.audio.name}")
    content = clip.audio.read_bytes()
    try:
        return clip.audio, len(audio.decode_native(content, config))
    except AudioError:
        waveform = audio.decode_any(content, config)
    path = folder / f"{clip.name}.wav"
    audio.write_native(path, waveform, config)
    return path, len(waveform)


def _fixed_splits(corpora: list[Path], entries: Iterable[Checked]) -> dict[str, Split]:
    """Return the splits of texts that a `splits.csv` decides; a held-out side wins."""
    by_id = {
        f"{_corpus_name(corpus)}/{name}": _parse_split(split, corpus)
        for corpus in corpora
        for name, split in read_columns(corpus / "splits.csv", "id", "split").items()
    }
    rank = [Split.train, Split.validation, Split.test]
    fixed: dict[str, Split] = {}
    for entry in entries:
        if split := by_id.get(entry.id):
            fixed[entry.text] = max(split, fixed.get(entry.text, split), key=rank.index)
    return fixed


def _parse_split(value: str, corpus: Path) -> Split:
    try:
        return Split(value)
    except ValueError:
        raise CorpusError(
            f"{corpus / 'splits.csv'}: got split {value!r}; needed: train, validation or test"
        ) from None


def _assign_splits(
    entries: Iterable[Checked], fixed: dict[str, Split], config: PrepareConfig
) -> dict[str, Split]:
    return {e.text: fixed.get(e.text) or split_of_text(e.text, config) for e in entries}


def split_of_text(text: str, config: PrepareConfig) -> Split:
    """Return the side that a hash of the normalised text decides, the same on every machine."""
    point = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
    if point < config.validation_share:
        return Split.validation
    if point < config.validation_share + config.test_share:
        return Split.test
    return Split.train


def durations_s(utterances: list[Utterance], config: AudioConfig) -> np.ndarray:
    """Return float64 `[utterances]` in seconds."""
    return np.array([u.num_samples for u in utterances]) / config.sample_rate_hz

"""Corpora to one manifest: import, convert, check, split."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from config import AudioConfig, CorpusError, FeatureConfig, NetworkConfig
from speech.alphabet import Alphabet, normalise, num_ctc_frames
from training.clip_check import (
    CheckedAudio,
    check_audio,
    journal_line,
    map_ahead,
    read_journal,
    safe_name,
    source_of,
)
from training.importer_tables import Clip, read_columns
from training.importers import importer_for
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
        if self.workers < 1:
            raise ValueError(f"workers {self.workers}; needed: at least 1")


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

    @property
    def reason(self) -> str:
        """The kind of problem, without what differs from clip to clip."""
        return re.split(r"; needed|: ", self.problem)[0]

    def to_utterance(self, split: Split) -> Utterance:
        """Return the clip as a manifest's entry on the side `split`."""
        values = {key: value for key, value in vars(self).items() if key != "problem"}
        return Utterance(**values, split=split)


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
        progress: called with clips done, first those of an earlier run, and clips in all; clips
            whose text is of no use are not among them.

    Raises:
        CorpusError: a corpus cannot be read, two have the same name, no clip is usable, or
            `output` cannot be written.
    """
    clips = import_clips(corpora)
    fixed_ids = _fixed_ids(corpora, clips)
    try:
        checked = check_clips(clips, output, config, progress)
        usable = usable_of(checked)
        # Rejected clips too: a text held out stays held out where its own clip has no audio.
        sides = _assign_splits(checked, fixed_ids, config)
        utterances = [entry.to_utterance(sides[entry.text]) for entry in usable]
        write_manifest(output / "manifest.jsonl", utterances)
    except OSError as error:
        raise CorpusError(f"cannot read or write below {output}: {error}") from error
    return Prepared(utterances=utterances, rejected=[e for e in checked if e.problem])


def usable_of(checked: Sequence[Checked]) -> list[Checked]:
    """Return the clips without a problem; `CorpusError` if there is none."""
    usable = [entry for entry in checked if not entry.problem]
    if not usable:
        reasons = Counter(entry.reason for entry in checked).most_common(3)
        found = "; ".join(f"{reason}: {count}" for reason, count in reasons)
        raise CorpusError(f"no usable clip among {len(checked)}; needed: one. {found}")
    return usable


def corpus_name(corpus: Path) -> str:
    """Return what the clips of `corpus` are named after: its folder, or its table."""
    return corpus.resolve().stem if corpus.is_file() else corpus.resolve().name


def import_clips(corpora: list[Path]) -> list[tuple[str, Clip]]:
    """Return the names of corpora and their clips; `CorpusError` if a name or an id is not one."""
    names = Counter(corpus_name(corpus) for corpus in corpora)
    if twins := [name for name, count in names.items() if count > 1]:
        raise CorpusError(f"several corpora are named {twins}; needed: a name of its own for each")
    clips = [(corpus_name(c), clip) for c in corpora for clip in importer_for(c)(c)]
    ids = Counter((name, clip.name) for name, clip in clips)
    if twins_of_ids := [f"{n}/{i}" for (n, i), count in ids.items() if count > 1]:
        raise CorpusError(f"ids occur twice: {twins_of_ids[:5]}; needed: each once")
    return clips


def check_clips(
    clips: list[tuple[str, Clip]],
    output: Path,
    config: PrepareConfig,
    progress: Progress | None = None,
    *,
    must_fit: bool = True,
) -> list[Checked]:
    """Check clips; those whose text is of no use are not decoded.

    With `must_fit`, a text too long for CTC to learn in the audio's time is a problem.
    """
    entries = [_check_text(corpus, clip, config) for corpus, clip in clips]
    wanted = [item for item, entry in zip(clips, entries, strict=True) if not entry.problem]
    audio = _check_audio(wanted, output, config, progress)
    joined = [e if e.problem else _join(e, audio[e.id]) for e in entries]
    return [_check_fit(e, config) for e in joined] if must_fit else joined


def _check_text(corpus: str, clip: Clip, config: PrepareConfig) -> Checked:
    text = normalise(clip.text, config.alphabet)
    try:
        problem = "" if config.alphabet.encode(text) else "empty text"
        f"{clip.name} {clip.speaker} {clip.audio}".encode()
    except CorpusError as error:
        problem = str(error)
    except UnicodeEncodeError:
        problem = "the id, speaker or file name is not UTF-8"
    return Checked(
        id=f"{corpus}/{clip.name}",
        corpus=corpus,
        speaker=f"{corpus}/{clip.speaker}",
        audio=str(clip.audio.absolute()),
        text=text,
        num_samples=0,
        problem=problem,
    )


def _join(entry: Checked, audio: CheckedAudio) -> Checked:
    return replace(entry, audio=audio.audio, num_samples=audio.num_samples, problem=audio.problem)


def _check_fit(entry: Checked, config: PrepareConfig) -> Checked:
    labels = config.alphabet.encode(entry.text) if not entry.problem else []
    if not labels:
        return entry
    found = find_problem(labels, entry.num_samples, config.features, config.network)
    return replace(entry, problem=found)


def _check_audio(
    clips: list[tuple[str, Clip]], output: Path, config: PrepareConfig, progress: Progress | None
) -> dict[str, CheckedAudio]:
    """Check audio in parallel, appending each result to a journal that a later run reads."""
    journal = output / "checked.jsonl"
    journal.parent.mkdir(parents=True, exist_ok=True)
    done = read_journal(journal)
    todo = []
    for name, clip in clips:
        known = done.get(f"{name}/{clip.name}")
        if known is None or not known.still_holds(source_of(clip, config.audio)):
            todo.append((name, clip))
    num_before = len(clips) - len(todo)
    if progress:
        progress(num_before, len(clips))

    def check(item: tuple[str, Clip]) -> CheckedAudio:
        return check_audio(item[1], item[0], output / "audio" / safe_name(item[0]), config.audio)

    with journal.open("a", encoding="utf-8") as file:
        for num_new, entry in enumerate(map_ahead(check, todo, config.workers), start=1):
            done[entry.id] = entry
            file.write(journal_line(entry))
            file.flush()
            if progress:
                progress(num_before + num_new, len(clips))
    return done


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


def num_samples_needed(labels: list[int], features: FeatureConfig, network: NetworkConfig) -> int:
    """Return of how many samples a clip is at least, for CTC to learn its labels."""
    num_frames = (num_ctc_frames(labels) - 1) * network.time_stride + 1
    return (num_frames - 1) * features.frame_step + features.frame_length


def _fixed_ids(corpora: list[Path], clips: list[tuple[str, Clip]]) -> dict[str, Split]:
    """Return the splits of ids (`corpus/name`) that a `splits.csv` decides.

    Raises:
        CorpusError: another split than the three, or not one id of a file is in its corpus, as
            when ids are written otherwise: then what is meant to be held out would be trained on.
    """
    ids = {f"{name}/{clip.name}" for name, clip in clips}
    fixed: dict[str, Split] = {}
    matched: dict[Path, bool] = {}
    for corpus in corpora:
        path = (corpus.parent if corpus.is_file() else corpus) / "splits.csv"
        splits = {
            f"{corpus_name(corpus)}/{name}": _parse_split(split, path)
            for name, split in read_columns(path, "id", "split").items()
        }
        fixed.update(splits)
        if splits:
            matched[path] = matched.get(path, False) or not ids.isdisjoint(splits)
    if unmatched := [str(path) for path, found in matched.items() if not found]:
        raise CorpusError(f"no id in {', '.join(unmatched)} is in its corpus; needed: its ids")
    return fixed


def _parse_split(value: str, path: Path) -> Split:
    try:
        return Split(value)
    except ValueError:
        raise CorpusError(
            f"{path}: got split {value!r}; needed: train, validation or test"
        ) from None


def _assign_splits(
    entries: Sequence[Checked], fixed_ids: dict[str, Split], config: PrepareConfig
) -> dict[str, Split]:
    """Return the side of each text: test over validation over train over what the hash says."""
    rank = [Split.train, Split.validation, Split.test]
    fixed: dict[str, Split] = {}
    texts: dict[str, None] = {}
    for entry in entries:
        texts[entry.text] = None
        if split := fixed_ids.get(entry.id):
            fixed[entry.text] = max(split, fixed.get(entry.text, split), key=rank.index)
    sides = {text: fixed.get(text) or split_of_text(text, config) for text in texts}
    _fill_empty_sides(sides, fixed, {entry.text for entry in entries if not entry.problem}, config)
    return sides


def _fill_empty_sides(
    sides: dict[str, Split], fixed: dict[str, Split], usable: set[str], config: PrepareConfig
) -> None:
    """Give a side that the hash left empty one text, so that a small corpus can be trained on.

    As a corpus grows such a text may go back to training: a splits.csv keeps it where it is.
    """
    wanted = {Split.validation: config.validation_share, Split.test: config.test_share}
    for split, share in wanted.items():
        filled = any(side is split for text, side in sides.items() if text in usable)
        in_train = [t for t in usable if sides[t] is Split.train]
        free = sorted((text for text in in_train if text not in fixed), key=_hash_of_text)
        if share and not filled and free and len(in_train) > 1:
            sides[free[0]] = split


def split_of_text(text: str, config: PrepareConfig) -> Split:
    """Return the side that a hash of the normalised text decides, the same on every machine."""
    point = _hash_of_text(text)
    if point < config.validation_share:
        return Split.validation
    if point < config.validation_share + config.test_share:
        return Split.test
    return Split.train


def _hash_of_text(text: str) -> float:
    """Return a number in [0, 1)."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def durations_s(utterances: list[Utterance], config: AudioConfig) -> NDArray[np.float64]:
    """Return float64 `[utterances]` in seconds."""
    return np.array([u.num_samples for u in utterances], np.float64) / config.sample_rate_hz

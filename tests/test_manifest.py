"""A manifest: what is written is read, and what is broken is named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import CorpusError
from training.manifest import Split, Utterance, read_manifest, write_manifest


def utterance(**values: Any) -> Utterance:
    """Return an utterance with `values` in place of the defaults."""
    defaults = {
        "id": "corpus/a",
        "corpus": "corpus",
        "speaker": "corpus/anna",
        "audio": "/clips/a.wav",
        "text": "some text",
        "num_samples": 22_050,
        "split": Split.train,
    }
    return Utterance(**{**defaults, **values})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    utterances = [utterance(), utterance(id="corpus/é|\u2028\x85\n", split=Split.test)]
    write_manifest(tmp_path / "manifest.jsonl", utterances)
    assert read_manifest(tmp_path / "manifest.jsonl") == utterances
    assert read_manifest(tmp_path) == utterances


@given(name=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_id_is_read_as_written(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    utterances = [utterance(id=name), utterance(id="corpus/b")]
    write_manifest(folder / "manifest.jsonl", utterances)
    assert read_manifest(folder) == utterances


def test_splits_are_chosen(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m", [utterance(id=split, split=split) for split in Split])
    assert [u.id for u in read_manifest(tmp_path / "m", Split.test, Split.train)] == [
        "train",
        "test",
    ]


def test_a_folder_that_is_moved_with_its_audio_still_works(tmp_path: Path) -> None:
    audio = tmp_path / "old" / "audio" / "a.wav"
    write_manifest(tmp_path / "old" / "manifest.jsonl", [utterance(audio=str(audio))])
    assert json.loads((tmp_path / "old" / "manifest.jsonl").read_text())["audio"] == "audio/a.wav"
    os.rename(tmp_path / "old", tmp_path / "new")
    (moved,) = read_manifest(tmp_path / "new")
    assert moved.audio == str(tmp_path / "new" / "audio" / "a.wav")


def test_a_path_relative_to_the_working_folder_stays_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_manifest(Path("prepared/manifest.jsonl"), [utterance(audio="wavs/a.wav")])
    assert read_manifest(Path("prepared"))[0].audio == str(tmp_path / "wavs" / "a.wav")


def line(**values: Any) -> str:
    """Return a manifest's line with `values` in place of good ones; None leaves a key out."""
    entry = {**vars(utterance()), **values}
    return json.dumps({key: value for key, value in entry.items() if value is not None})


@pytest.mark.parametrize(
    "broken",
    [
        "{",
        "[]",
        '"text"',
        line(text=None),
        line(more=1),
        line(split="dev"),
        line(num_samples="12"),
        line(num_samples=True),
        line(num_samples=0),
        line(text=5),
        line(audio=5),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text(f"{line()}\n{broken}\n")
    with pytest.raises(CorpusError, match=r"manifest\.jsonl, line 2 is not an utterance: "):
        read_manifest(path)


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"cannot read .*needed: what `stt prepare` writes"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(CorpusError, match=r"cannot read .*needed: what `stt prepare` writes"):
        read_manifest(tmp_path)

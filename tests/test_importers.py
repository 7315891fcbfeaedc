"""Corpora as they are published: LJSpeech, LibriSpeech, Common Voice, plain tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from config import CorpusError
from tests.clips import write_clip, write_ljspeech
from training.importer_tables import Clip, find_audio, read_columns
from training.importers import importer_for


def read(corpus: Path) -> list[Clip]:
    """Read all clips of the corpus."""
    return list(importer_for(corpus)(corpus))


def test_the_real_corpus_in_ljspeechs_form(ljspeech: Path) -> None:
    clips = read(ljspeech)
    assert len(clips) == 100
    assert clips[1].text == "in being comparatively modern."
    assert {clip.speaker for clip in clips} == {ljspeech.resolve().name}
    assert all(clip.audio.is_file() and clip.audio.stem == clip.name for clip in clips)


def test_ljspeech_takes_the_last_column_and_leaves_quotes_alone(tmp_path: Path) -> None:
    write_clip(tmp_path / "wavs" / "a.wav")
    line = 'a|Dr. "X|doctor "X, 1 line separator\u2028 and all\r\n\n'
    (tmp_path / "metadata.csv").write_text(line, encoding="utf-8-sig", newline="")
    (clip,) = read(tmp_path)
    assert (clip.name, clip.text) == ("a", 'doctor "X, 1 line separator\u2028 and all')


def test_ljspeech_takes_speakers_and_audio_of_any_form_from_beside_it(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("a|one\nb.1|two\nc|three\n")
    (tmp_path / "speakers.csv").write_text("id,speaker,age\na,anna,25\nb.1,bo,30\n")
    expected = [
        write_clip(tmp_path / "opus" / "a.opus", rate_hz=16_000),
        write_clip(tmp_path / "b.1.flac"),
        tmp_path / "wavs" / "c.wav",
    ]
    clips = read(tmp_path)
    assert [clip.audio for clip in clips] == expected
    assert [clip.speaker for clip in clips] == ["anna", "bo", tmp_path.name]


def test_a_line_without_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("a|one\n\nb,two\n")
    with pytest.raises(CorpusError, match=r"metadata\.csv, line 3: got 'b,two'; needed: id\|text"):
        read(tmp_path)


def test_of_two_files_of_one_name_the_less_deep_is_taken(tmp_path: Path) -> None:
    write_clip(tmp_path / "a" / "prepared" / "x.wav")
    shallow = write_clip(tmp_path / "z" / "x.opus", rate_hz=16_000)
    (tmp_path / "x.json").touch()
    assert find_audio(tmp_path) == {"x": shallow}


@pytest.mark.parametrize("root", ["", "dev-clean", "dev-clean/84", "dev-clean/84/121123"])
def test_librispeech_from_any_folder_of_its_tree(tmp_path: Path, root: str) -> None:
    chapter = tmp_path / "dev-clean" / "84" / "121123"
    audio = write_clip(chapter / "84-121123-0000.flac", rate_hz=16_000)
    (chapter / "84-121123.trans.txt").write_text("84-121123-0000 GO DO YOU\n84-121123-0001\n")
    first, second = read(tmp_path / root)
    assert (first.name, first.text, first.speaker) == ("84-121123-0000", "GO DO YOU", "84")
    assert first.audio == audio
    assert (second.text, second.audio) == ("", chapter / "84-121123-0001.flac")


def test_librispeechs_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "1-2.trans.txt").write_text("1-2-0000 FINE\nNOT SO\n")
    with pytest.raises(CorpusError, match=r"1-2\.trans\.txt, line 2: got 'NOT SO'; needed"):
        read(tmp_path)


HEADER = "client_id\tpath\tsentence_id\tsentence\tup_votes\n"


def test_common_voices_validated_clips(tmp_path: Path) -> None:
    audio = write_clip(tmp_path / "clips" / "cv_1.mp3")
    row = 'abc\tcv_1.mp3\t0\t"Quoted" at the start\t2\n'
    (tmp_path / "validated.tsv").write_text(HEADER + row + "abc\tcv_2.mp3\t0\tNo audio\t2\n")
    (tmp_path / "train.tsv").write_text(HEADER + row)
    first, second = read(tmp_path)
    assert first == Clip(name="cv_1", audio=audio, text='"Quoted" at the start', speaker="abc")
    assert second.audio == tmp_path / "clips" / "cv_2.mp3"


def test_common_voices_splits_are_joined_without_validated(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for name in ("train", "dev", "test", "other"):
        (tmp_path / f"{name}.tsv").write_text(f"{HEADER}abc\t{name}.mp3\t0\tText\t2\n")
    assert [clip.name for clip in read(tmp_path)] == ["train", "dev", "test"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("client_id\tsentence\na\tb\n", "needed: client_id, path, sentence"),
        (HEADER + "abc\tcv_1.mp3\n", r"line 2: got path 'cv_1\.mp3' and sentence None"),
    ],
)
def test_common_voices_broken_table(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "validated.tsv").write_text(content)
    with pytest.raises(CorpusError, match=message):
        read(tmp_path)


def test_a_csv_table(tmp_path: Path) -> None:
    by_path = write_clip(tmp_path / "sub" / "one.wav")
    by_id = write_clip(tmp_path / "deep" / "er" / "two.ogg")
    table = tmp_path / "mine.csv"
    content = 'id,audio,text,speaker\n,sub/one.wav,"a, ""quoted""\ntext",anna\ntwo,,next,\n'
    table.write_text(content)
    assert read(table) == [
        Clip(name="sub/one", audio=by_path, text='a, "quoted"\ntext', speaker="anna"),
        Clip(name="two", audio=by_id, text="next", speaker="mine"),
    ]


@pytest.mark.parametrize("key", ["audio", "path", "audio_filepath", "file_name"])
def test_a_jsonl_table_as_nemo_writes_it(tmp_path: Path, key: str) -> None:
    audio = write_clip(tmp_path / "sub" / "one.wav")
    table = tmp_path / "nemo.jsonl"
    rows = [
        {key: str(audio), "duration": 1.0, "text": "absolute", "offset": 0.0},
        {key: "sub/one.wav", "id": 7, "text": "relative", "speaker": 12},
        {key: "one.wav", "id": "x", "text": "searched"},
    ]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    clips = read(table)
    assert [clip.audio for clip in clips] == [audio] * 3
    assert [clip.name for clip in clips] == ["sub/one", "7", "x"]
    assert [clip.speaker for clip in clips] == ["nemo", "12", "nemo"]


def test_a_path_with_folders_is_not_replaced_by_a_namesake(tmp_path: Path) -> None:
    write_clip(tmp_path / "anna" / "1.wav")
    table = tmp_path / "x.jsonl"
    table.write_text('{"audio": "bo/1.wav", "text": "his, not hers"}\n')
    assert read(table)[0].audio == tmp_path / "bo" / "1.wav"


@pytest.mark.parametrize("suffix", [".txt", ".psv"])
def test_a_table_of_piped_lines(tmp_path: Path, suffix: str) -> None:
    audio = write_clip(tmp_path / "any" / "a.1.flac")
    table = tmp_path / f"list{suffix}"
    table.write_text('a.1|some "text"\nany/a.1.flac|again\n')
    assert read(table) == [
        Clip(name="a.1", audio=audio, text='some "text"', speaker="list"),
        Clip(name="any/a.1", audio=audio, text="again", speaker="list"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "name,text\na,b\n", r"x\.csv: got columns \['name', 'text'\]; needed: id or"),
        ("x.csv", "", "got columns None; needed: id or"),
        ("x.csv", "id,text\na,b\nc\n", r"x\.csv, line 3: got .* needed: id or audio"),
        ("x.csv", "id,text\n,b\n", r"x\.csv, line 2: got .* needed: id or audio"),
        ("x.csv", 'id,text\na,"' + "b" * 200_000 + '"\n', r"is not CSV: field larger"),
        ("x.jsonl", "[1]\n", r"x\.jsonl, line 1: got '\[1\]'; needed: an object"),
        ("x.jsonl", '\n{"id": "a",\n', r"x\.jsonl, line 2 is not JSON"),
        ("x.jsonl", '{"id": "a", "text": 5}\n', "line 1: got .* needed: id or audio"),
        ("x.jsonl", '{"audio": {"path": "a"}, "text": "b"}\n', "for audio; needed: a string"),
        ("x.jsonl", '{"audio": "a.wav", "text": "b", "offset": 1.5}\n', "at offset 1.5 of a file"),
        ("x.txt", "a b\n", r"x\.txt, line 1: got 'a b'; needed: id\|text"),
    ],
)
def test_a_broken_table_is_named_with_its_line(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CorpusError, match=message):
        read(tmp_path / name)


def test_a_table_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes("a|café\n".encode("latin-1"))
    with pytest.raises(CorpusError, match=r"cannot read .*x\.txt.*needed: a UTF-8 file"):
        read(tmp_path / "x.txt")


@pytest.mark.parametrize("name", ["", "x.pdf", "missing"])
def test_what_is_no_corpus_is_answered_with_the_known_forms(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.pdf").touch()
    with pytest.raises(CorpusError) as caught:
        importer_for(tmp_path / name)
    for form in ("LJSpeech", "LibriSpeech", "Common Voice", ".csv", ".jsonl", ".txt", ".psv"):
        assert form in str(caught.value)


def test_columns_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert read_columns(tmp_path / "x.csv", "id", "split") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,part\na,b\n", r"got columns \['id', 'part'\]; needed: id,split"),
        ("id,split\na\n", "line 2: got None for 'a'; needed: both"),
        ("id,split\na,train\na,test\n", "line 3: got a second split 'test' for 'a'"),
    ],
)
def test_columns_that_are_broken(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(CorpusError, match=message):
        read_columns(tmp_path / "x.csv", "id", "split")


def test_both_kinds_of_corpus_agree(tmp_path: Path) -> None:
    folder = write_ljspeech(tmp_path / "same", {"a": "one", "b": "two"})
    table = folder / "same.txt"
    table.write_text("a|one\nb|two\n")
    assert read(table) == read(folder)

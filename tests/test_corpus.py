"""Corpora to a manifest: checks, conversion, splits, and going on after a kill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from config import AudioConfig, CorpusError
from speech.audio import decode_native
from tests.clips import write_clip, write_ljspeech
from training.corpus import PrepareConfig, Prepared, find_problem, prepare, split_of_text
from training.manifest import Split, read_manifest
from training.presets import PRESETS

SMALL = PRESETS["small"]
CONFIG = PrepareConfig(features=SMALL.features, network=SMALL.network, workers=2)
NO_HASH = replace(CONFIG, validation_share=0.0, test_share=0.0)


def rejections(prepared: Prepared) -> dict[str, str]:
    """Return the problems of rejected clips by id."""
    return {entry.id: entry.problem for entry in prepared.rejected}


def sides(prepared: Prepared) -> dict[str, str]:
    """Return the splits by id."""
    return {utterance.id: str(utterance.split) for utterance in prepared.utterances}


def test_native_clips_stay_and_others_are_converted(tmp_path: Path) -> None:
    corpus = tmp_path / "mixed"
    native = write_clip(corpus / "wavs" / "a.wav")
    write_clip(corpus / "wavs" / "b.flac", rate_hz=16_000)
    write_clip(corpus / "wavs" / "c.wav", rate_hz=48_000)
    (corpus / "metadata.csv").write_text("a|One, two!|One, two!\nb|Three|Three\nc|Four|Four\n")
    prepared = prepare([corpus], tmp_path / "out", CONFIG)
    assert [u.id for u in prepared.utterances] == ["mixed/a", "mixed/b", "mixed/c"]
    assert [u.text for u in prepared.utterances] == ["one two", "three", "four"]
    assert prepared.utterances[0].audio == str(native)
    converted = tmp_path / "out" / "audio" / "mixed"
    assert [u.audio for u in prepared.utterances[1:]] == [
        str(converted / "b.wav"),
        str(converted / "c.wav"),
    ]
    for utterance in prepared.utterances:
        waveform = decode_native(Path(utterance.audio).read_bytes(), CONFIG.audio)
        assert len(waveform) == utterance.num_samples == 22_050
    assert read_manifest(tmp_path / "out") == prepared.utterances


def test_each_problem_is_said_and_the_rest_is_used(tmp_path: Path) -> None:
    texts = {
        "good": "fine",
        "digits": "chapter 12",
        "empty": "?!",
        "long": "a text that nobody can say within one single second of audio",
        "gone": "no audio",
        "broken": "not audio",
        "nothing": "no samples",
        "endless": "too much",
    }
    corpus = write_ljspeech(tmp_path / "c", texts)
    (corpus / "wavs" / "gone.wav").unlink()
    (corpus / "wavs" / "broken.wav").write_bytes(b"RIFF but no more")
    write_clip(corpus / "wavs" / "nothing.wav", duration_s=0)
    write_clip(corpus / "wavs" / "endless.wav", duration_s=5.5)
    config = replace(CONFIG, audio=AudioConfig(max_duration_s=5.0))
    prepared = prepare([corpus], tmp_path / "out", config)
    assert [u.id for u in prepared.utterances] == ["c/good"]
    got = rejections(prepared)
    assert got["c/digits"] == "symbols outside the alphabet: '1' '2'"
    assert got["c/empty"] == "empty text"
    assert got["c/long"].startswith("text too long for the audio: needs 60 frames")
    assert got["c/gone"] == "no audio file: gone.wav"
    assert got["c/broken"].startswith("cannot read the audio")
    assert got["c/nothing"].startswith("got 0 samples")
    assert got["c/endless"].startswith("got over 5 s of audio")
    assert [entry.reason for entry in prepared.rejected] == [
        "symbols outside the alphabet",
        "empty text",
        "text too long for the audio",
        "no audio file",
        "cannot read the audio",
        "got 0 samples",
        "got over 5 s of audio",
    ]


def test_a_native_clip_longer_than_any_memory_should_hold_is_not_read_whole(
    tmp_path: Path,
) -> None:
    corpus = write_ljspeech(tmp_path / "c", {"good": "fine", "huge": "too much"})
    with (corpus / "wavs" / "huge.wav").open("r+b") as file:
        file.truncate(1 << 37)
    prepared = prepare([corpus], tmp_path / "out", CONFIG)
    huge = Path(prepared.utterances[1].audio)
    assert huge == tmp_path / "out" / "audio" / "c" / "huge.wav"
    assert len(decode_native(huge.read_bytes(), CONFIG.audio)) == 22_050


@pytest.mark.parametrize(
    ("num_samples", "labels", "fits"),
    [
        (551 + 220 * 39, [1, 2] * 5, True),
        (551 + 220 * 39, [1, 2] * 5 + [3], False),
        (551 + 220 * 39, [1] * 5, True),
        (551 + 220 * 39, [1] * 6, False),
        (1, [1], True),
        (1, [1, 2], False),
    ],
)
def test_labels_must_fit_the_frames_with_a_blank_between_equal_ones(
    num_samples: int, labels: list[int], fits: bool
) -> None:
    # 40 frames of features are 10 of output: two convolutions of stride 2.
    assert bool(find_problem(labels, num_samples, SMALL.features, SMALL.network)) is not fits


def test_no_usable_clip_and_its_reasons(tmp_path: Path) -> None:
    corpus = write_ljspeech(tmp_path / "c", {"a": "1", "b": "2", "c": "!"})
    message = "no usable clip among 3; needed: one. symbols outside the alphabet: 2; empty text: 1"
    with pytest.raises(CorpusError, match=message):
        prepare([corpus], tmp_path / "out", CONFIG)
    assert not (tmp_path / "out" / "manifest.jsonl").exists()


def test_corpora_and_ids_must_differ(tmp_path: Path) -> None:
    first = write_ljspeech(tmp_path / "x" / "same", {"a": "one"})
    second = write_ljspeech(tmp_path / "y" / "same", {"a": "two"})
    with pytest.raises(CorpusError, match=r"several corpora are named \['same'\]"):
        prepare([first, second], tmp_path / "out", CONFIG)
    (first / "metadata.csv").write_text("a|one\na|two\n")
    with pytest.raises(CorpusError, match=r"ids occur twice: \['same/a'\]"):
        prepare([first], tmp_path / "out", CONFIG)


@pytest.mark.parametrize("name", ["../../escaped", "/escaped", "a/../../../escaped", "..", "\0"])
def test_no_id_writes_outside_its_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "corpus"
    audio = write_clip(folder / "good.flac")
    table = folder / "t.csv"
    table.write_text(f"id,audio,text\n{name},good.flac,fine\n")
    (tmp_path / "root" / "in").mkdir(parents=True)
    prepared = prepare([table], tmp_path / "root" / "in" / "out", CONFIG)
    (utterance,) = prepared.utterances
    assert utterance.id == f"t/{name}"
    assert Path(utterance.audio).parent == tmp_path / "root" / "in" / "out" / "audio" / "t"
    written = sorted(p for p in tmp_path.rglob("*.wav") if p != audio)
    assert written == [Path(utterance.audio)]


def test_ids_that_look_alike_as_file_names_keep_their_own_audio(tmp_path: Path) -> None:
    for name, rate_hz in (("a/b", 8_000), ("a_b", 16_000)):
        write_clip(tmp_path / f"{name}.flac", duration_s=16_000 / rate_hz, rate_hz=rate_hz)
    (tmp_path / "t.jsonl").write_text(
        '{"audio": "a/b.flac", "text": "two"}\n{"audio": "a_b.flac", "text": "one"}\n'
    )
    prepared = prepare([tmp_path / "t.jsonl"], tmp_path / "out", CONFIG)
    assert [soundfile.info(u.audio).duration for u in prepared.utterances] == [2.0, 1.0]


def test_a_name_that_is_not_utf8_is_rejected_and_the_rest_is_used(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(
        '{"id": "a\\udcff", "text": "one"}\n{"audio": "b.wav", "text": "two"}\n'
    )
    write_clip(tmp_path / "b.wav")
    prepared = prepare([tmp_path / "t.jsonl"], tmp_path / "out", CONFIG)
    assert [u.text for u in prepared.utterances] == ["two"]
    assert list(rejections(prepared).values()) == ["the id, speaker or file name is not UTF-8"]


def test_a_text_is_on_one_side_in_every_corpus(tmp_path: Path) -> None:
    texts = {f"{i}": f"number {word}" for i, word in enumerate("abcdefghijklmnopqrst")}
    first = write_ljspeech(tmp_path / "first", texts)
    second = write_ljspeech(
        tmp_path / "second", {f"x{name}": f"{text.upper()}!" for name, text in texts.items()}
    )
    config = replace(CONFIG, validation_share=0.3, test_share=0.3)
    prepared = prepare([first, second], tmp_path / "out", config)
    got = sides(prepared)
    assert len(got) == 40
    assert {got[f"first/{name}"] == got[f"second/x{name}"] for name in texts} == {True}
    assert set(got.values()) == {"train", "validation", "test"}


def test_splits_of_a_corpus_win_over_the_hash_and_the_held_out_side_over_train(
    tmp_path: Path,
) -> None:
    texts = {"t": "text t", "v": "text v", "e": "text e"}
    strict = write_ljspeech(tmp_path / "strict", texts, splits={"v": "validation", "e": "test"})
    all_train = write_ljspeech(tmp_path / "all_train", texts, splits=dict.fromkeys(texts, "train"))
    both = write_ljspeech(
        tmp_path / "both", {"1": "Text V.", "2": "other"}, splits={"1": "test", "2": "train"}
    )
    everything_tests = replace(CONFIG, validation_share=0.0, test_share=0.99999)
    for order in ([strict, all_train, both], [both, all_train, strict]):
        got = sides(prepare(order, tmp_path / "out", everything_tests))
        assert [got[f"strict/{name}"] for name in "tve"] == ["train", "test", "test"]
        assert [got[f"all_train/{name}"] for name in "tve"] == ["train", "test", "test"]
        assert [got["both/1"], got["both/2"]] == ["test", "train"]


def test_a_text_held_out_by_a_clip_that_is_rejected_is_still_not_trained_on(
    tmp_path: Path,
) -> None:
    held_out = write_ljspeech(tmp_path / "held_out", {"a": "the text"}, splits={"a": "test"})
    (held_out / "wavs" / "a.wav").unlink()
    other = write_ljspeech(tmp_path / "other", {"b": "The text!", "c": "more"})
    got = sides(prepare([held_out, other], tmp_path / "out", NO_HASH))
    assert got == {"other/b": "test", "other/c": "train"}


def test_splits_beside_a_table(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.wav")
    (tmp_path / "one.txt").write_text("a|first\n")
    (tmp_path / "splits.csv").write_text("id,split\na,validation\n")
    assert sides(prepare([tmp_path / "one.txt"], tmp_path / "out", NO_HASH)) == {
        "one/a": "validation"
    }


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"a": "dev"}, r"splits\.csv: got split 'dev'; needed: train, validation or test"),
        ({"a.wav": "test"}, r"no id in .*splits\.csv is in its corpus; needed: its ids"),
    ],
)
def test_splits_that_would_hold_nothing_out(
    tmp_path: Path, splits: dict[str, str], message: str
) -> None:
    corpus = write_ljspeech(tmp_path / "c", {"a": "one"}, splits=splits)
    with pytest.raises(CorpusError, match=message):
        prepare([corpus], tmp_path / "out", CONFIG)


def test_the_hash_keeps_its_sides_and_its_shares() -> None:
    config = replace(CONFIG, validation_share=0.1, test_share=0.2)
    texts = [f"text {index}" for index in range(5000)]
    got = [split_of_text(text, config) for text in texts]
    # Three standard deviations of a binomial count.
    assert got.count(Split.validation) == pytest.approx(500, abs=64)
    assert got.count(Split.test) == pytest.approx(1000, abs=85)
    # FIPS 180-2: SHA-256("abc") starts with ba7816bf, and 0xba7816bf / 2**32 is 0.72839.
    before = replace(CONFIG, validation_share=0.7283, test_share=0.0002)
    assert split_of_text("abc", before) is Split.test
    assert split_of_text("abc", replace(before, validation_share=0.7284)) is Split.validation
    assert split_of_text("abc", replace(before, test_share=0.00001)) is Split.train


@pytest.mark.parametrize(
    "wrong",
    [{"validation_share": -0.1}, {"validation_share": 0.5, "test_share": 0.5}, {"workers": 0}],
)
def test_wrong_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="needed: "):
        replace(CONFIG, **wrong)  # type: ignore[arg-type]


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    corpus = write_ljspeech(tmp_path / "c", {"a": "one"})
    (tmp_path / "out").write_text("a file")
    with pytest.raises(CorpusError, match="cannot read or write below"):
        prepare([corpus], tmp_path / "out", CONFIG)


def test_a_small_corpus_has_a_clip_on_each_side(tmp_path: Path) -> None:
    for i in range(3):
        write_clip(tmp_path / f"corpus/{i}.wav")
    rows = "".join(f"{i}|text {word}\n" for i, word in enumerate(("one", "two", "three")))
    (tmp_path / "corpus/metadata.csv").write_text(rows, encoding="utf-8")
    prepared = prepare([tmp_path / "corpus"], tmp_path / "out", CONFIG)
    assert sorted(sides(prepared).values()) == ["test", "train", "validation"]
    again = prepare([tmp_path / "corpus"], tmp_path / "again", CONFIG)
    assert sides(again) == sides(prepared)


def test_the_real_corpus_keeps_its_splits(ljspeech: Path, tmp_path: Path) -> None:
    if not (ljspeech / "splits.csv").is_file():
        pytest.skip("needs a corpus with a splits.csv")
    prepared = prepare([ljspeech], tmp_path, CONFIG)
    got = sides(prepared)
    name = ljspeech.resolve().name
    assert not prepared.rejected
    assert [list(got.values()).count(split) for split in Split] == [60, 20, 20]
    assert got[f"{name}/LJ001-0060"] == "train"
    assert got[f"{name}/LJ001-0061"] == "validation"
    assert got[f"{name}/LJ001-0100"] == "test"

"""What a language model learns from: normalised, in the alphabet, and nothing that is held out."""

from pathlib import Path

import pytest

from config import CorpusError
from speech.alphabet import BLANK, Alphabet
from speech.decoding.beam import symbol_names
from training.language_model_text import (
    TextCounts,
    as_characters,
    as_words,
    prepare_text,
    read_sentences,
    texts_of,
    training_sentences,
)
from training.manifest import Split, Utterance


def utterance(text: str, split: Split = Split.train) -> Utterance:
    return Utterance(
        id=f"c/{text}",
        corpus="c",
        speaker="s",
        audio="a.wav",
        text=text,
        num_samples=1,
        split=split,
    )


def test_lines_become_normalised_sentences_and_what_is_left_out_is_counted() -> None:
    lines = ["The Cat, sat.\n", "  \n", "in 1812\n", "“Held OUT!”\n", "-- …\n", "ça va\n"]
    counts = TextCounts()
    kept = list(prepare_text(lines, Alphabet(), counts, held_out={"held out"}))
    assert kept == ["the cat sat", "ca va"]
    assert counts == TextCounts(kept=2, held_out=1, foreign=1)


def test_another_alphabet_keeps_its_letters() -> None:
    french = Alphabet((BLANK, " ", *"acçv"))
    counts = TextCounts()
    assert list(prepare_text(["Ça va", "the cat"], french, counts)) == ["ça va"]
    assert counts == TextCounts(kept=1, foreign=1)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.psv"])
def test_tables_give_their_last_column(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('\ufeffa|In 2 "parts"|in two "parts"\nb|c\n', encoding="utf-8")
    assert list(read_sentences(tmp_path / name)) == ['in two "parts"', "c"]


def test_tabs_divide_a_tsv(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("1-2-3\tONE | TWO\n1-2-4\tTHREE\n", encoding="utf-8")
    assert list(read_sentences(tmp_path / "a.tsv")) == ["ONE | TWO", "THREE"]


def test_other_files_give_their_lines(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_bytes("\ufeffone | two\r\nthree".encode())
    assert [line.strip() for line in read_sentences(tmp_path / "book.txt")] == [
        "one | two",
        "three",
    ]


@pytest.mark.parametrize(
    "name", ["missing.txt", "missing.csv", "latin.txt", "bare.csv", "bare.tsv", "."]
)
def test_files_that_cannot_be_read_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    for table in ("bare.csv", "bare.tsv"):
        (tmp_path / table).write_text("no column\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=rf"{name}.*needed"):
        list(read_sentences(tmp_path / name))


def test_a_text_read_aloud_counts_once_and_files_as_often_as_they_say(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("Yes.\nyes\nno\nsecret\n", encoding="utf-8")
    read_aloud = [utterance("yes"), utterance("well"), utterance("well"), utterance("secret")]
    held_out = [utterance("secret", Split.validation), utterance("other", Split.test)]
    counts = TextCounts()
    sentences = training_sentences(
        [tmp_path / "book.txt"], read_aloud + held_out, Alphabet(), counts, held_out={"secret"}
    )
    assert list(sentences) == ["yes", "yes", "no", "well"]
    assert counts == TextCounts(kept=4, held_out=2)


def test_texts_of_a_split_are_different_sorted_and_of_this_alphabet() -> None:
    utterances = [utterance("b é"), utterance("a"), utterance("a"), utterance("t", Split.test)]
    assert texts_of(utterances, Alphabet(), [Split.train]) == ["a", "b e"]


def test_characters_bear_the_names_that_the_decoder_knows() -> None:
    characters = as_characters("it's a")
    assert characters == ["i", "t", "'", "s", "<space>", "a"]
    assert set(characters) <= set(symbol_names(Alphabet()))
    assert as_words("it's a") == ["it's", "a"]

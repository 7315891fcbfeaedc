"""Text to labels and back, and the one normalisation of text."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config import CorpusError, ModelError
from speech.alphabet import BLANK, ENGLISH, Alphabet, normalise, num_ctc_frames

ENGLISH_ALPHABET = Alphabet()
GERMAN = Alphabet((*ENGLISH, *"äöüß"))
GERMAN_WITHOUT_SHARP_S = Alphabet((*ENGLISH, *"äöü"))
HYPHENATED = Alphabet((*ENGLISH, "-", "."))
CAPITALS = Alphabet((BLANK, " ", *"ABC"))
ALPHABETS = [ENGLISH_ALPHABET, GERMAN, GERMAN_WITHOUT_SHARP_S, HYPHENATED, CAPITALS]


def test_labels_are_positions_and_the_blank_is_first() -> None:
    assert len(ENGLISH_ALPHABET) == 29
    assert ENGLISH_ALPHABET.blank_index == 0
    assert ENGLISH_ALPHABET.encode("a z'") == [3, 1, 28, 2]
    assert ENGLISH_ALPHABET.decode([3, 1, 28, 2]) == "a z'"
    assert ENGLISH_ALPHABET.encode("") == []
    assert ENGLISH_ALPHABET.decode([]) == ""


@given(st.text(alphabet="".join(GERMAN.symbols[1:])))
def test_decoding_undoes_encoding(text: str) -> None:
    labels = GERMAN.encode(text)
    assert GERMAN.decode(labels) == text
    assert GERMAN.blank_index not in labels


def test_characters_outside_the_alphabet_are_named_once() -> None:
    with pytest.raises(CorpusError, match=r"outside the alphabet: '2' 'A' 'é'$"):
        ENGLISH_ALPHABET.encode("A café 22")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello,  World!\n", "hello world"),
        ("", ""),
        (" ?! … ", ""),
        ("Café NAÏVE fiancée", "cafe naive fiancee"),
        ("Cafe\u0301", "cafe"),
        ("Æsop's œuvre, Ølund, Straße, Łódź", "aesop's oeuvre olund strasse lodz"),
        ("Ǽlfric ŉ ﬁne ™", "aelfric 'n fine tm"),
        ("İstanbul", "istanbul"),
        ("don’t donʼt don`t don´t don‘t", "don't don't don't don't don't"),
        ("“Well,” she said, «yes»", "well she said yes"),
        ("he said 'no' and ''yes''", "he said no and yes"),
        ("'tis the students' turn", "'tis the students' turn"),
        ("' '' '''", ""),
        ("well-known twenty—one and/or", "well known twenty one and or"),
        ("un‑broken a - b snake_case", "un broken a b snake case"),
        ("co\u00adoperate", "cooperate"),
        ("In 1984, ⅷ", "in 1984 viii"),
        ("a\u00a0b\u2003c\td", "a b c d"),
        ("日本 tea", "日本 tea"),
    ],
)
def test_english_text_is_normalised(text: str, expected: str) -> None:
    assert normalise(text, ENGLISH_ALPHABET) == expected


@pytest.mark.parametrize(
    ("alphabet", "text", "expected"),
    [
        (GERMAN, "GRÜẞE aus Ko\u0308ln, Straße!", "grüße aus köln straße"),
        (GERMAN, "Café", "café"),
        (GERMAN_WITHOUT_SHARP_S, "GRÜẞE Straße", "grüsse strasse"),
        (HYPHENATED, "Well-known… e.g. A–B.", "well-known... e.g. a b."),
        (CAPITALS, "A  B, C", "A B C"),
    ],
)
def test_other_alphabets_keep_what_they_have(alphabet: Alphabet, text: str, expected: str) -> None:
    assert normalise(text, alphabet) == expected


def test_what_the_alphabet_lacks_stays_to_be_reported() -> None:
    for text, unknown in [("room 101", "'0' '1'"), ("日本", "'日' '本'"), ("αβ", "'α' 'β'")]:
        with pytest.raises(CorpusError, match=f"outside the alphabet: {unknown}"):
            ENGLISH_ALPHABET.encode(normalise(text, ENGLISH_ALPHABET))


@given(st.sampled_from(ALPHABETS), st.text())
@example(ENGLISH_ALPHABET, "\u01fd \u2122")
@example(GERMAN, "ẞ'ß'")
def test_normalising_twice_changes_nothing(alphabet: Alphabet, text: str) -> None:
    once = normalise(text, alphabet)
    assert normalise(once, alphabet) == once
    assert once == " ".join(once.split())


@pytest.mark.parametrize("alphabet", [ENGLISH_ALPHABET, GERMAN])
def test_normalising_twice_changes_no_character_of_unicode(alphabet: Alphabet) -> None:
    letters = [c for c in map(chr, range(0x3000)) if unicodedata.category(c) != "Cn"]
    letters += [c for c in map(chr, range(0xF900, sys.maxunicode, 7)) if c.isalnum()]
    for character in letters:
        once = normalise(character, alphabet)
        assert normalise(once, alphabet) == once, hex(ord(character))


@given(st.text(alphabet="".join(ENGLISH[1:])))
def test_only_spaces_and_quotes_are_lost_of_text_in_the_alphabet(text: str) -> None:
    kept = normalise(text, ENGLISH_ALPHABET)
    ENGLISH_ALPHABET.encode(kept)
    assert kept.replace(" ", "").replace("'", "") == text.replace(" ", "").replace("'", "")


@pytest.mark.parametrize(
    ("labels", "frames"),
    [([], 0), ([3], 1), ([3, 4, 3], 3), ([3, 3], 3), ([3, 3, 3, 4, 4], 8)],
)
def test_equal_neighbours_need_a_blank_between_them(labels: list[int], frames: int) -> None:
    assert num_ctc_frames(labels) == frames


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_reading_what_was_written_gives_the_same(alphabet: Alphabet, tmp_path: Path) -> None:
    path = tmp_path / "alphabet.txt"
    path.write_text(alphabet.to_lines(), encoding="utf-8")
    assert Alphabet.read(path) == alphabet


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_may_hold_comments_and_come_from_any_editor(
    encoding: str, newline: str, tmp_path: Path
) -> None:
    path = tmp_path / "german.txt"
    lines = ["# letters of a language", BLANK, " ", "#", "ä", "", "ß"]
    path.write_text(newline.join(lines), encoding=encoding, newline="")
    assert Alphabet.read(path).symbols == (BLANK, " ", "#", "ä", "ß")


@pytest.mark.parametrize(
    ("symbols", "message"),
    [
        ((), "starts with <blank>"),
        ((BLANK,), "has a symbol after it"),
        (("a", BLANK), r"got \['a', '<blank>'\]"),
        ((BLANK, "a", "ch"), r"single characters.*got \['ch'\]"),
        ((BLANK, "a", ""), r"single characters.*got \[''\]"),
        ((BLANK, "a", "b", "a"), "each once; got twins"),
    ],
)
def test_impossible_alphabets_are_refused(symbols: tuple[str, ...], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Alphabet(symbols)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "alphabet.txt"
    with pytest.raises(ModelError, match="cannot read the alphabet"):
        Alphabet.read(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="cannot read the alphabet"):
        Alphabet.read(path)

"""A language model of words chooses among the texts of a beam, and is loaded or refused clearly."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from config import DecodingConfig, ModelError
from speech.decoding.arpa import read_vocabulary
from speech.decoding.beam import Hypothesis
from speech.decoding.decoder import LANGUAGE_MODEL, WORD_MODEL, Decoder, DecodingOptions
from speech.decoding.rescoring import WordModel
from tests.test_decoder import ALPHABET, heard
from training.language_model import estimate, log10_probabilities, write_arpa
from training.language_model_text import as_characters, as_words

SENTENCES = ("the cat sat", "the cat ran", "the dog sat", "a dog sat", "the cat sat down")


def write_model(path: Path, sentences: Sequence[str] = SENTENCES, *, words: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    units = [as_words(text) if words else as_characters(text) for text in sentences]
    write_arpa(path, estimate(lambda: iter(units), order=3, prune=[0]))
    return path


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> WordModel:
    return WordModel(write_model(tmp_path_factory.mktemp("words") / "words.arpa.gz"))


@pytest.mark.parametrize("text", ["the cat sat", "the dog ran", "a a a", ""])
def test_judges_as_the_model_that_was_estimated(words: WordModel, text: str) -> None:
    model = estimate(lambda: map(as_words, SENTENCES), order=3, prune=[0])
    expected = log10_probabilities(model, [as_words(text)]).sum()
    found, unknown = words.judge(text)
    assert found == pytest.approx(expected, abs=1e-4)
    assert unknown == 0


def test_unknown_words_are_counted_and_cost(words: WordModel) -> None:
    known, unknown = words.judge("the cat sat"), words.judge("the zebra sat")
    assert unknown[1] == 1
    assert unknown[0] < known[0]


def test_scores_are_weighted_and_sorted(words: WordModel) -> None:
    texts = [Hypothesis(text="the kat sat", score=-1.0), Hypothesis(text="the cat sat", score=-1.5)]
    config = DecodingConfig(word_lm_weight=2.0, unknown_word_score=-4.0)
    first, second = words.rescore(texts, config)
    assert (first.text, second.text) == ("the cat sat", "the kat sat")
    assert first.score == pytest.approx(-1.5 + 2 * words.judge("the cat sat")[0])
    assert second.score == pytest.approx(-1.0 + 2 * words.judge("the kat sat")[0] - 4.0)
    off = DecodingConfig(word_lm_weight=0.0, unknown_word_score=0.0)
    assert words.rescore(texts, off) == texts


def test_a_model_folder_with_words_decodes_with_them(tmp_path: Path) -> None:
    write_model(tmp_path / LANGUAGE_MODEL, ["the cat sat", "the kat sat"] * 3, words=False)
    rival = 0.4 * np.exp(heard("the cat sat"))  # as probable but for a letter, a little less so
    log_probs = np.log(0.6 * np.exp(heard("the kat sat")) + rival)
    alone = Decoder.of_model(tmp_path, ALPHABET)
    options = DecodingOptions(n_best=3)
    before = alone.decode(log_probs, options)
    assert before.text == "the kat sat"
    write_model(tmp_path / WORD_MODEL)
    after = Decoder.of_model(tmp_path, ALPHABET).decode(log_probs, options)
    assert after.text == "the cat sat"
    assert after.hypotheses[0].score >= after.hypotheses[1].score
    greedy = DecodingOptions(decoder="greedy")
    assert Decoder.of_model(tmp_path, ALPHABET).decode(log_probs, greedy).text == "the kat sat"


def test_the_vocabulary_is_that_of_the_file_packed_or_not(tmp_path: Path) -> None:
    packed = write_model(tmp_path / "w.arpa.gz")
    plain = tmp_path / "w.arpa"
    plain.write_bytes(gzip.decompress(packed.read_bytes()))
    expected = {"the", "a", "cat", "dog", "sat", "ran", "down"}
    assert set(read_vocabulary(packed)) == set(read_vocabulary(plain)) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "names no words"),
        (b"no model", "names no words"),
        (b"\x1f\x8bbroken", "cannot read the language model"),
        (b"\\data\\\n\n\\1-grams:\n-1\t\xff\xfe\t0\n", "cannot read the language model"),
        (b"\\data\\\n\n\\1-grams:\n-1\t<s>\t0\n", "has no words"),
        (b"\\data\\\nngram 1=9\n\n\\1-grams:\n-1\tcat\t0\n\n\\end\\\n", "cannot load the language"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "words.arpa.gz"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as raised:
        WordModel(path)
    assert str(path) in str(raised.value)


def test_no_file_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot read the language model"):
        WordModel(tmp_path / "words.arpa.gz")

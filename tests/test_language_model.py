"""The estimator against the definitions, a hand-worked example, lmplz's numbers and KenLM."""

import gzip
import tracemalloc
from collections import Counter
from fractions import Fraction
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from flashlight.lib.text.decoder.kenlm import KenLM
from flashlight.lib.text.dictionary import Dictionary
from hypothesis import given, settings
from hypothesis import strategies as st

from config import CorpusError
from training import language_model
from training.language_model import (
    END,
    START,
    UNKNOWN,
    LanguageModel,
    estimate,
    log10_probabilities,
    write_arpa,
)

Words = tuple[str, ...]


def made_up_sentences() -> list[Words]:
    """Return 60 sentences of 23 words, some of them frequent; the same everywhere."""
    state, sentences = 1, []
    for number in range(60):
        words = []
        for _ in range(3 + number % 5):
            draws = []
            for _ in range(3):
                state = (state * 1103515245 + 12345) % 2**31
                draws.append(state // 2**16 % 26)
            words.append("abcdefghijklmnopqrstuvwxyz"[min(draws)])
        sentences.append(tuple(words))
    return sentences


MADE_UP = made_up_sentences()


def entries(model: LanguageModel) -> dict[Words, tuple[float, float]]:
    """Return probability and back-off weight by n-gram."""
    return {
        tuple(model.vocabulary[word] for word in row): (probability, backoff)
        for length, level in enumerate(model.ngrams, start=1)
        for row, probability, backoff in zip(
            model.words(length), level.probability, level.backoff, strict=True
        )
    }


def backed_off(table: dict[Words, tuple[float, float]], history: Words, word: str) -> float:
    """Return a word's probability as the readers of ARPA files compute it."""
    if (*history, word) in table:
        return table[(*history, word)][0]
    return table.get(history, (0.0, 1.0))[1] * backed_off(table, history[1:], word)


class Reference:
    """Modified Kneser-Ney, interpolated, as Chen and Goodman define it; slow and exact."""

    def __init__(self, sentences: list[Words], order: int, limits: list[int]) -> None:
        marked = [(START, *sentence, END) for sentence in sentences if sentence]
        self.order, self.limits = order, limits
        self.counts = Counter(
            sentence[i : i + length]
            for sentence in marked
            for length in range(1, order + 1)
            for i in range(len(sentence) - length + 1)
            if sentence[i : i + length] != (START,)
        )
        self.words = sorted({UNKNOWN, *(w for s in marked for w in s)} - {START})

    @cache  # noqa: B019
    def adjusted(self, ngram: Words) -> int:
        if len(ngram) == self.order or ngram[0] == START:
            return self.counts[ngram]
        return sum(self.counts[(word, *ngram)] > 0 for word in [START, *self.words])

    @cache  # noqa: B019
    def discounts(self, length: int) -> list[Fraction]:
        tally = Counter(self.adjusted(ngram) for ngram in self.counts if len(ngram) == length)
        if tally[1] and tally[2] and tally[3]:
            y = Fraction(tally[1], tally[1] + 2 * tally[2])
            found = [k - (k + 1) * y * Fraction(tally[k + 1], tally[k]) for k in (1, 2, 3)]
            if min(found) > 0:
                return [Fraction(0), *found]
        return [Fraction(0), Fraction(1, 2), Fraction(1), Fraction(3, 2)]

    def is_kept(self, ngram: Words) -> bool:
        return len(ngram) == 1 or self.counts[ngram] > self.limits[len(ngram) - 1]

    @cache  # noqa: B019
    def probability(self, history: Words, word: str) -> Fraction:
        shorter = Fraction(1, len(self.words))
        if history:
            shorter = self.probability(history[1:], word)
        shares = {}
        for other in self.words:
            count = self.adjusted((*history, other))
            shares[other] = count - self.discounts(len(history) + 1)[min(count, 3)]
        total = sum(self.adjusted((*history, other)) for other in self.words)
        if not total:
            return shorter
        own = {w: s / total for w, s in shares.items() if self.is_kept((*history, w))}
        return own.get(word, Fraction(0)) + (1 - sum(own.values())) * shorter


sentences_of_three_words = st.lists(
    st.lists(st.sampled_from("abc"), max_size=6).map(tuple), min_size=1, max_size=12
).filter(any)


@settings(max_examples=40, deadline=None)
@given(
    sentences=sentences_of_three_words,
    order=st.integers(1, 4),
    prune=st.lists(st.integers(0, 2), max_size=3).map(sorted),
)
def test_it_is_the_definition_for_every_history_and_sums_to_one(
    sentences: list[Words], order: int, prune: list[int]
) -> None:
    limits = [0, *prune][:order]
    limits += limits[-1:] * (order - len(limits))
    reference = Reference(sentences, order, limits)
    table = entries(estimate(lambda: sentences, order=order, prune=limits))
    assert table.keys() - {(START,), (UNKNOWN,)} == {
        ngram for ngram in reference.counts if reference.is_kept(ngram)
    }
    for length in range(order):
        for history in product([START, *reference.words], repeat=length):
            if START in history[1:]:
                continue
            found = [backed_off(table, history, word) for word in reference.words]
            exact = [float(reference.probability(history, word)) for word in reference.words]
            np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-12)
            assert sum(found) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("prune", [[0], [0, 0, 1], [0, 1, 1, 2]])
def test_it_is_the_definition_with_estimated_discounts(prune: list[int]) -> None:
    reference = Reference(MADE_UP, 4, prune + prune[-1:] * (4 - len(prune)))
    assert reference.discounts(2)[1] not in (Fraction(1, 2), Fraction(0))
    table = entries(estimate(lambda: MADE_UP, order=4, prune=prune))
    for *history, word in table:
        if word != START:
            exact = float(reference.probability(tuple(history), word))
            assert table[(*history, word)][0] == pytest.approx(exact, rel=1e-9)


def test_discounts_that_would_be_negative_are_the_constants() -> None:
    words = tuple("abbcccdddeee")  # one, two, three and four or more times: 2, 1, 3, 0 words
    table = entries(estimate(lambda: [words], order=1))
    assert table[("b",)][0] == pytest.approx((2 - 1) / 13 + (2 * 0.5 + 1 + 3 * 1.5) / 13 / 7)


def test_a_hand_worked_example() -> None:
    """Two sentences, "a b" and "a c"; too few for an estimate, so discounts are 1/2, 1 and 3/2.

    Unigrams count the words before them: a, b, c 1 each, `</s>` 2, together 5. They give up
    3 * 1/2 + 1 = 5/2, half of it all, to be shared by five words, `<unk>` among them: 1/10 each.
    So p(a) = (1 - 1/2) / 5 + 1/10 = 1/5, p(</s>) = (2 - 1) / 5 + 1/10 = 3/10, p(<unk>) = 1/10.
    After a, b and c once each give up 1/2 of 2: p(b | a) = 1/4 + 1/2 * 1/5 = 7/20. After `<s>`, a
    twice gives up 1 of 2: p(a | <s>) = 1/2 + 1/2 * 1/5 = 3/5. After b: 1/2 + 1/2 * 3/10 = 13/20.
    """
    table = entries(estimate(lambda: [("a", "b"), ("a", "c")], order=2))
    assert {ngram: round(probability, 12) for ngram, (probability, _) in table.items()} == {
        (UNKNOWN,): 0.1,
        (START,): 0.0,
        (END,): 0.3,
        ("a",): 0.2,
        ("b",): 0.2,
        ("c",): 0.2,
        (START, "a"): 0.6,
        ("a", "b"): 0.35,
        ("a", "c"): 0.35,
        ("b", END): 0.65,
        ("c", END): 0.65,
    }
    assert {ngram[0]: backoff for ngram, (_, backoff) in table.items() if len(ngram) == 1} == {
        **dict.fromkeys((START, "a", "b", "c"), 0.5),
        **dict.fromkeys((UNKNOWN, END), 1.0),
    }


# What KenLM's lmplz wrote for the same sentences (-o 3 --prune 0 0 1 --discount_fallback).
LMPLZ_SIZES = [25, 196, 16]
LMPLZ = """
-2.1741567	<unk>	0
-1.0415312	</s>	0
-1.1519839	a	-0.26861367
-1.0932555	b	-0.30322456
-1.9281744	t	-0.21899155
-1.1960741	<s> a	0
-0.87452763	<s> b	-0.009872023
-1.2520565	a a	0
-0.67330027	b </s>	0
-1.0547756	i b	0
-0.67119503	h a </s>	0
-0.62127906	b e </s>	0
-0.579334	g e </s>	0
-0.7338767	b f </s>	0
-0.8251573	k k a	0
-1.0712357	<s> i a	0
-1.0999892	<s> c b	0
-1.5431166	<s> b i	0
-0.8838978	d d g	0
"""


def test_it_gives_the_numbers_of_lmplz() -> None:
    model = estimate(lambda: MADE_UP, order=3, prune=[0, 0, 1])
    assert [len(level.key) for level in model.ngrams] == LMPLZ_SIZES
    table = entries(model)
    for line in LMPLZ.strip().split("\n"):
        probability, words, backoff = line.split("\t")
        found = np.log10(table[tuple(words.split())])
        np.testing.assert_allclose(found, [float(probability), float(backoff)], atol=2e-6)


def kenlm_scores(path: Path, sentences: list[Words]) -> list[float]:
    """Return each word's and each end's log10-probability, by the library that decodes."""
    words = sorted({word for sentence in sentences for word in sentence})
    dictionary = Dictionary(words)
    model = KenLM(str(path), dictionary)
    scores = []
    for sentence in sentences:
        state = model.start(False)
        for word in sentence:
            state, score = model.score(state, dictionary.get_index(word))
            scores.append(score)
        scores.append(model.finish(state)[1])
    return scores


@pytest.mark.parametrize("name", ["model.arpa", "model.arpa.gz"])
@pytest.mark.parametrize(("order", "prune"), [(2, [0]), (3, [0, 0, 1]), (6, [0]), (5, [0, 9])])
def test_kenlm_loads_the_file_and_gives_the_same_probabilities(
    tmp_path: Path, name: str, order: int, prune: list[int]
) -> None:
    model = estimate(lambda: MADE_UP, order=order, prune=prune)
    write_arpa(tmp_path / name, model)
    sentences = [*MADE_UP[:20], ("a", "never", "b", "a"), ("z", "y", "x"), ("unheard",)]
    found = log10_probabilities(model, sentences)
    table = entries(model)
    assert len(found) == sum(len(sentence) + 1 for sentence in sentences)
    assert found[0] == pytest.approx(np.log10(backed_off(table, (START,), sentences[0][0])))
    np.testing.assert_allclose(kenlm_scores(tmp_path / name, sentences), found, atol=5e-4)


def test_every_history_of_the_written_file_sums_to_one(tmp_path: Path) -> None:
    write_arpa(tmp_path / "model.arpa", estimate(lambda: MADE_UP, order=4, prune=[0, 0, 1]))
    table: dict[Words, tuple[float, float]] = {}
    for line in (tmp_path / "model.arpa").read_text(encoding="utf-8").splitlines():
        if line.count("\t") in (1, 2):
            probability, words, *backoff = line.split("\t")
            weight = float(backoff[0]) if backoff else 0.0
            table[tuple(words.split(" "))] = 10 ** float(probability), 10**weight
    words = [ngram[0] for ngram in table if len(ngram) == 1 and ngram != (START,)]
    histories = {ngram for ngram in table if len(ngram) < 4} | {(), ("a", "a", "z"), (UNKNOWN, "a")}
    assert len(histories) > 200
    for history in histories:
        total = sum(backed_off(table, history, word) for word in words)
        assert total == pytest.approx(1, abs=1e-4)


def test_counting_in_chunks_is_counting_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = entries(estimate(lambda: MADE_UP, order=4))
    monkeypatch.setattr(language_model, "_CHUNK_WORDS", 1)
    assert entries(estimate(lambda: MADE_UP, order=4)) == at_once


def test_memory_holds_what_is_counted_and_not_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_model, "_CHUNK_WORDS", 500)

    def peak(repeats: int) -> int:
        tracemalloc.start()
        estimate(lambda: (s for _ in range(repeats) for s in MADE_UP), order=3)
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(2)  # what is imported at the first use is not counted
    assert peak(60) < 1.2 * peak(2)


def test_a_corpus_too_small_for_all_lengths_gives_a_proper_model(tmp_path: Path) -> None:
    model = estimate(lambda: [("a",)], order=6)
    assert [len(level.key) for level in model.ngrams] == [4, 2, 1, 0, 0, 0]
    table = entries(model)
    for history in [(), (START,), ("a",), (START, "a"), ("a", "a", "a", "a", "a")]:
        assert sum(backed_off(table, history, w) for w in ("a", END, UNKNOWN)) == pytest.approx(1)
    write_arpa(tmp_path / "model.arpa", model)
    found = log10_probabilities(model, [("a", "a")])
    np.testing.assert_allclose(
        kenlm_scores(tmp_path / "model.arpa", [("a", "a")]), found, atol=1e-4
    )


def test_progress_ends_with_all_readings() -> None:
    seen: list[tuple[int, int]] = []
    estimate(lambda: MADE_UP, order=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 3), (3, 3)]


@pytest.mark.parametrize("sentences", [[], [()]])
def test_no_text_is_said_in_words(sentences: list[Words]) -> None:
    with pytest.raises(CorpusError, match="no text; needed"):
        estimate(lambda: sentences, order=2)


@pytest.mark.parametrize("word", ["<s>", "</s>", "<unk>", "a b", "", "a\n", "a\0", "\u00a0"])
def test_words_that_arpa_cannot_hold_are_refused(word: str) -> None:
    with pytest.raises(CorpusError, match="needed: no space in it"):
        estimate(lambda: [("a", word)], order=2)


@pytest.mark.parametrize(
    ("order", "prune"), [(0, ()), (-1, ()), (3, [1]), (3, [0, 2, 1]), (2, [0, 0, 0]), (2, [-1, 0])]
)
def test_a_wrong_order_or_pruning_is_refused(order: int, prune: list[int]) -> None:
    with pytest.raises(ValueError, match="needed: an order of at least 1"):
        estimate(lambda: MADE_UP, order=order, prune=prune)


def test_sentences_that_can_be_read_once_are_refused() -> None:
    once = iter(MADE_UP)
    with pytest.raises(ValueError, match="needed: anew at each call"):
        estimate(lambda: once, order=2)


def test_the_file_lists_every_ngram_once_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_model, "_BATCH_LINES", 7)
    model = estimate(lambda: MADE_UP, order=2)
    write_arpa(tmp_path / "model.arpa", model)
    header, unigrams, bigrams, end = (tmp_path / "model.arpa").read_text().split("\n\n")
    assert header == "\\data\\\nngram 1=25\nngram 2=196"
    assert end == "\\end\\\n"
    assert unigrams.startswith("\\1-grams:\n")
    assert [line.count("\t") for line in unigrams.split("\n")] == [0] + [2] * 25
    assert [line.count("\t") for line in bigrams.split("\n")] == [0] + [1] * 196
    assert len({line.split("\t")[1] for line in bigrams.split("\n")[1:]}) == 196


def test_the_file_is_the_same_each_time_and_compressed_by_its_name(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        model = estimate(lambda: iter(MADE_UP), order=3)
        write_arpa(tmp_path / folder / "model.arpa.gz", model)
        write_arpa(tmp_path / folder / "model.arpa", model)
    compressed = (tmp_path / "one" / "model.arpa.gz").read_bytes()
    assert compressed[3:8] == bytes(5)  # neither a name nor a time
    assert compressed == (tmp_path / "two" / "model.arpa.gz").read_bytes()
    assert gzip.decompress(compressed) == (tmp_path / "two" / "model.arpa").read_bytes()
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == ["model.arpa", "model.arpa.gz"]

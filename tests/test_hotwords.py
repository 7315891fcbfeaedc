"""Hot words on log-probabilities made from texts, where it is known what was nearly heard."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import DecodingError
from speech.alphabet import BLANK, Alphabet
from speech.decoding import hotwords as module
from speech.decoding.alignment import align
from speech.decoding.beam import Hypothesis
from speech.decoding.greedy import greedy_decode
from speech.decoding.hotwords import DEFAULT_WEIGHT, HotWord, parse_hotword

ALPHABET = Alphabet()
SMALL = Alphabet((BLANK, " ", "a", "b"))
WORDS = st.lists(st.text("abcdefg", min_size=1, max_size=9), min_size=1, max_size=5)


def heard(best: str, second: str = "", *, behind: float = 1.0) -> np.ndarray:
    """Return log-probabilities of `best`, with `second` so many nats a character behind.

    Both are as long, "-" stands for the blank; each character has a frame, with a blank after it.
    """
    log_probs = np.full((2 * len(best), len(ALPHABET)), -12.0, np.float32)
    log_probs[1::2, ALPHABET.blank_index] = 0
    for text, value in ((second, -behind), (best, 0.0)):
        for place, character in enumerate(text):
            log_probs[2 * place, symbol(character)] = value
    return log_probs


def symbol(character: str) -> int:
    return ALPHABET.blank_index if character == "-" else ALPHABET.symbols.index(character)


def lift(text: str, log_probs: np.ndarray, hotwords: list[HotWord], alphabet: Alphabet) -> str:
    """Return the text alone."""
    best = Hypothesis(text=text, score=-3.0)
    found = module.lift(best, log_probs, hotwords, alphabet)
    assert found is best or (found.text != text and found.score > best.score)
    return found.text


def path_score(text: str, log_probs: np.ndarray) -> float:
    """Return the log-probability of the likeliest path of `text`."""
    labels = ALPHABET.encode(text)
    path = np.zeros(len(log_probs), int)
    for label, (start, end) in zip(labels, align(log_probs, labels), strict=True):
        path[start:end] = label
    return float(log_probs[np.arange(len(path)), path].sum(dtype=np.float64))


def lifted(
    best: str, second: str, *phrases: str, behind: float = 1.0, weight: float = DEFAULT_WEIGHT
) -> str:
    """Return the text of what was `heard`, hot words lifted."""
    log_probs = heard(best, second, behind=behind)
    hotwords = [HotWord(text=phrase, weight=weight) for phrase in phrases]
    return lift(greedy_decode(log_probs, ALPHABET), log_probs, hotwords, ALPHABET)


@pytest.mark.parametrize(
    ("best", "second", "phrase", "text"),
    [
        ("he saw walefish today", "he saw wolffish today", "wolffish", "he saw wolffish today"),
        ("walefish today", "wolffish today", "wolffish", "wolffish today"),
        ("he saw walefish", "he saw wolffish", "wolffish", "he saw wolffish"),
        ("walefish", "wolffish", "wolffish", "wolffish"),
        ("he ate ice-crime now", "he ate ice cream now", "ice cream", "he ate ice cream now"),
        ("ice-crime", "ice cream", "ice cream", "ice cream"),
        ("the con dision is", "the con-dition is", "condition", "the condition is"),
        ("in noo yark now", "in new york now", "new york", "in new york now"),
    ],
)
def test_a_phrase_that_was_nearly_heard_is_found(
    best: str, second: str, phrase: str, text: str
) -> None:
    assert lifted(best, second, phrase, behind=0.8) == text
    assert lifted(best, second, phrase, behind=9.0) == best.replace("-", "")
    assert lifted(best, "", phrase) == best.replace("-", "")


@pytest.mark.parametrize("phrase", ["elephant", "he ate", "walrus", "a", "ish", "walefishes"])
def test_a_phrase_that_was_not_heard_changes_nothing(phrase: str) -> None:
    assert lifted("he saw walefish today", "he saw wolffish today", phrase) == (
        "he saw walefish today"
    )


@pytest.mark.parametrize(
    ("phrase", "allowance"), [("ab", 0.5), ("abcd", 0.5), ("abcde", 1), ("ab cdefgh", 5)]
)
@pytest.mark.parametrize("weight", [0.5, DEFAULT_WEIGHT, 4.0, 20.0])
def test_the_weight_is_how_far_a_phrase_may_be_behind(
    phrase: str, allowance: float, weight: float
) -> None:
    other = f"z{phrase[1:]}"
    just = min(weight * allowance, 1.5 * len(phrase))
    assert lifted(other, phrase, phrase, behind=just - 0.01, weight=weight) == phrase
    assert lifted(other, phrase, phrase, behind=just + 0.01, weight=weight) == other


def test_a_phrase_without_weight_must_be_likelier_than_what_was_decoded() -> None:
    log_probs = heard("a cathedral", "a kathedral", behind=0.1)
    found = [HotWord(text="cathedral", weight=0.0)]
    assert lift("a kathedral", log_probs, found, ALPHABET) == "a cathedral"
    assert lift("a cathedral", log_probs, found, ALPHABET) == "a cathedral"
    lost = [HotWord(text="kathedral", weight=0.0)]
    assert lift("a cathedral", log_probs, lost, ALPHABET) == "a cathedral"


def test_all_places_of_all_phrases_are_found() -> None:
    best = "walefish and walefish and porpuse"
    second = "wolffish and wolffish and porpose"
    assert lifted(best, second, "porpose", "wolffish", behind=0.5) == second


def test_of_phrases_that_overlap_the_longest_that_fits_wins() -> None:
    phrases = ("new york", "new york city", "york")
    best, second = "in new yark sity now", "in new york city now"
    for order in itertools.permutations(phrases):
        assert lifted(best, second, *order) == second
    assert lifted("in new yark sate now", "in new york sate now", *phrases) == (
        "in new york sate now"
    )


def test_of_phrases_that_are_as_far_ahead_the_longest_wins() -> None:
    for phrases in (("ab", "ab d"), ("ab d", "ab")):
        assert lifted("ab c", "ab d", *phrases, behind=0.0) == "ab d"


def test_of_phrases_for_one_place_the_likeliest_wins() -> None:
    log_probs = heard("the cofer", "the coper", behind=0.8)
    log_probs[2 * 6, symbol("v")] = -0.3
    phrases = [HotWord(text=text) for text in ("coper", "cover")]
    assert lift("the cofer", log_probs, phrases, ALPHABET) == "the cover"


@given(WORDS, st.floats(0, 100))
def test_words_that_are_right_stay_as_they_are(words: list[str], weight: float) -> None:
    text = " ".join(words)
    phrases = [HotWord(text=phrase, weight=weight) for phrase in (*words, text)]
    if weight < 12 / 9:  # so that no phrase may differ in a letter
        assert lift(text, heard(text), phrases, ALPHABET) == text
    assert lift(text, heard(text), [phrases[-1]], ALPHABET) == text


def test_lifting_twice_is_lifting_once() -> None:
    log_probs = heard("he saw walefish today", "he saw wolffish today", behind=0.8)
    phrases = [HotWord(text="wolffish"), HotWord(text="today")]
    once = lift("he saw walefish today", log_probs, phrases, ALPHABET)
    assert lift(once, log_probs, phrases, ALPHABET) == once == "he saw wolffish today"


@pytest.mark.parametrize("phrases", [["wolffish"], ["wolffish", "porpose"], ["wolffish", "saw"]])
@pytest.mark.parametrize("weight", [DEFAULT_WEIGHT, 5.0])
def test_a_lifted_texts_score_gains_what_lifted_it(phrases: list[str], weight: float) -> None:
    """What the network says of the two texts, and the allowance of each phrase that is new."""
    text = "he saw walefish and porpuse"
    log_probs = heard(text, "he saw wolffish and porpose", behind=0.8)
    hotwords = [HotWord(text=phrase, weight=weight) for phrase in phrases]
    found = module.lift(Hypothesis(text=text, score=-7.0), log_probs, hotwords, ALPHABET)
    behind = path_score(found.text, log_probs) - path_score(text, log_probs)
    allowances = sum(h.allowance for h in hotwords if h.text != "saw")
    assert behind < -1
    assert found.score == pytest.approx(-7.0 + behind + allowances, abs=1e-4)


def test_a_phrase_that_is_there_already_changes_no_score() -> None:
    best = Hypothesis(text="he saw wolffish", score=-7.0)
    hotwords = [HotWord(text="wolffish", weight=5.0)]
    assert module.lift(best, heard("he saw wolffish"), hotwords, ALPHABET) is best


def test_phrases_that_need_more_frames_than_there_are_cost_nothing(monkeypatch) -> None:
    searched = []

    def search(ratios: np.ndarray, states: np.ndarray, *rest: object) -> object:
        searched.append(len(states))
        return actual(ratios, states, *rest)

    actual = module._search
    monkeypatch.setattr(module, "_search", search)
    log_probs = heard("wale", "bell", behind=0.3)
    assert len(log_probs) == 8
    too_long = ["abcdefghi", "aabbccd", "abcd efghi"]
    assert lift("wale", log_probs, [HotWord(text=t) for t in too_long], ALPHABET) == "wale"
    assert searched == []
    just = [HotWord(text=t, weight=0.1) for t in (*too_long, "abcdefgh", "aabbcc")]
    assert lift("wale", log_probs, just, ALPHABET) == "wale"
    assert searched == [1], "eight letters need eight frames, and three pairs of letters nine"
    assert lift("wale", log_probs, [HotWord(text="bell", weight=4.0), *just], ALPHABET) == "bell"


def test_a_phrase_may_be_found_where_nothing_was() -> None:
    assert lifted("--------", "wolffish", "wolffish", behind=0.5) == "wolffish"
    assert lifted("--------", "wolffish", "wolffish", behind=5.0) == ""
    assert lifted("walrus----------", "walrus- wolffish", "wolffish", behind=0.5) == (
        "walrus wolffish"
    )


def test_without_phrases_nothing_changes() -> None:
    assert lift("any thing", heard("a"), [], ALPHABET) == "any thing"


def test_impossible_symbols_are_no_trouble() -> None:
    log_probs = heard("a walefish", "a wolffish", behind=0.8)
    log_probs[log_probs == -12] = -math.inf
    for phrase, text in (("wolffish", "a wolffish"), ("elephant", "a walefish")):
        assert lift("a walefish", log_probs, [HotWord(text=phrase)], ALPHABET) == text


def test_a_text_that_would_not_fit_into_the_frames_is_not_made() -> None:
    log_probs = np.full((5, len(SMALL)), -12.0, np.float32)
    for frame, decoded, other in zip(log_probs, "a b a", " b-b ", strict=True):
        frame[["- ab".index(decoded), "- ab".index(other)]] = -0.8, -0.6
    phrases = [HotWord(text="bb", weight=5.0)]
    assert lift("a b a", log_probs, phrases, SMALL) == "a b a"
    longer = np.repeat(log_probs, 2, axis=0)
    assert lift("a b a", longer, phrases, SMALL) == "a bb a"


@given(
    st.lists(st.lists(st.floats(-6, 0), min_size=4, max_size=4), min_size=1, max_size=4),
    st.sampled_from(["a", "ab", "aa", "a b"]),
)
def test_the_search_finds_the_best_of_all_windows_and_paths(
    scores: list[list[float]], phrase: str
) -> None:
    log_probs = np.array(scores, np.float64)
    text = greedy_decode(log_probs.astype(np.float32), SMALL)
    labels = SMALL.encode(text)
    spans = module.align(log_probs.astype(np.float32), labels)
    ratios = module._ratios(log_probs, labels, spans, SMALL)
    hotwords = [HotWord(text="abab"), HotWord(text=phrase, weight=100.0)]
    matches = module._matches(ratios, hotwords, SMALL)
    found = max(matches["gain"][matches["phrase"] == 1], default=-math.inf)
    best = best_of_all_windows(ratios, SMALL.encode(f" {phrase} ")) + hotwords[1].allowance
    assert found == pytest.approx(best if best > 0 else -math.inf)


def best_of_all_windows(ratios: np.ndarray, labels: list[int]) -> float:
    """Return the best sum over the paths of `labels`, the spaces at the ends in one frame each."""
    best = -math.inf
    for start, end in itertools.combinations(range(len(ratios) + 1), 2):
        window = ratios[start:end]
        for path in itertools.product(range(ratios.shape[1]), repeat=end - start):
            merged = [label for label, _ in itertools.groupby(path) if label != 0]
            is_tight = path[0] == path[-1] == 1 and 1 not in (path[1:2] + path[-2:-1])
            if merged == labels and is_tight:
                best = max(best, float(window[np.arange(len(path)), path].sum()))
    return best


@pytest.mark.parametrize(
    ("text", "phrase", "weight"),
    [
        ("New York", "new york", 8.0),
        ("wolffish:3", "wolffish", 3.0),
        ("  Ice-Cream : 2.5", "ice cream", 2.5),
        ("zoë:0", "zoe", 0.0),
        ("o'clock:100", "o'clock", 100.0),
    ],
)
def test_a_phrase_is_read_with_its_weight(text: str, phrase: str, weight: float) -> None:
    hotword = parse_hotword(text, ALPHABET)
    assert hotword.text == phrase
    assert hotword.weight == pytest.approx(weight * DEFAULT_WEIGHT / 8)


@pytest.mark.parametrize(
    "text",
    ["", "  ", ":", ":3", "!?:3", "a:", "a:b", "a:nan", "a:-1", "a:101", "a:inf", "7up", "a" * 101],
)
def test_what_is_no_phrase_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="needed: ") as raised:
        parse_hotword(text, ALPHABET)
    assert repr(text) in str(raised.value)


def test_an_alphabet_without_a_space_has_no_words() -> None:
    alphabet = Alphabet((BLANK, "a", "b"))
    with pytest.raises(ValueError, match="'ab', and the model's alphabet has no space; needed: "):
        parse_hotword("ab", alphabet)
    with pytest.raises(DecodingError, match="has no space"):
        lift("ab", np.zeros((5, 3), np.float32), [HotWord(text="ab")], alphabet)

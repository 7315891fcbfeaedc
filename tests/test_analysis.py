"""What an analysis counts, against counts made by hand."""

from math import inf

import numpy as np
import pytest

from config import CorpusError
from tests.analysed import heard
from training.analysis import analyse, measure_calibration, measure_vocabulary
from training.analysis_findings import find
from training.analysis_groups import by_name, by_range, range_name, speaking_rate_edges
from training.analysis_noise import NoiseCurve, NoiseLevel
from training.analysis_statistics import compare, rate
from training.analysis_words import (
    NOTHING,
    Step,
    align_characters,
    align_words,
    confused_characters,
    count_errors,
    frequent_errors,
)
from training.reliability import measure_reliability, right_words


def test_words_are_aligned_with_the_fewest_errors() -> None:
    steps = align_words("the cat sat down here", "a cat down here now")
    assert steps[:3] == (("the", "a"), ("cat", "cat"), ("sat", ""))
    assert steps[3:] == (("down", "down"), ("here", "here"), ("", "now"))
    kinds = [step.kind for step in steps]
    assert kinds == ["substitution", "equal", "deletion", "equal", "equal", "insertion"]


def test_nothing_understood_is_all_left_out() -> None:
    assert [step.kind for step in align_words("a b", "")] == ["deletion"] * 2
    assert align_characters("ab", "") == (("a", ""), ("b", ""))


def test_errors_are_counted_in_words_and_characters() -> None:
    assert count_errors("the dog ran", "the dig ran on") == (2, 3, 4, 11)


def test_frequent_errors_come_with_counts_and_places() -> None:
    clips = [
        heard("we saw the dog today", "we saw a dog today", name="1"),
        heard("the end", "a end", name="2"),
        heard("the cat", "the cat oh", name="3"),
        heard("so it is", "so is", name="4"),
    ]
    found = frequent_errors(clips)
    (error,) = found["substitution"]
    assert (error.reference, error.hypothesis) == ("the", "a")
    assert (error.count, error.occurrences) == (2, 3)
    places = [(example.id, example.before, example.after) for example in error.examples]
    assert places == [("x/1", "we saw", "dog today"), ("x/2", "", "end")]
    assert [(e.reference, e.count, e.occurrences) for e in found["deletion"]] == [("it", 1, 1)]
    assert [(e.hypothesis, e.count, e.occurrences) for e in found["insertion"]] == [("oh", 1, 1)]


def test_the_most_frequent_come_first_and_no_more_than_asked() -> None:
    clips = [heard("a b b c", "x y y z")]
    found = frequent_errors(clips, limit=2)["substitution"]
    assert [(error.reference, error.count) for error in found] == [("b", 2), ("a", 1)]


def test_characters_that_were_confused() -> None:
    found = confused_characters([("bad", "bat"), ("bad", "bat"), ("bad", "ba"), ("a", "ab")])
    assert found.symbols == ("a", "b", "d", "t", NOTHING)
    assert found.counts == (
        (4, 0, 0, 0, 0),
        (0, 3, 0, 0, 0),
        (0, 0, 0, 2, 1),
        (0, 0, 0, 0, 0),
        (0, 1, 0, 0, 0),
    )
    assert found.most_frequent(2, replaced=True) == [(Step("d", "t"), 2)]
    others = [(Step("", "b"), 1), (Step("d", ""), 1)]
    assert found.most_frequent(2, replaced=False) == others
    assert found.most_frequent(1, replaced=False) == others[:1]
    assert found.occurrences("d") == 3


def test_words_outside_the_list_and_inside() -> None:
    clips = [heard("the zebra ran", "the deb ran off"), heard("the cat zebra", "a zebra")]
    found = measure_vocabulary(clips, frozenset({"the", "cat", "ran"}))
    assert (found.outside.errors, found.outside.count) == (1, 2)
    assert (found.inside.errors, found.inside.count) == (2, 4)
    (word,) = found.unknown
    assert (word.word, word.count, word.wrong) == ("zebra", 2, 1)
    assert found.size == 3
    assert measure_vocabulary(clips[:1], frozenset({"the", "zebra", "ran"})).outside is None
    assert measure_vocabulary(clips[:1], frozenset()).inside is None


def test_confidence_is_judged_word_by_word() -> None:
    clips = [heard("a b c", "a x c d", confidence=0.9), heard("a b", "a", confidence=0.7)]
    found = measure_calibration(clips)
    assert (found.wrong.errors, found.wrong.count) == (2, 5)
    assert found.expected == pytest.approx(1 - (4 * 0.9 + 0.7) / 5)
    sure = [value for clip in clips for value in clip.word_confidences]
    right = [bool(r) for clip in clips for r in right_words(clip.reference, clip.hypothesis)]
    assert found.reliability == measure_reliability(sure, right)
    assert measure_calibration([heard("a", "")]) is None


@pytest.mark.parametrize(
    ("low", "high", "name"),
    [
        (0.0, 2.0, "under 2 s"),
        (-inf, 10.0, "under 10 s"),
        (2.0, 5.5, "2 to 5.5 s"),
        (20.0, inf, "20 s and over"),
        (0.0, inf, "any"),
    ],
)
def test_ranges_are_named(low: float, high: float, name: str) -> None:
    assert range_name(low, high, "s") == name


def test_the_lower_edge_belongs_to_a_range_and_unknown_values_to_none() -> None:
    clips = [heard("a b", "a c", snr_db=value, name=str(value)) for value in (5, 10, 14, 15, None)]
    groups = by_range(clips, lambda clip: clip.snr_db, (-inf, 10, 15, inf), "dB")
    assert [(group.name, group.clips) for group in groups] == [
        ("under 10 dB", 1),
        ("10 to 15 dB", 2),
        ("15 dB and over", 1),
    ]


def test_speaking_rates_are_split_into_groups_of_like_size() -> None:
    clips = [heard("abcdefghij", "abc", duration_s=1 + i / 50, name=str(i)) for i in range(100)]
    edges = speaking_rate_edges(clips)
    groups = by_range(clips, lambda clip: clip.characters_a_second, edges, "x")
    assert len(groups) == 5
    assert all(15 <= group.clips <= 25 for group in groups)
    assert speaking_rate_edges(clips[:10]) == (0.0, inf)


def test_groups_by_name_start_with_the_worst_and_leave_out_the_unknown() -> None:
    clips = [
        heard("a b", "a b", speaker="x/good"),
        heard("a b", "a c", speaker="x/bad"),
        heard("a b", "c d", speaker="x/x"),
    ]
    groups = by_name(clips, lambda clip: clip.speaker)
    assert [(group.name, group.wer.value) for group in groups] == [("x/bad", 0.5), ("x/good", 0)]
    assert [group.name for group in by_name(clips, lambda clip: clip.corpus)] == ["x"]
    often = [heard("a b", "a c", speaker="x/bad", name=str(i)) for i in range(5)]
    once = heard("a b", "", speaker="x/once")
    assert [g.name for g in by_name([once, *often], lambda c: c.speaker)] == ["x/bad", "x/once"]


def test_an_empty_reference_is_refused() -> None:
    with pytest.raises(CorpusError, match="x/a: the reference is empty; needed"):
        heard("", "a")
    with pytest.raises(ValueError, match="no clip"):
        analyse([])


def test_only_what_the_intervals_support_is_said() -> None:
    """Thirty clips of each kind tell apart 0.5 and 0.05; two of each do not."""
    bad = [heard("a b c z", "a b x y", speaker="x/1", name=f"1{i}") for i in range(30)]
    good = [
        heard("a b c d", "a b c d" if i % 5 else "a b c e", speaker="x/2", name=f"2{i}")
        for i in range(30)
    ]
    known = frozenset("abcd")
    findings = {f.chapter: f.text for f in find(analyse([*bad, *good], known_words=known))}
    assert findings.keys() == {"speaker", "vocabulary", "confidence"}
    assert "speaker x/2 have fewer errors" in findings["speaker"]
    ratio = 1 / ((30 + 6) / 210)
    assert f"are wrong {ratio:.1f} times as often" in findings["vocabulary"]
    assert "100\u202f% of 30 against 17\u202f% of 210" in findings["vocabulary"]
    assert find(analyse([*bad[:2], *good[:2]], known_words=known)) == []


def test_words_that_are_left_out_more_often_than_added() -> None:
    clips = [heard("a b c d", "a b c" if i % 2 else "a b c d", name=str(i)) for i in range(60)]
    (sentence,) = [f.text for f in find(analyse(clips)) if f.chapter == "errors"]
    assert sentence == "Words are left out but never added: 30 against 0."


def noise_curve(*counts: tuple[float | None, int]) -> NoiseCurve:
    """Return a curve of 40 clips of ten words: SNR, and how many errors each second clip has."""
    clean = np.array([[0, 10], [counts[0][1], 10]] * 20)
    levels = []
    for snr_db, mistakes in counts:
        table = np.array([[0, 10], [mistakes, 10]] * 20)
        increase = None if snr_db is None else compare(table, clean, paired=True)
        found = rate(*table.T)
        levels.append(NoiseLevel(snr_db=snr_db, wer=found, cer=found, increase=increase))
    return NoiseCurve(clips=40, levels=tuple(levels))


def test_the_noise_that_costs_words_and_the_noise_that_doubles_the_errors() -> None:
    clips = [heard("a b", "a b", name=str(i)) for i in range(12)]
    curve = noise_curve((None, 2), (30.0, 2), (20.0, 3), (10.0, 4), (0.0, 8))
    found = [f.text for f in find(analyse(clips, noise=curve)) if f.chapter == "noise"]
    assert [
        text.partition(",")[0].replace("\u202f", " ").replace("\xa0", " ") for text in found
    ] == [
        "Pink noise 20 dB below the speech raises WER from 10 % to 15 % (1.5 times as many errors)",
        "Pink noise 10 dB below the speech raises WER from 10 % to 20 % (2.0 times as many errors)",
    ]
    calm = noise_curve((None, 2), (30.0, 2))
    assert not [f for f in find(analyse(clips, noise=calm)) if f.chapter == "noise"]

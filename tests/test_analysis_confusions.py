"""The matrix of confused characters: its shares, and colours that one rare symbol leaves alone."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from training.analysis_confusions import ConfusionMatrix, confusion_matrix
from training.analysis_errors import characters
from training.analysis_plots import Picture, plot_confusions
from training.analysis_words import NOTHING, confused_characters

SVG = "{http://www.w3.org/2000/svg}"


def spoken(*parts: tuple[str, str, int]) -> ConfusionMatrix:
    """Return the matrix of characters: said, understood, how often."""
    return confusion_matrix(confused_characters(said_so(*parts)))


def said_so(*parts: tuple[str, str, int]) -> list[tuple[str, str]]:
    return [(said, understood) for said, understood, times in parts for _ in range(times)]


def test_shares_leave_out_what_is_right_and_what_was_said_too_seldom() -> None:
    matrix = spoken(("a", "a", 15), ("a", "b", 5), ("b", "a", 9))
    assert matrix.symbols == ("a", "b", NOTHING)
    np.testing.assert_equal(matrix.shares, [[np.nan, 0.25, 0], [np.nan] * 3, [np.nan] * 3])


def test_a_rare_symbol_does_not_bleach_the_others() -> None:
    common = [("a", "a", 920), ("a", "e", 80), ("e", "e", 950), ("e", "a", 50)]
    matrix = spoken(*common, ("z", "s", 14), ("z", "z", 6))
    assert (matrix.limit, matrix.highest) == pytest.approx((0.08, 0.7))
    assert matrix.is_capped
    added = spoken(*common, ("abc", "abcx", 200))  # all that was added is an x
    assert added.limit == pytest.approx(80 / 1200)


def test_colours_hold_all_shares_where_none_stands_far_above() -> None:
    matrix = spoken(("a", "a", 920), ("a", "e", 80), ("e", "e", 18), ("e", "a", 2))
    assert (matrix.limit, matrix.is_capped) == (pytest.approx(0.1), False)
    often = spoken(("a", "a", 95), ("a", "e", 5), ("z", "s", 70), ("z", "z", 30))
    assert (often.limit, often.is_capped) == (pytest.approx(0.7), False)


@pytest.mark.parametrize("parts", [("ab", "abx", 12), ("a", "b", 1), ("a", "a", 20)])
def test_there_are_colours_where_nothing_or_little_was_confused(
    parts: tuple[str, str, int],
) -> None:
    matrix = spoken(parts)
    assert (matrix.limit, matrix.is_capped) == (1, False)
    assert labels(plot_confusions(matrix))


def test_the_caption_says_where_colours_end() -> None:
    common = [("a", "a", 920), ("a", "e", 80)]
    capped = confused_characters(said_so(*common, ("z", "s", 14), ("z", "z", 6)))
    text = re.sub(r"\s", " ", characters(capped).content)
    assert "Colours end at 8.0 %" in text
    assert "up to 70 %" in text
    assert "Colours end" not in characters(confused_characters(said_so(*common))).content


def labels(image: Picture) -> list[tuple[float, str]]:
    """Return the labels of the colour bar: where each is, in points, and what it says."""
    texts = ElementTree.fromstring(image.light).iter(f"{SVG}text")
    shares = [text for text in texts if re.fullmatch(r"0|.*%", text.text or "")]
    return [(float(text.get("x", "")), text.text or "") for text in shares]


@pytest.mark.parametrize("wrong", [1, 8, 35, 64, 70, 99])
def test_the_labels_of_the_colour_bar_do_not_run_into_each_other(wrong: int) -> None:
    found = labels(plot_confusions(spoken(("a", "e", wrong), ("a", "a", 100 - wrong))))
    assert len(found) == 4
    assert found[-1][1].startswith(str(wrong))
    assert np.diff([place for place, _ in found]).min() > 40  # the longest is 25 points

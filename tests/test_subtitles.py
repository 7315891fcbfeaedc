"""Cues: hand-made examples, limits for any words, and files read back by published parsers."""

from __future__ import annotations

import html
import itertools
import time
from collections.abc import Sequence
from datetime import timedelta

import pytest
import srt
import webvtt
from hypothesis import example, given
from hypothesis import strategies as st

from speech.subtitles import Cue, SubtitleConfig, make_cues, to_srt, to_vtt
from speech.transcript import Word

DEFAULT = SubtitleConfig()
SMALL = SubtitleConfig(max_line_characters=5, max_lines=2, max_cue_s=2.0)
CONFIGS = [
    DEFAULT,
    SMALL,
    SubtitleConfig(max_line_characters=1, max_lines=1),
    SubtitleConfig(max_line_characters=12, max_lines=3, gap_s=0.0, close_gap_s=0.0, pause_s=0.2),
    SubtitleConfig(max_cue_s=0.001, min_cue_s=0.001, max_characters_per_s=1e6),
    SubtitleConfig(gap_s=3.0, close_gap_s=4.0, max_characters_per_s=2.0),
]


def spoken(
    text: str, *, start_s: float = 0.0, word_s: float = 0.3, gap_s: float = 0.1
) -> list[Word]:
    """Return the words of `text`, evenly spoken; each "|" is a second of silence."""
    words = []
    for token in text.split():
        if token == "|":
            start_s += 1.0
            continue
        words.append(Word(text=token, start_s=start_s, end_s=start_s + word_s, confidence=0.9))
        start_s += word_s + gap_s
    return words


def timed(*words: tuple[str, float, float]) -> list[Word]:
    """Return words of text, start and end."""
    return [Word(text=text, start_s=a, end_s=b, confidence=0.5) for text, a, b in words]


def cut(word: Word, max_characters: int) -> list[str]:
    """Return the pieces that a line can hold."""
    return [word.text[i : i + max_characters] for i in range(0, len(word.text), max_characters)]


def cued_words(
    words: Sequence[Word], cues: Sequence[Cue], config: SubtitleConfig
) -> list[list[Word]]:
    """Return each cue's words (of a word that is cut, as often as it has pieces)."""
    pieces = iter(
        (piece, word) for word in words for piece in cut(word, config.max_line_characters)
    )
    groups = []
    for cue in cues:
        groups.append([])
        for text in " ".join(cue.lines).split(" "):
            piece, word = next(pieces)
            assert text == piece
            groups[-1].append(word)
    assert next(pieces, None) is None
    return groups


@st.composite
def word_lists(draw: st.DrawFn, *, texts: st.SearchStrategy[str] | None = None) -> list[Word]:
    """Draw words in order of their starts, or in none: gaps, overlaps, no time at all."""
    if texts is None:
        texts = st.text("abc'", min_size=1, max_size=12) | st.text("xyz", min_size=30, max_size=200)
    steps = st.just(0.0) | st.floats(0, 0.6) | st.floats(0, 5) | st.floats(0, 9e5)
    lengths = st.just(0.0) | st.floats(0, 0.6) | st.floats(0, 20)
    drawn = draw(st.lists(st.tuples(texts, steps, lengths), max_size=60))
    ordered = draw(st.booleans()) or draw(st.booleans())
    words, now_s = [], 0.0
    for text, step_s, length_s in drawn:
        now_s = now_s + step_s if ordered else step_s
        words += timed((text, now_s, now_s + length_s))
    return words


def check_limits(words: Sequence[Word], cues: Sequence[Cue], config: SubtitleConfig) -> None:
    """Hold what is true of any words."""
    for cue in cues:
        assert 1 <= len(cue.lines) <= config.max_lines
        assert all(1 <= len(line) <= config.max_line_characters for line in cue.lines)
        assert 0 < cue.end_s - cue.start_s <= config.max_cue_s + 1e-9
    for cue, following in itertools.pairwise(cues):
        assert cue.end_s <= following.start_s
    seen: list[Word] = []
    before_ms = -1
    for cue, group in zip(cues, cued_words(words, cues, config), strict=True):
        start_ms = round(cue.start_s * 1000)
        is_rest_of_a_word = bool(seen) and group[0] is seen[-1]
        if not is_rest_of_a_word:
            assert start_ms == max(round(group[0].start_s * 1000), before_ms + 1)
        seen += group
        before_ms = start_ms


@pytest.mark.parametrize("config", CONFIGS)
@given(words=word_lists())
@example(words=timed(*[("a", 1.0, 1.0)] * 400))
@example(words=timed(("a" * 1000, 1.0, 1.0), ("b", 1.0, 1.0)))
def test_limits_hold_and_no_word_is_lost_or_doubled(
    config: SubtitleConfig, words: list[Word]
) -> None:
    check_limits(words, make_cues(words, config), config)


@pytest.mark.parametrize("config", CONFIGS)
@given(words=word_lists())
def test_published_parsers_read_the_cues_back(config: SubtitleConfig, words: list[Word]) -> None:
    cues = make_cues(words, config)
    of_srt = list(srt.parse(to_srt(words, config)))
    of_vtt = list(webvtt.from_string(to_vtt(words, config)))
    assert [cue.index for cue in of_srt] == list(range(1, len(cues) + 1))
    assert [cue.content for cue in of_srt] == ["\n".join(cue.lines) for cue in cues]
    assert [html.unescape(cue.raw_text) for cue in of_vtt] == ["\n".join(cue.lines) for cue in cues]
    times = [(milliseconds(cue.start_s), milliseconds(cue.end_s)) for cue in cues]
    assert [(cue.start, cue.end) for cue in of_srt] == times
    assert [(vtt_time(cue.start), vtt_time(cue.end)) for cue in of_vtt] == times


def milliseconds(seconds: float) -> timedelta:
    """Return a time that is held in whole milliseconds."""
    return timedelta(milliseconds=round(seconds * 1000))


def vtt_time(clock: str) -> timedelta:
    """Read hours, minutes and seconds."""
    hours, minutes, seconds = clock.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds))


MARKS = ["-->", ">-->", "--", "<i>", "<", ">", "&", "&amp;", "&lt;", "{b}", "\\N", "00:00:01,000"]
HOSTILE = st.sampled_from([*MARKS, "1", "12", "WEBVTT", "NOTE", "STYLE", "é", "日本語"])


@given(words=word_lists(texts=HOSTILE))
def test_any_text_survives_both_files(words: list[Word]) -> None:
    lines = ["\n".join(cue.lines) for cue in make_cues(words)]
    assert [cue.content for cue in srt.parse(to_srt(words))] == lines
    vtt = to_vtt(words)
    assert [html.unescape(cue.raw_text) for cue in webvtt.from_string(vtt)] == lines
    assert vtt.count("-->") == len(lines)


@given(words=word_lists(), config=st.sampled_from(CONFIGS))
def test_a_cue_stays_until_it_is_spoken_and_read_or_the_next_one_comes(
    words: list[Word], config: SubtitleConfig
) -> None:
    cues = make_cues(words, config)
    groups = cued_words(words, cues, config)
    for cue, group, following in itertools.zip_longest(cues, groups, cues[1:]):
        characters = len("\n".join(cue.lines))
        reading_s = max(config.min_cue_s, characters / config.max_characters_per_s)
        whole = [word.end_s for word in group if len(word.text) <= config.max_line_characters]
        enough_s = max([cue.start_s + reading_s, *whole])
        enough_s = min(enough_s, cue.start_s + config.max_cue_s)
        if following:
            half_s = (cue.start_s + following.start_s) / 2
            latest_s = max(following.start_s - config.gap_s, half_s)
            enough_s = min(enough_s, latest_s)
            at_most = cue.end_s > cue.start_s + config.max_cue_s - 0.002
            closed = cue.end_s > latest_s - 0.001
            assert closed or at_most or following.start_s - cue.end_s > config.close_gap_s - 0.001
        assert cue.end_s > enough_s - 0.001


@given(words=word_lists(texts=st.text("ab", min_size=1, max_size=9)))
def test_a_pause_ends_a_cue_that_has_stood_its_least_time(words: list[Word]) -> None:
    spoken_until_s = 0.0
    for group in cued_words(words, make_cues(words), DEFAULT):
        for index, word in enumerate(group):
            if index and word.start_s - spoken_until_s >= DEFAULT.pause_s:
                assert word.start_s - group[0].start_s < DEFAULT.min_cue_s + DEFAULT.gap_s
            spoken_until_s = max(spoken_until_s, word.end_s)


def greedily(words: Sequence[Word], config: SubtitleConfig) -> int:
    """Return the number of cues when each takes as many words as it can, the fewest there are."""
    num_cues, lines, start_s = 0, [], 0.0
    for word in words:
        joined = [*lines[:-1], f"{lines[-1]} {word.text}"] if lines else [word.text]
        if len(joined[-1]) > config.max_line_characters:
            joined = [*lines, word.text]
        fits = len(joined) <= config.max_lines and word.end_s - start_s <= config.max_cue_s
        if not lines or not fits:
            num_cues, joined, start_s = num_cues + 1, [word.text], word.start_s
        lines = joined
    return num_cues


@given(
    texts=st.lists(st.text("ab", min_size=1, max_size=5), max_size=60),
    word_s=st.sampled_from([0.05, 0.3, 0.9, 2.5]),
    config=st.sampled_from(CONFIGS[:2]),
)
def test_speech_without_pauses_takes_the_fewest_cues(
    texts: list[str], word_s: float, config: SubtitleConfig
) -> None:
    words = spoken(" ".join(texts), word_s=word_s)
    assert len(make_cues(words, config)) == greedily(words, config)


@given(texts=st.lists(st.text("ab", min_size=1, max_size=8), min_size=1, max_size=9))
def test_lines_are_as_few_and_as_alike_as_any_breaks_make_them(texts: list[str]) -> None:
    config = SubtitleConfig(max_line_characters=20, max_lines=5, max_cue_s=60)
    (cue,) = make_cues(spoken(" ".join(texts)), config)
    layouts = [
        [" ".join(texts[a:b]) for a, b in itertools.pairwise([0, *breaks, len(texts)])]
        for count in range(len(texts))
        for breaks in itertools.combinations(range(1, len(texts)), count)
    ]
    fitting = [lines for lines in layouts if max(map(len, lines)) <= 20]
    fewest = [lines for lines in fitting if len(lines) == min(map(len, fitting))]
    best = min(fewest, key=lambda lines: (sum(len(x) ** 2 for x in lines), [*map(len, lines)]))
    assert list(cue.lines) == best


def test_two_cues_as_srt() -> None:
    words = timed(("hello", 0.5, 0.8), ("world", 0.9, 1.4), ("once", 3.0, 3.2), ("more", 3.3, 4.25))
    assert to_srt(words) == (
        "1\n00:00:00,500 --> 00:00:01,400\nhello world\n"
        "\n"
        "2\n00:00:03,000 --> 00:00:04,250\nonce more\n"
    )


def test_two_cues_as_vtt() -> None:
    words = timed(("r&d", 0.5, 0.8), ("<loud>", 0.9, 1.4), ("-->", 3.0, 3.2), ("it's", 3.3, 4.25))
    assert to_vtt(words) == (
        "WEBVTT\n"
        "\n"
        "00:00:00.500 --> 00:00:01.400\nr&amp;d &lt;loud&gt;\n"
        "\n"
        "00:00:03.000 --> 00:00:04.250\n--&gt; it's\n"
    )


def test_no_words_give_valid_empty_files() -> None:
    assert make_cues([]) == []
    assert to_srt([]) == ""
    assert to_vtt([]) == "WEBVTT\n"
    assert len(webvtt.from_string("WEBVTT\n")) == 0


def test_hours_have_as_many_digits_as_they_need() -> None:
    words = timed(("late", 359_999.9994, 360_000.9996), ("later", 4e6, 4e6 + 1))
    assert to_srt(words) == (
        "1\n99:59:59,999 --> 100:00:01,000\nlate\n\n2\n1111:06:40,000 --> 1111:06:41,000\nlater\n"
    )


def test_a_long_sentence_parts_into_cues_and_lines_that_are_alike() -> None:
    text = (
        "printing in the only sense with which we are at present concerned differs from most "
        "if not from all the arts and crafts represented in the exhibition"
    )
    cues = make_cues(spoken(text, word_s=0.2, gap_s=0.05))
    assert [cue.lines for cue in cues] == [
        ("printing in the only sense with which", "we are at present concerned differs"),
        ("from most if not from all the arts and", "crafts represented in the exhibition"),
    ]


def test_a_halt_near_the_middle_parts_cues_rather_than_the_middle() -> None:
    early = "one two three four five six seven eight"
    late = "nine ten eleven twelve thirteen fourteen fifteen sixteen"
    first = spoken(early, word_s=0.2, gap_s=0.05)
    second = spoken(late, word_s=0.2, gap_s=0.05, start_s=first[-1].end_s + 0.4)
    assert [" ".join(cue.lines) for cue in make_cues([*first, *second])] == [early, late]
    evenly = make_cues(spoken(f"{early} {late}", word_s=0.2, gap_s=0.05))
    assert " ".join(evenly[0].lines) != early


def test_hurried_words_share_a_cue_with_slow_ones_so_that_there_is_time_to_read() -> None:
    hurried = spoken("fast " * 10, word_s=0.06, gap_s=0.0)
    slow = spoken("slow " * 10, word_s=0.6, gap_s=0.0, start_s=0.6)
    texts = [" ".join(cue.lines).split() for cue in make_cues([*hurried, *slow])]
    assert texts == [["fast"] * 10 + ["slow"] * 4, ["slow"] * 6]


@pytest.mark.parametrize(("silence_s", "num_cues"), [(0.59, 1), (0.61, 2)])
def test_a_pause_ends_a_cue(silence_s: float, num_cues: int) -> None:
    words = timed(("aa", 0.0, 1.0), ("bb", 1.0 + silence_s, 3.0))
    assert len(make_cues(words)) == num_cues


def test_there_is_no_pause_while_an_earlier_word_still_sounds() -> None:
    words = timed(("long", 0.0, 3.0), ("in", 1.0, 1.2), ("it", 2.5, 2.6))
    assert make_cues(words) == [Cue(start_s=0.0, end_s=3.0, lines=("long in it",))]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("aa bb", ("aa bb",)),
        ("aa bbb", ("aa", "bbb")),
        ("a b c", ("a b c",)),
        ("a b ccc", ("a b", "ccc")),
        ("aa b aa", ("aa", "b aa")),
        ("abcdefg", ("abcde", "fg")),
    ],
)
def test_a_cue_has_one_line_if_it_can_and_a_longer_lower_line_if_in_doubt(
    text: str, lines: tuple[str, ...]
) -> None:
    (cue,) = make_cues(spoken(text), SMALL)
    assert cue.lines == lines


def test_a_word_longer_than_a_cue_goes_on_in_the_next_one() -> None:
    cues = make_cues(timed(("abcdefghijklmno", 1.0, 4.0), ("p", 4.1, 4.2)), SMALL)
    assert cues == [
        Cue(start_s=1.0, end_s=2.917, lines=("abcde", "fghij")),
        Cue(start_s=3.0, end_s=4.2, lines=("klmno", "p")),
    ]


def test_a_cue_of_a_short_word_stays_to_be_read() -> None:
    (cue,) = make_cues(timed(("yes", 2.0, 2.1)))
    assert (cue.start_s, cue.end_s) == (2.0, 2.834)


def test_a_fast_cue_stays_for_its_reading_speed() -> None:
    text = "thirty four characters are in here"
    (cue,) = make_cues(spoken(text, word_s=0.05, gap_s=0.0))
    assert (cue.start_s, cue.end_s) == (0.0, 2.0)


def test_a_word_alone_before_a_pause_joins_what_follows_if_it_would_only_flash() -> None:
    together = make_cues(timed(("yes", 0.0, 0.2), ("indeed", 0.85, 1.5)))
    assert [cue.lines for cue in together] == [("yes indeed",)]
    apart = make_cues(timed(("yes", 0.0, 0.2), ("indeed", 0.95, 1.5)))
    assert [(cue.lines, cue.end_s) for cue in apart] == [(("yes",), 0.867), (("indeed",), 1.784)]


@pytest.mark.parametrize(
    ("following_s", "end_s"), [(2.0, 1.917), (2.4, 2.317), (2.41, 1.9), (2.6, 1.9)]
)
def test_a_small_gap_is_closed_and_a_large_one_left(following_s: float, end_s: float) -> None:
    config = SubtitleConfig(max_line_characters=4, max_lines=1)
    cue, _ = make_cues(timed(("aaaa", 0.0, 1.9), ("bbbb", following_s, following_s + 1)), config)
    assert cue.end_s == end_s


def test_a_cue_never_stays_longer_than_its_limit() -> None:
    (cue,) = make_cues(timed(("drone", 1.0, 30.0)))
    assert (cue.start_s, cue.end_s) == (1.0, 8.0)


def test_nothing_joins_a_word_that_fills_the_longest_cue() -> None:
    cues = make_cues(timed(("drone", 0.0, 30.0), ("in", 5.0, 6.0), ("it", 30.1, 31.0)))
    times = [(cue.start_s, cue.end_s) for cue in cues]
    assert times == [(0.0, 4.917), (5.0, 6.0), (30.1, 31.0)]


def test_cues_of_one_moment_follow_each_other_by_a_millisecond() -> None:
    cues = make_cues(timed(*[("abcde", 1.0, 1.0)] * 5), SMALL)
    assert [(cue.start_s, cue.end_s) for cue in cues] == [
        (1.0, 1.001),
        (1.001, 1.002),
        (1.002, 1.836),
    ]


def test_white_space_in_a_text_is_never_more_than_one_space() -> None:
    words = timed((" a\n\nb\u2028", 0.0, 0.5), ("", 0.5, 0.6), (" ", 0.6, 0.7), ("c", 0.7, 0.9))
    assert [cue.lines for cue in make_cues(words)] == [("a b c",)]


def test_an_hour_of_speech_without_a_pause_takes_seconds() -> None:
    words = spoken("many words " * 5000, word_s=0.3, gap_s=0.06)
    began_s = time.process_time()
    cues = make_cues(words)
    assert time.process_time() - began_s < 10
    check_limits(words, cues, DEFAULT)


@pytest.mark.parametrize(
    ("start_s", "end_s"),
    [(1.0, 0.5), (-1.0, 1.0), (float("nan"), 1.0), (0.0, float("nan")), (0.0, float("inf"))],
)
def test_impossible_times_are_refused(start_s: float, end_s: float) -> None:
    with pytest.raises(ValueError, match="needed: 0 <= start <= end, finite"):
        make_cues(timed(("a", start_s, end_s)))


@pytest.mark.parametrize(
    "settings",
    [
        {"max_line_characters": 0},
        {"max_lines": 0},
        {"max_cue_s": 0.5},
        {"max_cue_s": float("inf")},
        {"min_cue_s": 0.0},
        {"min_cue_s": float("nan")},
        {"min_cue_s": 7.5},
        {"max_characters_per_s": 0.0},
        {"pause_s": 0.0},
        {"pause_s": float("nan")},
        {"gap_s": -0.1},
        {"gap_s": 0.6},
        {"close_gap_s": float("inf")},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        SubtitleConfig(**settings)

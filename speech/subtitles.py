"""Timed words to subtitles: cues that can be read in time, as SubRip (SRT) and WebVTT."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from speech.transcript import Transcript, Word


@dataclass(frozen=True, kw_only=True)
class SubtitleConfig:
    """How much text a cue may hold, and for how long.

    `max_line_characters`, `max_lines`, `max_cue_s`, `min_cue_s`, `gap_s` (two frames at 24 a
    second) and `close_gap_s` are Netflix's figures (Timed Text Style Guide: General Requirements
    and Subtitle Timing Guidelines). 17 characters a second is Netflix's adult reading speed for
    English templates, and near the upper end of the BBC's 160 to 180 words a minute (Subtitle
    Guidelines). No guideline gives `pause_s`.

    Attributes:
        max_line_characters: characters of a line, spaces included.
        max_lines: lines of a cue.
        max_cue_s: seconds that a cue stays at most.
        min_cue_s: seconds that it stays at least, where the next cue leaves room.
        max_characters_per_s: reading speed; a cue stays long enough for it, where there is room.
        pause_s: seconds of silence that end a cue which has stood `min_cue_s` by then.
        gap_s: seconds without text between two cues, so that the change is seen.
        close_gap_s: a gap up to this would flicker and is cut to `gap_s`.
    """

    max_line_characters: int = 42
    max_lines: int = 2
    max_cue_s: float = 7.0
    min_cue_s: float = 5 / 6
    max_characters_per_s: float = 17.0
    pause_s: float = 0.6
    gap_s: float = 2 / 24
    close_gap_s: float = 0.5

    def __post_init__(self) -> None:
        for name in ("max_line_characters", "max_lines"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} {getattr(self, name)} is under 1")
        for name in ("max_characters_per_s", "pause_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} {getattr(self, name)} is not positive and finite")
        if not 0.001 <= self.min_cue_s <= self.max_cue_s < math.inf:
            raise ValueError(
                f"min_cue_s {self.min_cue_s}, max_cue_s {self.max_cue_s}; needed: "
                "0.001 <= min_cue_s <= max_cue_s, finite"
            )
        if not 0 <= self.gap_s <= self.close_gap_s < math.inf:
            raise ValueError(
                f"gap_s {self.gap_s}, close_gap_s {self.close_gap_s}; needed: "
                "0 <= gap_s <= close_gap_s, finite"
            )


@dataclass(frozen=True, kw_only=True)
class Cue:
    """What is on screen at one time.

    Attributes:
        start_s: when it appears, seconds from the clip's start, a whole number of milliseconds.
        end_s: when it goes; after `start_s`, likewise.
        lines: the text from top to bottom, at least one line.
    """

    start_s: float
    end_s: float
    lines: tuple[str, ...]


DEFAULT = SubtitleConfig()


def make_cues(words: Sequence[Word], config: SubtitleConfig = DEFAULT) -> list[Cue]:
    """Return cues that show every word once, in the order given.

    A pause ends a cue. Speech between two pauses is given to as few cues as the limits allow,
    of much the same length, preferably parted where the speaker halts. A cue appears with its
    first word; of cues whose first words start together, each appears 1 ms after the one before.

    Args:
        words: in order of time; they may overlap. A word longer than a line is cut.
        config: the limits. Lines, characters and `max_cue_s` always hold; `min_cue_s`, the
            reading speed and `gap_s` give way to the next cue's start.

    Returns:
        Cues in order of time, none overlapping another.

    Raises:
        ValueError: a word's times are not finite, negative, or end before they start.
    """
    groups = group_words(words, config)
    starts_ms: list[int] = []
    for group in groups:
        earliest_ms = starts_ms[-1] + 1 if starts_ms else 0
        starts_ms.append(max(round(group[0].start_s * 1000), earliest_ms))
    return [
        Cue(
            start_s=start_ms / 1000,
            end_s=_end_ms(group, start_ms, following_ms, config) / 1000,
            lines=_lines([piece.text for piece in group], config.max_line_characters),
        )
        for group, start_ms, following_ms in zip(
            groups, starts_ms, [*starts_ms[1:], None], strict=False
        )
    ]


def group_words(words: Sequence[Word], config: SubtitleConfig = DEFAULT) -> list[Sequence[Word]]:
    """Return the words of each cue; of a word longer than a line, its pieces."""
    pieces = _pieces(words, config.max_line_characters)
    return [group for block in _blocks(pieces, config) for group in _split(block, config)]


def to_text(transcript: Transcript, form: str) -> str:
    """Return a transcript as `text`, `srt` or `vtt`, ending in a line's end.

    Raises:
        ValueError: another form.
    """
    if form == "text":
        return transcript.text + "\n"
    if form not in ("srt", "vtt"):
        raise ValueError(f"form {form!r}; needed: text, srt or vtt")
    return to_srt(transcript.words) if form == "srt" else to_vtt(transcript.words)


def to_srt(words: Sequence[Word], config: SubtitleConfig = DEFAULT) -> str:
    """Return a SubRip file; empty without words. SubRip has no way to escape `<` in a text."""
    return "\n".join(
        f"{index}\n{_clock(cue.start_s, ',')} --> {_clock(cue.end_s, ',')}\n"
        + "".join(f"{line}\n" for line in cue.lines)
        for index, cue in enumerate(make_cues(words, config), 1)
    )


def to_vtt(words: Sequence[Word], config: SubtitleConfig = DEFAULT) -> str:
    """Return a WebVTT file (W3C, "WebVTT", section 4); the bare header without words."""
    cues = [
        f"{_clock(cue.start_s, '.')} --> {_clock(cue.end_s, '.')}\n"
        + "".join(f"{html.escape(line, quote=False)}\n" for line in cue.lines)
        for cue in make_cues(words, config)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _pieces(words: Sequence[Word], max_characters: int) -> list[Word]:
    """Return words that fit on a line; the pieces of a longer one share its time equally."""
    pieces = []
    for word in words:
        if not 0 <= word.start_s <= word.end_s < math.inf:
            raise ValueError(
                f"got a word from {word.start_s} s to {word.end_s} s; "
                "needed: 0 <= start <= end, finite"
            )
        texts = [
            part[start : start + max_characters]
            for part in word.text.split()
            for start in range(0, len(part), max_characters)
        ]
        for index, text in enumerate(texts):
            step_s = (word.end_s - word.start_s) / len(texts)
            start_s = word.start_s + index * step_s
            pieces.append(replace(word, text=text, start_s=start_s, end_s=start_s + step_s))
    return pieces


def _blocks(pieces: Sequence[Word], config: SubtitleConfig) -> Iterator[list[Word]]:
    """Yield what is spoken between two pauses; never so little that its cue would only flash."""
    block: list[Word] = []
    spoken_until_s = 0.0
    for piece in pieces:
        if (
            block
            and piece.start_s - spoken_until_s >= config.pause_s
            and piece.start_s - block[0].start_s >= config.min_cue_s + config.gap_s
        ):
            yield block
            block = []
        block.append(piece)
        spoken_until_s = max(spoken_until_s, piece.end_s)
    if block:
        yield block


def _split(block: Sequence[Word], config: SubtitleConfig) -> list[Sequence[Word]]:
    """Return the division into the fewest cues; of those, the one of the least total cost."""
    best = [(0, 0.0, 0), *[(len(block) + 1, 0.0, 0)] * len(block)]
    for first in range(len(block)):
        num_cues, total, _ = best[first]
        for after, cost in _cues_from(block, first, config):
            best[after] = min(best[after], (num_cues + 1, total + cost, first))
    groups: list[Sequence[Word]] = []
    after = len(block)
    while after:
        first = best[after][2]
        groups.append(block[first:after])
        after = first
    return groups[::-1]


def _cues_from(
    block: Sequence[Word], first: int, config: SubtitleConfig
) -> Iterator[tuple[int, float]]:
    """Yield each cue that may start at `first`: the word after it, and its cost.

    The cost grows with the text, more than in proportion, so that cues become alike; and with
    the time that lacks for reading. It falls with the silence that follows.
    """
    num_lines, column, characters, end_s = 1, -1, -1, 0.0
    start_s = block[first].start_s
    for after in range(first + 1, len(block) + 1):
        piece = block[after - 1]
        column += 1 + len(piece.text)
        if column > config.max_line_characters:
            num_lines, column = num_lines + 1, len(piece.text)
        characters += 1 + len(piece.text)
        end_s = max(end_s, piece.end_s)
        too_long = num_lines > config.max_lines or end_s - start_s > config.max_cue_s
        if too_long and after > first + 1:
            return
        cost = (characters / (config.max_lines * config.max_line_characters)) ** 2
        if after < len(block):
            following_s = block[after].start_s
            room_s = max(following_s - start_s - config.gap_s, 0.0)
            cost += max(1 - room_s / _reading_s(characters, config), 0.0) ** 2
            cost -= min(max((following_s - end_s) / config.pause_s, 0.0), 1.0) / 2
        yield after, cost


def _reading_s(characters: int, config: SubtitleConfig) -> float:
    return max(config.min_cue_s, characters / config.max_characters_per_s)


def _end_ms(
    group: Sequence[Word], start_ms: int, following_ms: int | None, config: SubtitleConfig
) -> int:
    """Return when a cue goes: once it is spoken and read, before the next one appears."""
    characters = sum(len(piece.text) + 1 for piece in group) - 1
    spoken_ms = round(max(piece.end_s for piece in group) * 1000)
    end_ms = max(spoken_ms, start_ms + math.ceil(_reading_s(characters, config) * 1000))
    if following_ms is not None and following_ms - end_ms <= config.close_gap_s * 1000:
        # A cue keeps at least half of the time up to the next, whatever the gap.
        half_ms = (start_ms + following_ms + 1) // 2
        end_ms = max(following_ms - round(config.gap_s * 1000), half_ms)
    return min(end_ms, start_ms + int(config.max_cue_s * 1000))


def _lines(texts: Sequence[str], max_characters: int) -> tuple[str, ...]:
    """Return the fewest lines, the most alike in length; if in doubt the lower one is longer."""
    # For each number of words used up: the squares' sum, the lengths and the lines so far.
    ways: dict[int, tuple[int, tuple[int, ...], tuple[str, ...]]] = {0: (0, (), ())}
    while len(texts) not in ways:
        longer: dict[int, tuple[int, tuple[int, ...], tuple[str, ...]]] = {}
        for used, (squares, lengths, lines) in ways.items():
            for after in range(used + 1, len(texts) + 1):
                line = " ".join(texts[used:after])
                if len(line) > max_characters:
                    break
                way = (squares + len(line) ** 2, (*lengths, len(line)), (*lines, line))
                longer[after] = min(longer.get(after, way), way)
        ways = longer
    return ways[len(texts)][2]


def _clock(seconds: float, mark: str) -> str:
    """Return hours, of two digits or more, minutes, seconds and milliseconds."""
    rest, milliseconds = divmod(round(seconds * 1000), 1000)
    rest, second = divmod(rest, 60)
    hours, minutes = divmod(rest, 60)
    return f"{hours:02}:{minutes:02}:{second:02}{mark}{milliseconds:03}"

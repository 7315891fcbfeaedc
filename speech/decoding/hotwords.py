"""Words and phrases that are known to come: lifted where the network nearly heard them.

Each phrase is laid over all frames by a Viterbi search of its own and compared with the path of the
text that was decoded: where it is less than its allowance behind, it takes the place of the words
there. So a phrase need not be known to a language model, and clips without it stay as they are.

Source: CTC word spotting (Andrusenko et al. 2024, "Fast Context-Biasing for CTC and Transducer ASR
models with CTC-based Word Spotter", section 2), here with ratios to the decoded path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from config import DecodingError
from speech.alphabet import Alphabet, normalise, num_ctc_frames
from speech.decoding.alignment import align, states_of
from speech.decoding.beam import Hypothesis

DEFAULT_WEIGHT = 1.6
_SHORT = 4
_MOST_A_CHARACTER = 1.5  # beyond it a phrase is written where nobody said it: docs/decoding.md
_MAX_CHARACTERS = 100
_USUAL, _MAX_WEIGHT = 8.0, 100.0  # as a person writes them
_FLOOR = -100.0
_AT_ONCE = 16

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# A phrase between two spaces: how far it is ahead, the frames from `start` to `end`, and its place.
Matches = NDArray[np.void]
_MATCH = np.dtype([("gain", "f8"), ("start", "i8"), ("end", "i8"), ("phrase", "i8")])
Number = TypeVar("Number", np.float64, np.int64)


@dataclass(frozen=True, kw_only=True)
class HotWord:
    """A word or phrase to listen for.

    Attributes:
        text: normalised, not empty.
        weight: by how many nats for each character after the fourth the phrase may be behind what
            was decoded; half of it for shorter ones, which fit in many places by chance. In all it
            is at most 1.5 nats a character.
    """

    text: str
    weight: float = DEFAULT_WEIGHT

    @property
    def allowance(self) -> float:
        """By how many nats it may be behind what was decoded."""
        wanted = self.weight * max(0.5, len(self.text) - _SHORT)
        return min(wanted, _MOST_A_CHARACTER * len(self.text))


def parse_hotword(text: str, alphabet: Alphabet) -> HotWord:
    """Read `phrase` or `phrase:weight`, where 8 is the usual weight and 16 allows twice as much.

    Raises:
        ValueError: nothing is left of the phrase, or the alphabet lacks a character of it or the
            space, or the weight is not a number from 0 to 100.
    """
    if " " not in alphabet.symbols:
        raise ValueError(
            f"hot word {text[:200]!r}, and the model's alphabet has no space; needed: one with a "
            "space to tell words by, or no hot words"
        )
    phrase, colon, number = text.rpartition(":")
    try:
        weight = float(number) if colon else _USUAL
    except ValueError as error:
        raise ValueError(f"hot word {text[:200]!r}; needed: phrase or phrase:weight") from error
    normal = normalise(phrase if colon else text, alphabet)
    known = set(normal) <= set(alphabet.symbols)
    if not 0 < len(normal) <= _MAX_CHARACTERS or not known or not 0 <= weight <= _MAX_WEIGHT:
        raise ValueError(
            f"hot word {text[:200]!r}; needed: a phrase of the alphabet's letters, of "
            f"{_MAX_CHARACTERS} at most, and if another weight "
            f"than {_USUAL:g} is wanted, a colon and one from 0 to {_MAX_WEIGHT:g}"
        )
    return HotWord(text=normal, weight=weight * DEFAULT_WEIGHT / _USUAL)


def lift(
    best: Hypothesis,
    log_probs: NDArray[np.float32],
    hotwords: Sequence[HotWord],
    alphabet: Alphabet,
) -> Hypothesis:
    """Return `best` with hot words in the place of words that they explain nearly as well.

    To each phrase that changes the text, the score gains what put it there: the network's
    log-probability of the phrase's path less that of the decoded one in its frames, and the
    phrase's allowance, which is how much likelier a word is that is known to come. So a text with
    hot words is ahead of the one it replaces. The language model is not asked again.

    Args:
        best: what was decoded, normalised.
        log_probs: float32 `[frames, symbols]`, only the clip's valid frames.

    Raises:
        DecodingError: the alphabet has no space to tell words by, or the text does not fit.
    """
    if hotwords and " " not in alphabet.symbols:
        raise DecodingError("the alphabet has no space; hot words need one to tell words by")
    fitting = [h for h in hotwords if _frames_needed(h.text, alphabet) <= len(log_probs)]
    if not fitting:
        return best
    labels, words = alphabet.encode(best.text), best.text.split()
    frames = align(log_probs, labels, blank_index=alphabet.blank_index)
    ratios = _ratios(np.maximum(log_probs, _FLOOR).astype(np.float64), labels, frames, alphabet)
    longest_first = sorted(fitting, key=lambda h: (len(h.text), h.text), reverse=True)
    matches = _best_apart(_matches(ratios, longest_first, alphabet))
    phrases = [longest_first[place].text for place in matches["phrase"]]
    lifted, gain = _replace(words, _middles(words, frames), matches, phrases)
    if lifted == best.text or _frames_needed(lifted, alphabet) > len(log_probs):
        return best
    return Hypothesis(text=lifted, score=best.score + gain)


def _frames_needed(text: str, alphabet: Alphabet) -> int:
    return num_ctc_frames(alphabet.encode(text))


def _ratios(log_probs: Floats, labels: Sequence[int], frames: Ints, alphabet: Alphabet) -> Floats:
    """Return `[frames + 2, symbols]`: log-probabilities less those of the decoded path.

    The frames added at both ends are sure spaces: a phrase may be first or last.
    """
    path = np.full(len(log_probs), alphabet.blank_index)
    for label, (start, end) in zip(labels, frames, strict=True):
        path[start:end] = label
    edge = np.full((1, len(alphabet)), _FLOOR)
    edge[0, alphabet.symbols.index(" ")] = 0.0
    decoded = log_probs[np.arange(len(path)), path]
    return np.concatenate([edge, log_probs - decoded[:, np.newaxis], edge])


def _matches(ratios: Floats, hotwords: Sequence[HotWord], alphabet: Alphabet) -> Matches:
    """Return all that is ahead, allowance included; a few phrases of like lengths at a time."""
    blank, found = alphabet.blank_index, []
    for first in range(0, len(hotwords), _AT_ONCE):
        group = hotwords[first : first + _AT_ONCE]
        lattices = [states_of(alphabet.encode(f" {h.text} "), blank)[1:-1] for h in group]
        lengths = np.array([len(lattice) for lattice in lattices])
        states = np.full((len(group), lengths.max()), blank)
        for row, lattice in zip(states, lattices, strict=True):
            row[: len(lattice)] = lattice
        scores, starts = _search(ratios, states, lengths, blank)
        gains = scores + np.array([[hotword.allowance] for hotword in group])
        rows, ends = np.nonzero(gains > 0)
        matches = np.empty(len(rows), _MATCH)
        matches["gain"], matches["phrase"] = gains[rows, ends], first + rows
        # Frames are counted without the one that was added in front.
        matches["start"], matches["end"] = starts[rows, ends] - 1, ends - 1
        found.append(matches)
    return np.concatenate(found)


def _search(ratios: Floats, states: Ints, lengths: Ints, blank: int) -> tuple[Floats, Ints]:
    """Return `[phrases, frames]`: scores with the last space in a frame, and the starts of those.

    The spaces at the ends have one frame each; a start is the frame after the first. One state of
    all phrases is done at a time: with `sums` up to a frame, staying from frame s to t adds
    `sums[t] - sums[s - 1]`, so that the best s for every t is a running maximum.

    Args:
        states: `[phrases, states]`: space, blank, letter, …, letter, blank, space, then padding.
        lengths: `[phrases]`: of the states, without padding.
    """
    num_frames, times = len(ratios), np.arange(len(ratios))
    sums = np.concatenate([np.zeros((1, ratios.shape[1])), np.cumsum(ratios, axis=0)]).T
    scores = np.full((len(states), num_frames), -np.inf)
    starts = np.zeros((len(states), num_frames), np.int64)
    # Of one and of two states before, moved on by a frame: what a state can be entered from.
    last, last_start = _later(ratios.T[states[:, 0]], -np.inf), np.tile(times, (len(states), 1))
    second, second_start = np.full_like(last, -np.inf), last_start
    for place in range(1, states.shape[1]):
        state = states[:, place]
        skips = (state != blank) & (state != states[:, place - 2]) & (place >= 2)
        by_skip = (second > last) & skips[:, np.newaxis]
        entry = np.where(by_skip, second, last)
        start = np.where(by_skip, second_start, last_start)
        ends = lengths == place + 1
        scores[ends] = (entry + ratios.T[state])[ends]
        starts[ends] = start[ends]
        ahead = entry - sums[state, :-1]
        best = np.maximum.accumulate(ahead, axis=1)
        entered = np.maximum.accumulate(np.where(ahead >= best, times, 0), axis=1)
        second, second_start = last, last_start
        last = _later(best + sums[state, 1:], -np.inf)
        last_start = _later(np.take_along_axis(start, entered, axis=1), 0)
    return scores, starts


def _later(values: NDArray[Number], fill: float) -> NDArray[Number]:
    """Move `values` `[phrases, frames]` on by one frame."""
    moved = np.empty_like(values)
    moved[:, 0], moved[:, 1:] = fill, values[:, :-1]
    return moved


def _best_apart(matches: Matches) -> Matches:
    """Return the best matches that do not overlap, in order of time."""
    chosen = matches[:0]
    while len(matches):
        best = matches[matches["gain"].argmax()]
        chosen = np.append(chosen, best)
        matches = matches[(matches["end"] <= best["start"]) | (best["end"] <= matches["start"])]
    return np.sort(chosen, order="start")


def _middles(words: Sequence[str], frames: Ints) -> Floats:
    """Return `[words]`: the frame in the middle of each; `frames` are those of the letters."""
    lasts = np.cumsum([len(word) + 1 for word in words], dtype=np.int64) - 2
    firsts = lasts - [len(word) - 1 for word in words] if words else lasts
    return (frames[firsts, 0] + frames[lasts, 1]) / 2


def _replace(
    words: Sequence[str], middles: Floats, matches: Matches, phrases: Sequence[str]
) -> tuple[str, float]:
    """Put each match's phrase where the words are whose middle it covers.

    Returns:
        The text, and the gains in nats of the matches that put other words there.
    """
    firsts, ends = (np.searchsorted(middles, matches[edge]) for edge in ("start", "end"))
    pieces: list[str] = []
    done, gain = 0, 0.0
    for first, end, phrase, ahead in zip(firsts, ends, phrases, matches["gain"], strict=True):
        pieces += [*words[done:first], phrase]
        gain += float(ahead) if " ".join(words[first:end]) != phrase else 0.0
        done = end
    return " ".join([*pieces, *words[done:]]), gain

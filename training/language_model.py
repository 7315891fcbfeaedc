"""Estimate an n-gram language model, modified Kneser-Ney smoothing, and write it as ARPA.

Source: Chen and Goodman 1998, section 3 (the smoothing, interpolated); Heafield et al. 2013,
section 3 (adjusted counts, and what `<s>` and `<unk>` get). Pruned n-grams give what is theirs to
the weight of their history, so that every history's probabilities still sum to 1.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from config import CorpusError
from speech.audio import write_atomically

UNKNOWN, START, END = MARKS = ("<unk>", "<s>", "</s>")
_UNKNOWN_ID, _START_ID, _END_ID = range(3)
_CHUNK_WORDS = 300_000
_BATCH_LINES = 50_000
_FALLBACK_DISCOUNTS = np.array([0.0, 0.5, 1.0, 1.5])
_LOG10_ZERO = -99.0

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]
Sentences = Callable[[], Iterable[Sequence[str]]]


@dataclass(frozen=True, kw_only=True)
class NGrams:
    """The kept n-grams of one length, sorted; an n-gram's number is its place.

    Attributes:
        key: int64 `[n-grams]`, rising: the number of the first n - 1 words among the n-grams one
            shorter, times the size of the vocabulary, plus the last word's place in it.
        probability: float64 `[n-grams]`: of the last word after the others.
        backoff: float64 `[n-grams]`: the weight of the shorter history where a word after this
            n-gram is not among those one longer.
    """

    key: Ids
    probability: Floats
    backoff: Floats


@dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """A vocabulary, `<unk>`, `<s>` and `</s>` first, and the n-grams of each length from 1 on."""

    vocabulary: tuple[str, ...]
    ngrams: tuple[NGrams, ...]

    @property
    def order(self) -> int:
        """The longest n-grams' length."""
        return len(self.ngrams)

    def words(self, length: int, numbers: Ids | None = None) -> Ids:
        """Return the places of words in the vocabulary, int64 `[n-grams, length]`; or of some."""
        if numbers is None:
            numbers = np.arange(len(self.ngrams[length - 1].key))
        columns = []
        for level in reversed(self.ngrams[:length]):
            numbers, word = np.divmod(level.key[numbers], len(self.vocabulary))
            columns.append(word)
        return np.column_stack(columns[::-1])


@dataclass(frozen=True)
class _Level:
    """What is counted of one length: keys as in `NGrams`, the last n - 1 words' number, counts."""

    key: Ids
    suffix: Ids
    count: Ids


def estimate(
    sentences: Sentences,
    *,
    order: int,
    prune: Sequence[int] = (),
    progress: Callable[[int, int], None] | None = None,
) -> LanguageModel:
    """Estimate a model from sentences, each a sequence of words (or of characters).

    Args:
        sentences: gives them anew at each call; they are read `order + 1` times, a chunk at a
            time, so that memory holds only what is counted: at the peak some 80 bytes for each
            different n-gram of any length up to `order`, and 50 MB. Empty ones are no sentences.
        prune: for lengths from 1 on, n-grams that occur at most so often are left out; the last
            value holds for all longer ones. Words stay all: the first is 0.
        progress: called with the readings done and their number.

    Raises:
        ValueError: `order` is under 1, or `prune` does not start with 0, falls, or is too long;
            or `sentences` gave nothing the second time.
        CorpusError: there is no sentence, or a word that ARPA cannot hold.
    """
    limits = _pruning_limits(order, prune)
    vocabulary = _vocabulary(sentences)
    levels: list[_Level] = []
    for reading in range(2, order + 2):
        levels.append(_count(sentences, vocabulary, levels))
        if progress:
            progress(reading, order + 1)
    return LanguageModel(
        vocabulary=tuple(vocabulary), ngrams=_smooth(levels, len(vocabulary), limits)
    )


def _pruning_limits(order: int, prune: Sequence[int]) -> list[int]:
    limits = [*(prune or [0])]
    limits += limits[-1:] * (order - len(limits))
    if order < 1 or len(limits) != order or limits[0] != 0 or sorted(limits) != limits:
        raise ValueError(
            f"got order {order}, prune {tuple(prune)}; needed: an order of at least 1, and at "
            "most so many limits, the first 0, none under the one before"
        )
    return [-1, *limits[1:]]  # words that are in no sentence stay too: those of MARKS


def _vocabulary(sentences: Sentences) -> dict[str, int]:
    words: set[str] = set()
    for sentence in sentences():
        words.update(sentence)
    if not words:
        raise CorpusError("got no text; needed: at least one sentence")
    if wrong := sorted(w for w in words if w in MARKS or w.split() != [w] or "\0" in w):
        raise CorpusError(f"got the word {wrong[0]!r}; needed: no space in it, none of {MARKS}")
    return {word: i for i, word in enumerate([*MARKS, *sorted(words)])}


def _count(sentences: Sentences, vocabulary: dict[str, int], shorter: list[_Level]) -> _Level:
    """Count the n-grams one longer than those of `shorter`."""
    size = len(vocabulary)
    keys = np.arange(0 if shorter else size)  # a word's number is its place in the vocabulary
    counts = np.zeros(len(keys), np.int64)
    for words in _chunks(sentences, vocabulary):
        history = np.zeros_like(words)
        if shorter:
            *_, number = _numbers(words, [level.key for level in shorter], size)
            history = _before(number)
        inside = (history >= 0) & (words != _START_ID)
        found = np.unique(history[inside] * size + words[inside], return_counts=True)
        keys, counts = _add(keys, counts, *found)
    if not shorter:
        if not counts.any():
            raise ValueError("got sentences that can be read once; needed: anew at each call")
        return _Level(keys, np.zeros_like(keys), counts)
    history, word = np.divmod(keys, size)
    suffix = _find(shorter[-1].key, shorter[-1].suffix[history] * size + word)
    return _Level(keys, suffix, counts)


def _chunks(sentences: Sentences, vocabulary: dict[str, int]) -> Iterator[Ids]:
    """Yield whole sentences' words, each sentence between its marks; int64 `[words]`."""
    words: list[int] = []
    for sentence in sentences():
        if sentence:
            words += _marked(sentence, vocabulary)
        if len(words) >= _CHUNK_WORDS:
            yield np.array(words, np.int64)
            words = []
    if words:
        yield np.array(words, np.int64)


def _marked(sentence: Sequence[str], vocabulary: dict[str, int]) -> list[int]:
    return [_START_ID, *(vocabulary.get(word, _UNKNOWN_ID) for word in sentence), _END_ID]


def _numbers(words: Ids, keys: Sequence[Ids], size: int) -> Iterator[Ids]:
    """Yield for each length the number of the n-gram that ends at each word; -1 if there is none.

    None spans two sentences: no n-gram has `<s>` after a word.
    """
    number = words
    yield number
    for longer in keys[1:]:
        number = _find(longer, _before(number) * size + words)
        yield number


def _before(number: Ids) -> Ids:
    return np.concatenate([[-1], number[:-1]])


def _find(keys: Ids, wanted: Ids) -> Ids:
    """Return the places of `wanted` among the sorted `keys`; -1 for those that are not there."""
    if not len(keys):
        return np.full(len(wanted), -1)
    place = np.searchsorted(keys, wanted)
    return np.where(keys.take(place, mode="clip") == wanted, place, -1)


def _add(keys: Ids, counts: Ids, more_keys: Ids, more_counts: Ids) -> tuple[Ids, Ids]:
    """Merge two sorted tables of counts, in time that grows with their size."""
    place = _find(keys, more_keys)
    is_known = place >= 0
    counts[place[is_known]] += more_counts[is_known]
    new_keys = more_keys[~is_known]
    gaps = np.searchsorted(keys, new_keys)
    return np.insert(keys, gaps, new_keys), np.insert(counts, gaps, more_counts[~is_known])


def _smooth(levels: list[_Level], size: int, limits: list[int]) -> tuple[NGrams, ...]:
    keys, probabilities, backoffs = [], [], []
    starts = np.arange(size) == _START_ID
    lower = np.array([1 / (size - 1)])  # without any count, all words but <s> are equally likely
    kept_before = np.array([True])
    for level, longer, limit in zip(levels, [*levels[1:], None], limits, strict=True):
        counts = _adjusted(level, longer, starts)
        kept = level.count > limit
        history, word = np.divmod(level.key, size)
        own, backoff = _discounted(history, counts, kept, len(lower))
        probability = own + backoff[history] * lower[level.suffix]
        probability[word == _START_ID] = 0.0
        number_before = np.cumsum(kept_before) - 1
        keys.append(number_before[history[kept]] * size + word[kept])
        probabilities.append(probability[kept])
        backoffs.append(backoff[kept_before])
        lower, kept_before = probability, kept
        if longer is not None:
            starts = starts[longer.key // size]
    backoffs = [*backoffs[1:], np.ones(len(keys[-1]))]
    return tuple(
        NGrams(key=key, probability=probability, backoff=backoff)
        for key, probability, backoff in zip(keys, probabilities, backoffs, strict=True)
    )


def _adjusted(level: _Level, longer: _Level | None, starts: NDArray[np.bool_]) -> Ids:
    """Return after how many words an n-gram occurs; how often, if it is longest or a start."""
    if longer is None:
        return level.count
    num_before = np.bincount(longer.suffix, minlength=len(level.key))
    return np.where(starts, level.count, num_before)


def _discounted(
    history: Ids, counts: Ids, kept: NDArray[np.bool_], num_histories: int
) -> tuple[Floats, Floats]:
    """Return n-grams' shares of their history after the discount, and what each history keeps.

    A history that nothing follows keeps everything.
    """
    discounts = _discounts(counts)[np.minimum(counts, 3)]
    total = np.bincount(history, counts, minlength=num_histories)
    held_back = np.bincount(history, np.where(kept, discounts, counts), minlength=num_histories)
    backoff = np.divide(held_back, total, out=np.ones(num_histories), where=total > 0)
    return (counts - discounts) / total[history], backoff


def _discounts(counts: Ids) -> Floats:
    """Return what counts of 0, 1, 2, and 3 or more give up (Chen and Goodman, equation 26).

    Constants where too few n-grams were seen for an estimate, as with the shortest ones of
    characters.
    """
    seen = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].astype(float)
    if not seen[:3].all():
        return _FALLBACK_DISCOUNTS
    share = seen[0] / (seen[0] + 2 * seen[1])
    kinds = np.arange(1, 4)
    discounts = kinds - (kinds + 1) * share * seen[1:] / seen[:-1]
    return np.array([0.0, *discounts]) if (discounts > 0).all() else _FALLBACK_DISCOUNTS


def log10_probabilities(model: LanguageModel, sentences: Iterable[Sequence[str]]) -> Floats:
    """Return the log-probability of each word and of each sentence's end, in their order."""
    vocabulary = {word: i for i, word in enumerate(model.vocabulary)}
    marked = [_marked(sentence, vocabulary) for sentence in sentences]
    words = np.array([word for sentence in marked for word in sentence], np.int64)
    numbers = _numbers(words, [level.key for level in model.ngrams], len(vocabulary))
    scores = np.zeros(len(words))
    history, backoff = np.full(len(words), -1), np.zeros(0)
    for number, level in zip(numbers, model.ngrams, strict=True):
        backed_off = scores + np.append(backoff, 0.0)[history]  # 1 for a history not there
        scores = np.where(
            number >= 0, np.append(_log10(level.probability), 0.0)[number], backed_off
        )
        history, backoff = _before(number), _log10(level.backoff)
    return scores[words != _START_ID]


def write_arpa(path: Path, model: LanguageModel) -> None:
    """Write the model as ARPA text; compressed if the name ends in `.gz`. Appears whole."""
    buffer = io.BytesIO()
    if path.suffix == ".gz":  # without a time and a name, so that equal models are equal files
        with gzip.GzipFile("", "wb", fileobj=buffer, mtime=0) as file:
            file.writelines(_arpa(model))
    else:
        buffer.writelines(_arpa(model))
    write_atomically(path, buffer.getvalue())


def _arpa(model: LanguageModel) -> Iterator[bytes]:
    sizes = [f"ngram {length}={len(level.key)}" for length, level in enumerate(model.ngrams, 1)]
    yield "\n".join(["\\data\\", *sizes, ""]).encode()
    for length, level in enumerate(model.ngrams, 1):
        yield f"\n\\{length}-grams:\n".encode()
        for first in range(0, len(level.key), _BATCH_LINES):
            numbers = np.arange(first, min(first + _BATCH_LINES, len(level.key)))
            yield "".join(_lines(model, length, numbers)).encode()
    yield b"\n\\end\\\n"


def _lines(model: LanguageModel, length: int, numbers: Ids) -> Iterator[str]:
    level = model.ngrams[length - 1]
    probabilities = _log10(level.probability[numbers]).tolist()
    backoffs = [f"\t{weight:.5g}" for weight in _log10(level.backoff[numbers]).tolist()]
    if length == model.order:
        backoffs = [""] * len(numbers)
    rows = model.words(length, numbers).tolist()
    for probability, row, backoff in zip(probabilities, rows, backoffs, strict=True):
        yield f"{probability:.5g}\t{' '.join(model.vocabulary[i] for i in row)}{backoff}\n"


def _log10(values: Floats) -> Floats:
    """Return logarithms as ARPA has them: none over 0, and a number for 0."""
    with np.errstate(divide="ignore"):
        return np.clip(np.log10(values), _LOG10_ZERO, 0.0)

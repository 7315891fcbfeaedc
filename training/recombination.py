"""New sentences from the words of real clips, so that a network cannot learn its clips by heart.

Corpora of read speech often hold few texts, read by several speakers: a network with recurrence
learns the sentences instead of the sounds. Here each speaker says other texts, put together from
words of that speaker's own clips, after an idea of Lam et al. 2021, "On-the-fly aligned data
augmentation for sequence-to-sequence ASR".
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from config import AudioConfig, CorpusError
from speech import audio
from speech.alphabet import Alphabet
from speech.audio import Waveform
from speech.decoding.alignment import align
from training.dataset import plan_batches
from training.manifest import Utterance
from training.synthesis import write_corpus

LogProbs = Callable[[list[Waveform]], list[NDArray[np.float32]]]
Progress = Callable[[int, int], None]

_BATCH_S = 160.0
_SEARCH_S = 0.02  # how far from the frames of its letters a word may begin
_WINDOW_S = 0.01  # over which the quietest place is looked for
_FADE_S = 0.006  # over which one piece goes over into the next
_LOUDNESS = 0.05  # root of the mean square of the clip that a piece is cut out of


@dataclass(frozen=True, kw_only=True)
class RecombinationConfig:
    """How many clips, and of what.

    Attributes:
        min_words, max_words: of a new clip.
        max_piece_words: words in a row that come from one clip, at most.
        own_share: of the draws, those of any piece of a clip instead of words of the texts, so that
            rare words are heard too.
        min_speaker_clips: a speaker with fewer is left out.
    """

    num_clips: int = 8000
    seed: int = 0
    min_words: int = 8
    max_words: int = 28
    max_piece_words: int = 4
    own_share: float = 0.4
    min_speaker_clips: int = 30

    def __post_init__(self) -> None:
        if not 1 <= self.max_piece_words < self.min_words <= self.max_words:
            raise ValueError(f"{self}; needed: max_piece_words < min_words <= max_words")


@dataclass(frozen=True)
class Spoken:
    """A clip and where its words are: word `i` lies from `bounds[i]` to `bounds[i + 1]`."""

    path: str
    words: tuple[str, ...]
    bounds: NDArray[np.int64]


@dataclass(frozen=True)
class Piece:
    """Words `first` to `last`, not counted, of a clip."""

    clip: Spoken
    first: int
    last: int


class Speaker:
    """All that one speaker said, by word."""

    def __init__(self, clips: Sequence[Spoken]) -> None:
        self.clips = list(clips)
        self.num_samples = sum(int(clip.bounds[-1]) for clip in clips)
        self.places: dict[str, list[tuple[Spoken, int]]] = defaultdict(list)
        for clip in clips:
            for place, word in enumerate(clip.words):
                self.places[word].append((clip, place))

    def draw_piece(self, max_words: int, draw: random.Random) -> Piece:
        """Return one to `max_words` words of any clip."""
        clip = draw.choice(self.clips)
        length = min(draw.randint(1, max_words), len(clip.words))
        first = draw.randint(0, len(clip.words) - length)
        return Piece(clip, first, first + length)

    def spans(self, words: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Yield where `words` has runs of words, as long as can be, that were all said."""
        start = 0
        for end in range(len(words) + 1):
            if end == len(words) or words[end] not in self.places:
                if end > start:
                    yield start, end
                start = end + 1

    def pieces(self, words: Sequence[str], max_words: int, draw: random.Random) -> list[Piece]:
        """Return pieces that say `words`, each as long as can be up to `max_words`."""
        pieces, done = [], 0
        while done < len(words):
            wanted = words[done : done + max_words]
            found = [
                (_common(clip.words[i : i + len(wanted)], wanted), clip, i)
                for clip, i in self.places[wanted[0]]
            ]
            longest = max(length for length, _, _ in found)
            _, clip, i = draw.choice([entry for entry in found if entry[0] == longest])
            pieces.append(Piece(clip, i, i + longest))
            done += longest
        return pieces


def _common(said: Sequence[str], wanted: Sequence[str]) -> int:
    """Return how many words both begin with alike."""
    pairs = zip(said, wanted, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(said), len(wanted)))


def find_words(
    utterances: Sequence[Utterance],
    log_probs: LogProbs,
    alphabet: Alphabet,
    config: AudioConfig,
    progress: Progress | None = None,
) -> dict[str, list[Spoken]]:
    """Return the clips of each speaker with the bounds of their words.

    Args:
        log_probs: of a model, for clips in native form: float32 `[frames, symbols]` each.
    """
    speakers: dict[str, list[Spoken]] = defaultdict(list)
    plan = plan_batches(
        [utterance.num_samples for utterance in utterances],
        batch_samples=int(_BATCH_S * config.sample_rate_hz),
        seed=0,
        epoch=0,
        shuffle=False,
    )
    done = 0
    for batch in plan:
        chosen = [utterances[index] for index in batch]
        waveforms = [audio.decode_any(Path(u.audio), config) for u in chosen]
        for utterance, waveform, probs in zip(chosen, waveforms, log_probs(waveforms), strict=True):
            bounds = word_bounds(waveform, probs, utterance.text, alphabet, config)
            spoken = Spoken(utterance.audio, tuple(utterance.text.split()), bounds)
            speakers[utterance.speaker].append(spoken)
        done += len(batch)
        if progress:
            progress(done, len(utterances))
    return speakers


def word_bounds(
    waveform: Waveform,
    log_probs: NDArray[np.float32],
    text: str,
    alphabet: Alphabet,
    config: AudioConfig,
) -> NDArray[np.int64]:
    """Return where words begin and end: int64 `[words + 1]`, in samples.

    Two words meet at the quietest place between the frames of their letters.
    """
    spans = align(log_probs, alphabet.encode(text), blank_index=alphabet.blank_index)
    step = len(waveform) / len(log_probs)
    reach, window = (round(s * config.sample_rate_hz) for s in (_SEARCH_S, _WINDOW_S))
    bounds = [0]
    for place in (i for i, symbol in enumerate(text) if symbol == " "):
        low = max(bounds[-1] + 1, round(spans[place - 1, 1] * step) - reach)
        high = max(low + 1, round(spans[place + 1, 0] * step) + reach)
        energy = np.convolve(waveform[low : high + window] ** 2, np.ones(window), "valid")
        bounds.append(low + int(energy.argmin()) + window // 2)
    return np.array([*bounds, len(waveform)])


def draw_pieces(
    speaker: Speaker, texts: Sequence[Sequence[str]], config: RecombinationConfig, seed: str
) -> list[Piece]:
    """Return the pieces of one clip: runs of words of `texts`, and pieces of own clips between."""
    draw = random.Random(seed)
    wanted = draw.randint(config.min_words, config.max_words)
    pieces: list[Piece] = []
    while (missing := wanted - _count(pieces)) > 0:
        words = draw.choice(texts)
        spans = [(start, end) for start, end in speaker.spans(words) if end - start > 1]
        if not spans or draw.random() < config.own_share:
            pieces.append(speaker.draw_piece(min(missing, config.max_piece_words), draw))
            continue
        start, end = draw.choice(spans)
        span = words[start : min(end, start + missing)]
        pieces.extend(speaker.pieces(span, config.max_piece_words, draw))
    return pieces


def text_of(pieces: Sequence[Piece]) -> str:
    """Return what `pieces` say."""
    return " ".join(word for p in pieces for word in p.clip.words[p.first : p.last])


def _count(pieces: Sequence[Piece]) -> int:
    return sum(piece.last - piece.first for piece in pieces)


def join(pieces: Sequence[Piece], config: AudioConfig) -> Waveform:
    """Return the sound of `pieces`, equally loud, each faded into the next."""
    fade = round(_FADE_S * config.sample_rate_hz)
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    joined = np.zeros(fade, np.float32)
    for piece in pieces:
        whole = audio.decode_any(Path(piece.clip.path), config)
        start, end = piece.clip.bounds[[piece.first, piece.last]]
        part = whole[max(0, start - fade) : end] * (_LOUDNESS / max(1e-4, sqrt(np.mean(whole**2))))
        overlap = min(fade, len(part))
        joined[-overlap:] = (
            joined[-overlap:] * ramp[::-1][-overlap:] + part[:overlap] * ramp[:overlap]
        )
        joined = np.concatenate([joined, part[overlap:]])
    return joined / max(1.0, float(np.abs(joined).max()))


def recombine(
    speakers: dict[str, list[Spoken]],
    texts: Sequence[str],
    output: Path,
    audio_config: AudioConfig,
    config: RecombinationConfig,
    progress: Progress | None = None,
) -> int:
    """Write a corpus in LJSpeech's form, every clip in the training split; return the clips made.

    A speaker gets clips in proportion to the square root of how much there is of it.

    Args:
        speakers: from `find_words`.
        texts: normalised; without those that are held out.

    Raises:
        CorpusError: no speaker has enough clips, or there is no text.
    """
    known = {
        name: Speaker(clips)
        for name, clips in sorted(speakers.items())
        if len(clips) >= config.min_speaker_clips
    }
    if not known:
        raise CorpusError(f"no speaker has {config.min_speaker_clips} clips")
    lines = [text.split() for text in texts if text]
    if not lines:
        raise CorpusError("got no text that is not held out")
    shares = [sqrt(speaker.num_samples) for speaker in known.values()]
    draw = random.Random(config.seed)
    made: list[tuple[str, str, str]] = []
    for number in range(config.num_clips):
        name = draw.choices(list(known), shares)[0]
        pieces = draw_pieces(known[name], lines, config, f"{config.seed} {number}")
        made.append((f"clip-{number:06d}", name.replace("/", "-"), text_of(pieces)))
        path = output / "wavs" / f"{made[-1][0]}.wav"
        audio.write_native(path, join(pieces, audio_config), audio_config)
        if progress:
            progress(number + 1, config.num_clips)
    write_corpus(output, made)
    return len(made)

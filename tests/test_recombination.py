"""New sentences from the words of clips: cut where words meet, joined as they were, never lost."""

import random
from pathlib import Path

import numpy as np
import pytest

from config import AudioConfig, CorpusError
from speech.alphabet import Alphabet
from speech.audio import decode_native, write_native
from training.manifest import Split, Utterance
from training.recombination import (
    Piece,
    RecombinationConfig,
    Speaker,
    Spoken,
    draw_pieces,
    find_words,
    join,
    recombine,
    text_of,
    word_bounds,
)

AUDIO = AudioConfig(sample_rate_hz=1000)
ALPHABET = Alphabet()
RATE = AUDIO.sample_rate_hz
CONFIG = RecombinationConfig(num_clips=20, min_speaker_clips=1)
TEXTS = ("the cat sat on the mat", "a dog ran", "the dog sat down")


def tones(words: str) -> np.ndarray:
    """Return a quarter of a second a word, at a level of its own, with 40 ms of quiet after it."""
    parts = []
    for word in words.split():
        part = 0.1 * np.ones(RATE // 4, np.float32) * (1 + sum(map(ord, word)) % 7)
        part[::2] *= -1
        part[-RATE // 25 :] = 0
        parts.append(part)
    return np.concatenate(parts)


def emissions(words: str) -> np.ndarray:
    """Return log-probabilities of a network sure of `words`, each letter in a frame of its own.

    A quarter of a second has 25 frames; letters begin at the third, and blanks fill the rest.
    """
    frames: list[int] = []
    for word in words.split():
        symbols = [ALPHABET.blank_index] * 25
        for i, letter in enumerate(word):
            symbols[2 + 2 * i] = ALPHABET.encode(letter)[0]
        symbols[24] = ALPHABET.encode(" ")[0]
        frames += symbols
    frames[-1] = ALPHABET.blank_index
    log_probs = np.full((len(frames), len(ALPHABET)), -20.0, np.float32)
    log_probs[np.arange(len(frames)), frames] = 0.0
    return log_probs


def spoken(folder: Path, words: str) -> Spoken:
    path = folder / f"{words}.wav"
    write_native(path, tones(words) / 2, AUDIO)
    bounds = np.arange(len(words.split()) + 1) * (RATE // 4)
    return Spoken(str(path), tuple(words.split()), bounds)


@pytest.fixture
def speaker(tmp_path: Path) -> Speaker:
    return Speaker([spoken(tmp_path, text) for text in TEXTS])


def test_words_meet_in_the_quiet_between_them() -> None:
    text = "one or three"
    bounds = word_bounds(tones(text), emissions(text), text, ALPHABET, AUDIO)
    assert bounds[0] == 0
    assert bounds[-1] == 750
    for bound, end in zip(bounds[1:-1], (250, 500), strict=True):
        assert end - 40 <= bound <= end


def test_a_single_word_is_the_whole_clip() -> None:
    bounds = word_bounds(tones("one"), emissions("one"), "one", ALPHABET, AUDIO)
    assert bounds.tolist() == [0, 250]


def test_clips_are_found_by_speaker_in_whatever_batch_they_come(tmp_path: Path) -> None:
    utterances = [
        Utterance(
            id=f"c/{i}",
            corpus="c",
            speaker=f"c/{i % 2}",
            audio=spoken(tmp_path, text).path,
            text=text,
            num_samples=250 * len(text.split()),
            split=Split.train,
        )
        for i, text in enumerate(TEXTS)
    ]
    by_length = {len(tones(text)): text for text in TEXTS}
    seen: list[tuple[int, int]] = []
    found = find_words(
        utterances,
        lambda clips: [emissions(by_length[len(clip)]) for clip in clips],
        ALPHABET,
        AUDIO,
        lambda *counts: seen.append(counts),
    )
    assert {name: len(clips) for name, clips in found.items()} == {"c/0": 2, "c/1": 1}
    assert seen[-1] == (3, 3)


def test_spans_are_the_runs_of_known_words(speaker: Speaker) -> None:
    words = ["a", "cat", "ate", "the", "mat", "and", "the", "dog"]
    assert list(speaker.spans(words)) == [(0, 2), (3, 5), (6, 8)]
    assert list(speaker.spans(["nothing"])) == []


def test_pieces_are_as_long_as_they_can_be(speaker: Speaker) -> None:
    words = ["the", "cat", "sat", "on", "a", "dog", "ran", "the", "dog", "sat"]
    pieces = speaker.pieces(words, 3, random.Random(0))
    assert text_of(pieces) == " ".join(words)
    assert [piece.last - piece.first for piece in pieces] == [3, 1, 3, 3]


def test_clips_say_what_is_written_and_are_no_clip_that_was(speaker: Speaker) -> None:
    texts = [text.split() for text in ("the mat sat on a cat", "unheard words")]
    made = [draw_pieces(speaker, texts, CONFIG, str(seed)) for seed in range(50)]
    lengths = {sum(p.last - p.first for p in pieces) for pieces in made}
    assert min(lengths) >= CONFIG.min_words
    assert max(lengths) <= CONFIG.max_words
    assert len(lengths) > 8
    assert all(p.last - p.first <= CONFIG.max_piece_words for pieces in made for p in pieces)
    assert len({text_of(pieces) for pieces in made}) == 50
    assert draw_pieces(speaker, texts, CONFIG, "7") == made[7]


def test_a_share_of_the_words_comes_from_any_clip(speaker: Speaker) -> None:
    texts = [["the", "mat"]]
    only_texts = RecombinationConfig(own_share=0.0)
    words = [text_of(draw_pieces(speaker, texts, only_texts, str(i))).split() for i in range(20)]
    assert {word for line in words for word in line} == {"the", "mat"}
    words = [text_of(draw_pieces(speaker, texts, CONFIG, str(i))).split() for i in range(20)]
    assert {word for line in words for word in line} == {w for t in TEXTS for w in t.split()}


def test_joined_sound_is_that_of_the_pieces(tmp_path: Path) -> None:
    first, second = spoken(tmp_path, "the cat sat"), spoken(tmp_path, "a dog ran")
    sound = join([Piece(first, 1, 2), Piece(second, 0, 2)], AUDIO)
    assert len(sound) == pytest.approx(750, abs=30)
    levels = [tones(text)[offset] for text, offset in (("cat", 0), ("a", 0), ("dog", 0))]
    heard = [np.abs(sound[start : start + 100]).mean() for start in (60, 310, 560)]
    assert heard[1] / heard[2] == pytest.approx(levels[1] / levels[2], rel=0.05)
    whole = decode_native(Path(first.path).read_bytes(), AUDIO)
    assert heard[0] == pytest.approx(
        np.abs(whole[260:360]).mean() * 0.05 / np.sqrt(np.mean(whole**2)), rel=0.05
    )


def test_the_corpus_is_for_training_and_the_same_every_time(tmp_path: Path) -> None:
    speakers = {"c/x": [spoken(tmp_path, text) for text in TEXTS], "c/y": []}
    for name in ("a", "b"):
        made = recombine(speakers, ["the mat sat"], tmp_path / name, AUDIO, CONFIG)
        assert made == 20
    files = [p.relative_to(tmp_path / "a") for p in sorted((tmp_path / "a").rglob("*.*"))]
    assert len(files) == 23
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    splits = (tmp_path / "a/splits.csv").read_text(encoding="utf-8").splitlines()
    assert splits[1] == "clip-000000,train"
    rows = (tmp_path / "a/metadata.csv").read_text(encoding="utf-8").splitlines()
    for row in rows:
        name, text, _ = row.split("|")
        sound = decode_native((tmp_path / f"a/wavs/{name}.wav").read_bytes(), AUDIO)
        assert len(sound) == pytest.approx(250 * len(text.split()), rel=0.05)


def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    speakers = {"c/x": [spoken(tmp_path, TEXTS[0])]}
    with pytest.raises(CorpusError, match="no speaker has 30 clips"):
        recombine(speakers, ["the"], tmp_path / "a", AUDIO, RecombinationConfig())
    with pytest.raises(CorpusError, match="no text that is not held out"):
        recombine(speakers, [""], tmp_path / "a", AUDIO, CONFIG)
    with pytest.raises(ValueError, match="max_piece_words < min_words"):
        RecombinationConfig(max_piece_words=8)

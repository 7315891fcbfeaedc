"""Beam search held against sums over all paths, TensorFlow's decoder, and n-grams by hand."""

from __future__ import annotations

import gzip
import itertools
import math
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given
from hypothesis import strategies as st

from config import DecodingConfig, DecodingError, ModelError
from serving.local import LocalBackend
from speech.alphabet import BLANK, Alphabet
from speech.audio import decode_any
from speech.decoding.beam import BeamDecoder, Hypothesis, join_hypotheses, symbol_names

ALPHABET = Alphabet((BLANK, " ", "a", "b"))
EXHAUSTIVE = DecodingConfig(
    beam_width=1024,
    beam_threshold=1e9,
    max_symbols=99,
    blank_share=1.0,
    lm_weight=0.0,
)
CLIPS = st.lists(
    st.lists(st.floats(-6, 6) | st.just(-math.inf), min_size=4, max_size=4).filter(
        lambda frame: max(frame) > -math.inf
    ),
    min_size=1,
    max_size=5,
)

UNIGRAMS = {"<unk>": -2.0, "<s>": -99.0, "</s>": -0.9, "<space>": -0.8, "a": -0.5, "b": -0.7}
BACKOFFS = {"<s>": -0.3, "<space>": -0.2, "a": -0.1}
BIGRAMS = {("<s>", "a"): -0.2, ("a", "b"): -0.15, ("b", "</s>"): -0.1, ("a", "<space>"): -0.4}


def log_softmax(scores: list[list[float]] | np.ndarray) -> np.ndarray:
    """Return float32 log-probabilities."""
    values = np.array(scores, np.float64)
    return (values - np.log(np.exp(values).sum(axis=1, keepdims=True))).astype(np.float32)


def spelling(path: tuple[int, ...], alphabet: Alphabet) -> str:
    """Return what a path spells, spaces as they come."""
    return alphabet.decode(label for label, _ in itertools.groupby(path) if label != 0)


def sum_over_paths(
    log_probs: np.ndarray, *, word_score: float = 0.0, lm_weight: float = 0.0
) -> dict[str, float]:
    """Return the score of every text of `ALPHABET`, each path taken by itself, in float64."""
    totals: dict[str, float] = defaultdict(float)
    for path in itertools.product(range(len(ALPHABET)), repeat=len(log_probs)):
        score = sum(float(frame[label]) for frame, label in zip(log_probs, path, strict=True))
        score += word_score * path.count(1)
        spelled = spelling(path, ALPHABET)
        # flashlight starts as if after a space, so that one in the first frame is not spelled.
        counted = spelled[1:] if path[0] == 1 else spelled
        score += lm_weight * log10_probability(counted)
        totals[" ".join(spelled.split())] += math.exp(score)
    return {text: math.log(total) for text, total in totals.items() if total > 0}


def log10_probability(text: str) -> float:
    """Return the hand-written language model's log10 P of `text` and its end."""
    words = ["<s>", *("<space>" if c == " " else c for c in text), "</s>"]
    total = 0.0
    for pair in itertools.pairwise(words):
        backed_off = BACKOFFS.get(pair[0], 0.0) + UNIGRAMS.get(pair[1], UNIGRAMS["<unk>"])
        total += BIGRAMS.get(pair, backed_off)
    return total


@pytest.fixture(scope="module")
def arpa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of `UNIGRAMS` and `BIGRAMS`."""
    lines = ["\\data\\", f"ngram 1={len(UNIGRAMS)}", f"ngram 2={len(BIGRAMS)}", "", "\\1-grams:"]
    lines += [f"{p}\t{word}\t{BACKOFFS.get(word, 0)}" for word, p in UNIGRAMS.items()]
    lines += ["", "\\2-grams:"]
    lines += [f"{p}\t{' '.join(words)}" for words, p in BIGRAMS.items()]
    path = tmp_path_factory.mktemp("arpa") / "bigrams.arpa"
    path.write_text("\n".join([*lines, "", "\\end\\", ""]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def with_language_model(arpa: Path) -> BeamDecoder:
    weighted = DecodingConfig(**{**vars(EXHAUSTIVE), "lm_weight": 1.7, "word_score": 0.3})
    return BeamDecoder(ALPHABET, weighted, arpa)


@pytest.fixture(scope="module")
def speech(bundled: Path) -> list[np.ndarray]:
    """Return the bundled model's log-probabilities of the sample clips."""
    backend = LocalBackend(bundled)
    clips = sorted((Path(__file__).parents[1] / "Data/samples").glob("*.wav"))
    return [backend.log_probs([decode_any(clip, backend.pipeline.audio)])[0] for clip in clips]


def assert_same_scores(decoder: BeamDecoder, log_probs: np.ndarray, wanted: dict[str, float]):
    found = decoder.decode(log_probs, n_best=10_000)
    assert {h.text for h in found} == wanted.keys()
    assert len(found) == len(wanted)
    for hypothesis in found:
        assert hypothesis.score == pytest.approx(wanted[hypothesis.text], rel=1e-5, abs=1e-4)
    scores = [h.score for h in found]
    assert scores == sorted(scores, reverse=True)


@given(CLIPS, st.floats(-2, 2))
def test_scores_equal_the_sums_over_all_paths(scores: list[list[float]], word_score: float) -> None:
    log_probs = log_softmax(scores)
    decoder = BeamDecoder(
        ALPHABET, DecodingConfig(**{**vars(EXHAUSTIVE), "word_score": word_score})
    )
    assert_same_scores(decoder, log_probs, sum_over_paths(log_probs, word_score=word_score))


@given(CLIPS)
def test_a_language_model_adds_its_weighted_logarithm_to_base_ten(
    with_language_model: BeamDecoder, scores: list[list[float]]
) -> None:
    log_probs = log_softmax(scores)
    wanted = sum_over_paths(log_probs, word_score=0.3, lm_weight=1.7)
    assert_same_scores(with_language_model, log_probs, wanted)


def test_the_probabilities_of_all_texts_sum_to_one(rng: np.random.Generator) -> None:
    log_probs = log_softmax(rng.normal(0, 2, (5, 4)))
    found = BeamDecoder(ALPHABET, EXHAUSTIVE).decode(log_probs, n_best=10_000)
    assert sum(math.exp(h.score) for h in found) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_the_best_texts_are_those_of_tensorflow(seed: int) -> None:
    alphabet = Alphabet((BLANK, "a", "b", "c"))
    log_probs = log_softmax(np.random.default_rng(seed).normal(0, 1.5, (7, 4)))
    labels, scores = tf.nn.ctc_beam_search_decoder(
        np.roll(log_probs, -1, axis=1)[:, np.newaxis],  # its blank is the last symbol
        [len(log_probs)],
        beam_width=1024,
        top_paths=5,
    )
    wanted = [alphabet.decode(found.values.numpy() + 1) for found in labels]
    found = BeamDecoder(alphabet, EXHAUSTIVE).decode(log_probs, n_best=5)
    assert [h.text for h in found] == wanted
    np.testing.assert_allclose([h.score for h in found], scores.numpy()[0], atol=1e-4)


def test_a_language_model_decides_where_the_network_cannot(arpa: Path) -> None:
    undecided = np.log(np.array([[0.02, 0.02, 0.48, 0.48], [0.02, 0.02, 0.48, 0.48]], np.float32))
    config = DecodingConfig(**{**vars(EXHAUSTIVE), "lm_weight": 5.0})
    assert BeamDecoder(ALPHABET, config, arpa).decode(undecided)[0].text == "ab"


def test_a_symbol_that_the_language_model_lacks_can_be_written(arpa: Path) -> None:
    alphabet = Alphabet((BLANK, " ", "a", "b", "c"))
    log_probs = np.log(np.full((3, 5), 0.01, np.float32))
    log_probs[[0, 1, 2], [2, 4, 3]] = np.log(0.96)
    decoder = BeamDecoder(alphabet, DecodingConfig(lm_weight=1.0), arpa)
    best = decoder.decode(log_probs)[0]
    assert best.text == "acb"
    # Backing off from <unk> costs nothing, and "b </s>" is known.
    by_hand = 3 * math.log(0.96) + (-0.2) + (-0.1 - 2.0) + (0.0 - 0.7) + (-0.1)
    assert best.score == pytest.approx(by_hand, abs=0.02)


def test_texts_that_differ_only_in_spaces_are_one() -> None:
    log_probs = log_softmax(np.zeros((5, 4)))
    texts = [h.text for h in BeamDecoder(ALPHABET, EXHAUSTIVE).decode(log_probs, n_best=10_000)]
    assert len(set(texts)) == len(texts)
    assert {"", "a", "a b", "b a", "aa"} <= set(texts)
    assert all(text == " ".join(text.split()) for text in texts)


def test_as_many_texts_come_as_are_wanted() -> None:
    log_probs = log_softmax(np.random.default_rng(1).normal(0, 1, (6, 4)))
    decoder = BeamDecoder(ALPHABET, EXHAUSTIVE)
    all_texts = decoder.decode(log_probs, n_best=10_000)
    assert [len(decoder.decode(log_probs, n_best=n)) for n in (1, 2, 7)] == [1, 2, 7]
    assert decoder.decode(log_probs, n_best=7) == all_texts[:7]
    assert len(decoder.decode(log_probs, beam_width=3, n_best=7)) <= 3


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 8)), min_size=1, max_size=10),
    st.integers(0, 2**32 - 1),
)
def test_frames_left_out_as_surely_blank_change_nothing(
    runs: list[tuple[int, int]], seed: int
) -> None:
    labels = np.repeat([label for label, _ in runs], [times for _, times in runs])
    logits = np.random.default_rng(seed).normal(0, 1, (len(labels), 4))
    logits[np.arange(len(labels)), labels] += 5 + 5 * (labels == 0)
    log_probs = log_softmax(logits)
    full = BeamDecoder(ALPHABET, EXHAUSTIVE).decode(log_probs, n_best=2)
    assume(full[0].score - full[-1].score > 0.1)
    thinning = DecodingConfig(**{**vars(EXHAUSTIVE), "blank_share": 0.99})
    thin = BeamDecoder(ALPHABET, thinning).decode(log_probs)
    assert thin[0].text == full[0].text
    assert thin[0].score == pytest.approx(full[0].score, abs=0.1)


def test_frames_left_out_count_in_the_score() -> None:
    log_probs = np.full((21, 4), -math.inf, np.float32)
    log_probs[0, 2] = 0
    log_probs[1:, 0], log_probs[1:, 3] = math.log(0.97), math.log(0.03)
    best = BeamDecoder(ALPHABET, DecodingConfig(lm_weight=0.0)).decode(log_probs)[0]
    assert best.text == "a"
    assert best.score == pytest.approx(20 * math.log(0.97), abs=1e-4)


def test_threads_find_what_one_finds(
    with_language_model: BeamDecoder, rng: np.random.Generator
) -> None:
    clips = [log_softmax(rng.normal(0, 2, (30, 4))) for _ in range(40)]

    def decode(clip: np.ndarray) -> list[object]:
        return list(with_language_model.decode(clip, beam_width=16, n_best=5))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(decode, clips)) == [decode(clip) for clip in clips]


def test_wide_beams_score_no_worse_on_speech(speech: list[np.ndarray]) -> None:
    decoder = BeamDecoder(Alphabet(), DecodingConfig(lm_weight=0.0, beam_threshold=1e9))
    for log_probs in speech:
        scores = [decoder.decode(log_probs, beam_width=n)[0].score for n in (1, 4, 16, 64, 256)]
        assert np.diff(scores).min() > -1e-3, scores


@pytest.mark.parametrize("frames", [1, 2, 50])
def test_surely_blank_is_no_text(frames: int) -> None:
    log_probs = np.full((frames, 4), -math.inf, np.float32)
    log_probs[:, 0] = 0
    for config in (EXHAUSTIVE, DecodingConfig()):
        (only,) = BeamDecoder(ALPHABET, config).decode(log_probs, n_best=5)
        assert (only.text, only.score) == ("", pytest.approx(0))


def test_one_frame_is_one_symbol() -> None:
    log_probs = np.log(np.array([[0.1, 0.2, 0.3, 0.4]], np.float32))
    found = BeamDecoder(ALPHABET, EXHAUSTIVE).decode(log_probs, n_best=9)
    assert [h.text for h in found] == ["b", "", "a"] or [h.text for h in found] == ["b", "a", ""]
    assert sum(math.exp(h.score) for h in found) == pytest.approx(1)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_log_probability_is_refused(value: float) -> None:
    log_probs = log_softmax(np.zeros((3, 4)))
    log_probs[1, 2] = value
    with pytest.raises(DecodingError, match="NaN or infinite"):
        BeamDecoder(ALPHABET, DecodingConfig()).decode(log_probs)


def test_a_frame_without_any_possible_symbol_is_refused() -> None:
    log_probs = log_softmax(np.zeros((3, 4)))
    log_probs[1] = -math.inf
    with pytest.raises(DecodingError, match="NaN or infinite"):
        BeamDecoder(ALPHABET, DecodingConfig()).decode(log_probs)


@pytest.mark.parametrize("shape", [(0, 4), (5, 3), (5, 5), (4,), (1, 5, 4)])
def test_another_shape_is_refused_by_what_it_is(shape: tuple[int, ...]) -> None:
    with pytest.raises(DecodingError) as raised:
        BeamDecoder(ALPHABET, DecodingConfig()).decode(np.zeros(shape, np.float32))
    assert str(shape) in str(raised.value)
    assert "needed: at least one frame by 4 symbols" in str(raised.value)


TEXTS = st.dictionaries(
    st.sampled_from(["", "a", "b", "a b", "b a", "a a"]), st.integers(-9, 3), min_size=1
)


@given(st.lists(TEXTS, min_size=1, max_size=4), st.integers(1, 30))
def test_the_best_texts_of_clips_in_a_row_are_the_best_of_all_products(
    clips: list[dict[str, int]], n_best: int
) -> None:
    parts = [
        [Hypothesis(text=t, score=s) for t, s in sorted(clip.items(), key=lambda item: -item[1])]
        for clip in clips
    ]
    best: dict[str, float] = {}
    for way in itertools.product(*parts):
        text = " ".join(h.text for h in way if h.text)
        best[text] = max(best.get(text, -math.inf), sum(h.score for h in way))
    found = join_hypotheses(parts, n_best=n_best)
    assert [h.score for h in found] == sorted(best.values(), reverse=True)[:n_best]
    assert {h.text: best[h.text] for h in found} == {h.text: h.score for h in found}
    assert len({h.text for h in found}) == len(found)
    assert found[0].text == " ".join(part[0].text for part in parts if part[0].text)


def test_no_clips_in_a_row_are_an_empty_text() -> None:
    assert join_hypotheses([], n_best=3) == [Hypothesis(text="", score=0.0)]


def test_many_clips_in_a_row_are_joined_without_all_their_products() -> None:
    parts = [
        [Hypothesis(text=f"{c}{i}", score=-i - c / 1e4) for i in range(20)] for c in range(500)
    ]
    found = join_hypotheses(parts, n_best=20)
    best = sum(-c / 1e4 for c in range(500))
    assert [h.score for h in found] == pytest.approx([best, *[best - 1] * 19])
    assert len({h.text for h in found}) == 20


def test_a_space_has_a_name_of_its_own_for_language_models() -> None:
    assert symbol_names(ALPHABET) == [BLANK, "<space>", "a", "b"]


def test_a_compressed_language_model_is_the_same(arpa: Path, tmp_path: Path) -> None:
    packed = tmp_path / "bigrams.arpa.gz"
    packed.write_bytes(gzip.compress(arpa.read_bytes()))
    log_probs = log_softmax(np.random.default_rng(2).normal(0, 1, (9, 4)))
    plain, unpacked = (BeamDecoder(ALPHABET, DecodingConfig(), path) for path in (arpa, packed))
    assert plain.decode(log_probs, n_best=9) == unpacked.decode(log_probs, n_best=9)


ORDER_7 = b"\\data\\\n" + b"".join(b"ngram %d=5\n" % n for n in range(1, 8)) + b"\n\\1-grams:\n"
WORDS = (
    b"\\data\\\nngram 1=4\nngram 2=1\n\n\\1-grams:\n-1\t<unk>\n-99\t<s>\t0\n-1\t</s>\n-1\ta\t0\n\n"
    b"\\2-grams:\n-0.5\t<s> a\n\n\\end\\\n"
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ORDER_7, "order 7 .*needed: an ARPA file of order 2 to 6"),
        (b"", "End of file.*needed: an ARPA file"),
        (b"root:x:0:0\n", "root:x:0:0.*needed: an ARPA file"),
        (bytes(range(256)) * 20, "needed: an ARPA file"),
        (b"\\data\\\nngram 1=3\n\n\\1-grams:\n-1\ta\n", "needed: an ARPA file"),
        (gzip.compress(ORDER_7, mtime=0)[:-9], "needed: an ARPA file"),
        (WORDS, "does not know '<space>'; needed: one whose words are the alphabet's symbols"),
    ],
)
def test_what_is_no_language_model_is_refused_in_words(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "broken.arpa"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as raised:
        BeamDecoder(ALPHABET, DecodingConfig(), path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["missing.arpa", "."])
def test_a_missing_language_model_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="no language model"):
        BeamDecoder(ALPHABET, DecodingConfig(), tmp_path / name)

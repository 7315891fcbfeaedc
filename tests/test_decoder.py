"""From log-probabilities to words: what a model's folder has decides, and what a request asks."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from config import DecodingConfig, ModelError
from speech.alphabet import Alphabet
from speech.config_json import to_json
from speech.decoding.beam import Hypothesis
from speech.decoding.confidence import MEASURES, ConfidenceModel, read_confidence, write_confidence
from speech.decoding.decoder import SETTINGS, Decoder, DecodingOptions, read_decoding
from speech.decoding.greedy import greedy_decode
from speech.decoding.hotwords import HotWord

ALPHABET = Alphabet()


def heard(text: str, *, sure: float = 0.9, seed: int = 0) -> np.ndarray:
    """Return log-probabilities float32 of a network that hears `text`, two frames a letter."""
    draw = np.random.default_rng(seed)
    path = [label for letter in ALPHABET.encode(text) for label in (letter, 0)]
    probabilities = draw.dirichlet(np.ones(len(ALPHABET)), len(path)) * (1 - sure)
    probabilities[np.arange(len(path)), path] += sure
    return np.log(probabilities).astype(np.float32)


@pytest.fixture(scope="module")
def of_bundled(bundled: Path) -> Decoder:
    return Decoder.of_model(bundled, ALPHABET)


def test_words_have_frames_and_confidence(of_bundled: Decoder) -> None:
    decoded = of_bundled.decode(heard("the king was here"))
    assert decoded.text == "the king was here"
    assert [word.text for word in decoded.words] == decoded.text.split()
    assert [(word.start, word.end) for word in decoded.words] == [
        (0, 5),
        (8, 15),
        (18, 23),
        (26, 33),
    ]
    assert all(0.5 < word.confidence <= 1 for word in decoded.words)
    mean = np.mean([word.confidence for word in decoded.words])
    assert decoded.confidence == pytest.approx(mean)


def test_the_language_model_mends_what_was_misheard(of_bundled: Decoder) -> None:
    log_probs = heard("the kimg was here", sure=0.9)
    place = 2 * "the kimg".index("m")
    log_probs[place, ALPHABET.encode("n")[0]] = np.log(0.2)
    assert greedy_decode(log_probs, ALPHABET) == "the kimg was here"
    assert of_bundled.decode(log_probs).text == "the king was here"
    assert (
        of_bundled.decode(log_probs, DecodingOptions(decoder="greedy")).text == "the kimg was here"
    )


def test_a_name_that_nobody_has_written_comes_out_as_spelled(of_bundled: Decoder) -> None:
    text = "the quozzyk was here"
    assert of_bundled.decode(heard(text, sure=0.97)).text == text


def test_hotwords_and_n_best(of_bundled: Decoder) -> None:
    log_probs = heard("mister steals was here", sure=0.9)
    place = 2 * "mister steals".index("a")
    log_probs[place, ALPHABET.encode("e")[0]] = np.log(0.1)
    options = DecodingOptions(n_best=3, hotwords=(HotWord(text="steels"),))
    plain = of_bundled.decode(log_probs, DecodingOptions(n_best=3))
    lifted = of_bundled.decode(log_probs, options)
    assert plain.text == "mister steals was here"
    assert lifted.text == "mister steels was here"
    assert [word.text for word in lifted.words] == lifted.text.split()
    assert lifted.hypotheses[0].text == lifted.text
    assert 1 < len({h.text for h in plain.hypotheses}) == len(plain.hypotheses) <= 3


def nearly(best: str, second: str, *, share: float) -> np.ndarray:
    """Return what is heard of `best`, where letters of `second`, as long, have `share`."""
    log_probs = heard(best)
    for place, letter in enumerate(ALPHABET.encode(second)):
        log_probs[2 * place, letter] = max(np.log(share), log_probs[2 * place, letter])
    return log_probs


@pytest.mark.parametrize("decoder", ["greedy", "beam"])
@pytest.mark.parametrize("weight", [2.0, 9.0])
def test_the_lifted_text_is_the_first_of_texts_that_differ(
    of_bundled: Decoder, decoder: str, weight: float
) -> None:
    log_probs = nearly("mister steals was here", "mister steels was here", share=0.05)
    hotwords = (HotWord(text="steels", weight=weight), HotWord(text="mister"))
    plain = of_bundled.decode(log_probs, DecodingOptions(decoder=decoder, n_best=8))
    options = DecodingOptions(decoder=decoder, n_best=8, hotwords=hotwords)
    lifted = of_bundled.decode(log_probs, options)
    assert (plain.text, lifted.text) == ("mister steals was here", "mister steels was here")
    texts, scores = zip(*[(h.text, h.score) for h in lifted.hypotheses], strict=True)
    assert texts[:2] == (lifted.text, plain.text)
    assert len(set(texts)) == len(texts)
    assert list(scores) == sorted(scores, reverse=True)
    network = np.log(0.05) - np.log(0.9)  # "e" for "a", one frame of it
    gain = network + hotwords[0].allowance
    assert scores[0] - plain.hypotheses[0].score == pytest.approx(gain, abs=0.1)
    assert set(lifted.hypotheses[1:]) <= set(plain.hypotheses)


def test_a_hotwords_weight_is_no_confidence_in_other_words(of_bundled: Decoder) -> None:
    log_probs = nearly("mister steals was here", "minter steels wax hare", share=0.09)
    first, second = (
        of_bundled.decode(
            log_probs, DecodingOptions(hotwords=(HotWord(text="steels", weight=weight),))
        )
        for weight in (2.0, 4.0)
    )
    assert first.text == second.text == "mister steels was here"
    assert first.hypotheses[0].score < second.hypotheses[0].score - 3
    assert first.words == second.words


@pytest.mark.parametrize("n_best", [1, 3])
def test_the_best_path_is_one_text_with_its_probability(of_bundled: Decoder, n_best: int) -> None:
    log_probs = heard("a kimg", sure=0.6)
    options = DecodingOptions(decoder="greedy", n_best=n_best)
    (only,) = of_bundled.decode(log_probs, options).hypotheses
    best = sum(float(max(frame)) for frame in log_probs)
    assert only == Hypothesis(text="a kimg", score=pytest.approx(best))


def test_silence_has_no_words(of_bundled: Decoder) -> None:
    silence = np.full((40, len(ALPHABET)), -20.0, np.float32)
    silence[:, 0] = 0.0
    decoded = of_bundled.decode(silence)
    assert (decoded.text, decoded.words) == ("", ())
    assert decoded.confidence == pytest.approx(1.0)


def test_without_a_language_model_the_best_path_is_the_decoder(model_folder: Path) -> None:
    decoder = Decoder.of_model(model_folder, ALPHABET)
    assert decoder.config.decoder == "greedy"
    log_probs = heard("a kimg", sure=0.6)
    assert decoder.decode(log_probs).text == greedy_decode(log_probs, ALPHABET)
    assert decoder.decode(log_probs, DecodingOptions(decoder="beam")).text


def test_settings_and_confidence_are_read_from_beside_the_model(tmp_path: Path) -> None:
    assert read_decoding(tmp_path) == DecodingConfig()
    assert read_confidence(tmp_path) is None
    config = DecodingConfig(beam_width=7, lm_weight=2.0)
    (tmp_path / SETTINGS).parent.mkdir()
    (tmp_path / SETTINGS).write_text(json.dumps(to_json(config)), encoding="utf-8")
    assert read_decoding(tmp_path) == config
    model = ConfidenceModel(weights=tuple(range(len(MEASURES))), bias=-1.0)
    write_confidence(tmp_path, model, notes={"words": 5})
    assert read_confidence(tmp_path) == model


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("language_model/decoding.json", "{", "cannot be read"),
        ("language_model/decoding.json", '{"beam_width": 3}', "missing settings"),
        ("language_model/characters.arpa.gz", "no model", "cannot load the language model"),
        ("confidence.json", "[]", "is not a confidence model"),
        ("confidence.json", '{"measures": ["x"], "weights": [1], "bias": 0}', "needed"),
    ],
)
def test_broken_files_are_model_errors(
    bundled: Path, tmp_path: Path, name: str, content: str, message: str
) -> None:
    shutil.copytree(bundled / "language_model", tmp_path / "language_model")
    shutil.copy(bundled / "confidence.json", tmp_path)
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        Decoder.of_model(tmp_path, ALPHABET)


@pytest.mark.parametrize(
    "settings",
    [{"decoder": "best"}, {"beam_width": 0}, {"lm_weight": -1.0}, {"max_symbols": 1}],
)
def test_settings_are_checked(settings: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        DecodingConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decoder": "best"}, "got decoder 'best'; needed: greedy or beam"),
        ({"beam_width": 0}, "got beam_width 0; needed: 1 to 1024"),
        ({"beam_width": 1025}, "got beam_width 1025; needed: 1 to 1024"),
        ({"n_best": 0}, "got n_best 0; needed: at least 1"),
        ({"n_best": -3}, "got n_best -3; needed: at least 1"),
    ],
)
def test_options_are_checked(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DecodingOptions(**settings)


def test_options_at_their_bounds_are_taken() -> None:
    for width in (1, 1024, None):
        assert DecodingOptions(beam_width=width, n_best=1).beam_width == width

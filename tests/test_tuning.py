"""Tuning finds what it should, on clips whose best settings are known, and writes it beside."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import expit
from typer.testing import CliRunner

import cli
import cli_tuning
from config import CorpusError, DecodingConfig, ModelError
from predictor import load_predictor
from service_config import ServerConfig
from speech.alphabet import normalise
from speech.decoding.confidence import FILE_NAME as CONFIDENCE_FILE
from speech.decoding.confidence import read_confidence
from speech.decoding.decoder import LANGUAGE_MODEL, SETTINGS, WORD_MODEL, Decoder, read_decoding
from speech.decoding.rescoring import WordModel
from tests.clips import write_clip
from tests.test_decoder import ALPHABET, heard
from tests.test_rescoring import write_model
from training import tuning
from training.manifest import Split, Utterance, read_manifest, write_manifest
from training.tuning import (
    Axis,
    Heard,
    fit_confidence,
    fit_logistic,
    hear,
    search,
    search_words,
    write_tuned,
)


@pytest.fixture
def model(bundled: Path, tmp_path: Path) -> Path:
    """A copy of the bundled model without what tuning writes."""
    folder = tmp_path / "model"
    shutil.copytree(bundled, folder)
    (folder / "confidence.json").unlink()
    (folder / "language_model" / "decoding.json").unlink()
    return folder


def clips(sure: float) -> list[Heard]:
    texts = ["the king was here", "he said that it was so", "quozzyk went to the river"]
    return [
        Heard(reference=text, log_probs=heard(text, sure=sure, seed=i))
        for i, text in enumerate(texts)
    ]


@pytest.fixture
def few_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search six pairs of weights, and never more."""
    monkeypatch.setattr(tuning, "LM_WEIGHTS", Axis(low=1, high=3, step=1, least=1, most=3))
    monkeypatch.setattr(tuning, "WORD_SCORES", Axis(low=-1, high=0, step=1, least=-1, most=0))


def best_at(place: tuple[float, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the search find error rates that rise with the distance to a pair of weights."""

    class Told:
        def __init__(self, _alphabet: object, config: DecodingConfig, _model: Path) -> None:
            self.config = config

        def with_config(self, config: DecodingConfig) -> "Told":
            return Told(None, config, Path())

        def decode(self, _log_probs: object) -> list[SimpleNamespace]:
            away = abs(self.config.lm_weight - place[0]) + abs(self.config.word_score - place[1])
            return [SimpleNamespace(text="a " * 4000 + "b " * round(away * 10))]

    monkeypatch.setattr(tuning, "BeamDecoder", Told)


def search_told() -> tuple[tuning.Surface, list[tuple[int, int]]]:
    seen: list[tuple[int, int]] = []
    clip = Heard(reference="a " * 4000, log_probs=np.zeros((1, 1), np.float32))
    config = DecodingConfig(beam_width=7)
    return search(Path(), ALPHABET, config, [clip], lambda *n: seen.append(n)), seen


def test_the_lowest_error_rate_wins(bundled: Path) -> None:
    config, seen = DecodingConfig(beam_width=8), []
    surface = search(
        bundled / LANGUAGE_MODEL, ALPHABET, config, clips(0.6), lambda *n: seen.append(n)
    )
    assert surface.wer.shape == (len(surface.rows), len(surface.columns))
    place = surface.rows.index(surface.best.lm_weight)
    column = surface.columns.index(surface.best.word_score)
    assert surface.wer[place, column] == surface.wer.min() < surface.wer.max()
    assert surface.best.beam_width == 8
    assert seen[-1] == (surface.wer.size, surface.wer.size)


def test_a_best_inside_is_found_without_a_wider_search(monkeypatch) -> None:
    best_at((1.4, 0.5), monkeypatch)
    surface, seen = search_told()
    assert (surface.best.lm_weight, surface.best.word_score) == (1.4, 0.5)
    assert (surface.rows[0], surface.rows[-1]) == (0.8, 3.0)
    assert seen == [(done, 72) for done in range(1, 73)]
    assert surface.at_edge == ()


@pytest.mark.parametrize("place", [(3.0, 0.0), (3.8, -2.5), (0.4, 2.0), (5.8, -4.5)])
def test_the_search_grows_until_the_best_is_inside(monkeypatch, place) -> None:
    best_at(place, monkeypatch)
    surface, seen = search_told()
    assert (surface.best.lm_weight, surface.best.word_score) == place
    assert surface.at_edge == ()
    assert surface.wer.shape == (len(surface.rows), len(surface.columns))
    assert (
        surface.wer.min()
        == surface.wer[surface.rows.index(place[0]), surface.columns.index(place[1])]
    )
    assert seen[-1] == (surface.wer.size, surface.wer.size)


def test_a_best_beyond_all_bounds_is_said_to_be_at_an_edge(monkeypatch) -> None:
    best_at((100.0, 0.0), monkeypatch)
    surface, _ = search_told()
    assert surface.best.lm_weight == tuning.LM_WEIGHTS.most == surface.rows[-1]
    assert surface.at_edge == ("lm_weight",)
    best_at((-1.0, -100.0), monkeypatch)
    surface, _ = search_told()
    assert (surface.rows[0], surface.columns[0]) == (0.0, tuning.WORD_SCORES.least)
    assert surface.at_edge == ("lm_weight", "word_score")


def test_of_equal_rates_the_middle_one_is_taken(monkeypatch) -> None:
    """Few clips give a plateau: 1.2 to 2.4 here; its first pair is the worst choice."""

    class Plateau:
        def __init__(self, _alphabet: object, config: DecodingConfig, _model: Path) -> None:
            self.config = config

        def with_config(self, config: DecodingConfig) -> "Plateau":
            return Plateau(None, config, Path())

        def decode(self, _log_probs: object) -> list[SimpleNamespace]:
            inside = 1.1 < self.config.lm_weight < 2.5 and -1.2 < self.config.word_score < 0.7
            return [SimpleNamespace(text="a a" if inside else "a b")]

    monkeypatch.setattr(tuning, "BeamDecoder", Plateau)
    clip = Heard(reference="a a", log_probs=np.zeros((1, 1), np.float32))
    surface = search(Path(), ALPHABET, DecodingConfig(), [clip], lambda *n: None)
    assert 1.4 <= surface.best.lm_weight <= 2.2
    assert -0.5 <= surface.best.word_score <= 0.0


def test_of_equal_rates_one_inside_is_taken(monkeypatch) -> None:
    clip = Heard(reference="a", log_probs=heard("a"))
    monkeypatch.setattr(tuning.jiwer, "wer", lambda references, texts: 0.5)
    monkeypatch.setattr(tuning, "LM_WEIGHTS", Axis(low=1, high=3, step=1, least=0, most=9))
    monkeypatch.setattr(tuning, "WORD_SCORES", Axis(low=-1, high=1, step=1, least=-9, most=9))
    config = DecodingConfig()
    surface = search(Path("Models/english-small") / LANGUAGE_MODEL, ALPHABET, config, [clip], print)
    assert (surface.best.lm_weight, surface.best.word_score) == (2.0, 0.0)
    assert surface.wer.shape == (3, 3)


def test_hear_gives_what_the_network_gives(bundled: Path, tmp_path: Path) -> None:
    wav = Path("Data/samples/sample.wav").resolve()
    row = {
        "id": "a/b", "corpus": "a", "speaker": "a", "audio": str(wav), "text": "the old house",
        "num_samples": 100_000, "split": "validation",
    }  # fmt: skip
    (tmp_path / "manifest.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    predictor = load_predictor(ServerConfig(model=bundled, compile_clips=False))
    (clip,) = hear(predictor, read_manifest(tmp_path), lambda done, total: None)
    assert clip.reference == "the old house"
    assert clip.log_probs.shape[1] == len(ALPHABET)
    with pytest.raises(CorpusError, match="needed: a validation split"):
        hear(predictor, [], lambda done, total: None)


def utterances(tmp_path: Path, *seconds: float) -> list[Utterance]:
    return [
        Utterance(
            id=f"c/{i}", corpus="c", speaker="s", text=f"zebra {chr(97 + i) * 3}", num_samples=1,
            audio=str(write_clip(tmp_path / f"{i}.wav", duration_s=duration)),
            split=Split.validation,
        )
        for i, duration in enumerate(seconds)
    ]  # fmt: skip


def test_clips_that_a_predictor_would_cut_are_left_out(bundled: Path, tmp_path: Path) -> None:
    predictor, seen = load_predictor(ServerConfig(model=bundled, compile_clips=False)), []
    lengths = []
    run = predictor.backend.log_probs
    predictor.backend.log_probs = lambda clips: lengths.extend(map(len, clips)) or run(clips)
    long = tuning.LONGEST_CLIP_S + 0.1
    durations = (long, 1.0, long, long, long, long, long, long, 0.5, 20.0)
    found = hear(predictor, utterances(tmp_path, *durations), lambda *n: seen.append(n))
    assert [clip.reference for clip in found] == [
        "zebra bbb",
        "zebra iii",
        "zebra jjj",
    ]
    assert max(lengths) == 20 * 22_050
    assert seen == [(4, 10), (8, 10), (10, 10)]
    with pytest.raises(CorpusError, match="all 1 clips are longer than 20 s or without words"):
        hear(predictor, utterances(tmp_path, long), print)


def test_a_logistic_regression_is_found_again(rng) -> None:
    measures = rng.normal(size=(40_000, 6)) * [1, 2, 0.5, 1, 3, 1]
    weights, bias = np.array([1.0, -0.5, 2.0, 0.0, 0.2, -1.0]), 0.7
    right = rng.random(40_000) < expit(measures @ weights + bias)
    model = fit_logistic(measures, right)
    truth = expit(measures @ weights + bias)
    assert np.abs(model.confidences(measures) - truth).mean() < 0.03
    with pytest.raises(CorpusError, match="3 of 3 words are right"):
        fit_logistic(measures[:3], np.ones(3, bool))


def test_settings_and_confidence_are_written_beside_the_model(model: Path) -> None:
    decoder = Decoder.of_model(model, ALPHABET)
    wrong = [Heard(reference="not this at all", log_probs=heard("the dog ran off", sure=0.3))]
    fitted = fit_confidence(decoder, [*clips(0.95), *wrong])
    assert fitted.num_words > 15
    write_tuned(model, DecodingConfig(lm_weight=2.5), fitted)
    assert read_confidence(model) == fitted.model
    assert read_decoding(model) == DecodingConfig(lm_weight=2.5)
    after = Decoder.of_model(model, ALPHABET).decode(clips(0.95)[0].log_probs)
    assert all(word.confidence > 0.5 for word in after.words)


def test_confidence_of_another_decoder_does_not_stay(model: Path, bundled: Path) -> None:
    shutil.copy(bundled / CONFIDENCE_FILE, model)
    write_tuned(model, DecodingConfig(lm_weight=2.5), None)
    assert read_decoding(model).lm_weight == 2.5
    assert read_confidence(model) is None


@pytest.fixture
def run_tune(few_weights, model: Path, tmp_path: Path):
    """Return a function that runs `stt lm tune` on clips of noise, by their length in seconds."""

    def run(*seconds: float):
        write_manifest(tmp_path / "data" / "manifest.jsonl", utterances(tmp_path, *seconds))
        words = ["lm", "tune", str(tmp_path / "data"), "--model", str(model)]
        return CliRunner().invoke(cli.app, words, env={"COLUMNS": "200"})

    return run


def test_tune_refuses_what_is_no_speech_of_the_model_and_leaves_all(
    run_tune, model: Path, bundled: Path
) -> None:
    """Noise has no right word, as have the texts of other clips."""
    for name in (CONFIDENCE_FILE, SETTINGS):
        shutil.copy(bundled / name, model / name)
    result = run_tune(1.0)
    assert result.exit_code == 4
    assert "the lowest word error rate is" in result.stderr
    assert "needed: a trained model and its own validation clips" in " ".join(result.stderr.split())
    for name in (CONFIDENCE_FILE, SETTINGS):
        assert (model / name).read_bytes() == (bundled / name).read_bytes()


@pytest.fixture
def tune_on_samples(few_weights, model: Path, tmp_path: Path):
    """Return a function that runs `stt lm tune` on the samples, read as they are."""
    table = Path("Data/samples/metadata.csv").read_text(encoding="utf-8").splitlines()
    texts = {name: text for name, text, _ in (line.split("|") for line in table)}
    rows = [
        Utterance(
            id=f"s/{name}", corpus="s", speaker="s", text=text, num_samples=1,
            audio=str(Path(f"Data/samples/{name}.wav").resolve()), split=Split.validation,
        )
        for name, text in texts.items()
    ]  # fmt: skip

    def run(*long_s: float):
        clips = [*rows, *utterances(tmp_path, *long_s)]
        write_manifest(tmp_path / "data" / "manifest.jsonl", clips)
        words = ["lm", "tune", str(tmp_path / "data"), "--model", str(model)]
        return CliRunner().invoke(cli.app, words, env={"COLUMNS": "40"})

    return run


def test_tune_mends_what_is_broken(tune_on_samples, model: Path) -> None:
    (model / SETTINGS).write_text("{", encoding="utf-8")
    (model / CONFIDENCE_FILE).write_text("[]", encoding="utf-8")
    result = tune_on_samples(20.5)
    assert result.exit_code == 0, result.output
    assert "decoding.json cannot be read" in result.stdout
    assert "the usual settings are taken" in result.stdout
    assert "left out: 1 of 5 clips, over 20 s long or without words" in result.stdout
    assert read_decoding(model).word_score in (-1.0, 0.0)
    assert read_confidence(model) is not None


def test_tune_weighs_words_too(tune_on_samples, model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tuning, "WORD_LM_WEIGHTS", Axis(low=0, high=1, step=1, least=0, most=1))
    none = Axis(low=0, high=0, step=1, least=0, most=0)
    monkeypatch.setattr(tuning, "UNKNOWN_WORD_SCORES", none)
    rows = Path("Data/samples/metadata.csv").read_text(encoding="utf-8").splitlines()
    said = [normalise(row.split("|")[1], ALPHABET) for row in rows]
    write_model(model / WORD_MODEL, said)
    result = tune_on_samples()
    assert result.exit_code == 0, result.output
    assert "word error rate: word_lm_weight down, unknown_word_score across" in result.stdout
    assert read_decoding(model).unknown_word_score == 0.0
    assert len(re.findall(r": WER \d", result.stdout)) == 2


def test_words_are_weighed_where_they_help(tmp_path: Path) -> None:
    characters = write_model(tmp_path / "c.arpa", ["the cat sat", "the kat sat"] * 3, words=False)
    words = WordModel(write_model(tmp_path / "w.arpa", ["the cat sat"]))
    rival = 0.4 * np.exp(heard("the cat sat"))
    clip = Heard(
        reference="the cat sat", log_probs=np.log(0.6 * np.exp(heard("the kat sat")) + rival)
    )
    config = DecodingConfig(beam_width=8)
    surface = search_words(characters, words, ALPHABET, config, [clip], lambda *_: None)
    assert surface.names == ("word_lm_weight", "unknown_word_score")
    assert surface.wer[0, -1] > 0, "without them the nearer spelling wins"
    assert surface.wer.min() == 0
    assert surface.best.word_lm_weight > 0
    assert surface.best.beam_width == 8


def test_confidence_that_cannot_be_fitted_anew_does_not_stay(
    tune_on_samples, model: Path, bundled: Path, monkeypatch
) -> None:
    shutil.copy(bundled / CONFIDENCE_FILE, model)

    def all_right(*_: object) -> None:
        raise CorpusError("11 of 11 words are right; needed: some, not all")

    monkeypatch.setattr(tuning, "fit_confidence", all_right)
    result = tune_on_samples()
    assert result.exit_code == 0, result.output
    assert "confidence is not fitted: 11 of 11" in result.stdout
    assert f"removed {model / CONFIDENCE_FILE}, which was fitted to other settings" in result.stdout
    assert not (model / CONFIDENCE_FILE).exists()


def test_every_rate_of_a_wide_table_is_whole(capsys) -> None:
    weights, scores = tuple(np.arange(0, 6, 0.5)), tuple(np.arange(-6, 4.5, 0.5))
    wer = np.arange(len(weights) * len(scores)).reshape(len(weights), -1) / 1000 + 0.3
    surface = tuning.Surface(
        names=("lm_weight", "word_score"),
        rows=weights,
        columns=scores,
        wer=wer,
        best=DecodingConfig(),
        at_edge=(),
    )
    cli_tuning._say_best(surface)
    shown = capsys.readouterr().out
    assert all(f"{rate:.3f}".removeprefix("0") in shown for rate in wer.flat)


def test_a_tune_that_fails_leaves_settings_and_confidence(
    tune_on_samples, model: Path, bundled: Path, monkeypatch
) -> None:
    for name in (CONFIDENCE_FILE, SETTINGS):
        shutil.copy(bundled / name, model / name)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "fit_confidence", interrupted)
    assert tune_on_samples().exit_code == 130
    assert read_confidence(model) == read_confidence(bundled)
    assert read_decoding(model) == read_decoding(bundled)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bias": float("nan")}, "needed: finite numbers"),
        ({"weights": [1, 2, 3, 4, 5, float("inf")]}, "needed: finite numbers"),
        ({"weights": [1, 2, 3, 4, 5, "x"]}, "could not convert"),
        ({"weights": [1]}, "got 1 weights; needed: one each"),
        ({"measures": ["x"]}, r"measures \['x'\]; needed"),
    ],
)
def test_a_confidence_model_of_no_use_is_refused(
    bundled: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    values = json.loads((bundled / CONFIDENCE_FILE).read_text(encoding="utf-8"))
    (tmp_path / CONFIDENCE_FILE).write_text(json.dumps({**values, **change}), encoding="utf-8")
    with pytest.raises(
        ModelError, match=rf"confidence\.json is not a confidence model: .*{message}"
    ):
        read_confidence(tmp_path)

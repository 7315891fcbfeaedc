"""What the benchmarks of decoding and training measure, on clips and sentences made here."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import concurrency, decoding, language_models, precisions, training
from config import DecodingConfig
from predictor import Predictor
from serving.local import LocalBackend
from speech.alphabet import Alphabet
from tests.clips import write_ljspeech
from tests.runs import recipe
from training.augmentation import STRENGTHS
from training.manifest import Split, Utterance, read_manifest, write_manifest
from training.recipe import Recipe

ALPHABET = Alphabet()
SENTENCES = ["the cat sat", "the cat ran", "a cat sat", "the man sat", "a man ran"]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two clips to choose by, one to test with, and one of another corpus."""
    texts = {"a": "the cat", "b": "a man sat", "c": "the man", "d": "a cat"}
    write_ljspeech(tmp_path, texts)
    splits = {"a": Split.validation, "b": Split.validation, "c": Split.test, "d": Split.test}
    utterances = [
        Utterance(
            id=f"ljspeech/{name}",
            corpus="other" if name == "d" else "ljspeech",
            speaker="x",
            audio=str(tmp_path / "wavs" / f"{name}.wav"),
            text=text,
            num_samples=22_050,
            split=splits[name],
        )
        for name, text in texts.items()
    ]
    write_manifest(tmp_path / "manifest.jsonl", utterances)
    return tmp_path


def test_both_splits_are_measured_the_test_split_with_the_models_own_decoder(
    manifest: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(decoding, "load_predictor", lambda _: Predictor(LocalBackend(model_folder)))
    monkeypatch.setattr(decoding, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(decoding, "ROUNDS", 1)
    decoding.main(manifest)
    rows = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["decoders"]
    names = [(row["split"], row["decoder"]) for row in rows]
    beams = ["beam 1", "beam 8", "beam 32", "beam 64", "beam 128"]
    assert names == [
        *(("validation", name) for name in ["greedy", *beams]),
        *(("test", name) for name in ["greedy", "beam 64"]),
    ]
    sizes = {row["split"]: (row["clips"], row["words"], row["audio_s"]) for row in rows}
    assert sizes == {"validation": (2, 5, 2.0), "test": (1, 2, 1.0)}
    assert all(row["total_s"] > 0 for row in rows)


def test_precisions_are_compared_with_the_network_that_was_trained(
    manifest: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(precisions, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(precisions, "ROUNDS", 1)
    monkeypatch.setattr(precisions, "PRECISIONS", ("float32", "int8"))
    precisions.main(manifest, model_folder)
    whole, small = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["rows"]
    assert (whole["precision"], small["precision"]) == ("float32", "int8")
    assert whole["texts_changed"] == 0
    assert small["weights_mb"] < whole["weights_mb"]
    assert whole["clip_of_a_batch_ms"] > 0
    wanted = precisions.texts_as_trained(model_folder, read_manifest(manifest, Split.validation))
    assert set(wanted) == {"ljspeech/a", "ljspeech/b"}


def test_clips_at_once_are_counted_by_the_second(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(LocalBackend):
        def log_probs(self, *_: object) -> list[np.ndarray]:
            time.sleep(0.2)
            return []

    monkeypatch.setattr(concurrency, "ROUNDS", 1)
    monkeypatch.setattr(concurrency, "LocalBackend", Slow)
    assert 1 < concurrency.measure(model_folder, callers=1) < 5
    assert 1 < concurrency.measure(model_folder, callers=2) < 10


def test_error_rates_are_against_the_splits_own_texts() -> None:
    heard = {b"1": "the cat", b"2": "a man"}
    predictor = SimpleNamespace(
        transcribe=lambda wav, options: SimpleNamespace(
            text=heard[wav] if options.decoder == "beam" else "the hat"
        )
    )
    clips = decoding.Clips(wavs=[b"1", b"2"], references=["the cat", "a man"], audio_s=2.0)
    greedy, beam = decoding.measure(predictor, clips, decoding.decoders_of(Split.test, 32))
    assert (greedy["wer"], beam["wer"]) == (0.75, 0.0)
    assert beam["wer_less_than_greedy"] == 1.0


def test_a_corpus_without_clips_is_an_error(manifest: Path, model_folder: Path) -> None:
    pipeline = LocalBackend(model_folder).pipeline
    with pytest.raises(SystemExit, match="no train split of ljspeech"):
        decoding.Clips.read(manifest, Split.train, pipeline)


def log_probs_of(text: str, rivals: Sequence[tuple[int, str]] = ()) -> np.ndarray:
    """A frame for each character, each followed by a blank; at some, a rival almost as likely."""
    frames = np.full((2 * len(text), len(ALPHABET)), -12.0, np.float32)
    frames[::2][np.arange(len(text)), ALPHABET.encode(text)] = -0.5
    frames[1::2, ALPHABET.blank_index] = -1e-3
    for place, character in rivals:
        frames[2 * place, ALPHABET.encode(character)] = -0.6
    return frames


@pytest.fixture
def searches(tmp_path: Path) -> dict[str, language_models.Search]:
    """Of the sentences; `dog` is a word that only a clip can add."""
    found = language_models.searches(ALPHABET, SENTENCES, {"dog", "the"}, tmp_path)
    return {name.split(",")[0] + name.split(",")[1]: search for name, search in found}


def test_a_lexicon_forbids_what_spellings_and_characters_allow(searches) -> None:
    texts = {
        name: search(log_probs_of("the dog"))(replace(language_models.GRID[0], lm_weight=0.0))
        for name, search in searches.items()
    }
    assert "dog" not in texts["words 3-gram"]
    assert texts["words and own spellings"] == "the dog"
    assert texts["characters 6-gram"] == "the dog"


def test_each_language_model_is_heard(searches) -> None:
    """The network hardly prefers "hat" to "cat"; the sentences only have "cat"."""
    config = DecodingConfig(lm_weight=2.0)
    for name, search in searches.items():
        decode = search(log_probs_of("the hat sat", [(4, "c")]))
        assert decode(config) == "the cat sat", name


def test_weights_are_chosen_on_the_validation_split_only(
    searches, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = log_probs_of("the hat sat", [(4, "c")])
    heard = {Split.validation: [clip], Split.test: [clip, clip]}
    clips = {
        Split.validation: decoding.Clips(wavs=[], references=["the cat sat"], audio_s=1.0),
        Split.test: decoding.Clips(wavs=[], references=["the hat sat"] * 2, audio_s=1.0),
    }
    row = language_models.evaluate(searches["characters 6-gram"], heard, clips)
    assert (row["validation_wer"], row["test_wer"]) == (0.0, pytest.approx(1 / 3))
    assert row["ms_per_10_s"] > 0


def test_training_is_measured_part_by_part_and_as_a_whole(
    corpus: list[Utterance], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def tiny(preset: str, alphabet: Alphabet, precision: str) -> Recipe:
        made = recipe(epochs=training.ROUNDS, precision=precision)
        return replace(made, alphabet=alphabet, augmentation=STRENGTHS["mild"])

    utterances = [replace(u, id=f"{u.id}/{u.split}") for u in corpus]
    write_manifest(tmp_path / "manifest.jsonl", utterances)
    monkeypatch.setattr(training, "make_recipe", tiny)
    monkeypatch.setattr(training, "ROUNDS", 2)
    monkeypatch.setattr(training, "BATCHES", {"small": 3})
    monkeypatch.setattr(training, "RESULTS", tmp_path / "results.json")
    training.main(tmp_path)
    row = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["presets"][0]
    assert row.pop("preset") == "small"
    assert min(row.values()) > 0
    assert row["first_epoch_s"] > row["later_epoch_s"], "it builds and traces"
    assert row["input_over_step"] == row["input_mild"] / row["step_float32"]
    assert row["full_first_over_later"] > 1


def test_clips_are_drawn_until_they_are_long_enough(corpus: list[Utterance]) -> None:
    settings = recipe()
    few = training.draw_clips(corpus, 2.0, settings)
    assert training.seconds_of(few[:-1], settings) < 2.0 <= training.seconds_of(few, settings)
    assert len(training.draw_clips(corpus, float("inf"), settings)) == 8, "the training split"

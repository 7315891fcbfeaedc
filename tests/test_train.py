"""Training: it learns real speech, resumes exactly, and names what is wrong."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from config import AudioConfig, CorpusError, FeatureConfig, ModelError
from predictor import Predictor
from serving.local import LocalBackend
from speech.alphabet import Alphabet, normalise
from speech.audio import decode_native, encode_native
from speech.pipeline import read_pipeline
from tests.models import TINY_FORWARD, TINY_NETWORK
from tests.runs import recipe, stop_after
from training.augmentation import STRENGTHS
from training.checkpoint import Checkpoint, load_checkpoint, read_state
from training.ctc_model import CTCModel
from training.evaluate import evaluate
from training.export import export, load_network
from training.manifest import Split, Utterance
from training.networks.deepspeech2 import build_deepspeech2
from training.presets import PRESETS
from training.recipe import Recipe
from training.run import CHECKPOINT
from training.train import train
from training.validation import validate


def final_state(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / CHECKPOINT) as file:
        return {key: file[key] for key in file.files if key != "about"}


@pytest.mark.parametrize("steps", [[4], [2, 3]], ids=str)
def test_interrupted_and_resumed_equals_uninterrupted(
    corpus: list[Utterance], tmp_path: Path, steps: list[int]
) -> None:
    """Weights, optimizer, dropout's random state and best score, to the last bit."""
    progress: list[int] = []
    train(corpus, tmp_path / "whole", recipe())
    for count in steps:
        train(
            corpus,
            tmp_path / "parts",
            recipe(),
            on_step=lambda p: progress.append(p.step),
            should_stop=stop_after(count),
        )
    train(corpus, tmp_path / "parts", recipe(), on_step=lambda p: progress.append(p.step))
    whole, parts = final_state(tmp_path / "whole"), final_state(tmp_path / "parts")
    assert progress == list(range(1, max(progress) + 1)), "each step once"
    assert max(progress) > sum(steps) + 1
    assert whole.keys() == parts.keys()
    for key, value in whole.items():
        np.testing.assert_array_equal(parts[key], value, err_msg=key)
    logs = [tmp_path / name / "log.csv" for name in ("whole", "parts")]
    rows = [list(csv.reader(log.read_text().splitlines()))[1:] for log in logs]
    np.testing.assert_allclose(*[np.array(r, float) for r in rows], rtol=1e-5)


def test_a_run_leaves_what_people_need(corpus: list[Utterance], tmp_path: Path) -> None:
    epochs: list[int] = []
    best = train(corpus, tmp_path, recipe(), on_epoch=lambda e, *_: epochs.append(e))
    assert epochs == [1, 2, 3]
    with (tmp_path / "log.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(float(row["loss"]) > 0 for row in rows)
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert {sample["reference"] for sample in samples} == {"one", "two words"}
    assert list((tmp_path / "tensorboard").glob("events*"))
    pipeline = read_pipeline(tmp_path)
    assert pipeline.training_data["utterances"] == 8
    assert pipeline.scores["validation_wer"] == min(float(row["validation_wer"]) for row in rows)
    assert load_network(best, pipeline).count_params() > 0


def test_a_streaming_model_is_trained_and_exported(corpus: list[Utterance], tmp_path: Path) -> None:
    features = PRESETS["deepspeech2-streaming"].features
    streaming = replace(recipe(epochs=1), features=features, network=TINY_FORWARD)
    train(corpus, tmp_path, streaming)
    export(tmp_path)
    assert read_pipeline(tmp_path).is_streaming
    assert LocalBackend(tmp_path).open_stream() is not None
    with pytest.raises(ModelError, match=r"network.bidirectional was False, now None"):
        train(corpus, tmp_path, recipe(epochs=1))


def test_a_finished_run_is_not_trained_again(corpus: list[Utterance], tmp_path: Path) -> None:
    train(corpus, tmp_path, recipe(epochs=1))
    steps: list[int] = []
    train(corpus, tmp_path, recipe(epochs=1), on_step=lambda p: steps.append(p.step))
    assert not steps
    train(corpus, tmp_path, recipe(epochs=2), on_step=lambda p: steps.append(p.epoch))
    assert set(steps) == {2}, "more epochs go on where it ended"


def test_other_settings_in_the_same_folder_are_refused(
    corpus: list[Utterance], tmp_path: Path
) -> None:
    train(corpus, tmp_path, recipe(epochs=1))
    with pytest.raises(ModelError, match=r"training.learning_rate was 0.001, now 0.01"):
        train(corpus, tmp_path, recipe(epochs=1, learning_rate=0.01))


def test_other_data_in_the_same_folder_are_refused(corpus: list[Utterance], tmp_path: Path) -> None:
    train(corpus, tmp_path, recipe(epochs=1))
    with pytest.raises(ModelError, match="is of a run on other data"):
        train(corpus[:-1], tmp_path, recipe(epochs=2))


def test_a_model_without_its_run_is_not_overwritten(
    corpus: list[Utterance], tmp_path: Path
) -> None:
    (tmp_path / "model.keras").write_bytes(b"somebody's model")
    with pytest.raises(ModelError, match="holds a model without the checkpoint"):
        train(corpus, tmp_path, recipe())
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".wav"] == ["model.keras"]


def test_missing_and_changed_files_are_named(corpus: list[Utterance], tmp_path: Path) -> None:
    changed = Path(corpus[-1].audio)
    changed.write_bytes(encode_native(np.zeros(9000, np.float32), AudioConfig(sample_rate_hz=8000)))
    with pytest.raises(CorpusError, match=r"got 1 channel, 16-bit PCM, 8000 Hz.*prepare it again"):
        train(corpus, tmp_path / "run", recipe())
    changed.unlink()
    with pytest.raises(CorpusError, match=f"1 files of the manifest are missing, first {changed}"):
        train(corpus, tmp_path / "run", recipe())


def test_what_is_left_out_is_told(corpus: list[Utterance], tmp_path: Path) -> None:
    notes: list[str] = []
    train(corpus, tmp_path, recipe(epochs=1, max_clip_s=0.9), on_note=notes.append)
    left_out = sum(u.num_samples > 0.9 * 22_050 for u in corpus if u.split is Split.train)
    assert notes == [f"left out of train, of 8 utterances: too long: {left_out}"]
    with pytest.raises(CorpusError, match=r"repeat names \['typo'\]"):
        train(corpus, tmp_path / "other", recipe(repeat=(("typo", 2),)))


@pytest.mark.parametrize("content", [b"half a checkpoint", b"", b"PK\x03\x04half"])
def test_a_broken_checkpoint_is_refused_not_overwritten(
    corpus: list[Utterance], tmp_path: Path, content: bytes
) -> None:
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(ModelError, match="cannot resume from"):
        read_state(tmp_path / CHECKPOINT)
    with pytest.raises(ModelError, match="cannot resume from"):
        train(corpus, tmp_path, recipe())
    assert (tmp_path / CHECKPOINT).read_bytes() == content


def test_no_checkpoint_is_a_new_run(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / CHECKPOINT, None, recipe(), "") is None
    assert Checkpoint().best_rank == (float("inf"), float("inf"))


def test_a_loss_that_is_not_finite_names_the_utterance(
    corpus: list[Utterance], tmp_path: Path
) -> None:
    wild = recipe(learning_rate=1e30, gradient_clip_norm=1e30, warmup_share=0.0)
    with pytest.raises(CorpusError, match=r"the loss of noise/\d is not finite"):
        train(corpus, tmp_path, wild)


def test_one_impossible_clip_does_not_poison_the_others() -> None:
    network = build_deepspeech2(TINY_NETWORK, num_bins=80, num_symbols=29)
    model = CTCModel(network, blank_index=0)
    model.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=False)
    draw = np.random.default_rng(0)
    x = {
        "features": draw.standard_normal((2, 40, 80)).astype("float32"),
        "num_frames": np.array([40, 8], "int32"),
    }
    y = {
        "labels": draw.integers(1, 29, (2, 9)).astype("int32"),
        "label_lengths": np.array([3, 9], "int32"),
        "index": np.array([11, 22]),
    }
    logs = model.train_on_batch(x, y, return_dict=True)
    assert int(logs["broken"]) == 22
    assert np.isfinite(logs["loss"])
    assert all(np.isfinite(weight.numpy()).all() for weight in network.weights)


def test_an_empty_split_is_refused(corpus: list[Utterance], tmp_path: Path) -> None:
    only_train = [u for u in corpus if u.split is Split.train]
    with pytest.raises(CorpusError, match="the validation split has no usable utterance"):
        train(only_train, tmp_path, recipe())


def test_blank_output_is_named(corpus: list[Utterance]) -> None:
    """A network that writes nothing is reported, with the labels for each frame."""
    held_out = [u for u in corpus if u.split is Split.validation]
    lengths = np.array([20, 20], "int32")
    silent = np.zeros((2, 20, 29), "float32")
    silent[..., 0] = 9.0

    def say_nothing(_: object) -> tuple[np.ndarray, np.ndarray]:
        return silent, lengths

    batch = ({}, {"index": np.array([0, 1]), "label_lengths": np.array([14, 15])})
    result = validate(say_nothing, held_out, [batch], Alphabet(), num_samples_shown=1)
    assert (result.wer, result.cer) == (1.0, 1.0)
    assert "2 of 2 clips came out as nothing but blanks" in result.warning
    assert "0.72 labels for each frame" in result.warning
    assert "too many for CTC" in result.warning


def test_overfits_eight_real_clips_to_no_error(ljspeech: Path, tmp_path: Path) -> None:
    """The small preset, through training, export and the shipping predictor."""
    audio, alphabet = AudioConfig(), Alphabet()
    clips = []
    for line in (ljspeech / "metadata.csv").read_text(encoding="utf-8").splitlines():
        name, _, text = line.split("|")
        path = ljspeech / "wavs" / f"{name}.wav"
        count = len(decode_native(path.read_bytes(), audio))
        clips.append((count, name, str(path), normalise(text, alphabet)))
    utterances = [
        Utterance(
            id=f"lj/{name}", corpus="lj", speaker="lj", audio=path, text=text,
            num_samples=count, split=split,
        )
        for count, name, path, text in sorted(clips)[:8]
        for split in (Split.train, Split.validation)
    ]  # fmt: skip
    preset = PRESETS["small"]
    settings = replace(
        preset.training,
        epochs=15,
        learning_rate=3e-3,
        batch_seconds=30.0,
        repeat=(("lj", 40),),
    )
    folder = tmp_path / "overfit"
    rates: list[float] = []
    run = Recipe(
        audio=audio,
        features=preset.features,
        network=replace(preset.network, dropout=0.0),
        alphabet=alphabet,
        training=settings,
        augmentation=STRENGTHS["none"],
    )
    train(
        utterances,
        folder,
        run,
        on_epoch=lambda _, __, result: rates.append(result.wer),
        should_stop=lambda: 0.0 in rates,
    )
    export(folder)
    report = evaluate(
        Predictor(LocalBackend(folder)), [u for u in utterances if u.split is Split.train]
    )
    assert report.total.wer == 0.0, [clip.hypothesis for clip in report.clips]


def test_features_of_another_kind_train_too(corpus: list[Utterance], tmp_path: Path) -> None:
    stft = replace(recipe(epochs=1), features=FeatureConfig())
    best = train(corpus, tmp_path, stft)
    assert load_network(best, read_pipeline(tmp_path)).inputs[0].shape[-1] == 193

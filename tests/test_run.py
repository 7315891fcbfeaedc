"""What a run can be told beyond its data: patience, order, averages, precision, a first model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from speech.pipeline import read_pipeline
from tests.runs import recipe, stop_after
from training.augmentation import STRENGTHS
from training.dataset import plan_batches
from training.export import load_network
from training.manifest import Utterance
from training.presets import TrainingConfig
from training.run import CHECKPOINT
from training.train import is_finished, train


def final_state(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / CHECKPOINT) as file:
        return {key: file[key] for key in file.files if key != "about"}


OPTIONS = {
    "averaged, bfloat16, sorted": recipe(
        average_decay=0.9, precision="bfloat16", sort_first_epoch=True
    ),
    "accumulated, augmented": replace(recipe(accumulate=3), augmentation=STRENGTHS["strong"]),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_interrupted_and_resumed_equals_uninterrupted(
    corpus: list[Utterance], tmp_path: Path, name: str
) -> None:
    """In the middle of an epoch, with every option that has a state of its own."""
    train(corpus, tmp_path / "whole", OPTIONS[name])
    train(corpus, tmp_path / "parts", OPTIONS[name], should_stop=stop_after(4))
    train(corpus, tmp_path / "parts", OPTIONS[name])
    whole, parts = final_state(tmp_path / "whole"), final_state(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    for key, value in whole.items():
        np.testing.assert_array_equal(parts[key], value, err_msg=key)


def test_a_running_mean_leaves_the_course_of_training_as_it_is(
    corpus: list[Utterance], tmp_path: Path
) -> None:
    losses: dict[float, list[float]] = {0.0: [], 0.9: []}
    for decay, seen in losses.items():
        settings = recipe(average_decay=decay)
        train(corpus, tmp_path / str(decay), settings, on_step=lambda p, s=seen: s.append(p.loss))
    assert losses[0.9] == losses[0.0]


def test_patience_ends_a_run_that_no_longer_gets_better(
    corpus: list[Utterance], tmp_path: Path
) -> None:
    still = recipe(epochs=9, learning_rate=1e-12, final_learning_rate=0.0, patience=2)
    epochs: list[int] = []
    train(corpus, tmp_path, still, on_epoch=lambda e, *_: epochs.append(e))
    assert epochs == [1, 2, 3], "the first is the best, then two more"
    assert is_finished(tmp_path, still)
    train(corpus, tmp_path, still, on_epoch=lambda e, *_: epochs.append(e))
    assert epochs == [1, 2, 3], "and stays ended"


def test_the_first_epoch_goes_by_length() -> None:
    lengths = [9, 3, 5, 7, 1, 8]
    plan = plan_batches(lengths, batch_samples=16, seed=0, epoch=0, by_length=True)
    longest = [max(lengths[i] for i in batch) for batch in plan]
    assert longest == sorted(longest)
    assert sorted(int(i) for batch in plan for i in batch) == list(range(6))


def test_a_run_starts_from_a_model(
    corpus: list[Utterance], model_folder: Path, tmp_path: Path
) -> None:
    """A rate of nothing leaves the weights that it started with."""
    still = recipe(
        epochs=1,
        learning_rate=1e-12,
        final_learning_rate=0.0,
        init_from=str(model_folder),
        weight_decay=0.0,
    )
    best = train(corpus, tmp_path, still)
    trained = load_network(best, read_pipeline(tmp_path))
    source = load_network(model_folder / "model.keras", read_pipeline(model_folder))
    for weight, value in zip(trained.trainable_weights, source.trainable_weights, strict=True):
        np.testing.assert_allclose(weight, value, atol=1e-6, err_msg=weight.path)
    assert read_pipeline(tmp_path).training_data["init_from"] == model_folder.name


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_what_is_computed_in_16_bits_is_kept_in_float32(
    corpus: list[Utterance], tmp_path: Path, precision: str
) -> None:
    """float16 also scales the loss, around the optimizer that keeps the running mean."""
    best = train(corpus, tmp_path, recipe(epochs=1, precision=precision, average_decay=0.5))
    network = load_network(best, read_pipeline(tmp_path))
    assert {layer.compute_dtype for layer in network.layers} == {"float32"}
    assert {str(weight.dtype) for weight in network.trainable_weights} == {"float32"}
    assert all(np.isfinite(weight).all() for weight in network.get_weights())


@pytest.mark.parametrize(
    ("name", "value"),
    [("average_decay", 1.0), ("patience", -1), ("accumulate", 0), ("precision", "int8")],
)
def test_settings_that_make_no_sense_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        TrainingConfig(**{name: value})

"""The step in PyTorch is our step, what is not is found out; the parts of ours are all there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import training_step, ways
from benchmarks.models import shake_weights
from benchmarks.training_parts import KINDS, LOSS, OPTIMIZER, OTHER, measure_parts
from config import NetworkConfig
from tests.models import TINY_NETWORK
from tests.runs import recipe
from training.manifest import Split, Utterance
from training.recipe import Recipe
from training.run import Run

NETWORKS = {
    "like deepspeech2": replace(TINY_NETWORK, normalise_gru_inputs=False, dense_units=8),
    "like small": TINY_NETWORK,
}
PLAN = training_step.Plan(clips=3, mean_s=0.4, rounds={"small": 2})

MakeRun = Callable[[NetworkConfig, float], Run]

needs_torch = pytest.mark.skipif(
    bool(ways.missing_packages("torch")), reason="needs torch: `make bench` installs it"
)


@pytest.fixture
def make_run(corpus: list[Utterance], tmp_path: Path) -> MakeRun:
    """Return a maker of runs of one batch, clips of different lengths."""
    clips = [utterance for utterance in corpus if utterance.split == Split.train]

    def make(network: NetworkConfig, dropout: float) -> Run:
        settings = recipe(epochs=1, batch_seconds=20.0)
        settings = replace(settings, network=replace(network, dropout=dropout))
        return Run(clips, clips[:1], tmp_path / "run", settings)

    return make


@needs_torch
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_loss_and_gradients_agree(make_run: MakeRun, network: NetworkConfig) -> None:
    run = make_run(network, 0.0)
    batch = training_step.first_batch(run)
    assert len(set(batch["num_frames"])) > 4, "lengths must differ"
    assert len(set(batch["label_lengths"])) > 4
    found = training_step.check_equal(run)
    assert found.keys() == set(training_step.COMPARED)
    assert max(found.values()) < 1e-4


@needs_torch
def test_weights_agree_after_a_step(make_run: MakeRun) -> None:
    """In a run of one step the rate of learning is at its peak at once, as in PyTorch.

    Keras adds its epsilon before the moments are corrected, PyTorch after: little gradients differ.
    """
    from benchmarks.training_torch import TorchStep

    run = make_run(NETWORKS["like small"], 0.0)
    shake_weights(run.model.network)
    kernel = run.model.network.get_layer("logits").kernel
    peer, before = TorchStep(run, training_step.first_batch(run), threads=1), kernel.numpy()
    assert peer() == pytest.approx(training_step.our_step(run)(), rel=1e-4)
    moved = kernel.numpy() - before
    theirs = peer.network.logits.weight.detach().numpy().T - before
    assert np.abs(moved).max() == pytest.approx(run.recipe.training.learning_rate, rel=0.01)
    assert np.linalg.norm(theirs - moved) < 0.05 * np.linalg.norm(moved)


@needs_torch
def test_another_step_is_not_measured(make_run: MakeRun) -> None:
    with pytest.raises(SystemExit, match="PyTorch differs from ours"):
        training_step.check_equal(make_run(NETWORKS["like small"], 0.5))


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    with pytest.raises(SystemExit, match="ours: got a loss of nan"):
        training_step.take_turns({"ours": lambda: np.nan}, 1)


def test_the_first_step_is_not_counted() -> None:
    calls: list[str] = []
    steps = {name: lambda name=name: calls.append(name) or 1.0 for name in "ab"}
    assert {k: len(v) for k, v in training_step.take_turns(steps, 2).items()} == {"a": 2, "b": 2}
    assert "".join(calls) == "ababab"


@pytest.fixture
def tiny_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every preset is the tiny network."""

    def tiny(preset: str, precision: str = "float32", dropout: float | None = None) -> Recipe:
        made = recipe(precision=precision)
        return made if dropout is None else replace(made, network=replace(TINY_NETWORK, dropout=0))

    monkeypatch.setattr(training_step, "make_recipe", tiny)


@needs_torch
def test_three_ways_are_measured_and_written(tiny_presets: None, tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    training_step.run_all(PLAN.rounds, PLAN, output, "a command")
    content = json.loads(output.read_text(encoding="utf-8"))
    assert content["command"] == "a command"
    assert content["machine"].keys() >= {"torch", "tensorflow", "threads", "load_before"}
    (row,) = content["presets"]
    assert (row["preset"], row["clips"], row["rounds"]) == ("small", 3, 2)
    assert row["audio_s"] == pytest.approx(1.2, abs=0.01)
    least, ours = row["least_s"], {training_step.FLOAT32, training_step.BFLOAT16}
    assert least.keys() == {*ours, ways.TORCH}
    assert all(0 < least[name] <= row["median_s"][name] for name in least)
    expected = {name: pytest.approx(least[name] / least[ways.TORCH]) for name in ours}
    assert row["ours_over_pytorch"] == expected


def test_without_pytorch_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(training_step, "missing_packages", lambda *names: [*names])
    with pytest.raises(SystemExit, match="`make bench-training-step` installs it"):
        training_step.run_all(PLAN.rounds, PLAN, tmp_path / "found.json", "a command")


def test_all_parts_of_the_step_are_timed(make_run: MakeRun) -> None:
    run = make_run(NETWORKS["like deepspeech2"], 0.1)
    training_step.our_step(run)()
    batch = next(iter(training_step.make_input(run, "none")))
    parts = measure_parts(run.model, *batch)
    layers = [layer.name for layer in run.model.network.layers]
    assert [p.name for p in parts] == [
        *(name for name in layers if name not in ("features", "num_frames")),
        "loss",
        "AdamW",
    ]
    assert all(part.forward_s > 0 for part in parts)
    kinds = {part.kind for part in parts}
    assert kinds == {*KINDS.values(), OTHER, LOSS, OPTIMIZER} - {"batch norm"}


def test_the_profile_names_the_largest_cost(
    tiny_presets: None, capsys: pytest.CaptureFixture[str]
) -> None:
    training_step.print_parts(["small"], PLAN)
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("convolution_1", "bigru_0", "normalisation_1", "AdamW"))
    (line,) = [line for line in printed.splitlines() if "GRUs" in line]
    shares = [float(entry.split()[-1].rstrip("%")) for entry in line.split(", ")]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=1)

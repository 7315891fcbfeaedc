"""Every peer of the benchmark is the same function as ours, and what is not is found out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from benchmarks import cost, floor, inference, ways
from benchmarks.inference_process import Plan, sample_speech
from benchmarks.models import make_random_model
from benchmarks.plain_keras import build_plain_keras
from config import LOG_MEL
from speech.pipeline import read_pipeline
from tests.models import TINY_NETWORK, TinyModel
from training.export import load_network
from training.networks.weights import read_weights
from training.presets import Preset

LENGTHS = (30_000, 100, 44_101, 5_000)
TINY_PLAN = Plan(clip_s=(1,), batches=(1, 2), threads=(1,), most_audio_s=(1.0,), rounds=2)


@pytest.fixture(
    scope="module",
    params=[
        Preset(network=replace(TINY_NETWORK, normalise_gru_inputs=False, dense_units=8)),
        Preset(features=LOG_MEL, network=TINY_NETWORK),
    ],
    ids=["like deepspeech2", "like small"],
)
def compared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, ways.TimedBackend]:
    """All ways of a model like each preset."""
    folder = make_random_model(tmp_path_factory.mktemp("random") / "tiny", request.param)
    network = load_network(folder / "model.keras", read_pipeline(folder))
    build_plain_keras(read_weights(network)).export(str(folder / "plain"), verbose=False)
    found, _ = ways.make_ways(folder, folder / "plain", network, threads=1)
    return found


@pytest.mark.parametrize("name", [ways.KERAS, ways.PLAIN, ways.TORCH, ways.ONNX])
def test_a_peer_gives_our_log_probabilities_alone_and_beside_longer_clips(
    compared: dict[str, ways.TimedBackend], name: str, rng: np.random.Generator
) -> None:
    if name not in compared:
        pytest.skip(f"needs {name}: `make bench` installs it")
    clips = [rng.uniform(-1, 1, length).astype(np.float32) for length in LENGTHS]
    backend, ours = compared[name], compared[ways.OURS]
    together = backend.log_probs(clips)
    for clip, got in zip(clips, together, strict=True):
        wanted = ours.log_probs([clip])[0]
        np.testing.assert_allclose(got, wanted, atol=1e-4)
        np.testing.assert_allclose(backend.log_probs([clip])[0], wanted, atol=1e-4)
    assert np.ptp(together[0], axis=0).max() > 0.1, "all frames are alike: equality says nothing"


def test_another_function_is_not_measured(compared: dict[str, ways.TimedBackend]) -> None:
    ours = compared[ways.OURS]
    clip = sample_speech(ours.pipeline.audio, 0.5)

    def off_by(difference: float) -> ways.PeerBackend:
        expected = ours.log_probs([clip])[0]
        return ways.PeerBackend(ours.pipeline, lambda *_: expected[np.newaxis] + difference)

    near = ways.largest_differences({ways.OURS: ours, "near": off_by(9e-4)}, [[clip]])
    assert near == {"near": pytest.approx(9e-4, rel=0.01)}
    for wrong in (2e-3, np.nan):
        with pytest.raises(SystemExit, match="far differs from ours by"):
            ways.largest_differences({ways.OURS: ours, "far": off_by(wrong)}, [[clip]])


def test_a_run_measures_all_stages_and_writes_them(model_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    inference.run([model_folder], TINY_PLAN, output, "a command")
    content = json.loads(output.read_text(encoding="utf-8"))
    (found,) = content["models"]
    (row,) = found["rows"]
    assert (found["model"], found["threads"], row["clip_s"], row["batch"]) == ("tiny", 1, 1, 1)
    assert {ways.OURS, ways.KERAS, ways.PLAIN} <= row["ways"].keys()
    assert row["ways"].keys() == {ways.OURS, *found["largest_difference"]}
    for name, stages in row["ways"].items():
        parts = ("check_s", "features_s", "network_s", "decoding_s")
        assert stages.keys() == {*parts, "whole_way_s"}
        parts_s, whole_way_s = sum(stages[part] for part in parts), stages["whole_way_s"]
        # The features are those of the plain export, which may be slower than all of our graph.
        if name == ways.OURS and not stages["network_s"]:
            assert parts_s >= whole_way_s
        else:
            assert parts_s == pytest.approx(whole_way_s)
    whole_s = {name: stages["whole_way_s"] for name, stages in row["ways"].items()}
    ratio = whole_s[ways.OURS] / whole_s[ways.PLAIN]
    assert row["ours_over"][ways.PLAIN] == pytest.approx(ratio)
    assert content["left_out"] == ways.missing_packages(
        "onnx", "onnxruntime", "pocketsphinx", "torch"
    )
    text = output.with_suffix(".txt").read_text(encoding="utf-8")
    assert "a command" in text
    assert "tiny, threads: 1" in text
    assert ("`make bench` installs them" in text) == bool(content["left_out"])


def test_a_process_that_fails_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="nothing is written"):
        inference.run_process("benchmarks.cost", str(tmp_path), threads=1)


def test_headlines_are_of_one_clip_of_10_s_with_most_threads() -> None:
    def result(model: str, threads: int, ratio: float) -> dict[str, object]:
        rows = [
            {"clip_s": clip_s, "batch": batch, "ours_over": {"onnxruntime": value}}
            for clip_s, batch, value in ((10, 1, ratio), (10, 4, 7.0), (5, 1, 8.0))
        ]
        return {"model": model, "threads": threads, "rows": rows}

    results = [result("deepspeech2", 1, 0.1), result("deepspeech2", 2, 0.2), result("x", 2, 0.3)]
    assert inference.headlines(results) == {"whole_way_10s_over_onnxruntime": 0.2}
    assert inference.headlines(results[2:]) == {}


def test_rounds_are_fewer_the_more_audio() -> None:
    plan = Plan()
    assert [plan.rounds_of(ways.OURS, 10, batch) for batch in (1, 4, 16)] == [6, 1, 1]
    assert [plan.rounds_of(ways.KERAS, 10, batch) for batch in (1, 4, 16)] == [1, 0, 0]
    assert plan.rounds_of(ways.OURS, 1, 1) == 7


def test_work_is_counted_from_the_weights(tiny_model: TinyModel) -> None:
    """Against the sum by hand for the tiny network: 2 convolutions, 2 layers of GRUs of 12."""
    weights = read_weights(tiny_model.network)
    bins = weights.num_bins
    halved = -(-bins // 2)
    quartered = -(-halved // 2)
    work = floor.count_work(weights, num_frames=10, batch=3)
    convolutions = 5 * 7 * 3 * 5 * halved + 3 * 5 * 3 * 3 * 3 * quartered
    projections = 3 * 2 * 36 * (3 * quartered + 24)
    output = 3 * 24 * 29
    assert work.flops == 3 * 2 * (convolutions + projections + output)
    assert work.recurrent_flops == 3 * 2 * 3 * 4 * 12 * 36
    assert work.recurrent_bytes == 4 * 3 * 4 * 12 * 36, "read once for the whole batch"


@pytest.mark.parametrize(("bytes_per_s", "expected"), [(1e9, 1.5), (10.0, 41.0)])
def test_the_floor_is_bound_by_arithmetic_or_by_bytes(bytes_per_s: float, expected: float) -> None:
    work = floor.Work(flops=100, recurrent_flops=50, recurrent_bytes=400)
    speed = floor.Speed(flops_per_s=100.0, bytes_per_s=bytes_per_s)
    assert floor.floor_s(work, speed) == pytest.approx(expected)


def test_cost_is_measured_along_both_axes_and_drawn(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "COUNTED_CLIP_S", 1)
    monkeypatch.setattr(cost, "RESULTS", tmp_path / "cost.json")
    monkeypatch.setattr(cost, "PLOT", tmp_path / "cost.png")
    cost.run({"tiny": model_folder}, clip_s=(1,), counts=(1, 2))
    found = json.loads((tmp_path / "cost.json").read_text(encoding="utf-8"))["models"]["tiny"]
    assert [point["clip_s"] for point in found["by_clip_s"]] == [1]
    assert [point["clips"] for point in found["by_clips"]] == [1, 2]
    for point in found["by_clips"]:
        assert point["ms_per_audio_s"] > 0
        assert 0 < point["loaded_mib"] <= point["peak_mib"]
    assert matplotlib.image.imread(tmp_path / "cost.png").std() > 0, "an empty picture"

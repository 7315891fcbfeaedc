"""Concurrent requests become one batch, padded, and each gets its own rows back."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc import StatusCode

from serving.config_files import read_batching_parameters
from serving.local import LocalBackend
from serving.remote import RemoteBackend
from serving.stand_in.batching import Batcher
from serving.stand_in.servable import Inputs, RefusedError
from serving.stubs import predict_pb2
from serving.tensors import fill_proto
from serving_config import ModelServerConfig, RemoteConfig
from tests.model_servers import quoted, running

PARAMETERS = """
    max_batch_size { value: 4 }
    batch_timeout_micros { value: 30000000 }
    max_enqueued_batches { value: 1 }
    num_batch_threads { value: 1 }
    allowed_batch_sizes: 2
    allowed_batch_sizes: 4
    pad_variable_length_inputs: true
"""


def timing_out(seconds: float) -> str:
    """Return parameters for batches that are not full; the others wait longer than a test."""
    return PARAMETERS.replace("30000000", str(round(1e6 * seconds)))


@pytest.fixture
def batcher(tmp_path: Path) -> Callable[..., Batcher]:
    def build(text: str = PARAMETERS) -> Batcher:
        path = tmp_path / "batching_parameters.txt"
        path.write_text(text, encoding="utf-8")
        return Batcher(read_batching_parameters(path))

    return build


class Recorder:
    """Doubles `x` and notes the shapes that it was given."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.started, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def __call__(self, inputs: Inputs) -> list[np.ndarray]:
        self.shapes.append(inputs["x"].shape)
        self.started.set()
        assert self.go_on.wait(60)
        return [2 * inputs["x"], inputs["x"].sum(axis=1)]


def rows(*values: float, width: int) -> Inputs:
    return {"x": np.array([[value] * width for value in values])}


def test_full_batches_are_run_at_once_and_split(batcher) -> None:
    record, join = Recorder(), batcher()
    given = [rows(1, width=3), rows(2, 3, width=5), rows(4, width=1)]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda inputs: join("key", inputs, record), given))
    assert record.shapes == [(4, 5)], "one batch, padded to the longest"
    for inputs, (doubled, _) in zip(given, answers, strict=True):
        count, width = inputs["x"].shape
        assert doubled.shape == (count, 5)
        np.testing.assert_array_equal(doubled[:, :width], 2 * inputs["x"])


def test_padding_is_the_first_element_and_extra_rows_are_cut(batcher) -> None:
    """As the server pads; so a model must not look beyond its lengths."""
    seen: list[np.ndarray] = []

    def run(inputs: Inputs) -> list[np.ndarray]:
        seen.append(inputs["x"])
        return [inputs["x"]]

    join = batcher(timing_out(5.0))
    given = [rows(7, width=1), rows(8, width=2), rows(9, width=1)]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda inputs: join("key", inputs, run), given))
    assert [len(answer[0]) for answer in answers] == [1, 1, 1]
    (batch,) = seen
    assert sorted(map(tuple, batch))[:2] == [(7, 7), (8, 8)]
    assert batch.shape == (4, 2), "three rows, made four: an allowed size"


def test_keys_do_not_mix_and_a_timeout_is_enough(batcher) -> None:
    record, join = Recorder(), batcher(timing_out(0.001))
    with ThreadPoolExecutor(2) as pool:
        keys = pool.map(lambda key: join(key, rows(1, width=2), record), "ab")
        assert len(list(keys)) == 2
    assert record.shapes == [(2, 2), (2, 2)]


def test_what_raises_reaches_every_request_and_the_next_batch_runs(batcher) -> None:
    join = batcher(timing_out(0.3))

    def fail(_: Inputs) -> list[np.ndarray]:
        raise ValueError("no")

    with ThreadPoolExecutor(2) as pool:
        tasks = [pool.submit(join, "key", rows(1, width=2), fail) for _ in range(2)]
        for task in tasks:
            with pytest.raises(ValueError, match="no"):
                task.result()
    assert len(join("key", rows(1, width=2), Recorder())) == 2


def test_a_full_queue_and_wrong_sizes_are_refused(batcher) -> None:
    record, join = Recorder(), batcher(timing_out(0.001))
    record.go_on.clear()
    full = rows(1, 1, 1, 1, width=2)
    with ThreadPoolExecutor(2) as pool:
        running_batch = pool.submit(join, "key", full, record)
        assert record.started.wait(60)
        waiting = pool.submit(join, "key", full, record)
        while not join._queues:
            time.sleep(0.01)
        message = "The batch scheduling queue to which this task was submitted is full"
        with pytest.raises(RefusedError, match=quoted(message)) as caught:
            join("key", full, record)
        assert caught.value.code == StatusCode.UNAVAILABLE
        record.go_on.set()
        assert len(running_batch.result()) == len(waiting.result()) == 2
    message = "Task size 5 is larger than maximum batch size 4"
    with pytest.raises(RefusedError, match=quoted(message)):
        join("key", rows(1, 2, 3, 4, 5, width=1), record)
    message = "Batching session Run() input tensors must have equal 0th-dimension size"
    with pytest.raises(RefusedError, match=quoted(message)):
        join("key", {"x": np.zeros((2, 1)), "n": np.zeros(3)}, record)


def test_without_padding_other_shapes_fail_together(batcher) -> None:
    text = PARAMETERS.replace("pad_variable_length_inputs: true", "").replace("4 }", "2 }")
    join = batcher(text.replace("allowed_batch_sizes: 4", ""))
    with ThreadPoolExecutor(2) as pool:
        given = [rows(1, width=1), rows(1, width=2)]
        tasks = [pool.submit(join, "key", inputs, Recorder()) for inputs in given]
        for task in tasks:
            with pytest.raises(RefusedError, match="padding is turned off"):
                task.result()


@pytest.mark.parametrize("text", ["max_batch_size: 4", "nonsense {"])
def test_a_broken_file_is_refused(batcher, text: str) -> None:
    with pytest.raises(ValueError, match=r"Invalid protobuf file: '.*batching_parameters\.txt'"):
        batcher(text)


def test_sizes_must_end_at_the_largest(batcher) -> None:
    with pytest.raises(ValueError, match="allowed_batch_sizes must increase"):
        batcher(PARAMETERS.replace("allowed_batch_sizes: 4", "allowed_batch_sizes: 3"))


def test_clips_of_other_lengths_are_as_alone(bundled: Path, tmp_path: Path, rng) -> None:
    """Through the server, batched with clips that pad each other with anything but silence."""
    file = tmp_path / "batching_parameters.txt"
    file.write_text(timing_out(0.3), encoding="utf-8")
    config = ModelServerConfig(enable_batching=True, batching_parameters_file=file)
    clips = [rng.uniform(0.2, 0.5, n).astype(np.float32) for n in (300, 5_000, 22_050, 60_000)]
    local = LocalBackend(bundled)
    with running(config) as server:
        remote = RemoteBackend(bundled, RemoteConfig(address=server.address))
        with ThreadPoolExecutor(len(clips)) as pool:
            together = list(pool.map(lambda clip: remote.log_probs([clip])[0], clips))
        remote.close()
    for clip, log_probs in zip(clips, together, strict=True):
        np.testing.assert_allclose(log_probs, local.log_probs([clip])[0], atol=1e-4)


def test_a_wrong_rank_fails_alone(bundled: Path, tmp_path: Path, rng) -> None:
    file = tmp_path / "batching_parameters.txt"
    file.write_text(timing_out(0.3), encoding="utf-8")
    clip = rng.uniform(0.2, 0.5, 5_000).astype(np.float32)

    def send(waveform: np.ndarray) -> object:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "english-small"
        fill_proto(request.inputs["waveform"], waveform)
        fill_proto(request.inputs["num_samples"], np.array([5_000], np.int32))
        return server.predictions.Predict(request)

    config = ModelServerConfig(enable_batching=True, batching_parameters_file=file)
    with running(config) as server, ThreadPoolExecutor(2) as pool:
        good, bad = (
            pool.submit(send, clip[np.newaxis]),
            pool.submit(send, clip[np.newaxis, :, None]),
        )
        assert good.result().outputs
        with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
            bad.result()

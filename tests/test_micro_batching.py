"""Clips of several callers in one batch: each as alone, each with its own errors, none lost."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from config import GivenUpError, ModelUnavailableError
from predictor import Predictor
from serving.local import LocalBackend
from serving.micro_batching import MicroBatcher, choose_batch
from serving_config import BatchingConfig
from speech.audio import encode_native
from tests.clips import babble


class Gate:
    """A `Backend` that notes its batches' lengths and holds each until it is told to go on."""

    def __init__(self, backend: LocalBackend) -> None:
        self.backend, self.pipeline = backend, backend.pipeline
        self.batches: list[list[int]] = []
        self.started, self.go_on, self.closed = (threading.Event() for _ in range(3))
        self.fails: set[int] = set()

    def log_probs(self, waveforms: list[np.ndarray], given_up=None) -> list[np.ndarray]:
        self.batches.append([len(waveform) for waveform in waveforms])
        self.started.set()
        assert self.go_on.wait(60)
        if self.fails & {len(waveform) for waveform in waveforms}:
            raise ArithmeticError("no")
        return self.backend.log_probs(waveforms)

    def check_ready(self) -> None: ...

    def close(self) -> None:
        self.closed.set()


@pytest.fixture(scope="module")
def local(model_folder: Path) -> LocalBackend:
    return LocalBackend(model_folder)


@pytest.fixture
def gate(local: LocalBackend) -> Gate:
    return Gate(local)


@pytest.fixture
def batcher(gate: Gate) -> Iterator[MicroBatcher]:
    batcher = MicroBatcher(gate, BatchingConfig(max_clips=8))
    yield batcher
    gate.go_on.set()
    batcher.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def clip(seconds: float, seed: int = 1) -> np.ndarray:
    return babble(seconds, seed=seed)


def test_a_backend_without_streams_has_none(batcher: MicroBatcher, local: LocalBackend) -> None:
    assert batcher.open_stream() is None
    assert local.open_stream() is None


def wait_for_clips(batcher: MicroBatcher, count: int) -> None:
    """Wait until `count` clips wait; only while the model computes another."""
    with batcher._changed:
        assert batcher._changed.wait_for(lambda: len(batcher._waiting) == count, 60)


def hold(batcher: MicroBatcher, gate: Gate, pool: ThreadPoolExecutor) -> Future:
    """Give the model a clip to compute for as long as the gate is closed."""
    held = pool.submit(batcher.log_probs, [clip(0.3)])
    assert gate.started.wait(60)
    return held


def test_clips_of_several_callers_are_one_batch_and_as_alone(batcher, gate, local, pool) -> None:
    clips = [clip(seconds, seed=i) for i, seconds in enumerate([1.0, 1.4, 1.1, 1.23, 0.97])]
    hold(batcher, gate, pool)
    answers = [pool.submit(batcher.log_probs, [waveform]) for waveform in clips]
    wait_for_clips(batcher, 5)
    gate.go_on.set()
    for waveform, answer in zip(clips, answers, strict=True):
        (together,), (alone,) = answer.result(), local.log_probs([waveform])
        assert together.shape == alone.shape
        np.testing.assert_allclose(together, alone, atol=1e-4)
    assert [len(batch) for batch in gate.batches] == [1, 5]


def test_a_callers_clips_come_back_in_order_whatever_batches_they_are_in(
    batcher, gate, local
) -> None:
    gate.go_on.set()
    clips = [clip(seconds, seed=i) for i, seconds in enumerate([3.0, 0.5, 2.9, 0.6, 9.0] * 3)]
    together = batcher.log_probs(clips)
    assert sorted(map(len, gate.batches)) == [3, 6, 6]
    for waveform, log_probs in zip(clips, together, strict=True):
        np.testing.assert_allclose(log_probs, local.log_probs([waveform])[0], atol=1e-4)


def test_no_clips_are_no_batch(batcher, gate) -> None:
    assert batcher.log_probs([]) == []
    assert gate.batches == []


@pytest.mark.parametrize(
    ("lengths", "places"),
    [
        ([], []),
        ([900], [0]),
        ([10, 15, 16, 7, 11], [0, 1, 4]),
        ([10, 16, 6, 9], [0, 3]),
        ([10] * 9, [0, 1, 2, 3]),
        ([30, 30, 30, 20, 20], [0, 1, 2]),
        ([20, 20, 20, 24], [0, 1, 2]),
    ],
    ids=["none", "too long alone", "much longer", "much shorter", "count", "sum", "padding"],
)
def test_the_oldest_clip_takes_those_that_fit(lengths: list[int], places: list[int]) -> None:
    config = BatchingConfig(max_clips=4, max_audio_s=9.3, max_stretch=1.5)
    assert choose_batch(lengths, config, sample_rate_hz=10) == places


def wait_until_idle(batcher: MicroBatcher) -> None:
    """Wait until the thread waits for the first clip."""
    for _ in range(6000):
        if batcher._changed._waiters:
            return
        time.sleep(0.01)
    raise AssertionError("the batcher's thread does not wait")


def test_a_model_that_was_idle_does_not_wait_for_more(batcher, gate, pool) -> None:
    wait_until_idle(batcher)
    waits = []
    batcher._is_enough = lambda: waits.append(len(batcher._waiting)) or True
    held = hold(batcher, gate, pool)
    assert waits == []
    more = pool.submit(batcher.log_probs, [clip(0.4)])
    wait_for_clips(batcher, 1)
    gate.go_on.set()
    assert held.result()
    assert more.result()
    assert waits == [1]


def test_a_batch_of_one_clip_each_is_no_batching(gate, pool) -> None:
    batcher = MicroBatcher(gate, BatchingConfig(max_clips=1))
    gate.go_on.set()
    batcher.log_probs([clip(0.4), clip(0.4)])
    batcher.close()
    assert gate.batches == [[8820], [8820]]


def test_an_error_reaches_its_batch_and_no_other(batcher, gate, pool) -> None:
    hold(batcher, gate, pool)
    lengths = [0.5, 0.6, 3.0, 3.1]
    answers = [pool.submit(batcher.log_probs, [clip(seconds)]) for seconds in lengths]
    wait_for_clips(batcher, 4)
    gate.fails = {len(clip(0.5))}
    gate.go_on.set()
    for answer in answers[:2]:
        with pytest.raises(ArithmeticError, match="no"):
            answer.result()
    assert all(answer.result() for answer in answers[2:])
    assert batcher.log_probs([clip(0.7)])


def test_a_model_that_loses_a_clip_is_an_error(batcher, gate, monkeypatch) -> None:
    monkeypatch.setattr(gate, "log_probs", lambda waveforms: [])
    with pytest.raises(ValueError, match="shorter"):
        batcher.log_probs([clip(0.5)])


def test_what_was_given_up_while_it_waited_is_not_computed(batcher, gate, pool) -> None:
    hold(batcher, gate, pool)
    given_up, wanted = threading.Event(), threading.Event()
    dropped = pool.submit(batcher.log_probs, [clip(0.5), clip(0.52)], given_up)
    kept = pool.submit(batcher.log_probs, [clip(0.51)], wanted)
    wait_for_clips(batcher, 3)
    given_up.set()
    gate.go_on.set()
    assert kept.result()
    with pytest.raises(GivenUpError):
        dropped.result()
    assert gate.batches[1:] == [[len(clip(0.51))]]


def test_if_all_were_given_up_the_next_clip_is_computed(batcher, gate, pool) -> None:
    hold(batcher, gate, pool)
    given_up = threading.Event()
    dropped = pool.submit(batcher.log_probs, [clip(0.5)], given_up)
    wait_for_clips(batcher, 1)
    given_up.set()
    gate.go_on.set()
    with pytest.raises(GivenUpError):
        dropped.result()
    assert batcher.log_probs([clip(0.6)])
    assert len(gate.batches) == 2


def test_closing_ends_the_thread_and_fails_what_waits(batcher, gate, pool) -> None:
    held = hold(batcher, gate, pool)
    waiting = [pool.submit(batcher.log_probs, [clip(0.5)]) for _ in range(3)]
    wait_for_clips(batcher, 3)
    closing = pool.submit(batcher.close)
    for answer in waiting:
        with pytest.raises(ModelUnavailableError, match="the model is closed"):
            answer.result(60)
    gate.go_on.set()
    assert held.result(60), "what was begun is finished"
    closing.result(60)
    assert not batcher._thread.is_alive()
    assert gate.closed.is_set()
    with pytest.raises(ModelUnavailableError, match="the model is closed"):
        batcher.log_probs([clip(0.5)])


def test_a_predictor_that_batches_says_what_it_says_alone(local, pool) -> None:
    alone = Predictor(local)
    together = alone.batching(BatchingConfig())
    wavs = [encode_native(clip(0.5 + 0.2 * i, seed=i), alone.audio) for i in range(12)]
    found = list(pool.map(together.transcribe, wavs))
    together.backend.close()
    assert len({transcript.text for transcript in found}) > 3
    for wav, transcript in zip(wavs, found, strict=True):
        expected = alone.transcribe(wav)
        assert (transcript.text, transcript.duration_s) == (expected.text, expected.duration_s)
        assert transcript.confidence == pytest.approx(expected.confidence, abs=1e-3)


@pytest.mark.parametrize("batches", [False, True])
def test_a_predictor_computes_nothing_for_nobody(gate, batches: bool) -> None:
    gate.go_on.set()
    predictor = Predictor(gate.backend)
    predictor = predictor.batching(BatchingConfig()) if batches else predictor
    given_up = threading.Event()
    given_up.set()
    with pytest.raises(GivenUpError):
        predictor.transcribe(encode_native(clip(0.5), predictor.audio), given_up=given_up)
    predictor.backend.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_clips": 0}, "batch_max_clips 0 is under 1"),
        ({"max_audio_s": 0.0}, r"max_audio_s 0\.0 is not positive"),
        ({"max_stretch": 0.9}, r"max_stretch 0\.9 is under 1"),
        ({"wait_ms": -1.0}, r"batch_wait_ms -1\.0 is not in 0 to 1000"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchingConfig(**settings)

"""Whose clips are next: callers share the model alike, however much each of them brings."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import threading

from serving.local import LocalBackend
from serving.micro_batching import MicroBatcher
from serving_config import BatchingConfig
from tests.test_micro_batching import (  # noqa: F401
    Gate,
    batcher,
    clip,
    gate,
    hold,
    local,
    pool,
    wait_for_clips,
)


def length(seconds: float) -> int:
    return len(clip(seconds))


def test_a_single_clip_does_not_wait_for_all_of_anothers(batcher, gate, pool) -> None:
    hold(batcher, gate, pool)
    many = pool.submit(batcher.log_probs, [clip(6.0, seed=i) for i in range(20)])
    wait_for_clips(batcher, 20)
    one = pool.submit(batcher.log_probs, [clip(1.0)])
    wait_for_clips(batcher, 21)
    gate.go_on.set()
    assert len(one.result(60)) == 1
    assert len(many.result(60)) == 20
    place = gate.batches.index([length(1.0)])
    assert place == 2, "after what is computed already, and one batch of the other's"


class Turnstile(Gate):
    """Lets batches pass one by one."""

    def __init__(self, backend: LocalBackend) -> None:
        super().__init__(backend)
        self.go_on.set()
        self.allowed = threading.Semaphore(0)

    def log_probs(self, waveforms, given_up=None):
        self.batches.append([len(waveform) for waveform in waveforms])
        self.started.set()
        assert self.allowed.acquire(timeout=60)
        return self.backend.log_probs(waveforms)


def test_who_comes_while_anothers_first_clips_are_computed_is_next(local, pool) -> None:
    turnstile = Turnstile(local)
    batcher = MicroBatcher(turnstile, BatchingConfig(max_clips=8))
    many = pool.submit(batcher.log_probs, [clip(6.0, seed=i) for i in range(20)])
    assert turnstile.started.wait(60)
    wait_for_clips(batcher, 12)
    one = pool.submit(batcher.log_probs, [clip(1.0)])
    wait_for_clips(batcher, 13)
    turnstile.allowed.release(10)
    assert len(one.result(60)) == 1
    assert len(many.result(60)) == 20
    assert turnstile.batches[1] == [length(1.0)]
    batcher.close()


def test_two_callers_have_equal_shares(batcher, gate, pool) -> None:
    hold(batcher, gate, pool)
    first = pool.submit(batcher.log_probs, [clip(4.0, seed=i) for i in range(16)])
    wait_for_clips(batcher, 16)
    second = pool.submit(batcher.log_probs, [clip(4.1, seed=i) for i in range(16)])
    wait_for_clips(batcher, 32)
    gate.go_on.set()
    assert len(first.result(60)) == len(second.result(60)) == 16
    of_each = [tuple(batch.count(length(s)) for s in (4.0, 4.1)) for batch in gate.batches]
    assert of_each == [(0, 0), (4, 4), (4, 4), (4, 4), (4, 4)]


def test_who_brings_much_is_served_however_many_bring_little(batcher, gate, pool) -> None:
    hold(batcher, gate, pool)
    many = pool.submit(batcher.log_probs, [clip(6.0, seed=i) for i in range(9)])
    wait_for_clips(batcher, 9)
    gate.go_on.set()
    alone = 0
    while not many.done():
        batcher.log_probs([clip(0.5)])
        alone += 1
        assert alone < 1000
    assert len(many.result(60)) == 9

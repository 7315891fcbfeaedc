"""A run on several devices is the run on one with their batches put together."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from config import CorpusError, ModelError
from tests.replica_worker import small_recipe
from training import run
from training.checkpoint import read_state
from training.dataset import Plan
from training.distribution import Replicas, connect, even_plan, fill_plan, share_plan
from training.manifest import Utterance, write_manifest
from training.presets import TrainingConfig
from training.run import CHECKPOINT
from training.train import train

ROOT = Path(__file__).parents[1]
NEVER = 999
LONGEST_S = 300


def variables(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / CHECKPOINT) as file:
        return {key: file[key] for key in file.files if key != "about"}


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start_process(given: dict[str, object], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.replica_worker", json.dumps(given)],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def environments_of_two_workers() -> list[dict[str, str]]:
    hosts = [f"127.0.0.1:{port}" for port in free_ports(2)]
    tasks = [{"type": "worker", "index": index} for index in range(2)]
    return [
        {"TF_CONFIG": json.dumps({"cluster": {"worker": hosts}, "task": task})} for task in tasks
    ]


class Processes:
    """Starts processes that share a run, and gives back what each saw as the loss of its steps."""

    def __init__(self, corpus: list[Utterance], folder: Path) -> None:
        self.folder, self.manifest = folder, folder / "manifest.jsonl"
        write_manifest(self.manifest, corpus)

    def start(
        self, output: Path, environment: dict[str, str], number: int, **settings: object
    ) -> subprocess.Popen[str]:
        given = {
            "manifest": str(self.manifest),
            "output": str(output),
            "losses": str(self.folder / f"losses{number}.json"),
            "stop_after": NEVER,
            **settings,
        }
        return start_process(given, environment)

    def mirrored(self, output: Path, **settings: object) -> list[list[float]]:
        return self.finish([self.start(output, {}, 0, **settings)])

    def two_workers(
        self, output: Path, *, stop_second_after: int = NEVER, **settings: object
    ) -> list[list[float]]:
        processes = []
        for index, environment in enumerate(environments_of_two_workers()):
            stop = stop_second_after if index else NEVER
            processes.append(self.start(output, environment, index, **settings, stop_after=stop))
        return self.finish(processes)

    def finish(self, processes: list[subprocess.Popen[str]]) -> list[list[float]]:
        try:
            for process in processes:
                printed, _ = process.communicate(timeout=LONGEST_S)
                assert process.returncode == 0, printed[-4000:]
        finally:
            for process in processes:
                process.kill()
                process.wait()
        files = [self.folder / f"losses{i}.json" for i in range(len(processes))]
        return [json.loads(file.read_text()) for file in files]


@pytest.fixture
def processes(corpus: list[Utterance], tmp_path: Path) -> Processes:
    return Processes(corpus, tmp_path)


def train_alone(
    corpus: list[Utterance], output: Path, monkeypatch: pytest.MonkeyPatch, **training: object
) -> list[float]:
    """Train on one device; each step takes the two batches that two devices would."""

    def put_together(plan: Plan, _count: int) -> Plan:
        shared = share_plan(plan, 2)
        return [np.concatenate(pair) for pair in zip(shared[::2], shared[1::2], strict=True)]

    losses: list[float] = []
    with monkeypatch.context() as patch:
        patch.setattr(run, "share_plan", put_together)
        train(corpus, output, small_recipe(**training), on_step=lambda p: losses.append(p.loss))
    return losses


OPTIONS = {"epochs": 2, "gradient_clip_norm": 0.5, "average_decay": 0.9}


@pytest.fixture
def alone(
    corpus: list[Utterance],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> tuple[list[float], dict[str, np.ndarray]]:
    more = getattr(request, "param", {})
    losses = train_alone(corpus, tmp_path / "one", monkeypatch, **OPTIONS, **more)
    assert len(losses) > 4
    return losses, variables(tmp_path / "one")


def check_equal(folder: Path, wanted: dict[str, np.ndarray]) -> None:
    seen = variables(folder)
    assert seen.keys() == wanted.keys()
    for key, value in wanted.items():
        np.testing.assert_allclose(seen[key], value, atol=1e-4, rtol=1e-4, err_msg=key)
    assert (folder / "log.csv").read_text().count("\n") == 1 + OPTIONS["epochs"]


ACCUMULATED = {"accumulate": 2}


@pytest.mark.parametrize("alone", [ACCUMULATED], indirect=True, ids=["accumulate"])
def test_two_devices_of_a_host_do_what_one_does_with_both_batches(
    alone: tuple[list[float], dict[str, np.ndarray]], processes: Processes, tmp_path: Path
) -> None:
    """Batches differ in length and number; gradients are averaged over two steps, and clipped."""
    losses, wanted = alone
    training = {**OPTIONS, **ACCUMULATED, "strategy": "mirrored"}
    (seen,) = processes.mirrored(tmp_path / "two", training=training)
    np.testing.assert_allclose(seen, losses, rtol=1e-4)
    check_equal(tmp_path / "two", wanted)


def test_two_processes_stopped_and_continued_do_what_one_does_with_both_batches(
    alone: tuple[list[float], dict[str, np.ndarray]], processes: Processes, tmp_path: Path
) -> None:
    """Only the second is asked to stop: both do, after the same step."""
    losses, wanted = alone
    training = {**OPTIONS, "strategy": "multi-worker"}
    before = processes.two_workers(tmp_path / "two", training=training, stop_second_after=2)
    state = read_state(tmp_path / "two" / CHECKPOINT)
    assert state is not None
    assert (state.epoch, state.batch, state.replicas) == (0, 2, 2)
    after = processes.two_workers(tmp_path / "two", training=training)
    for first, second in zip(before, after, strict=True):
        np.testing.assert_allclose(first + second, losses, rtol=1e-4)
    check_equal(tmp_path / "two", wanted)


@pytest.mark.parametrize("killed", [1, 0])
def test_a_worker_that_dies_ends_the_other_with_one_line(killed: int) -> None:
    """The other waits for it at the time, outside of a step."""
    environments = environments_of_two_workers()
    workers = [
        start_process({"meets": 1 if index == killed else 2}, environments[index])
        for index in range(2)
    ]
    try:
        for worker in workers:
            assert worker.stdout
            assert any(line == "met\n" for line in worker.stdout)
        workers[killed].kill()
        printed, _ = workers[1 - killed].communicate(timeout=LONGEST_S)
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert "error: another worker has stopped; needed: the same command" in printed, printed
    assert "Traceback" not in printed
    assert workers[1 - killed].returncode == 1


def test_a_worker_reads_only_its_own_batches() -> None:
    """Two hosts of two devices: of each step's four batches, the first two are the first's."""
    replicas = Replicas()
    replicas.count, replicas.num_workers = 4, 2
    np.testing.assert_array_equal(replicas.rows(8, 0), [0, 1, 4, 5])
    np.testing.assert_array_equal(replicas.rows(8, 1), [2, 3, 6, 7])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_a_plan_is_cut_into_whole_steps_without_a_clip_twice(count: int) -> None:
    plan = [np.array([4, 1, 2]), np.array([0]), np.array([3, 5, 6, 7])]
    shared = share_plan(plan, count)
    assert len(shared) % count == 0
    assert all(len(batch) for batch in shared)
    np.testing.assert_array_equal(np.concatenate(shared), np.concatenate(plan))


def test_a_batch_that_jax_cuts_is_a_multiple_of_its_devices() -> None:
    plan = [np.array([4, 1, 2]), np.array([0]), np.array([3, 5, 6, 7, 8])]
    assert [list(batch) for batch in even_plan(plan, 2)] == [[4, 1], [2, 0], [3, 5, 6, 7]]
    assert [list(batch) for batch in fill_plan(plan, 2)] == [
        [4, 1, 2, 4],
        [0, 0],
        [3, 5, 6, 7, 8, 3],
    ]


def test_more_devices_than_clips_are_refused() -> None:
    with pytest.raises(CorpusError, match="got 2 clips"):
        share_plan([np.array([0, 1])], 3)


def test_several_hosts_need_to_know_of_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="needs TF_CONFIG"):
        connect("multi-worker")


def test_a_run_goes_on_with_as_many_devices(
    corpus: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = small_recipe(epochs=1)
    train(corpus, tmp_path / "run", short, should_stop=lambda: True)
    monkeypatch.setattr(run, "connect", lambda _: _two_devices())
    with pytest.raises(ModelError, match="on 1 devices, here are 2"):
        train(corpus, tmp_path / "run", short)


def _two_devices() -> Replicas:
    replicas = Replicas()
    replicas.count = 2
    return replicas


@pytest.mark.parametrize("settings", [{"strategy": "tpu"}, {"jit_compile": True}])
def test_strategies_that_do_not_work_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="strategy"):
        TrainingConfig(**{"strategy": "mirrored", **settings})

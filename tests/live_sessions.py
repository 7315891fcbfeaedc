"""What tests of live captions share: a model, a server, a client, and something to say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from captions.sources import to_pcm
from predictor import Predictor
from service_config import ServerConfig
from serving.local import LocalBackend
from tests.clips import babble
from tests.live_server import Client, Served, serving

RATE_HZ = 22_050


def quiet(duration_s: float) -> np.ndarray:
    draw = np.random.default_rng(3)
    return (0.0005 * draw.standard_normal(round(duration_s * RATE_HZ))).astype(np.float32)


def said(duration_s: float = 2.0, *, seed: int = 1, silence_s: float = 1.0) -> bytes:
    """Return PCM: some silence, what the model takes for speech, silence."""
    parts = [quiet(0.5), babble(duration_s, seed=seed), quiet(silence_s)]
    return to_pcm(np.concatenate(parts))


@pytest.fixture(scope="module")
def predictor(model_folder: Path) -> Predictor:
    return Predictor(LocalBackend(model_folder))


@pytest.fixture
def served(server_config: ServerConfig, predictor: Predictor) -> Iterator[Served]:
    with serving(server_config, lambda _: predictor) as served:
        yield served


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with served.client() as client:
        yield client


class Gate(LocalBackend):
    """Computes nothing until it is told to go on; then fails if it is to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.started, self.go_on = threading.Event(), threading.Event()
        self.failure: Exception | None = None

    def log_probs(self, waveforms, given_up=None):
        self.started.set()
        assert self.go_on.wait(60)
        if self.failure:
            raise self.failure
        return super().log_probs(waveforms, given_up)


@pytest.fixture
def gate(model_folder: Path) -> Iterator[Gate]:
    gate = Gate(model_folder)
    yield gate
    gate.go_on.set()

"""Many uploads at a time: what waits, what is computed together, what is refused or given up."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

import api
from config import AudioConfig
from predictor import Predictor
from service.limits import Turns
from service_config import ServerConfig
from serving.local import LocalBackend
from speech.audio import encode_native
from tests.clips import babble
from tests.services import served
from tests.upload_service import predictor, upload, wav  # noqa: F401


class Waiting(Predictor):
    """Holds its answer back until it is told to go on."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__(predictor.backend)
        self.started, self.go_on = threading.Event(), threading.Event()

    def transcribe(self, wav_bytes: bytes, options=None, *, given_up=None):
        self.started.set()
        assert self.go_on.wait(60)
        return super().transcribe(wav_bytes, options, given_up=given_up)


def wait_until(client: TestClient, holds: Callable[[Turns], bool]) -> None:
    """Wait for something of how many uploads there are."""
    while not client.portal.call(lambda: holds(client.app.state.turns)):
        time.sleep(0.01)


def test_inference_does_not_block_the_event_loop(
    server_config: ServerConfig, predictor: Predictor
) -> None:
    waiting = Waiting(predictor)
    with TestClient(api.create_app(server_config, load=lambda _: waiting)) as client:
        answers = []
        thread = threading.Thread(target=lambda: answers.append(upload(client, wav())))
        thread.start()
        assert waiting.started.wait(60)
        others = [threading.Thread(target=upload, args=(client, wav())) for _ in range(50)]
        for other in others:
            other.start()
        wait_until(client, lambda turns: turns.present == 51)
        assert client.get("/").status_code == 200
        assert not answers
        waiting.go_on.set()
        for started in (thread, *others):
            started.join(60)
    assert answers[0].status_code == 200


def test_readiness_is_told_however_many_uploads_wait(
    server_config: ServerConfig, predictor: Predictor
) -> None:
    waiting = Waiting(predictor)
    with TestClient(api.create_app(server_config, load=lambda _: waiting)) as client:
        uploads = [threading.Thread(target=upload, args=(client, wav())) for _ in range(50)]
        for started in uploads:
            started.start()
        wait_until(client, lambda turns: turns.present == 50)
        assert client.get("/ready/").json() == {"status": "ready", "model": "tiny"}
        waiting.go_on.set()
        for started in uploads:
            started.join(60)


class Gate(LocalBackend):
    """Notes how many clips each batch has, and holds it until it is told to go on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.batches: list[int] = []
        self.started, self.go_on = threading.Event(), threading.Event()

    def log_probs(self, waveforms, given_up=None):
        self.batches.append(len(waveforms))
        self.started.set()
        assert self.go_on.wait(60)
        return super().log_probs(waveforms, given_up)


@pytest.fixture
def gate(model_folder: Path) -> Iterator[Gate]:
    gate = Gate(model_folder)
    yield gate
    gate.go_on.set()


def waiting_clips(app: FastAPI, count: int) -> list:
    """Return the clips that wait once there are `count`; only while the model computes another."""
    batcher = app.state.predictor.backend
    with batcher._changed:
        assert batcher._changed.wait_for(lambda: len(batcher._waiting) == count, 60)
        return [*batcher._waiting]


def test_uploads_that_come_together_are_one_batch(
    server_config: ServerConfig, gate: Gate, predictor: Predictor
) -> None:
    app = api.create_app(server_config, load=lambda _: Predictor(gate))
    wavs = [encode_native(babble(0.5 + 0.05 * i, seed=i), AudioConfig()) for i in range(6)]
    with TestClient(app) as client, ThreadPoolExecutor(6) as pool:
        first = pool.submit(upload, client, wavs[0])
        assert gate.started.wait(60)
        others = [pool.submit(upload, client, wav) for wav in wavs[1:]]
        waiting_clips(app, 5)
        gate.go_on.set()
        answers = [answer.result().json()["transcription"] for answer in (first, *others)]
    assert answers == [predictor.transcribe(wav).text for wav in wavs]
    assert gate.batches == [1, 5]


def test_one_upload_more_than_may_wait_is_503(server_config: ServerConfig, gate: Gate) -> None:
    config = replace(server_config, max_running=1, max_waiting=1)
    app = api.create_app(config, load=lambda _: Predictor(gate))
    with TestClient(app) as client, ThreadPoolExecutor(2) as pool:
        allowed = [pool.submit(upload, client, wav()) for _ in range(2)]
        wait_until(client, lambda turns: turns.present == 2)
        refused = upload(client, wav())
        gate.go_on.set()
        assert [answer.result().status_code for answer in allowed] == [200, 200]
        assert upload(client, wav()).status_code == 200
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "1"
    assert refused.json() == {"detail": "2 requests wait or are worked on; needed: under that many"}


def send(port: int) -> httpx.Response:
    files = {"file": ("clip.wav", wav(), "audio/wav")}
    return httpx.post(f"http://127.0.0.1:{port}/upload/", files=files, timeout=60, trust_env=False)


def test_an_upload_whose_client_goes_while_it_waits_is_not_computed(
    server_config: ServerConfig, gate: Gate
) -> None:
    app = api.create_app(server_config, load=lambda _: Predictor(gate))
    with served(app) as (_, port), ThreadPoolExecutor(1) as pool:
        answer = pool.submit(send, port)
        assert gate.started.wait(60)
        request = httpx.Request("POST", "http://127.0.0.1/upload/", files={"file": wav()})
        lines = [f"{name}: {value}" for name, value in request.headers.items()]
        head = "\r\n".join(["POST /upload/ HTTP/1.1", *lines, "", ""]).encode()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head + request.read())
            (waiting,) = waiting_clips(app, 1)
        assert waiting.given_up.wait(60)
        gate.go_on.set()
        assert answer.result().status_code == 200
        assert send(port).status_code == 200
    assert gate.batches == [1, 1]
    log = (server_config.log_folder / "api.log").read_text(encoding="utf-8")
    assert [line.split("-> ")[1][:3] for line in log.splitlines()].count("499") == 1


def test_a_service_that_stops_answers_what_it_has(server_config: ServerConfig, gate: Gate) -> None:
    app = api.create_app(server_config, load=lambda _: Predictor(gate))
    with ThreadPoolExecutor(3) as pool:
        with served(app) as (server, port):
            answers = [pool.submit(send, port)]
            assert gate.started.wait(60)  # alone: what comes now waits
            answers += [pool.submit(send, port) for _ in range(2)]
            waiting_clips(app, 2)
            server.should_exit = True
            gate.go_on.set()
        assert [answer.result(60).status_code for answer in answers] == [200] * 3
    assert not app.state.predictor.backend._thread.is_alive()

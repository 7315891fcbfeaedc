"""Events as they leave the service: in time, in bounds, and with an end whatever happens."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest

import api
from config import ModelUnavailableError
from predictor import Predictor
from service_config import ServerConfig
from serving.local import LocalBackend
from tests.clips import babble
from tests.media_files import encode
from tests.openai_service import ask, client_of
from tests.services import served

RATE_HZ, WAIT_S = 22_050, 60


def long_file() -> bytes:
    """Four minutes of six-second stretches between pauses."""
    stretch = np.append(babble(6.0), np.zeros(round(2.5 * RATE_HZ), np.float32))
    return encode("flac", np.tile(stretch, 28), RATE_HZ)


class Steps(LocalBackend):
    """Computes a batch each time it is allowed to; may fail instead."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.allowed, self.num_clips, self.fails = threading.Semaphore(0), 0, False

    def log_probs(self, waveforms, given_up=None):
        assert self.allowed.acquire(timeout=60)
        if self.fails:
            raise ModelUnavailableError("the model went away")
        self.num_clips += len(waveforms)
        return super().log_probs(waveforms, given_up)


@pytest.fixture
def steps(model_folder: Path) -> Iterator[Steps]:
    steps = Steps(model_folder)
    yield steps
    for _ in range(1000):
        steps.allowed.release()


@pytest.fixture
def port(server_config: ServerConfig, steps: Steps) -> Iterator[int]:
    config = replace(server_config, max_running=1, max_waiting=0)
    with served(api.create_app(config, load=lambda _: Predictor(steps))) as (_, port):
        yield port


@pytest.fixture
def client(port: int) -> Iterator[openai.OpenAI]:
    with client_of(port) as client:
        yield client


def test_deltas_come_while_the_rest_is_computed(client: openai.OpenAI, steps: Steps) -> None:
    steps.allowed.release()
    events = iter(ask(client, long_file(), stream=True))
    assert next(events).type == "transcript.text.delta"
    before = steps.num_clips
    for _ in range(1000):
        steps.allowed.release()
    assert [*events][-1].type == "transcript.text.done"
    assert 0 < before < steps.num_clips


def test_a_stream_holds_its_turn_until_its_end(client: openai.OpenAI, steps: Steps) -> None:
    steps.allowed.release()
    events = iter(ask(client, long_file(), stream=True))
    next(events)
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client)
    assert caught.value.status_code == 503
    assert caught.value.response.headers["Retry-After"] == "1"
    assert caught.value.body["code"] == "unavailable"
    for _ in range(1000):
        steps.allowed.release()
    assert [*events][-1].type == "transcript.text.done"
    assert ask(client).duration > 0


def test_a_client_that_goes_ends_the_work(client: openai.OpenAI, steps: Steps) -> None:
    steps.allowed.release()
    stream = ask(client, long_file(), stream=True)
    next(iter(stream))
    stream.close()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(wait_for_a_turn, client)
        for _ in range(3):
            steps.allowed.release()
        assert answer.result(60).duration > 0
    assert steps.num_clips < 28, "some of the first recording's pieces were never computed"


def wait_for_a_turn(client: openai.OpenAI):
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        try:
            return ask(client)
        except openai.InternalServerError:
            continue
    raise AssertionError(f"no turn in {WAIT_S} s: the recording before is still worked on")


def test_what_fails_midway_is_an_error_event_and_the_end(
    client: openai.OpenAI, steps: Steps
) -> None:
    steps.allowed.release()
    events = iter(ask(client, long_file(), stream=True))
    next(events)
    steps.fails = True
    steps.allowed.release()
    with pytest.raises(openai.APIError, match="the model went away"):
        list(events)
    steps.fails = False
    steps.allowed.release()
    assert wait_for_a_turn(client).duration > 0  # the event came before the end


def test_what_fails_before_the_first_event_has_a_status(
    client: openai.OpenAI, steps: Steps
) -> None:
    steps.fails = True
    steps.allowed.release()
    with pytest.raises(openai.InternalServerError, match="the model went away") as caught:
        ask(client, stream=True)
    assert caught.value.status_code == 503


def test_events_are_lines_of_data(port: int, steps: Steps) -> None:
    for _ in range(1000):
        steps.allowed.release()
    url = f"http://127.0.0.1:{port}/v1/audio/transcriptions"
    fields = {"model": "whisper-1", "stream": "true"}
    with httpx.stream(
        "POST", url, data=fields, files={"file": long_file()}, timeout=60, trust_env=False
    ) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.headers["Cache-Control"] == "no-cache"
        assert len(response.headers["X-Request-ID"]) == 12
        blocks = response.read().decode().split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: {") and "\n" not in block for block in blocks)
    *deltas, done = [json.loads(block.removeprefix("data: ")) for block in blocks]
    assert done["type"] == "transcript.text.done"
    assert "".join(event["delta"] for event in deltas) == done["text"] != ""


def test_a_file_that_breaks_midway_is_an_error_event(client: openai.OpenAI, steps: Steps) -> None:
    """Samples that are no numbers come after three minutes."""
    for _ in range(1000):
        steps.allowed.release()
    stretch = np.append(babble(6.0), np.zeros(round(2.5 * RATE_HZ), np.float32))
    waveform = np.tile(stretch, 28)
    waveform[-RATE_HZ] = np.nan
    events = iter(ask(client, encode("wav-float", waveform, RATE_HZ), stream=True))
    assert next(events).type == "transcript.text.delta"
    with pytest.raises(openai.APIError, match="samples that are not finite") as caught:
        list(events)
    assert caught.value.code == "invalid_audio"
    assert caught.value.param == "file"

"""`/v1/stream`: where its sessions compute, and what is counted of them."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from predictor import Predictor
from service.live import PATH
from service_config import ServerConfig
from serving.local import LocalBackend
from serving.local_stream import LocalStream
from tests.live_server import Served, finals, serving
from tests.live_sessions import predictor, said, served  # noqa: F401
from tests.models import TinyModel


class Noted(LocalBackend):
    """Notes in which threads streams are opened."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.threads: list[threading.Thread] = []

    def open_stream(self) -> LocalStream | None:
        self.threads.append(threading.current_thread())
        return super().open_stream()


def test_a_network_s_state_is_made_once_and_not_in_the_event_loop(
    server_config: ServerConfig, streaming_model: TinyModel
) -> None:
    backend, loops = Noted(streaming_model.folder), []
    with serving(server_config, lambda _: Predictor(backend)) as served, served.client() as client:
        loop = served.server.servers[0].get_loop()
        loop.call_soon_threadsafe(lambda: loops.append(threading.current_thread()))
        client.start()
        opened = len(backend.threads)
        client.send(said())
        client.say("close")
        assert finals(client.hear_all()[0])
    assert opened == 1
    assert len(loops) == 1
    assert loops[0] not in backend.threads


def test_audio_is_counted_as_it_is_heard(served: Served) -> None:
    read = served.app.state.metrics.registry.get_sample_value

    def heard_s() -> float:
        return read("stt_audio_seconds_total", {"route": PATH}) or 0.0

    with served.client() as client:
        client.start()
        client.send(said())
        served.wait_until(lambda: heard_s() > 3.4)  # what is left is too little to be handed out
        client.send(said())
        client.say("close")
        assert client.hear_all()[0][-1]["duration_s"] == 7.0
    assert heard_s() == pytest.approx(7.0)


def test_how_long_a_session_lasts_is_no_latency(served: Served) -> None:
    read = served.app.state.metrics.registry.get_sample_value
    labels = {"route": PATH, "method": "WS", "code": "1000"}
    with served.client() as client:
        client.start()
        client.say("close")
        client.hear_all()
    served.wait_until(lambda: read("stt_requests_total", labels) == 1)
    assert read("stt_request_seconds_count", {"route": PATH}) is None

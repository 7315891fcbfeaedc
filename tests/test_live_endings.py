"""`/v1/stream` when something goes: the client, the service or the model."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from config import ModelError
from predictor import Predictor
from service import server
from service_config import LimitsConfig, ServerConfig
from tests.live_server import Served, serving
from tests.live_sessions import Gate, gate, predictor, said, served  # noqa: F401


def test_a_client_that_goes_leaves_nothing(
    server_config: ServerConfig, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(server_config, lambda _: Predictor(gate)) as served:
        with served.client() as client:
            client.start()
            client.send(said())
            assert gate.started.wait(60)
            (session,) = served.sessions._running
            client.vanish()
        assert session._given_up.wait(60)
        gate.go_on.set()
        served.wait_until(lambda: len(served.sessions) == 0)
        del session
        before = threading.active_count()
        for _ in range(10):
            with served.client() as client:
                client.start()
                client.send(said())
                client.vanish()
            served.wait_until(lambda: len(served.sessions) == 0)
        served.wait_until(lambda: threading.active_count() <= before + 1)
        assert served.sessions.threads.borrowed_tokens == 0
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_connection_that_breaks_off_in_a_message_is_a_client_gone(served: Served) -> None:
    with served.client() as client:
        client.start()
        frame_of_which_half_comes = bytes([0x82, 0xFE, 0x10, 0x00]) + bytes(100)
        client.connection.socket.sendall(frame_of_which_half_comes)
        client.vanish()
        with pytest.raises(ConnectionClosed):
            client.hear()
    served.wait_until(lambda: len(served.sessions) == 0)


def test_a_service_that_stops_says_the_finals_first(
    server_config: ServerConfig, gate: Gate
) -> None:
    with serving(server_config, lambda _: Predictor(gate)) as served, served.client() as client:
        client.start()
        client.send(said(silence_s=0.0))
        assert gate.started.wait(60)
        served.server.should_exit = True
        served.wait_until(lambda: served.sessions._stopping is not None)
        with pytest.raises(ConnectionRefusedError), served.client():
            pass
        gate.go_on.set()
        messages, code = client.hear_all()
    assert [m["type"] for m in messages[-2:]] == ["final", "error"]
    assert messages[-2]["text"]
    assert (messages[-1]["code"], code) == ("server_stopping", 1012)


def test_a_service_that_stops_does_not_wait_for_who_says_nothing(served: Served) -> None:
    with served.client() as client:
        served.wait_until(lambda: len(served.sessions) == 1)
        served.server.should_exit = True
        (error,), code = client.hear_all()
    assert (error["code"], code) == ("server_stopping", 1012)


def test_a_service_that_stops_waits_no_longer_for_finals_than_for_the_rest(
    server_config: ServerConfig, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_LONGEST_FINALS_S", 3600)
    config = replace(server_config, limits=LimitsConfig(graceful_s=1))
    with serving(config, lambda _: Predictor(gate)) as served, served.client() as client:
        client.start()
        client.send(said())
        assert gate.started.wait(60)
        served.server.should_exit = True
        served.wait_until(lambda: len(served.sessions) == 0)
        gate.go_on.set()


def test_a_second_interrupt_stops_at_once(
    server_config: ServerConfig, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_LONGEST_FINALS_S", 3600)
    config = replace(server_config, limits=LimitsConfig(graceful_s=3600))
    with serving(config, lambda _: Predictor(gate)) as served, served.client() as client:
        client.start()
        client.send(said())
        assert gate.started.wait(60)
        served.server.should_exit = True
        served.wait_until(lambda: served.sessions._stopping is not None)
        served.server.force_exit = True
        served.wait_until(lambda: len(served.sessions) == 0)
        gate.go_on.set()
        served.app.state.predictor.backend.close()


def test_without_a_model_the_client_is_told_to_try_later(
    server_config: ServerConfig, tmp_path: Path
) -> None:
    def load(_: ServerConfig) -> Predictor:
        raise ModelError("it is not there yet")

    with serving(server_config, load) as served, served.client() as client:
        client.say("start", sample_rate_hz=16_000)
        (error,), code = client.hear_all()
    assert (error["code"], code) == ("model_unavailable", 1013)
    assert error["message"] == "the model is not loaded: it is not there yet"


def test_a_model_that_fails_is_the_service_s_fault(
    server_config: ServerConfig, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    gate.failure = RuntimeError("out of memory")
    with serving(server_config, lambda _: Predictor(gate)) as served, served.client() as client:
        client.start()
        client.send(said())
        gate.go_on.set()
        (error,), code = client.hear_all()
    assert (error["code"], code) == ("internal", 1011)
    assert "out of memory" not in error["message"]
    assert "out of memory" in caplog.text

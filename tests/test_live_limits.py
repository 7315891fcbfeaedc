"""`/v1/stream`: how many sessions, how long, how much at a time, and what a client is told then."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from fastapi import WebSocket
from starlette.types import Message

import api
from predictor import Predictor
from service.live_inbox import Item
from service.live_session import LiveSession
from service_config import LiveConfig, ServerConfig
from tests.live_server import serving
from tests.live_sessions import RATE_HZ, Gate, gate, predictor, said  # noqa: F401


def test_a_message_over_the_limit_closes_with_1009(
    server_config: ServerConfig, predictor: Predictor
) -> None:
    with serving(server_config, lambda _: predictor, max_message_bytes=2048) as served:
        with served.client() as client:
            client.start()
            client.connection.send(bytes(2049))
            assert client.hear_all()[1] == 1009
        with served.client() as client:
            client.start()
            client.connection.send(bytes(2048))
            client.say("close")
            assert client.hear_all()[1] == 1000


def test_a_client_that_says_nothing_is_told_to_go(
    server_config: ServerConfig, predictor: Predictor
) -> None:
    with serving(server_config, lambda _: predictor, idle_s=2.0) as served:
        with served.client() as client:
            (error,), code = client.hear_all()
            assert (error["code"], code) == ("idle_timeout", 1008)
        with served.client() as client:
            client.start()
            client.send(said(silence_s=0.0))
            messages, code = client.hear_all()
    assert [m["type"] for m in messages[-2:]] == ["final", "error"]
    assert messages[-1]["message"] == "got nothing for 2 s; needed: audio or keepalive"
    assert code == 1008


def test_keepalives_keep_a_session(server_config: ServerConfig, predictor: Predictor) -> None:
    with (
        serving(server_config, lambda _: predictor, idle_s=2.0) as served,
        served.client() as client,
    ):
        client.start()
        for _ in range(6):
            time.sleep(0.5)
            client.say("keepalive")
        client.say("close")
        assert client.hear_all() == ([{"type": "closed", "duration_s": 0.0}], 1000)


def test_a_session_has_an_end(server_config: ServerConfig, predictor: Predictor) -> None:
    with (
        serving(server_config, lambda _: predictor, max_session_s=2.0) as served,
        served.client() as client,
    ):
        client.start()
        (error,), code = client.hear_all()
    assert (error["code"], code) == ("session_too_long", 1008)
    assert error["message"] == "a session lasts 2 s at most"


def test_a_session_has_an_end_for_a_client_that_never_pauses() -> None:
    async def main() -> Item:
        messages = iter([{"type": "websocket.connect"}] + 100 * [{"text": '{"type": "keepalive"}'}])

        async def receive() -> Message:
            return {"type": "websocket.receive", **next(messages)}

        async def send(_: Message) -> None: ...

        socket = WebSocket({"type": "websocket", "headers": []}, receive, send)
        await socket.accept()
        session = LiveSession(socket, LiveConfig(max_session_s=0.01))
        session._has_started = True
        await asyncio.sleep(0.02)
        await session._read()
        return await session.inbox.get()

    assert asyncio.run(main()).error.code == "session_too_long"


def test_one_session_too_many(server_config: ServerConfig, predictor: Predictor) -> None:
    with serving(server_config, lambda _: predictor, max_sessions=1) as served:
        with served.client() as first, served.client() as second:
            first.start()
            (error,), code = second.hear_all()
            assert (error["code"], code) == ("too_many_sessions", 1013)
            assert error["message"] == "1 sessions run; needed: under that many"
        served.wait_until(lambda: len(served.sessions) == 0)
        with served.client() as third:
            assert third.start()["type"] == "ready"


def test_audio_that_the_model_is_behind_with_is_not_read(
    server_config: ServerConfig, gate: Gate
) -> None:
    limits = {"max_buffered_s": 1.0, "max_message_bytes": 16_384}
    with (
        serving(server_config, lambda _: Predictor(gate), **limits) as served,
        served.client() as client,
    ):
        client.start()
        client.send(said())
        assert gate.started.wait(60)
        pcm = bytes(2 * 60 * RATE_HZ)
        sending = threading.Thread(target=client.send, args=[pcm])
        sending.start()
        (session,) = served.sessions._running
        served.wait_until(lambda: session.inbox.waiting_bytes >= 2 * RATE_HZ)
        time.sleep(0.3)
        assert session.inbox.waiting_bytes <= 2 * RATE_HZ + 16_384
        gate.go_on.set()
        sending.join(60)
        client.say("close")
        messages, code = client.hear_all()
    assert messages[-1] == {"type": "closed", "duration_s": 63.5}
    assert code == 1000


def test_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STT_LIVE_MAX_SESSIONS", "3")
    monkeypatch.setenv("STT_LIVE_IDLE_S", "5")
    live = api.read_settings().live
    assert (live.max_sessions, live.idle_s) == (3, 5.0)
    monkeypatch.setenv("STT_LIVE_MAX_SESSIONS", "0")
    with pytest.raises(ValueError, match="live_max_sessions 0 is under 1"):
        api.read_settings()


@pytest.mark.parametrize(
    "values", [{"idle_s": 0}, {"max_session_s": float("inf")}, {"max_message_bytes": 1023}]
)
def test_limits_are_checked(values: dict) -> None:
    with pytest.raises(ValueError, match="live_"):
        LiveConfig(**values)

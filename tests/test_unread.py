"""Clients that do not read what they are sent lose their connection, and all that is held for them.

Buffers are small here, so that few bytes fill them.
"""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import json
import logging
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import httpx
import pytest

from config import AudioConfig
from predictor import Predictor
from service.connections import LiveConnection
from service.live import PATH
from service_config import LimitsConfig, ServerConfig
from speech.audio import encode_native
from tests.clips import babble
from tests.live_server import Served, serving
from tests.live_sessions import predictor  # noqa: F401

TAKE_S, WAIT_S = 3.0, 60
LARGE_FILE = "/app/vendor/swagger-ui-dist-5.35.0/swagger-ui-bundle.js"
TEXT, PING = 0x1, 0x9
CLIP = encode_native(babble(0.5), AudioConfig())


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def post(served: Served, path: str, **fields: str) -> bytes:
    where = f"http://127.0.0.1:{served.port}{path}"
    request = httpx.Request("POST", where, data=fields, files={"file": ("a.wav", CLIP)})
    lines = [f"{name}: {value}" for name, value in request.headers.items()]
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode() + request.read()


@contextmanager
def small_buffers(served: Served) -> Iterator[socket.socket]:
    """Connect, with buffers of a few kilobytes at both ends."""
    served.wait_until(lambda: served.server.started)
    for server in served.server.servers:
        for listener in server.sockets:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(WAIT_S)
        connection.connect(("127.0.0.1", served.port))
        yield connection


def wait_until_left(served: Served) -> None:
    served.wait_until(lambda: not served.server.server_state.connections)


def read_to_the_end(connection: socket.socket) -> bytes:
    got = b""
    try:
        while piece := connection.recv(65_536):
            got += piece
    except ConnectionResetError:
        pass
    return got


@pytest.fixture
def served(server_config: ServerConfig, predictor: Predictor) -> Iterator[Served]:
    """Serve with room for one request."""
    predictor.transcribe(CLIP)  # the first takes longer
    limits = LimitsConfig(body_timeout_s=TAKE_S)
    config = replace(server_config, max_running=1, max_waiting=0, limits=limits)
    with serving(config, lambda _: predictor, idle_s=TAKE_S) as served:
        yield served


@pytest.fixture
def patient(server_config: ServerConfig, predictor: Predictor) -> Iterator[Served]:
    """Serve with time for who reads slowly."""
    config = replace(server_config, limits=LimitsConfig(body_timeout_s=WAIT_S))
    with serving(config, lambda _: predictor) as served:
        yield served


@pytest.mark.parametrize("path", [LARGE_FILE, "/openapi.json"])
def test_an_answer_that_is_not_read_keeps_no_connection(served: Served, path: str) -> None:
    with small_buffers(served) as connection:
        connection.sendall(get(path))
        served.wait_until(lambda: bool(served.server.server_state.connections))
        wait_until_left(served)
        where = f"http://127.0.0.1:{served.port}{path}"
        whole = httpx.get(where, timeout=WAIT_S, trust_env=False).content
        assert len(read_to_the_end(connection)) < len(whole)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/upload/", {}),
        ("/v1/audio/transcriptions", {"model": "whisper-1"}),
        ("/v1/audio/transcriptions", {"model": "whisper-1", "stream": "true"}),
    ],
)
def test_who_does_not_read_loses_its_place(
    served: Served, path: str, fields: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Its first answer fills the buffers, so that the second waits and holds the only place."""
    with small_buffers(served) as connection, caplog.at_level(logging.INFO, logger="stt.api"):
        connection.sendall(get("/openapi.json") + post(served, path, **fields))
        served.wait_until(lambda: f"POST {path} -> 200" in caplog.text)
        wait_until_left(served)
        answer = httpx.post(
            f"http://127.0.0.1:{served.port}/upload/",
            files={"file": CLIP},
            timeout=WAIT_S,
            trust_env=False,
        )
        assert answer.status_code == 200
        assert read_to_the_end(connection).count(b"HTTP/1.1 200") == 1, "the second was not sent"


def test_who_reads_in_time_gets_it_all(patient: Served) -> None:
    with small_buffers(patient) as connection:
        connection.sendall(get("/openapi.json") + post(patient, "/upload/"))
        got = read_to_the_end(connection)
    assert got.count(b"HTTP/1.1 200") == 2
    assert got.endswith(b"}")


# WebSockets


def frame(opcode: int, content: bytes) -> bytes:
    """Return a client's frame, whose mask is zeros, so that it changes nothing."""
    size = len(content)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack("!H", size)
    return bytes([0x80 | opcode]) + length + bytes(4) + content


UPGRADE = (
    f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
).encode()


def read_until(connection: socket.socket, end: bytes) -> bytes:
    got = b""
    while not got.endswith(end):
        piece = connection.recv(1)
        assert piece, got
        got += piece
    return got


@contextmanager
def unread_live(served: Served) -> Iterator[socket.socket]:
    """Open a live session that reads nothing but the handshake."""
    with small_buffers(served) as connection:
        connection.sendall(UPGRADE)
        assert read_until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 101")
        yield connection


PINGS = frame(PING, bytes(125)) * 1000


def test_pings_whose_pongs_are_not_read_are_not_kept(
    server_config: ServerConfig, predictor: Predictor
) -> None:
    with (
        serving(server_config, lambda _: predictor, idle_s=3600) as served,
        unread_live(served) as connection,
    ):
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            connection.sendall(400 * PINGS)
        wait_until_left(served)
        served.wait_until(lambda: len(served.sessions) == 0)


@pytest.mark.parametrize("last", ["", "no JSON", json.dumps({"type": "close"})])
def test_a_session_whose_end_is_not_read_keeps_no_connection(served: Served, last: str) -> None:
    """The pongs fill the buffers, so that neither the error nor the close is taken."""
    with unread_live(served) as connection:
        start = json.dumps({"type": "start", "sample_rate_hz": 16_000})
        connection.sendall(frame(TEXT, start.encode()) + PINGS)
        if last:
            connection.sendall(frame(TEXT, last.encode()))
        served.wait_until(lambda: len(served.sessions) == 0)
        wait_until_left(served)
        assert len(read_to_the_end(connection)) < len(PINGS)


@pytest.mark.parametrize("reads", [True, False])
def test_a_websocket_after_an_answer_has_the_same_time(
    server_config: ServerConfig, predictor: Predictor, reads: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer before it is still on its way when the WebSocket takes the connection over."""
    config = replace(server_config, limits=LimitsConfig(body_timeout_s=2 * TAKE_S))
    with (
        serving(config, lambda _: predictor, idle_s=TAKE_S if not reads else WAIT_S) as served,
        small_buffers(served) as connection,
    ):
        connection.sendall(get("/openapi.json") + UPGRADE)
        connections = served.server.server_state.connections
        served.wait_until(lambda: any(isinstance(one, LiveConnection) for one in list(connections)))
        if reads:
            read_until(connection, b"HTTP/1.1 101 Switching Protocols\r\n")
            read_until(connection, b"\r\n\r\n")
            time.sleep(3 * TAKE_S)
            connection.sendall(frame(PING, b"still there"))
            read_until(connection, b"still there")
        else:
            wait_until_left(served)
            assert "Traceback" not in caplog.text

"""What asks for a WebSocket and is no handshake of one: answered in words, and closed."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import logging
import socket

import pytest

from tests.live_server import Served
from tests.live_sessions import predictor, served  # noqa: F401

ASKING = {
    "Host": "127.0.0.1",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def head(method: str, path: str, **more: str) -> bytes:
    lines = [f"{name}: {value}" for name, value in {**ASKING, **more}.items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode()


def answer(served: Served, sent: bytes) -> bytes:
    """Return all that is answered until the connection is closed."""
    got = b""
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
        connection.sendall(sent)
        while piece := connection.recv(65_536):
            got += piece
    return got


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(head("GET", "/v1/stream", **{"Content-Length": "5"}) + b"abcde", id="body"),
        pytest.param(head("GET", "/v1/stream", **{f"X-{i}": "x" for i in range(300)}), id="many"),
        pytest.param(head("GET", "/v1/stream", **{"X-Long": 20_000 * "x"}), id="long"),
        pytest.param(
            head("POST", "/v1/audio/transcriptions", **{"Content-Length": "5"}) + b"abcde",
            id="another door",
        ),
    ],
)
def test_what_is_no_handshake_is_answered_and_closed(served: Served, sent: bytes) -> None:
    got = answer(served, sent)
    assert got.startswith(b"HTTP/1.1 400 ")
    assert (
        b"no handshake of a WebSocket; needed: GET without a body, at most 128 headers, of 8 KiB "
        b"each"
    ) in got
    served.wait_until(lambda: not served.server.server_state.connections)


def test_a_head_that_is_no_handshake_is_answered_without_words(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    got = answer(served, head("HEAD", "/v1/stream", **{"Content-Length": "5"}) + b"abcde")
    assert got.startswith(b"HTTP/1.1 400 ")
    assert got.endswith(b"\r\n\r\n")
    served.wait_until(lambda: not served.server.server_state.connections)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_another_method_is_refused(served: Served) -> None:
    got = answer(served, head("POST", "/v1/stream"))
    assert got.startswith(b"HTTP/1.1 405 ")
    assert b"unsupported HTTP method: POST" in got


def test_a_handshake_is_answered(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
        connection.sendall(head("GET", "/v1/stream"))
        assert connection.recv(100).startswith(b"HTTP/1.1 101 ")

"""Connections that bring no request are closed; others are let be."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from fastapi import FastAPI

from service.connections import timed_connections

HEAD = b"GET /slow HTTP/1.1\r\nHost: 127.0.0.1\r\n"
TIMEOUT_S = 1.5


class Server:
    """A service that answers `/slow` when it is told to."""

    def __init__(self) -> None:
        app = FastAPI()
        self.go_on, self.asked = threading.Event(), threading.Event()

        @app.get("/slow")
        def slow() -> str:
            self.asked.set()
            assert self.go_on.wait(60)
            return "at last"

        http = timed_connections(TIMEOUT_S, take_timeout_s=60)
        self.uvicorn = uvicorn.Server(uvicorn.Config(app, log_level="error", http=http))
        self.listener = socket.create_server(("127.0.0.1", 0))

    def connect(self) -> socket.socket:
        return socket.create_connection(self.listener.getsockname(), timeout=60)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    with server.listener:
        sockets = {"sockets": [server.listener]}
        thread = threading.Thread(target=server.uvicorn.run, kwargs=sockets)
        thread.start()
        yield server
        server.go_on.set()
        server.uvicorn.should_exit = True
        thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize("sent", [b"", b"G", HEAD, HEAD + b"X-Half"])
def test_a_connection_without_a_request_is_closed(server: Server, sent: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(sent)
        assert connection.recv(100) == b""


def test_half_a_second_request_is_closed_too(server: Server) -> None:
    server.go_on.set()
    with server.connect() as connection:
        connection.sendall(HEAD + b"\r\n")
        answer = b""
        while not answer.endswith(b'"at last"'):
            piece = connection.recv(1000)
            assert piece, answer
            answer += piece
        connection.sendall(HEAD)
        assert connection.recv(100) == b""


def test_an_answer_may_take_longer_than_its_request(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(HEAD)
        connection.sendall(b"\r\n")
        assert server.asked.wait(60)
        threading.Timer(2 * TIMEOUT_S, server.go_on.set).start()
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")

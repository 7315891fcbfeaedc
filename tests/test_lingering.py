"""A client that still sends its body gets the answer that says why not."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from service.limits import BodiesHeld, BodyLimit
from service.lingering import LingeringClose

MAX_BYTES = 100_000
BODY_BYTES = 8_000_000
HEAD = f"POST /none HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY_BYTES}\r\n\r\n".encode()


@contextmanager
def served(app: FastAPI) -> Iterator[int]:
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def limited(**settings: float) -> FastAPI:
    app = FastAPI()
    held = BodiesHeld(max_bodies=4, max_bytes=MAX_BYTES)
    app.add_middleware(BodyLimit, max_bytes=MAX_BYTES, held=held)
    app.add_middleware(LingeringClose, **settings)
    return app


def read_all(connection: socket.socket) -> bytes:
    got = b""
    while piece := connection.recv(65536):
        got += piece
    return got


def test_who_sends_it_all_before_reading_gets_the_answer() -> None:
    with (
        served(limited()) as port,
        socket.create_connection(("127.0.0.1", port)) as connection,
    ):
        connection.sendall(HEAD)
        for _ in range(BODY_BYTES // 1_000_000):
            connection.sendall(bytes(1_000_000))
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b'needed: a file of at most 100000 bytes"}')


def test_who_reads_at_once_need_not_send_it() -> None:
    with (
        served(limited(max_idle_s=60.0, max_s=60.0)) as port,
        socket.create_connection(("127.0.0.1", port)) as connection,
    ):
        connection.sendall(HEAD)
        got = b""
        while not got.endswith(b"}"):
            got += connection.recv(65536)
    assert got.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("settings", [{"max_idle_s": 0.05}, {"max_s": 0.05}])
def test_who_neither_sends_nor_goes_is_left_in_the_end(settings: dict[str, float]) -> None:
    with (
        served(limited(**settings)) as port,
        socket.create_connection(("127.0.0.1", port)) as connection,
    ):
        connection.sendall(HEAD)
        assert read_all(connection).startswith(b"HTTP/1.1 413 ")


def exchange(*, of_request: list[tuple[bytes, bytes]], of_answer: list[tuple[bytes, bytes]]) -> str:
    """Answer a request of three chunks, of which the application reads one; return what happened.

    r: a chunk is read; s: the answer begins; b: a part of it is sent; e: its end.
    """
    events = ""

    async def receive() -> Message:
        nonlocal events
        events += "r"
        return {"type": "http.request", "body": b"x", "more_body": events.count("r") < 3}

    async def send(message: Message) -> None:
        nonlocal events
        is_start = message["type"] == "http.response.start"
        events += "s" if is_start else "b" if message.get("more_body") else "e"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 400, "headers": of_answer})
        await send({"type": "http.response.body", "body": b"no"})

    scope: Scope = {"type": "http", "path": "/", "headers": of_request}
    asyncio.run(LingeringClose(app)(scope, receive, send))
    return events


def test_the_rest_is_read_between_the_answer_and_its_end() -> None:
    sized = [(b"content-length", b"2")]
    for of_request in ([(b"content-length", b"3")], [(b"transfer-encoding", b"chunked")]):
        assert exchange(of_request=of_request, of_answer=sized) == "rsbrre"


def test_nothing_is_read_where_it_would_keep_the_client_waiting() -> None:
    assert exchange(of_request=[(b"content-length", b"3")], of_answer=[]) == "rse"
    assert exchange(of_request=[], of_answer=[(b"content-length", b"2")]) == "rse"

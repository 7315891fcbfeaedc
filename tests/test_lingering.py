"""A client that still sends its body gets the answer that says why not."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.types import Message, Receive, Scope, Send

from predictor import Predictor
from service.lingering import Lingering, LingeringClose
from service_config import LimitsConfig, ServerConfig
from serving.local import LocalBackend
from tests.live_server import Served, serving

MAX_BYTES, BODY_BYTES = 100_000, 8_000_000
LONG_S, WAIT_S = 600.0, 60.0
UPLOAD = b"POST /upload/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n"
TOO_LARGE = UPLOAD + f"Content-Length: {BODY_BYTES}\r\n".encode()

Serve = Callable[..., Served]


@pytest.fixture(scope="module")
def predictor(model_folder: Path) -> Predictor:
    return Predictor(LocalBackend(model_folder))


@pytest.fixture
def serve(server_config: ServerConfig, predictor: Predictor) -> Iterator[Serve]:
    """Return what serves, and waits for the rest of a body as long as it is told to."""
    with ExitStack() as stack:

        def begin(max_s: float = LONG_S, max_idle_s: float = LONG_S, **limits: int) -> Served:
            config = replace(
                server_config,
                max_upload_bytes=MAX_BYTES,
                limits=LimitsConfig(graceful_s=int(LONG_S), **limits),
            )
            served = stack.enter_context(serving(config, lambda _: predictor))
            lingering = served.app.state.lingering
            lingering.max_s, lingering.max_idle_s = max_s, max_idle_s
            return served

        yield begin


def connected(served: Served) -> AbstractContextManager[socket.socket]:
    return socket.create_connection(("127.0.0.1", served.port), timeout=WAIT_S)


def read_answer(connection: socket.socket) -> bytes:
    """Read to the end of a JSON object, which need not be that of the connection."""
    got = b""
    while not got.endswith(b"}"):
        piece = connection.recv(65_536)
        assert piece, got
        got += piece
    return got


def read_to_the_end(connection: socket.socket) -> bytes:
    got = b""
    while piece := connection.recv(65_536):
        got += piece
    return got


def test_who_sends_it_all_before_reading_gets_the_answer(serve: Serve) -> None:
    with connected(serve()) as connection:
        connection.sendall(TOO_LARGE + b"\r\n" + bytes(BODY_BYTES))
        answer = read_to_the_end(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"needed: a file of at most 100000 bytes" in answer


def test_who_reads_at_once_need_not_send_it(serve: Serve) -> None:
    with connected(serve()) as connection:
        connection.sendall(TOO_LARGE + b"\r\n")
        assert read_answer(connection).startswith(b"HTTP/1.1 413 ")


def test_who_is_not_told_to_go_on_is_not_waited_for(serve: Serve) -> None:
    with connected(serve()) as connection:
        connection.sendall(TOO_LARGE + b"Expect: 100-continue\r\n\r\n")
        assert read_to_the_end(connection).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("limit", ["max_s", "max_idle_s"])
def test_who_neither_sends_nor_goes_is_left_in_the_end(serve: Serve, limit: str) -> None:
    with connected(serve(**{limit: 0.05})) as connection:
        connection.sendall(TOO_LARGE + b"\r\n")
        assert read_to_the_end(connection).startswith(b"HTTP/1.1 413 ")


def test_a_stop_waits_for_nobody(server_config: ServerConfig, predictor: Predictor) -> None:
    config = replace(
        server_config, max_upload_bytes=MAX_BYTES, limits=LimitsConfig(graceful_s=int(LONG_S))
    )
    with serving(config, lambda _: predictor) as served:
        served.app.state.lingering.max_idle_s = LONG_S
        connection = socket.create_connection(("127.0.0.1", served.port), timeout=WAIT_S)
        connection.sendall(TOO_LARGE + b"\r\n")
        read_answer(connection)
    with connection:
        assert connection.recv(1) == b"", "the service ended, and the connection with it"


def test_who_is_waited_for_takes_no_place_of_requests(serve: Serve) -> None:
    served = serve(max_per_client=1)
    with connected(served) as first, connected(served) as second:
        first.sendall(TOO_LARGE + b"\r\n")
        assert read_answer(first).startswith(b"HTTP/1.1 413 ")
        second.sendall(TOO_LARGE + b"\r\n")
        assert read_answer(second).startswith(b"HTTP/1.1 413 ")


def test_a_broken_rest_ends_the_connection_without_words(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with connected(serve()) as connection:
        head = UPLOAD.replace(b"/upload/", b"/nothing") + b"Transfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head)
        assert read_answer(connection).startswith(b"HTTP/1.1 404 ")
        connection.sendall(b"zz\r\n")
        assert read_to_the_end(connection) == b""
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def exchange(
    *, of_request: list[tuple[bytes, bytes]], of_answer: list[tuple[bytes, bytes]], reads: bool
) -> str:
    """Answer a request of three chunks, of which the application reads one; return what happened.

    r: a chunk is read; s: the answer begins; b: a part of it is sent; e: its end; d: all is done
    but what lingers.
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
        nonlocal events
        if reads:
            await receive()
        await send({"type": "http.response.start", "status": 400, "headers": of_answer})
        await send({"type": "http.response.body", "body": b"no"})
        events += "d"

    scope: Scope = {"type": "http", "path": "/", "headers": of_request}
    asyncio.run(LingeringClose(app, lingering=Lingering())(scope, receive, send))
    return events


SIZED = [(b"content-length", b"2")]


@pytest.mark.parametrize("of_request", [SIZED, [(b"transfer-encoding", b"chunked")]])
def test_the_rest_is_read_after_the_answer_and_all_who_made_it(
    of_request: list[tuple[bytes, bytes]],
) -> None:
    assert exchange(of_request=of_request, of_answer=SIZED, reads=True) == "rsbdrre"
    assert exchange(of_request=of_request, of_answer=SIZED, reads=False) == "sbdrrre"


def test_nothing_is_read_where_nothing_comes_or_its_end_is_awaited() -> None:
    assert exchange(of_request=SIZED, of_answer=[], reads=True) == "rsed"
    assert exchange(of_request=[], of_answer=SIZED, reads=True) == "rsed"
    asks = [*SIZED, (b"expect", b"100-continue")]
    assert exchange(of_request=asks, of_answer=SIZED, reads=False) == "sed"
    assert exchange(of_request=asks, of_answer=SIZED, reads=True) == "rsbdrre"

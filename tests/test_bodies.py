"""How many bodies the service holds at once, and how large: what has no room is not read."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

import api
from config import AudioConfig, OverloadedError
from predictor import Predictor
from service.limits import BodiesHeld
from service_config import LimitsConfig, ServerConfig
from serving.local import LocalBackend
from speech.audio import encode_native
from tests.clips import babble
from tests.live_server import Served, serving

JSON = "/transcribe_mobile"
PATHS = ("/upload/", JSON, "/v1/audio/transcriptions")
FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'


@pytest.fixture(scope="module")
def predictor(model_folder: Path) -> Predictor:
    return Predictor(LocalBackend(model_folder))


Serve = Callable[..., Served]


@pytest.fixture
def serve(server_config: ServerConfig, predictor: Predictor) -> Iterator[Serve]:
    """Return what serves with some limits."""
    open_ones = []

    def begin(**changes: object) -> Served:
        config = replace(server_config, max_running=1, max_waiting=1, **changes)
        context = serving(config, lambda _: predictor)
        open_ones.append(context)
        return context.__enter__()

    yield begin
    for context in open_ones:
        context.__exit__(None, None, None)


def head_of(path: str, length: str) -> bytes:
    kind = "application/json" if path == JSON else "multipart/form-data; boundary=x"
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {kind}", length]
    return "\r\n".join([*lines, "Expect: 100-continue", "", ""]).encode()


def begin(served: Served, path: str, *, announced: int) -> socket.socket:
    """Announce a body, and begin to send it if the service asks for it."""
    connection = socket.create_connection(("127.0.0.1", served.port), timeout=60)
    connection.sendall(head_of(path, f"Content-Length: {announced}"))
    if connection.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 100":
        connection.sendall(b"{" if path == JSON else FILE)
    return connection


def is_asked_for(served: Served, path: str, *, announced: int) -> bool:
    with begin(served, path, announced=announced) as connection:
        return connection.recv(1000).startswith(b"HTTP/1.1 100")


def answer_of(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65_536):
        received += chunk
    return received


def upload(served: Served) -> httpx.Response:
    files = {"file": encode_native(babble(0.5), AudioConfig())}
    url = f"http://127.0.0.1:{served.port}/upload/"
    return httpx.post(url, files=files, timeout=60, trust_env=False)


@pytest.mark.parametrize("path", PATHS)
def test_one_body_too_many_is_503_before_it_is_read(serve: Serve, path: str) -> None:
    served = serve()
    slow = [begin(served, path, announced=1000) for _ in range(2)]
    for connection in slow:
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
    with begin(served, path, announced=1000) as late:
        answer = answer_of(late)
    assert answer.startswith(b"HTTP/1.1 503"), answer
    assert b"retry-after: 1\r\n" in answer.lower()
    assert b"2 requests wait or are worked on; needed: under that many" in answer
    assert (b'"type":"server_error"' in answer) == path.startswith("/v1/")
    for connection in slow:
        connection.close()
    served.wait_until(lambda: upload(served).status_code == 200)


def test_bytes_that_are_announced_are_counted_before_they_come(serve: Serve) -> None:
    served = serve(limits=LimitsConfig(max_bodies_bytes=100_000))
    with begin(served, "/upload/", announced=90_000) as first:
        assert first.recv(1000).startswith(b"HTTP/1.1 100")
        with begin(served, "/upload/", announced=20_000) as second:
            answer = answer_of(second)
        assert answer.startswith(b"HTTP/1.1 503"), answer
        assert b"bodies of 90000 bytes are there; needed: at most 100000 bytes" in answer
    served.wait_until(lambda: is_asked_for(served, "/upload/", announced=200_000))


def test_what_does_not_say_how_long_it_is_needs_room_as_it_comes() -> None:
    held = BodiesHeld(max_bodies=3, max_bytes=100)
    first, second = object(), object()
    held.hold(first, 60)
    held.hold(second, 30)
    held.hold(second, 40)
    with pytest.raises(OverloadedError, match="bodies of 60 bytes are there"):
        held.hold(second, 41)
    held.release(first)
    held.hold(second, 4000)
    held.release(second)
    held.release(second)
    assert len(held) == 0


@pytest.mark.parametrize("path", PATHS)
def test_a_body_without_a_length_is_refused_once_there_is_no_room(serve: Serve, path: str) -> None:
    served = serve(limits=LimitsConfig(max_bodies_bytes=100_000))
    with (
        begin(served, path, announced=90_000) as first,
        socket.create_connection(("127.0.0.1", served.port), timeout=60) as second,
    ):
        assert first.recv(1000).startswith(b"HTTP/1.1 100")
        second.sendall(head_of(path, "Transfer-Encoding: chunked"))
        assert second.recv(1000).startswith(b"HTTP/1.1 100")
        start = b"{" if path == JSON else FILE
        second.sendall(b"%x\r\n%b\r\n" % (len(start), start))
        second.sendall(b"2710\r\n%b\r\n" % bytes(10_000))
        assert second.recv(1000).startswith(b"HTTP/1.1 503")


@pytest.mark.parametrize(
    ("fields", "files", "detail"),
    [
        (300, 1, "Too many fields. Maximum number of fields is 250."),
        (1, 20, "Too many files. Maximum number of files is 4."),
    ],
)
def test_a_form_has_so_many_fields_and_files_at_most(
    server_config: ServerConfig, predictor: Predictor, fields: int, files: int, detail: str
) -> None:
    with TestClient(api.create_app(server_config, load=lambda _: predictor)) as client:
        response = client.post(
            "/upload/",
            data={f"field-{i}": "x" for i in range(fields)},
            files=[("file", (f"{i}.wav", b"RIFF")) for i in range(files)],
        )
    assert (response.status_code, response.json()) == (400, {"detail": detail})

"""A service that is told to stop finishes what runs, takes nothing more, and ends."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import httpx
import pytest

from config import AudioConfig
from speech.audio import encode_native
from tests.clips import babble
from tests.service_process import Service, running

WAIT_S = 60


def begun_upload(service: Service) -> tuple[socket.socket, bytes]:
    """Begin an upload that the service has begun to read; return its connection and the rest."""
    clip = encode_native(babble(1.0), AudioConfig())
    request = httpx.Request("POST", f"{service.url}/upload/", files={"file": clip})
    lines = [f"{name}: {value}" for name, value in request.headers.items()]
    head = ["POST /upload/ HTTP/1.1", *lines, "Expect: 100-continue", "", ""]
    connection, body = service.connect(), request.read()
    connection.sendall("\r\n".join(head).encode())
    assert connection.recv(1000).startswith(b"HTTP/1.1 100")
    connection.sendall(body[: len(body) // 2])
    return connection, body[len(body) // 2 :]


def wait_until_refused(service: Service) -> None:
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        try:
            service.connect().close()
        except ConnectionRefusedError:
            return
        time.sleep(0.05)
    raise AssertionError(f"it still lets clients in, {WAIT_S} s after it was told to stop")


def answer_of(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65_536):
        received += chunk
    return received


def test_an_upload_in_flight_is_finished_and_new_ones_are_refused(
    model_folder: Path, tmp_path: Path
) -> None:
    with running(model_folder, tmp_path) as service:
        connection, rest = begun_upload(service)
        with connection:
            service.process.send_signal(signal.SIGTERM)
            wait_until_refused(service)
            assert service.process.poll() is None
            connection.sendall(rest)
            answer = answer_of(connection)
        assert answer.startswith(b"HTTP/1.1 200 OK"), answer
        assert b'"transcription"' in answer
        assert service.process.wait(60) in (0, -signal.SIGTERM)
    assert "POST /upload/ -> 200" in (tmp_path / "api.log").read_text(encoding="utf-8")


def test_what_does_not_end_in_time_is_left(model_folder: Path, tmp_path: Path) -> None:
    with running(model_folder, tmp_path, STT_GRACEFUL_S="1") as service:
        connection, _ = begun_upload(service)
        with connection:
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(60) in (0, -signal.SIGTERM)
            assert b" 200 " not in answer_of(connection)


def test_a_port_that_all_can_reach_is_not_opened(model_folder: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="set STT_API_KEYS=KEY"),
        running(model_folder, tmp_path, STT_HOST="0.0.0.0") as service,
    ):
        raise AssertionError(service)
    assert not (tmp_path / "api.log").exists()

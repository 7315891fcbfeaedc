"""A real server for tests of live captions, and a client that says what it was told."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

import api
from predictor import Predictor
from service.live import PATH, LiveSessions
from service.server import Server, make_server
from service_config import LiveConfig, ServerConfig

WAIT_S = 60


class Served:
    """The service behind a socket of this machine."""

    def __init__(self, app: FastAPI, server: Server, port: int) -> None:
        self.app, self.server, self.port = app, server, port
        self.url = f"ws://127.0.0.1:{port}{PATH}"

    @property
    def sessions(self) -> LiveSessions:
        return self.app.state.live

    def wait_until(self, holds: Callable[[], bool]) -> None:
        waiting = threading.Event()
        for _ in range(WAIT_S * 100):
            if holds():
                return
            waiting.wait(0.01)
        raise TimeoutError

    @contextmanager
    def client(self, **options: Any) -> Iterator[Client]:
        with connect(self.url, proxy=None, **options) as connection:
            yield Client(connection)


class Client:
    """Speaks JSON."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def say(self, type: str, **values: Any) -> None:  # noqa: A002
        self.connection.send(json.dumps({"type": type, **values}))

    def start(self, rate_hz: int = 22_050, **values: Any) -> dict[str, Any]:
        self.say("start", sample_rate_hz=rate_hz, **values)
        return self.hear()

    def send(self, pcm: bytes, *, chunk_bytes: int = 8192) -> None:
        for start in range(0, len(pcm), chunk_bytes):
            self.connection.send(pcm[start : start + chunk_bytes])

    def vanish(self) -> None:
        """Break the connection off without a close."""
        self.connection.socket.shutdown(socket.SHUT_RDWR)

    def hear(self) -> dict[str, Any]:
        return json.loads(self.connection.recv(timeout=WAIT_S))

    def hear_until(self, kind: str) -> list[dict[str, Any]]:
        messages = [self.hear()]
        while messages[-1]["type"] != kind:
            messages.append(self.hear())
        return messages

    def hear_all(self) -> tuple[list[dict[str, Any]], int]:
        """Return what comes until the end, and the code that the server closed with."""
        messages = []
        try:
            while True:
                messages.append(self.hear())
        except ConnectionClosed as closed:
            return messages, closed.rcvd.code if closed.rcvd else 1006


@contextmanager
def serving(
    config: ServerConfig, load: Callable[[ServerConfig], Predictor], **live: Any
) -> Iterator[Served]:
    """Serve until the end of the block; `live` are fields of `LiveConfig`."""
    config = replace(config, live=LiveConfig(**live))
    app = api.create_app(config, load=load)
    server, ready = make_server(app, config, log_level="error"), threading.Event()
    app.state.on_ready = ready.set
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert ready.wait(WAIT_S)
            yield Served(app, server, listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(WAIT_S)
            assert not thread.is_alive()


def finals(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message for message in messages if message["type"] == "final"]


def read_pcm(path: Path) -> tuple[int, bytes]:
    """Return rate and samples of a native WAV file."""
    import soundfile

    samples, rate_hz = soundfile.read(path, dtype="int16")
    return rate_hz, samples.tobytes()

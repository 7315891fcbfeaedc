"""The client of `/v1/stream` against servers that freeze, go away, are others or newer ones."""

from __future__ import annotations

import functools
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

import captions.client
import cli
from captions.client import captions_of, stream_url
from captions.events import Caption
from captions.sources import Source
from config import AudioError, ModelUnavailableError

ROOT = Path(__file__).parents[1]
SAID = {"id": 0, "text": "knew it well", "start_s": 0.5, "end_s": 1.5, "confidence": 0.5}
WORD = {"text": "well", "start_s": 1.0, "end_s": 1.5, "confidence": 0.5}


def say(server: ServerConnection, kind: str, **values: Any) -> None:
    server.send(json.dumps({"type": kind, **values}))


def hear_until_closed(server: ServerConnection) -> None:
    try:
        while True:
            server.recv()
    except ConnectionClosed:
        return


@contextmanager
def answering(handler: Callable[[ServerConnection], None]) -> Iterator[str]:
    """Run a server whose sessions do what `handler` does, and then end with 1000."""
    with serve(handler, "127.0.0.1", 0, compression=None, close_timeout=1) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


def answers(*messages: str | bytes) -> Callable[[ServerConnection], None]:
    """Return a session that says these, one after another, and hears until the client goes."""

    def handler(server: ServerConnection) -> None:
        for message in messages:
            server.send(message)
        hear_until_closed(server)

    return handler


def listen(url: str, stop: threading.Event, chunks: Iterator[bytes] | None = None) -> list[Caption]:
    source = Source(16_000, iter([bytes(640)]) if chunks is None else chunks)
    return list(captions_of(source, url=url, stop=stop))


def sent_until(stop: threading.Event) -> Iterator[bytes]:
    while not stop.wait(0.01):
        yield bytes(640)


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "silence.wav", np.zeros(160_000), 16_000)
    return tmp_path / "silence.wav"


@pytest.mark.parametrize(
    ("code", "reason", "said"),
    [(1000, "", "(1000)"), (1001, "", "(1001)"), (1012, "restarting", "(1012, restarting)")],
)
@pytest.mark.parametrize("is_ready", [True, False])
def test_a_session_that_the_server_ends_early_is_an_error(
    code: int, reason: str, said: str, is_ready: bool, stop: threading.Event
) -> None:
    def handler(server: ServerConnection) -> None:
        if is_ready:
            say(server, "ready")
            say(server, "final", **SAID)
        server.close(code, reason)

    with answering(handler) as url, pytest.raises(ModelUnavailableError) as caught:
        listen(url, stop, sent_until(stop))
    assert str(caught.value) == f"{url}: the server ended the session {said}"
    assert stop.is_set()


def test_a_connection_that_breaks_is_an_error(stop: threading.Event) -> None:
    def handler(server: ServerConnection) -> None:
        say(server, "ready")
        server.recv()
        server.socket.shutdown(socket.SHUT_RDWR)

    wanted = pytest.raises(ModelUnavailableError, match="the connection broke off")
    with answering(handler) as url, wanted:
        listen(url, stop, sent_until(stop))


def test_the_last_words_come_after_a_stop(stop: threading.Event) -> None:
    def handler(server: ServerConnection) -> None:
        server.recv()
        say(server, "ready")
        server.recv()
        stop.set()
        while isinstance(server.recv(), bytes):
            pass
        say(server, "final", **SAID)
        say(server, "closed", duration_s=1.0)

    with answering(handler) as url:
        assert [caption.text for caption in listen(url, stop, sent_until(stop))] == ["knew it well"]


def test_a_stop_is_heard_before_the_server_answers(stop: threading.Event) -> None:
    is_over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                stop.set()
                is_over.wait(60)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            with pytest.raises(ModelUnavailableError, match="stopped before the server answered"):
                listen(f"ws://127.0.0.1:{listener.getsockname()[1]}", stop)
        finally:
            is_over.set()
            thread.join()


def test_a_stop_is_heard_before_the_server_is_ready(stop: threading.Event) -> None:
    def handler(server: ServerConnection) -> None:
        server.recv()
        stop.set()
        hear_until_closed(server)

    wanted = pytest.raises(ModelUnavailableError, match="stopped before the server was ready")
    with answering(handler) as url, wanted:
        listen(url, stop)


@pytest.mark.parametrize("is_stopped", [True, False])
def test_last_words_that_do_not_come_are_not_waited_for(
    is_stopped: bool, stop: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped: the server reads nothing, and sending waits for it. Else: it says nothing."""
    monkeypatch.setattr(captions.client, "LAST_WORDS_S", 0.2)
    is_over = threading.Event()

    def handler(server: ServerConnection) -> None:
        say(server, "ready")
        if is_stopped:
            while isinstance(server.recv(), str):  # until the client has read that it is ready
                pass
            stop.set()
            is_over.wait(60)
        else:
            hear_until_closed(server)

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1 << 16)

    with answering(handler) as url:
        try:
            with pytest.raises(ModelUnavailableError, match="last words did not come within"):
                listen(url, stop, endless() if is_stopped else None)
        finally:
            is_over.set()
    assert "sending" not in [thread.name for thread in threading.enumerate()]


def test_ctrl_c_leaves_a_server_that_is_never_ready(wav: Path) -> None:
    is_asked = threading.Event()

    def handler(server: ServerConnection) -> None:
        server.recv()
        is_asked.set()
        hear_until_closed(server)

    with answering(handler) as url:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "listen", "--wav", str(wav), "--url", url],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert is_asked.wait(60)
            process.send_signal(signal.SIGINT)
            output, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, output) == (5, "")
    assert error == f"error: {url}: stopped before the server was ready\n"


def test_what_a_source_raises_is_raised_here(stop: threading.Event) -> None:
    def chunks() -> Iterator[bytes]:
        yield b""
        raise AudioError("the cable is out")

    wanted = pytest.raises(AudioError, match="the cable is out")
    with answering(answers('{"type": "ready"}')) as url, wanted:
        listen(url, stop, chunks())


@pytest.mark.parametrize(
    "message",
    [
        "[1]",
        '{"a": 1}',
        "1",
        "null",
        "<html>",
        "[" * 100_000,
        b"\xff",
        '{"type": "final"}',
        json.dumps({"type": "partial", **SAID, "text": 5}),
        json.dumps({"type": "final", **SAID, "words": [5]}),
    ],
)
def test_another_server_is_named_as_that(message: str | bytes, stop: threading.Event) -> None:
    with answering(answers(message)) as url, pytest.raises(ModelUnavailableError) as caught:
        listen(url, stop)
    assert str(caught.value).startswith(f"{url} is no server of live captions: got ")
    assert repr(message[:20])[1:-1] in str(caught.value)


def test_what_a_newer_server_says_besides_is_ignored(stop: threading.Event) -> None:
    newer = {**SAID, "words": [{**WORD, "speaker": 1}], "language": "en"}

    def handler(server: ServerConnection) -> None:
        server.recv()
        say(server, "welcome", text=5)
        say(server, "ready", queue=[1])
        say(server, "ready")
        say(server, "final", **newer)
        while isinstance(server.recv(), bytes):  # then it is `close`
            pass
        say(server, "closed", cost=3)

    with answering(handler) as url:
        (caption,) = listen(url, stop)
    assert caption.to_json() == {"type": "final", **SAID, "words": (WORD,)}


def test_a_server_that_answers_no_ping_is_one_line(
    wav: Path, stop: threading.Event, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    impatient = functools.partial(connect, ping_interval=0.01, ping_timeout=0.01)
    monkeypatch.setattr(captions.client, "connect", impatient)
    logger = logging.getLogger("websockets")
    level = logger.level

    def handler(server: ServerConnection) -> None:
        server.recv_flow_control.acquire()  # reads nothing more, pings neither
        stop.wait()
        server.recv_flow_control.release()

    try:
        with answering(handler) as url:
            try:
                done = CliRunner().invoke(cli.app, ["listen", "--wav", str(wav), "--url", url])
            finally:
                stop.set()
    finally:
        logger.setLevel(level)
    assert done.exit_code == 5
    (line,) = done.stderr.splitlines()
    assert line == f"error: {url}: the connection broke off (keepalive ping timeout)"
    assert "keepalive ping failed" not in caplog.text


@pytest.mark.parametrize(
    ("url", "full"),
    [
        ("host?x=1", "ws://host/v1/stream?x=1"),
        ("https://host:1/?x=1", "wss://host:1/v1/stream?x=1"),
        ("ws://host/other?x=/1", "ws://host/other?x=/1"),
        ("host?to=http://x", "ws://host/v1/stream?to=http://x"),
    ],
)
def test_a_query_stays_behind_the_path(url: str, full: str) -> None:
    assert stream_url(url) == full


@pytest.mark.parametrize("url", ["", "/", "?x=1", "ws://", "ws://?x=1", "host#x", "ftp://host"])
def test_what_is_no_address_of_a_server(url: str) -> None:
    with pytest.raises(ValueError, match="needed: ws://HOST:PORT"):
        stream_url(url)

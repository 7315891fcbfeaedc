"""A client of `/v1/stream`: a source's audio to a server, captions back."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from captions.events import Caption, caption_from_json
from captions.sources import Source
from config import ModelUnavailableError

PATH = "/v1/stream"
LAST_WORDS_S = 15.0  # without a caption, once no more audio comes
_OPEN_S = 10.0
_CLOSE_S = 1.0
_POLL_S = 0.1
_SCHEMES = {None: "ws", "": "ws", "http": "ws", "ws": "ws", "https": "wss", "wss": "wss"}


def stream_url(url: str) -> str:
    """Return where a server's captions are, of its address: `ws://`, `http://` or neither.

    Raises:
        ValueError: it is none.
    """
    parts = re.fullmatch(r"(?:(\w*)://)?([^/?#]*[^/?#:])(?:/([^?#]*))?(\?[^#]*)?", url)
    if parts is None or parts[1] not in _SCHEMES:
        raise ValueError(f"got url {url!r}; needed: ws://HOST:PORT, wss://, http:// or https://")
    scheme, host, path, query = parts.groups()
    return f"{_SCHEMES[scheme]}://{host}/{path or PATH[1:]}{query or ''}"


def captions_of(
    source: Source,
    *,
    url: str,
    key: str | None = None,
    hotwords: Sequence[str] = (),
    stop: threading.Event,
) -> Iterator[Caption]:
    """Yield what a server makes of a source, until the source ends.

    Args:
        key: of the server, if it wants one.
        stop: ends it: at once before the server is ready, else with the last words. Set here if
            the server wants no more; the source is to end then.

    Raises:
        ModelUnavailableError: the server is away, refuses, ended the session, is another one, or
            gives no last words.
        ValueError: what was asked for is wrong.
    """
    start = {"type": "start", "sample_rate_hz": source.sample_rate_hz, "hotwords": list(hotwords)}
    with _connected(url, key, stop) as server:
        yield from _Session(server, source, stop, url).captions(start)


class _Session:
    """Sends in a thread what a source gives, and reads captions; nothing there waits for long."""

    def __init__(
        self, server: ClientConnection, source: Source, stop: threading.Event, url: str
    ) -> None:
        self._server, self._source, self._stop, self._url = server, source, stop, url
        self._sending = threading.Thread(target=self._send, name="sending", daemon=True)
        self._failures: list[Exception] = []
        self._is_ready = self._is_closed = False
        self._heard_at = 0.0

    def captions(self, start: dict[str, Any]) -> Iterator[Caption]:
        try:
            self._server.send(json.dumps(start))
            while not self._is_closed:
                self._check()
                try:
                    message = self._server.recv(timeout=_POLL_S)
                except TimeoutError:
                    continue
                if caption := self._take(message):
                    yield caption
                    self._heard_at = time.monotonic()
        except ConnectionClosed as error:
            raise ModelUnavailableError(f"{self._url}: {_ending(error)}") from error
        finally:
            self._leave()
        if self._failures:
            raise self._failures[0]

    def _send(self) -> None:
        try:
            for chunk in self._source.chunks:
                self._server.send(chunk)
            self._server.send(json.dumps({"type": "close"}))
        except ConnectionClosed:
            self._stop.set()  # why, the thread that receives says
        except Exception as error:  # the source's: raised where the captions are read
            self._failures.append(error)

    def _check(self) -> None:
        """Raise what the source raised, or that the server lets wait for too long."""
        if self._failures:
            raise self._failures[0]
        if self._stop.is_set() and not self._is_ready:
            raise ModelUnavailableError(f"{self._url}: stopped before the server was ready")
        is_over = self._stop.is_set() or (self._is_ready and not self._sending.is_alive())
        if not is_over:
            self._heard_at = time.monotonic()
        elif time.monotonic() - self._heard_at > LAST_WORDS_S:
            raise ModelUnavailableError(
                f"{self._url}: the last words did not come within {LAST_WORDS_S:g} s"
            )

    def _take(self, message: str | bytes) -> Caption | None:
        """Return a message's caption; what a newer server may say besides is ignored."""
        try:
            values = json.loads(message)
            kind = values["type"]
            if kind in ("partial", "final"):
                return caption_from_json(values)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            got = repr(message[:80])
            raise ModelUnavailableError(
                f"{self._url} is no server of live captions: got {got}"
            ) from error
        if kind == "error":
            raise _refusal(values, self._url)
        if kind == "ready" and not self._is_ready:
            self._is_ready = True
            self._sending.start()
        self._is_closed = kind == "closed"
        return None

    def _leave(self) -> None:
        """End the sending thread, also where the server reads nothing of what is sent."""
        self._stop.set()
        if self._is_closed:
            self._join()
        if not self._is_closed or self._sending.is_alive():
            with suppress(OSError):
                # not that of TLS, after which a thread that still sends would send in the clear
                socket.socket.shutdown(self._server.socket, socket.SHUT_RDWR)
            self._join()

    def _join(self) -> None:
        if self._is_ready:
            self._sending.join(_CLOSE_S)


def _connected(url: str, key: str | None, stop: threading.Event) -> ClientConnection:
    """Connect in a thread, so that `stop` is heard before the server answers.

    Raises:
        ModelUnavailableError: no server answers, it refuses, or `stop` was set before.
    """
    connecting: Future[ClientConnection] = Future()
    arguments = (stream_url(url), key, connecting)
    threading.Thread(target=_connect, args=arguments, name="connect", daemon=True).start()
    while not wait([connecting], timeout=_POLL_S).done:
        if stop.is_set():
            connecting.add_done_callback(_hang_up)
            raise ModelUnavailableError(f"{url}: stopped before the server answered")
    try:
        return connecting.result()
    except InvalidStatus as error:
        status = error.response.status_code
        needed = "its key" if status == 401 else f"live captions, as at {PATH}"
        raise ModelUnavailableError(f"{url} answers {status}; needed: {needed}") from error
    except (OSError, WebSocketException) as error:
        raise ModelUnavailableError(f"{url}: {error}") from error


def _connect(url: str, key: str | None, connecting: Future[ClientConnection]) -> None:
    headers: dict[str, Any] = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        server = connect(
            url,
            additional_headers=headers,
            compression=None,
            open_timeout=_OPEN_S,
            close_timeout=_CLOSE_S,
        )
    except Exception as error:  # raised where the connection is awaited
        connecting.set_exception(error)
    else:
        connecting.set_result(server)


def _hang_up(connecting: Future[ClientConnection]) -> None:
    if connecting.exception() is None:
        with connecting.result():
            pass


def _ending(closed: ConnectionClosed) -> str:
    """Return how a session ended that was not over: by the server's word, or by none."""
    if closed.rcvd is not None and closed.rcvd_then_sent is not False:
        reason = f", {closed.rcvd.reason}" if closed.rcvd.reason else ""
        return f"the server ended the session ({closed.rcvd.code}{reason})"
    reason = closed.sent.reason if closed.sent else "without a word of the server"
    return f"the connection broke off ({reason or 'without a reason'})"


def _refusal(error: dict[str, Any], url: str) -> Exception:
    """Return a server's error as the caller's mistake, or as the server's trouble."""
    message = f"{url}: {error.get('message', error)}"
    is_ours = error.get("code") == "invalid_message"
    return ValueError(message) if is_ours else ModelUnavailableError(message)

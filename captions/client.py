"""A client of `/v1/stream`: a source's audio to a server, captions back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from captions.events import Caption, caption_from_json
from captions.sources import Source
from config import ModelUnavailableError

PATH = "/v1/stream"


def stream_url(url: str) -> str:
    """Return where a server's captions are, of its address: `ws://`, `http://` or neither.

    Raises:
        ValueError: it is none.
    """
    scheme, _, rest = url.rpartition("://")
    schemes = {"": "ws", "http": "ws", "ws": "ws", "https": "wss", "wss": "wss"}
    if scheme not in schemes or not rest.strip("/"):
        raise ValueError(f"got url {url!r}; needed: ws://HOST:PORT, wss://, http:// or https://")
    host, _, path = rest.partition("/")
    return f"{schemes[scheme]}://{host}/{path}" if path else f"{schemes[scheme]}://{host}{PATH}"


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
        stop: set here if the server wants no more; the source is to end then.

    Raises:
        ModelUnavailableError: the server is away, refuses, or ended the session.
        ValueError: what was asked for is wrong, or the server says something else than captions.
    """
    start = {"type": "start", "sample_rate_hz": source.sample_rate_hz, "hotwords": list(hotwords)}
    failures: list[Exception] = []
    with _connected(url, key) as server:
        server.send(json.dumps(start))
        arguments = (server, source, stop, failures)
        sending = threading.Thread(target=_send, args=arguments, daemon=True)
        try:
            for message in server:
                values = json.loads(message)
                if values["type"] == "ready":
                    sending.start()
                elif values["type"] == "error":
                    raise _refusal(values, url)
                elif values["type"] != "closed":
                    yield caption_from_json(values)
        finally:
            stop.set()
            if sending.ident is not None:
                sending.join()
    if failures:
        raise failures[0]


def _send(
    server: ClientConnection, source: Source, stop: threading.Event, failures: list[Exception]
) -> None:
    try:
        for chunk in source.chunks:
            server.send(chunk)
        server.send(json.dumps({"type": "close"}))
    except ConnectionClosed:
        stop.set()  # why, the thread that receives says
    except Exception as error:  # the source's: raised where the captions are read
        failures.append(error)
        server.close()


@contextmanager
def _connected(url: str, key: str | None) -> Iterator[ClientConnection]:
    headers: dict[str, Any] = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with connect(stream_url(url), additional_headers=headers, compression=None) as server:
            yield server
    except InvalidStatus as error:
        status = error.response.status_code
        needed = "its key" if status == 401 else f"live captions, as at {PATH}"
        raise ModelUnavailableError(f"{url} answers {status}; needed: {needed}") from error
    except (OSError, WebSocketException) as error:
        raise ModelUnavailableError(f"{url}: {error}") from error


def _refusal(error: dict[str, Any], url: str) -> Exception:
    """Return a server's error as the caller's mistake, or as the server's trouble."""
    message = f"{url}: {error['message']}"
    is_ours = error.get("code") == "invalid_message"
    return ValueError(message) if is_ours else ModelUnavailableError(message)

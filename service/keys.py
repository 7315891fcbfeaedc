"""API keys: who may ask, over HTTP and over WebSockets."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from hashlib import sha256

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.refusals import refuse
from service_config import AccessConfig

CLIENT = "stt.client"
KEY_PROTOCOL = "stt-key."
METRICS_PATH = "/metrics"
_NEEDED = "needed: `Authorization: Bearer KEY` or `X-API-Key: KEY`"
_OPEN = frozenset(["/", "/ready/", "/app", "/docs", "/openapi.json"])
_OPEN_BELOW = ("/health/", "/app/")


class Keys:
    """Answers 401 without a key, where keys are set; says who the client is in the scope."""

    def __init__(self, app: ASGIApp, *, access: AccessConfig) -> None:
        self.app, self._access = app, access
        self._digests = [_digest(key) for key in access.api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if it may come in."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self._needs_key(scope):
            given = [_digest(key) for key in _given_keys(headers)]
            client = next(filter(None, map(self._find, given)), None)
            if client is None:
                await _refuse(scope, receive, send, key_was_given=bool(given))
                return
            scope[CLIENT] = client
        protocol = _key_protocol(headers)
        if scope["type"] == "websocket" and protocol:
            send = _accepting(send, protocol)
        await self.app(scope, receive, send)

    def _needs_key(self, scope: Scope) -> bool:
        if scope["type"] == "websocket":
            return bool(self._digests)
        return needs_key(scope["path"], self._access)

    def _find(self, given: bytes) -> str | None:
        """Return a name of the key; all are compared, so that the time does not tell which."""
        equal = [hmac.compare_digest(given, known) for known in self._digests]
        return f"key {given.hex()[:16]}" if any(equal) else None


def is_open(path: str) -> bool:
    """Whether a path needs no key: the page, the documentation, and what probes ask."""
    return path in _OPEN or path.startswith(_OPEN_BELOW)


def needs_key(path: str, access: AccessConfig) -> bool:
    """Whether a path is answered only to who has a key, as the service is set."""
    is_public = path == METRICS_PATH and access.metrics_public
    return bool(access.api_keys) and not (is_open(path) or is_public)


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


def _given_keys(headers: Headers) -> Iterator[str]:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        yield token.strip()
    if headers.get("x-api-key"):
        yield headers["x-api-key"]
    if protocol := _key_protocol(headers):
        yield protocol.removeprefix(KEY_PROTOCOL)


def _key_protocol(headers: Headers) -> str | None:
    """Return the subprotocol that has a key: browsers can give a WebSocket no other header."""
    offered = headers.get("sec-websocket-protocol", "").split(",")
    return next((name.strip() for name in offered if name.strip().startswith(KEY_PROTOCOL)), None)


def _accepting(send: Send, protocol: str) -> Send:
    """Return `send` that chooses `protocol` where nothing else is: or the browser hangs up.

    So a key goes back only if nothing else was offered that the route knows.
    """

    async def send_with_protocol(message: Message) -> None:
        if message["type"] == "websocket.accept" and not message.get("subprotocol"):
            chosen = MutableHeaders(raw=list(message.get("headers", [])))
            if "sec-websocket-protocol" not in chosen:
                message = {**message, "subprotocol": protocol}
        await send(message)

    return send_with_protocol


async def _refuse(scope: Scope, receive: Receive, send: Send, *, key_was_given: bool) -> None:
    got = "got a key that is not known" if key_was_given else "got no API key"
    await refuse(
        scope,
        receive,
        send,
        status=401,
        message=f"{got}; {_NEEDED}",
        headers={"WWW-Authenticate": "Bearer"},
    )

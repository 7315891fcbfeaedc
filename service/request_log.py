"""The log of requests: an id and a line for each, and never what was said in it."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.logs import FIELDS, request_id
from service.refusals import refuse

logger = logging.getLogger("stt.api")

ID_HEADER = "X-Request-ID"
current_scope: ContextVar[Scope | None] = ContextVar("current_scope", default=None)

_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LONGEST_PATH = 200
_CLOSED, _BROKEN = 1000, 1011
_CODES = range(1000, 1016)  # of RFC 6455 and its registry; what clients make up is no figure
_STARTS = ("http.response.start", "websocket.http.response.start")


class RequestLog:
    """Gives each answer an `X-Request-ID`, and logs its status and the time it took.

    The client's own id is kept if it is well formed. What nobody handled is answered with 500.
    """

    def __init__(self, app: ASGIApp, *, on_done: Callable[[Scope, int, float], None]) -> None:
        """Call `on_done` with the scope, the status and the seconds of each request."""
        self.app, self._on_done = app, on_done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        answer = _Answer(_id_of(scope), receive, send)
        tokens = request_id.set(answer.request_id), current_scope.set(scope)
        started = time.perf_counter()
        try:
            await self.app(scope, answer.receive, answer.send)
        except Exception:
            logger.exception("%s failed", _name_of(scope))
            await answer.fail(scope, receive)
        finally:
            elapsed_s = time.perf_counter() - started
            _log(scope, answer.status, elapsed_s)
            self._on_done(scope, answer.status, elapsed_s)
            request_id.reset(tokens[0])
            current_scope.reset(tokens[1])


class _Answer:
    """What is sent: with the id, and the status noted, of a WebSocket the code it closed with.

    Whoever closes it: a client's code counts if it comes first, and is one of those with a meaning.
    """

    def __init__(self, request_id: str, receive: Receive, send: Send) -> None:
        self.request_id, self._receive, self._send = request_id, receive, send
        self.status, self._accepted, self._has_begun = 500, False, False
        self._has_closed = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "websocket.disconnect" and not self._has_closed:
            self._has_closed, code = True, int(message.get("code") or _CLOSED)
            self.status = code if code in _CODES else _CLOSED
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind in _STARTS:
            self.status = message["status"]
        elif kind == "websocket.accept":
            self.status, self._accepted = _CLOSED, True
        elif kind == "websocket.close" and not self._has_closed:
            self._has_closed = True
            self.status = message.get("code", _CLOSED) if self._accepted else 403
        if kind in (*_STARTS, "websocket.accept"):
            message.setdefault("headers", [])
            MutableHeaders(scope=message)[ID_HEADER] = self.request_id
        self._has_begun = True
        await self._send(message)

    async def fail(self, scope: Scope, receive: Receive) -> None:
        message = f"the service failed; its log says why at {self.request_id}"
        if not self._has_begun:
            await refuse(scope, receive, self.send, status=500, message=message)
        elif self._accepted:
            await self.send({"type": "websocket.close", "code": _BROKEN, "reason": message})


def _id_of(scope: Scope) -> str:
    given = Headers(scope=scope).get(ID_HEADER, "")
    return given if _WELL_FORMED.fullmatch(given) else uuid.uuid4().hex[:12]


def _name_of(scope: Scope) -> str:
    """Return method and path, in one line whatever the path is, without the query."""
    return f"{scope.get('method', 'WS')} {quote(scope['path'])[:_LONGEST_PATH]}"


def _log(scope: Scope, status: int, elapsed_s: float) -> None:
    name, elapsed_ms = _name_of(scope), round(1000 * elapsed_s, 1)
    method, _, path = name.partition(" ")
    fields = {"method": method, "path": path, "status": status, "elapsed_ms": elapsed_ms}
    logger.info("%s -> %d in %.1f ms", name, status, elapsed_ms, extra={FIELDS: fields})

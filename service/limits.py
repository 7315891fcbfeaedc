"""Bounds on requests: on their bodies, while they arrive, and on how many there are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

from anyio import CancelScope, CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import HTTPException, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config import GivenUpError, OverloadedError
from service.errors import RETRY_SOON_S
from service.refusals import refuse

T = TypeVar("T")

_MULTIPART_OVERHEAD_BYTES = 64 * 1024
_CLOSE = {"Connection": "close"}
_LATER = {"Retry-After": str(RETRY_SOON_S), **_CLOSE}


class BodiesHeld:
    """The bodies that are there, from the first byte to the end of the answer; for one event loop.

    So many at most, and so many bytes; but one alone is held however large it is.
    """

    def __init__(self, *, max_bodies: int, max_bytes: int) -> None:
        self._max_bodies, self._max_bytes = max_bodies, max_bytes
        self._sizes: dict[object, int] = {}

    def __len__(self) -> int:
        return len(self._sizes)

    def hold(self, body: object, num_bytes: int) -> None:
        """Hold `num_bytes` of a body, announced or received; it may hold fewer by now.

        Raises:
            OverloadedError: there is no room for it.
        """
        others = len(self) - (body in self._sizes)
        if others >= self._max_bodies:
            raise OverloadedError(
                f"{others} requests wait or are worked on; needed: under that many"
            )
        taken = sum(self._sizes.values()) - self._sizes.get(body, 0)
        if others and taken + num_bytes > self._max_bytes:
            raise OverloadedError(
                f"bodies of {taken} bytes are there; needed: at most {self._max_bytes} bytes "
                f"with this one of {num_bytes}"
            )
        self._sizes[body] = num_bytes

    def release(self, body: object) -> None:
        """Hold it no more, if it was held."""
        self._sizes.pop(body, None)


class BodyLimit:
    """Answers 413 to a body over `max_bytes`, before it is all received, declared or not.

    And 408 to one that has not arrived after `timeout_s`, and 503 to one that `held` has no room
    for: before anything of it is read, where its length is declared.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_bytes: int,
        held: BodiesHeld,
        of_paths: Mapping[str, int] | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        """Limit the bodies for `app`.

        Args:
            of_paths: limits of paths that have another one.
        """
        self.app, self.max_bytes, self.of_paths = app, max_bytes, of_paths or {}
        self.held, self.timeout_s = held, timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting its body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        max_bytes = self.of_paths.get(scope["path"], self.max_bytes)
        limit = max_bytes + _MULTIPART_OVERHEAD_BYTES
        declared = _declared_bytes(scope)
        if declared > limit:
            message = _too_large(f"{declared} bytes", max_bytes)
            await refuse(scope, receive, send, status=413, message=message, headers=_CLOSE)
            return
        too_large = _too_large("more", max_bytes)
        body = _Body(receive, self.held, limit, declared, too_large, self.timeout_s)
        try:
            if declared:
                self.held.hold(body, declared)
        except OverloadedError as error:
            await refuse(scope, receive, send, status=503, message=str(error), headers=_LATER)
            return

        async def send_to_the_end(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                self.held.release(body)  # before its client knows, who may ask again at once
            await send(message)

        try:
            await self.app(scope, body, send_to_the_end)
        finally:
            self.held.release(body)


def _declared_bytes(scope: Scope) -> int:
    """Return the length that the head announces; 0 if none."""
    declared = dict(scope["headers"]).get(b"content-length", b"")
    return int(declared) if declared.isdigit() else 0


def _too_large(got: str, max_bytes: int) -> str:
    return f"got a body of {got}; needed: a file of at most {max_bytes} bytes"


class _Body:
    """`receive` that raises once a body has grown over `limit` bytes, or takes too long.

    What grows over the length it declared, if any, needs room as it comes.
    """

    def __init__(
        self,
        receive: Receive,
        held: BodiesHeld,
        limit: int,
        declared: int,
        too_large: str,
        timeout_s: float,
    ) -> None:
        self.receive, self.held, self.limit, self.too_large = receive, held, limit, too_large
        self.declared, self.timeout_s, self.received, self.is_whole = declared, timeout_s, 0, False
        self.until = asyncio.get_running_loop().time() + timeout_s

    async def __call__(self) -> Message:
        message = await (self.receive() if self.is_whole else self._next())
        self.is_whole = self.is_whole or not message.get("more_body", False)
        self.received += len(message.get("body", b""))
        if self.received > self.limit:
            raise HTTPException(413, self.too_large, _CLOSE)
        if self.received > self.declared:
            self._hold_more()
        return message

    def _hold_more(self) -> None:
        try:
            self.held.hold(self, self.received)
        except OverloadedError as error:
            raise HTTPException(503, str(error), _LATER) from error

    async def _next(self) -> Message:
        try:
            async with asyncio.timeout_at(self.until):
                return await self.receive()
        except TimeoutError as error:
            detail = f"got {self.received} bytes in {self.timeout_s:g} s; needed: the whole body"
            raise HTTPException(408, detail, _CLOSE) from error


class Turns:
    """Threads for `max_running` requests at a time; `max_waiting` more wait, in order.

    For one event loop: made in it, called from it. `present` counts both.
    """

    def __init__(self, *, max_running: int, max_waiting: int) -> None:
        self._threads = CapacityLimiter(max_running)
        self._max_present, self.present = max_running + max_waiting, 0

    async def run(self, request: Request, work: Callable[[threading.Event], T]) -> T:
        """Return what `work` returns, in a thread.

        Args:
            request: one whose body was read.
            work: is given an event that is set once the client has gone, or the service stops.

        Raises:
            OverloadedError: too many requests are there.
            GivenUpError: the client went before its turn came.
        """
        if self.present >= self._max_present:
            raise OverloadedError(
                f"{self.present} requests wait or are worked on; needed: under that many"
            )
        self.present += 1
        given_up, waiting = threading.Event(), CancelScope()
        watching = asyncio.create_task(_watch(request, given_up, waiting))
        try:
            with waiting:  # once in a thread, it is not cancelled
                return await run_sync(work, given_up, limiter=self._threads)
        finally:
            given_up.set()  # a task that is cancelled leaves its thread behind
            watching.cancel()
            self.present -= 1
        raise GivenUpError("the client went before its turn came")


async def _watch(request: Request, given_up: threading.Event, waiting: CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    given_up.set()
    waiting.cancel()

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
from service.errors import refusal

T = TypeVar("T")

_MULTIPART_OVERHEAD_BYTES = 64 * 1024


class BodyLimit:
    """Answers 413 to a body over `max_bytes`, before it is all received, declared or not."""

    def __init__(
        self, app: ASGIApp, *, max_bytes: int, of_paths: Mapping[str, int] | None = None
    ) -> None:
        """Limit the bodies for `app`.

        Args:
            of_paths: limits of paths that have another one.
        """
        self.app, self.max_bytes, self.of_paths = app, max_bytes, of_paths or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting its body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        max_bytes = self.of_paths.get(scope["path"], self.max_bytes)
        limit = max_bytes + _MULTIPART_OVERHEAD_BYTES
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > limit:
            detail = _too_large(f"{int(declared)} bytes", max_bytes)
            answer = refusal(scope["path"], 413, detail, {"Connection": "close"})
            await answer(scope, receive, send)
            return
        await self.app(scope, _Counted(receive, limit, _too_large("more", max_bytes)), send)


def _too_large(got: str, max_bytes: int) -> str:
    return f"got a body of {got}; needed: a file of at most {max_bytes} bytes"


class _Counted:
    """`receive` that raises once a body has grown over `limit` bytes."""

    def __init__(self, receive: Receive, limit: int, detail: str) -> None:
        self.receive, self.limit, self.detail, self.received = receive, limit, detail, 0

    async def __call__(self) -> Message:
        message = await self.receive()
        self.received += len(message.get("body", b""))
        if self.received > self.limit:
            raise HTTPException(413, self.detail, {"Connection": "close"})
        return message


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
            work: is given an event that is set once the client has gone.

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
            watching.cancel()
            self.present -= 1
        raise GivenUpError("the client went before its turn came")


async def _watch(request: Request, given_up: threading.Event, waiting: CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    given_up.set()
    waiting.cancel()

"""A bound on request bodies, kept while they arrive."""

from __future__ import annotations

from fastapi import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MULTIPART_OVERHEAD_BYTES = 64 * 1024


class BodyLimit:
    """Answers 413 to a body over `max_bytes`, before it is all received, declared or not."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes
        self.limit = max_bytes + _MULTIPART_OVERHEAD_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting its body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self.limit:
            detail = self._detail(f"{int(declared)} bytes")
            answer = JSONResponse({"detail": detail}, 413, headers={"Connection": "close"})
            await answer(scope, receive, send)
            return
        await self.app(scope, _Counted(receive, self.limit, self._detail("more")), send)

    def _detail(self, got: str) -> str:
        return f"got a body of {got}; needed: a file of at most {self.max_bytes} bytes"


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

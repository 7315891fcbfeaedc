"""Answers to what is refused before a route sees it: over HTTP, and instead of a WebSocket."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Receive, Scope, Send

from service.errors import refusal

_POLICY_VIOLATION = 1008
_DENIAL = "websocket.http.response"


async def refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    status: int,
    message: str,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Answer in words, in the form that clients of the path expect."""
    if scope["type"] == "websocket" and _DENIAL not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": str(status)})
        return
    await refusal(scope["path"], status, message, headers)(scope, receive, send)

"""Answers to what is refused before a route sees it: over HTTP, and instead of a WebSocket."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

OPENAI_PREFIX = "/v1/"
_POLICY_VIOLATION = 1008
_DENIAL = "websocket.http.response"


async def refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    status: int,
    message: str,
    code: str,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Answer in words, below `/v1/` in the form of OpenAI's errors.

    Args:
        code: the same for programs; only OpenAI's form has a place for it.
    """
    if scope["type"] == "websocket" and _DENIAL not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": code})
        return
    content: dict[str, object] = {"detail": message}
    if scope["path"].startswith(OPENAI_PREFIX):
        content = {"error": openai_error(message, code=code)}
    await JSONResponse(content, status, headers=dict(headers or {}))(scope, receive, send)


def openai_error(message: str, *, code: str) -> dict[str, str | None]:
    """Return what OpenAI's API has in an answer's `error`."""
    return {"message": message, "type": "invalid_request_error", "param": None, "code": code}

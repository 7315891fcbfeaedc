"""Which pages may open a WebSocket: browsers ask no server before they do, so this one looks."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.refusals import refuse

_DEFAULT_PORTS = {"http": 80, "https": 443}


class WebSocketOrigins:
    """Answers 403 to a WebSocket of a page that is neither the service's own nor allowed.

    A client that is no browser sends no `Origin`, and passes.
    """

    def __init__(self, app: ASGIApp, *, allowed: Collection[str]) -> None:
        self.app, self._allowed = app, frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may come in."""
        if scope["type"] != "websocket" or self._may_come(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        message = "a page of this origin may not ask; needed: one of STT_CORS_ORIGINS"
        await refuse(scope, receive, send, status=403, message=message)

    def _may_come(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None or "*" in self._allowed or origin in self._allowed:
            return True
        return _is_of_host(origin, headers.get("host", ""))


def _is_of_host(origin: str, host: str) -> bool:
    try:
        page, own = urlsplit(origin), urlsplit(f"//{host}")
        default = _DEFAULT_PORTS.get(page.scheme)
        where = (page.hostname, page.port or default)
        return default is not None and where == (own.hostname, own.port or default)
    except ValueError:  # a port that is no number
        return False

"""Which pages may ask: browsers let any page send forms and open WebSockets, so this one looks.

And by which name: a page of anywhere may give its own name this machine's address (DNS rebinding).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.refusals import refuse
from service_config import AccessConfig, is_loopback

_DEFAULT_PORTS = {"http": 80, "https": 443}
_SAFE_METHODS = frozenset(["GET", "HEAD", "OPTIONS"])


class Origins:
    """Answers 403 to what a page asks that is neither the service's own nor allowed.

    It looks at WebSockets and at all methods but the safe ones, whose answers other pages cannot
    read. A client that is no browser sends no `Origin`, and passes. Where no key is needed, what
    comes to a loopback address must ask for a name of it, unless `access.allow_open`.
    """

    def __init__(self, app: ASGIApp, *, access: AccessConfig) -> None:
        self.app, self._allowed = app, frozenset(access.cors_origins)
        self._any_host = bool(access.api_keys) or access.allow_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may come in."""
        why_not = None
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            why_not = self._wrong_host(scope, headers) or self._wrong_origin(scope, headers)
        if why_not is None:
            await self.app(scope, receive, send)
            return
        await refuse(scope, receive, send, status=403, message=why_not)

    def _wrong_host(self, scope: Scope, headers: Headers) -> str | None:
        host, (address, *_) = headers.get("host"), scope.get("server") or ("",)
        if self._any_host or host is None or not is_loopback(address):
            return None
        if is_loopback(_split(f"//{host}")[0] or ""):
            return None
        return (
            f"got the host {host[:200]!r}; needed: localhost, or STT_API_KEYS=KEY,… (or "
            "STT_ALLOW_OPEN=true, where a proxy asks who is calling)"
        )

    def _wrong_origin(self, scope: Scope, headers: Headers) -> str | None:
        if scope.get("method") in _SAFE_METHODS or self._may_come(headers):
            return None
        return "a page of this origin may not ask; needed: one of STT_CORS_ORIGINS"

    def _may_come(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None or "*" in self._allowed or origin in self._allowed:
            return True
        # Browsers say this themselves, and a proxy that changes the host leaves it as it is.
        is_own = headers.get("sec-fetch-site") == "same-origin"
        return is_own or _is_of_host(origin, headers.get("host", ""))


def _is_of_host(origin: str, host: str) -> bool:
    default = _DEFAULT_PORTS.get(origin.partition(":")[0])
    (name, port), (own_name, own_port) = _split(origin), _split(f"//{host}")
    where, own = (name, port or default), (own_name, own_port or default)
    return default is not None and name is not None and where == own


def _split(url: str) -> tuple[str | None, int | None]:
    """Return host and port; no host if the port is no number."""
    try:
        parts = urlsplit(url)
        return parts.hostname, parts.port
    except ValueError:
        return None, None

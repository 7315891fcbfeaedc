"""How much one client may ask: requests a minute, and at a time."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil

from starlette.types import ASGIApp, Receive, Scope, Send

from service.keys import CLIENT, METRICS_PATH, is_open
from service.refusals import refuse
from service_config import LimitsConfig

_SHORTEST_WAIT_S = 1


class TokenBuckets:
    """A bucket a client, that fills evenly; the clients longest unseen are forgotten first."""

    def __init__(
        self,
        per_minute: float,
        *,
        max_clients: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Let a client take `per_minute` tokens a minute, so many at once at most."""
        self._per_s, self._capacity = per_minute / 60, max(1.0, per_minute)
        self._max_clients, self._clock = max_clients, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Take a token; return 0, or the seconds until there will be one."""
        now = self._clock()
        tokens, filled_at = self._buckets.pop(client, (self._capacity, now))
        tokens = min(self._capacity, tokens + (now - filled_at) * self._per_s)
        wait_s = 0.0 if tokens >= 1 else (1 - tokens) / self._per_s
        self._buckets[client] = (tokens if wait_s else tokens - 1, now)
        if len(self._buckets) > self._max_clients:
            self._buckets.popitem(last=False)
        return wait_s

    def __len__(self) -> int:
        return len(self._buckets)


class RateLimit:
    """Answers 429, with `Retry-After`, to what a client asks beyond its limits."""

    def __init__(self, app: ASGIApp, *, limits: LimitsConfig) -> None:
        self.app, self._most = app, limits.max_per_client
        self._buckets = TokenBuckets(limits.rate_per_minute) if limits.rate_per_minute else None
        self._present: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if its client asked little enough."""
        is_probe = scope["type"] == "http" and is_free(scope["path"])
        if scope["type"] not in ("http", "websocket") or is_probe:
            await self.app(scope, receive, send)
            return
        client = client_of(scope)
        if self._most is not None and self._present[client] >= self._most:
            message = f"{self._present[client]} requests of yours run; needed: under that many"
            await _refuse(scope, receive, send, message, _SHORTEST_WAIT_S)
            return
        wait_s = 0.0 if self._buckets is None else self._buckets.take(client)
        if wait_s:
            message = f"too many requests in a minute; needed: a wait of {wait_s:.1f} s"
            await _refuse(scope, receive, send, message, wait_s)
            return
        self._present[client] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._present[client] -= 1
            if not self._present[client]:
                del self._present[client]


def client_of(scope: Scope) -> str:
    """Return who asks: a key, or an address; of IPv6 the network that one line is given."""
    if CLIENT in scope:
        return str(scope[CLIENT])
    host = str((scope.get("client") or ("unknown",))[0])
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return host


def is_free(path: str) -> bool:
    """Whether requests for a path are not counted: what needs no key, and the figures."""
    return is_open(path) or path == METRICS_PATH


async def _refuse(scope: Scope, receive: Receive, send: Send, message: str, wait_s: float) -> None:
    headers = {"Retry-After": str(max(_SHORTEST_WAIT_S, ceil(wait_s)))}
    await refuse(scope, receive, send, status=429, message=message, headers=headers)

"""Connections on which no request comes: closed, or they would pile up until none has room."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle


class TimedConnection(H11Protocol):
    """Is closed if the head of a request is awaited for too long.

    Between requests uvicorn's own `timeout_keep_alive` holds, until the next one's first byte.
    """

    head_timeout_s = 60.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Take what came; wait for the rest of a head, but not for that of a body."""
        super().data_received(data)
        if self._is_waiting():
            self._wait_for_head()
        else:
            self._wait_no_more()

    def send_400_response(self, msg: str) -> None:
        """Say that what came is no HTTP, unless an answer has begun: then there is no other."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._wait_no_more()
        super().connection_lost(exc)

    def _is_waiting(self) -> bool:
        is_http = self.transport.get_protocol() is self  # or a WebSocket has taken it over
        cycle: RequestResponseCycle | None = self.cycle
        return is_http and (cycle is None or cycle.response_complete)

    def _wait_for_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.head_timeout_s, self.transport.close)

    def _wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def timed_connections(head_timeout_s: float) -> type[TimedConnection]:
    """Return connections that bring a request's head in time."""
    return type("TimedConnection", (TimedConnection,), {"head_timeout_s": head_timeout_s})

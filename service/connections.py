"""Connections whose clients are slow: closed in the end, or they would pile up."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

_MAX_UNTAKEN_BYTES = 1024 * 1024
_NO_HANDSHAKE = (
    "no handshake of a WebSocket; needed: GET without a body, at most 128 headers, of 8 KiB each"
)


class TakenInTime(asyncio.Protocol):
    """Is broken off if its client does not take what it is sent, so that nothing is held for it.

    Writing is paused as soon as anything waits, so that each message has this time for itself; a
    WebSocket's pings and pongs, which wait for nothing, share that of what is before them.
    """

    take_timeout_s = 300.0
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be told whenever something waits to be taken."""
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=0)

    def pause_writing(self) -> None:
        """Wait until all is taken."""
        super().pause_writing()
        self._taking = self.loop.call_later(self.take_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Wait no more: all was taken."""
        self._forget()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._forget()
        super().connection_lost(exc)

    def _forget(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None


class TimedConnection(TakenInTime, H11Protocol):
    """Is closed if the head of a request is awaited for too long.

    Between requests uvicorn's own `timeout_keep_alive` holds, until the next one's first byte.
    """

    head_timeout_s = 60.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
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

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand over, with what is still to be taken; refuse what is no handshake."""
        super().handle_websocket_upgrade(event)
        live = self.transport.get_protocol()
        if self._taking is not None:
            self.resume_writing()
            live.pause_writing()
        # uvicorn would say nothing, and hold it open for ever
        if isinstance(live, LiveConnection) and not live.handshake_initiated:
            self.send_400_response(_NO_HANDSHAKE)

    def send_400_response(self, msg: str) -> None:
        """Say that what came is no HTTP, unless an answer has begun: then there is no other."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            with suppress(h11.LocalProtocolError):  # HEAD is answered without words
                super().send_400_response(msg)
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


class LiveConnection(TakenInTime, WebSocketsSansIOProtocol):
    """A WebSocket: without room for pongs that nobody reads, and with words for broken text."""

    def data_received(self, data: bytes) -> None:
        """Take what came; pings are answered at once, so their client must take the pongs."""
        super().data_received(data)
        if self.transport.get_write_buffer_size() > _MAX_UNTAKEN_BYTES:
            self.transport.abort()

    def send_receive_event_to_app(self) -> None:
        """Pass a message on; text that is not UTF-8 with surrogates, which no other text has.

        So the application refuses it in words. uvicorn would close, and log a traceback.
        """
        is_text = self.curr_msg_data_type == "text" and not self.close_sent
        data = b"".join(self.frames) if is_text else b""
        if _is_utf8(data):
            super().send_receive_event_to_app()
            return
        self.frames = []
        text = data.decode(errors="surrogateescape")
        self.queue.put_nowait({"type": "websocket.receive", "text": text})
        self.read_paused = True
        self.transport.pause_reading()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def timed_connections(head_timeout_s: float, *, take_timeout_s: float) -> type[TimedConnection]:
    """Return connections that bring a request's head in time, and take its answer in time."""
    times = {"head_timeout_s": head_timeout_s, "take_timeout_s": take_timeout_s}
    return type("TimedConnection", (TimedConnection,), times)


def live_connections(*, take_timeout_s: float) -> type[LiveConnection]:
    """Return WebSockets that take each message in time."""
    return type("LiveConnection", (LiveConnection,), {"take_timeout_s": take_timeout_s})

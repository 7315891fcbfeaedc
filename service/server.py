"""The server around the service: how sockets are read, and how it stops."""

from __future__ import annotations

import asyncio
import socket
import time
from math import ceil

import uvicorn
from fastapi import FastAPI

from service.connections import live_connections, timed_connections
from service.live import LiveSessions
from service_config import ServerConfig

_HEAD_TIMEOUT_S, _LIVE_TAKE_TIMEOUT_S = 30.0, 30.0
_LONGEST_FINALS_S, _LOOK_S = 15.0, 0.1


class Server(uvicorn.Server):
    """Ends live sessions, with their finals, before it closes connections; reads no more rests."""

    def __init__(self, app: FastAPI, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop: let nobody in, end live sessions, then answer what was asked before."""
        begun, longest_s = time.monotonic(), self.config.timeout_graceful_shutdown or 0
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        self._app.state.lingering.end()
        await self._end_sessions(min(_LONGEST_FINALS_S, longest_s))
        left_s = longest_s - (time.monotonic() - begun)
        self.config.timeout_graceful_shutdown = max(0, ceil(left_s))
        await super().shutdown(sockets)

    async def _end_sessions(self, longest_s: float) -> None:
        sessions: LiveSessions = self._app.state.live
        stopping = asyncio.create_task(sessions.stop(longest_s=longest_s))
        while not (stopping.done() or self.force_exit):
            await asyncio.wait([stopping], timeout=_LOOK_S)
        stopping.cancel()


def make_server(app: FastAPI, config: ServerConfig, *, log_level: str | int = "warning") -> Server:
    """Return a server for the service; `config` says where, and how large a message may be.

    Pings keep connections open on their way, but a pong may be late: it comes behind the audio
    that waits. Audio does not compress. Of uvicorn's own lines warnings and errors are logged: in
    others are queries.
    """
    body_timeout_s, idle_s = config.limits.body_timeout_s, config.live.idle_s
    return Server(
        app,
        uvicorn.Config(
            app,
            host=config.host,
            port=config.port,
            log_config=None,
            log_level=log_level,
            access_log=False,
            http=timed_connections(
                min(_HEAD_TIMEOUT_S, body_timeout_s), take_timeout_s=body_timeout_s
            ),
            timeout_graceful_shutdown=config.limits.graceful_s,
            ws=live_connections(take_timeout_s=min(_LIVE_TAKE_TIMEOUT_S, idle_s)),
            ws_max_size=config.live.max_message_bytes,
            ws_ping_timeout=None,
            ws_per_message_deflate=False,
        ),
    )

"""`WS /v1/stream`: live captions of PCM that comes over a WebSocket."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from anyio import CapacityLimiter, move_on_after
from fastapi import APIRouter, WebSocket

from service.live_inbox import End
from service.live_messages import CloseCode, LiveError
from service.live_session import LiveSession
from service.metrics import Metrics
from service_config import LiveConfig

logger = logging.getLogger("stt.api")

PATH = "/v1/stream"
SUBPROTOCOL = "stt"  # a key may come as another one: see keys.py

router = APIRouter()


class LiveSessions:
    """The sessions that run: at most so many, in threads of their own; for one event loop."""

    def __init__(self, config: LiveConfig) -> None:
        self.config = config
        self.threads = CapacityLimiter(config.max_sessions)
        self._running: set[LiveSession] = set()
        self._stopping: LiveError | None = None
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._running)

    @contextmanager
    def place(self, session: LiveSession) -> Iterator[None]:
        """Count a session while it runs.

        Raises:
            LiveError: there are as many as may be, or the service stops.
        """
        if self._stopping:
            raise self._stopping
        if len(self) >= self.config.max_sessions:
            message = f"{len(self)} sessions run; needed: under that many"
            raise LiveError("too_many_sessions", message, CloseCode.TRY_LATER)
        self._running.add(session)
        try:
            yield
        finally:
            self._running.remove(session)
            self._changed.set()

    async def stop(self, *, longest_s: float) -> None:
        """Let no more begin, and end each with its finals; wait for that, but not for longer."""
        self._stopping = LiveError("server_stopping", "the service stops", CloseCode.RESTART)
        for session in self._running:
            session.inbox.end(End(self._stopping))
        with move_on_after(longest_s):
            while self._running:
                self._changed.clear()
                await self._changed.wait()


@router.websocket(PATH)
async def stream(socket: WebSocket) -> None:
    """Caption what is said; docs/live.md has the messages."""
    is_offered = SUBPROTOCOL in socket.scope["subprotocols"]
    try:
        await socket.accept(subprotocol=SUBPROTOCOL if is_offered else None)
    except OSError:  # the client has gone already
        return
    sessions: LiveSessions = socket.app.state.live
    metrics: Metrics = socket.app.state.metrics
    session, started = LiveSession(socket, sessions.config), time.perf_counter()
    try:
        with sessions.place(session), metrics.live_sessions.track_inprogress():
            await session.run(sessions.threads)
    except LiveError as error:
        await session.refuse(error)
    elapsed_s = time.perf_counter() - started
    logger.info("%s heard %.1f s of audio in %.1f s", session.id, session.duration_s, elapsed_s)

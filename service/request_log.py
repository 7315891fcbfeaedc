"""The log of requests, and the files that logs go to."""

from __future__ import annotations

import logging
import time
import uuid
from logging.handlers import RotatingFileHandler
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("stt.api")

_LOG_BYTES = 5 * 1024 * 1024


class RequestLog:
    """Gives each answer an `X-Request-ID`, and logs its status and the time it took."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id, started, status = uuid.uuid4().hex[:12], time.perf_counter(), 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            elapsed_ms = 1000 * (time.perf_counter() - started)
            logger.info(
                "%s %s %s -> %d in %.1f ms",
                request_id,
                scope["method"],
                scope["path"],
                status,
                elapsed_ms,
            )


def open_logs(folder: Path) -> list[tuple[str, logging.Handler]]:
    """Return the names of the loggers, each with a handler of its file in `folder`.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handlers: list[tuple[str, logging.Handler]] = []
    for name, file in (("stt.api", "api.log"), ("stt.predictor", "predictor.log")):
        handler = RotatingFileHandler(folder / file, maxBytes=_LOG_BYTES, backupCount=3)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        handlers.append((name, handler))
    return handlers

"""What a line of the logs looks like, and where lines go."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from opentelemetry import trace

from service_config import LogConfig

FILES = {"stt.api": "api.log", "stt.predictor": "predictor.log"}
FIELDS = "stt_fields"
request_id: ContextVar[str] = ContextVar("request_id", default="-")

# What uvicorn calls an error when a WebSocket is answered with a status: so is one without a key.
_REFUSED = "ASGI callable returned without completing handshake."
_LIBRARIES = ("python_multipart",)  # what it writes would have neither time nor id
_LOG_BYTES = 5 * 1024 * 1024


class PlainFormatter(logging.Formatter):
    """Time, level, the request's id, message: for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(request_id)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        record.request_id = request_id.get()
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """One object a line; what a call gives as `extra={FIELDS: {…}}` is in it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        values = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "request_id": request_id.get(),
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            values["trace_id"] = trace.format_trace_id(span.trace_id)
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        return json.dumps(values, ensure_ascii=False)


def formatter_of(config: LogConfig) -> logging.Formatter:
    """Return what makes lines of the chosen form."""
    return JsonFormatter() if config.format == "json" else PlainFormatter()


def open_logs(folder: Path, config: LogConfig) -> list[tuple[str, logging.Handler]]:
    """Return the names of the loggers, each with a handler of its file in `folder`.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handlers: list[tuple[str, logging.Handler]] = []
    for name, file in FILES.items():
        handler = RotatingFileHandler(folder / file, maxBytes=_LOG_BYTES, backupCount=3)
        handler.setFormatter(formatter_of(config))
        handlers.append((name, handler))
    return handlers


@contextmanager
def logging_to_files(folder: Path, config: LogConfig) -> Iterator[None]:
    """Log into files while the service runs."""
    handlers = open_logs(folder, config)
    for name, handler in handlers:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)
    try:
        yield
    finally:
        for name, handler in handlers:
            logging.getLogger(name).removeHandler(handler)
            handler.close()


@contextmanager
def logging_to_terminal(config: LogConfig) -> Iterator[None]:
    """Log to the terminal too, with what uvicorn has to say.

    Plain: warnings and errors, on standard error. JSON: all, on standard output, for a collector.
    """
    is_json = config.format == "json"
    handler = logging.StreamHandler(sys.stdout if is_json else sys.stderr)
    handler.setLevel(logging.INFO if is_json else logging.WARNING)
    handler.setFormatter(formatter_of(config))
    handler.addFilter(lambda record: record.getMessage() != _REFUSED)
    loggers = [logging.getLogger(name) for name in ("stt", "uvicorn", *_LIBRARIES)]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)

"""The HTTP service: what it is put together from. `python api.py` runs it."""

from __future__ import annotations

import logging
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CapacityLimiter
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from config import ModelError, ModelUnavailableError, ServerConfig
from predictor import load_predictor
from service import live, openai, page, upload
from service.errors import add_error_answers
from service.limits import BodyLimit, Turns
from service.model import Loader, load_once
from service.request_log import RequestLog, open_logs
from service.server import make_server
from settings import read_settings

logger = logging.getLogger("stt.api")

_MAX_CHECKS = 4


def create_app(config: ServerConfig, *, load: Loader) -> FastAPI:
    """Build the service.

    Args:
        config: host, limits, where the model and the logs are.
        load: makes the predictor when the service starts. If it raises, the service runs without a
            model, says so, and tries again when a request comes.
    """
    app = FastAPI(title="Speech to text", version="0.1.0", lifespan=_lifespan)
    app.state.config, app.state.load, app.state.predictor = config, load, None
    app.state.loading, app.state.on_ready = threading.Lock(), lambda: None
    app.include_router(upload.router)
    app.include_router(openai.router)
    app.include_router(live.router)
    page.mount_page(app)
    app.add_middleware(
        BodyLimit,
        max_bytes=config.max_upload_bytes,
        of_paths={openai.TRANSCRIPTIONS: config.max_file_bytes},
    )
    app.add_middleware(RequestLog)
    add_error_answers(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    handlers = open_logs(app.state.config.log_folder)
    for name, handler in handlers:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)
    config: ServerConfig = app.state.config
    app.state.checking = CapacityLimiter(_MAX_CHECKS)
    app.state.live = live.LiveSessions(config.live)
    app.state.turns = Turns(max_running=config.max_running, max_waiting=config.max_waiting)
    try:
        await run_in_threadpool(load_once, app)
    except ModelUnavailableError as error:
        logger.error("%s", error)
    app.state.on_ready()
    threading.Thread(target=_report_readiness, args=[app], daemon=True).start()
    yield
    if app.state.predictor is not None:
        app.state.predictor.backend.close()
    for name, handler in handlers:
        logging.getLogger(name).removeHandler(handler)
        handler.close()


def _report_readiness(app: FastAPI) -> None:
    """Log why a remote model does not answer; whoever waits for it asks `/ready/`."""
    try:
        if app.state.predictor is not None:
            app.state.predictor.backend.check_ready()
    except ModelError as error:
        logger.error("%s", error)


def serve(config: ServerConfig) -> None:
    """Serve until interrupted; warnings and errors also go to the terminal.

    Raises:
        OSError: the log folder cannot be written, or the port is taken.
    """
    for _, handler in open_logs(config.log_folder):
        handler.close()
    terminal = logging.StreamHandler()
    terminal.setLevel(logging.WARNING)
    logging.getLogger("stt").addHandler(terminal)
    print(f"Loading {config.model.name}", flush=True)
    app = create_app(config, load=load_predictor)
    server = make_server(app, config)
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.create_server((config.host, config.port), family=family) as listener:
        # Connections inherit it. Without it a body waits up to 40 ms for its headers' receipt.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        app.state.on_ready = lambda: print(_greeting(app), flush=True)
        server.run(sockets=[listener])


def _greeting(app: FastAPI) -> str:
    config, predictor = app.state.config, app.state.predictor
    what = config.model.name if predictor else "without a model"
    if predictor and config.remote:
        name = config.remote.model or predictor.pipeline.name
        what = f"{name}, which TensorFlow Serving at {config.remote.address} holds,"
    return f"Serving {what} on http://{config.host}:{config.port}"


def main() -> None:
    """Serve with the settings of the environment."""
    try:
        serve(read_settings())
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


if __name__ == "__main__":
    main()

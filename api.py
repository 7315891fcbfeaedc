"""The HTTP service: what it is put together from. `python api.py` runs it."""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CapacityLimiter
from fastapi import FastAPI
from opentelemetry.trace import TracerProvider
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware

from config import ModelError
from predictor import load_predictor
from service import health, live, metrics, mobile, openai, page, upload
from service.errors import add_error_answers
from service.health import Readiness
from service.keys import Keys
from service.limits import BodiesHeld, BodyLimit, Turns
from service.lingering import Lingering, LingeringClose
from service.logs import logging_to_files, logging_to_terminal, open_logs
from service.metrics import Metrics
from service.model import Loader, close_model, load_in_background, num_waiting_clips
from service.observer import ServiceObserver
from service.origins import Origins
from service.rate import RateLimit
from service.request_log import ID_HEADER, RequestLog
from service.server import make_server
from service.tracing import open_tracing, telemetry_of, tracer_of
from service.upload_forms import MAX_HOTWORDS
from service_config import ServerConfig
from settings import read_settings, unread_variables

logger = logging.getLogger("stt.api")

_MAX_CHECKS, _LINGERING_S = 4, 30.0
_OTHER_FIELDS, _MAX_FILES, _MAX_FIELD_BYTES = 50, 4, 64 * 1024
_ROUTERS = (upload.router, openai.router, live.router, mobile.router, health.router, metrics.router)


def create_app(
    config: ServerConfig, *, load: Loader, tracer_provider: TracerProvider | None = None
) -> FastAPI:
    """Build the service.

    Args:
        config: host, limits, where the model and the logs are.
        load: makes the predictor when the service starts, in the background. If it raises, the
            service runs without a model, says so, and tries again when a request comes.
        tracer_provider: where spans go; none are made if None.
    """
    app = FastAPI(
        docs_url=None,  # page.py has them: these would load scripts from other hosts
        redoc_url=None,
        title="Speech to text",
        version="0.1.0",
        lifespan=_lifespan,
        telemetry=telemetry_of(tracer_provider),
        form_limits={
            "max_fields": 2 * MAX_HOTWORDS + _OTHER_FIELDS,
            "max_files": _MAX_FILES,
            "max_part_size": _MAX_FIELD_BYTES,
        },
    )
    state = app.state
    state.config, state.load, state.predictor, state.load_error = config, load, None, None
    state.loading, state.load_again_at = threading.Lock(), 0.0
    state.on_ready = lambda: None
    state.metrics, state.readiness = Metrics(_own_paths(app)), Readiness()
    state.observer = ServiceObserver(
        metrics=state.metrics,
        tracer=tracer_of(tracer_provider),
        readiness=state.readiness,
        log_transcripts=config.log.transcripts,
    )
    state.lingering = Lingering(max_s=min(_LINGERING_S, config.limits.body_timeout_s))
    for router in _ROUTERS:
        app.include_router(router)
    page.mount_page(app)
    _add_middleware(app, config)
    add_error_answers(app)
    return app


def _own_paths(app: FastAPI) -> set[str]:
    """Return the paths that are a route each, those of the documentation too."""
    routers = (app.router, page.router, *_ROUTERS)
    paths = (getattr(route, "path", None) for router in routers for route in router.routes)
    return {path for path in paths if path and "{" not in path}


def _add_middleware(app: FastAPI, config: ServerConfig) -> None:
    """Put what every request passes before the routes, from the innermost to the outermost."""
    access, limits = config.access, config.limits
    app.add_middleware(
        BodyLimit,
        max_bytes=config.max_upload_bytes,
        held=BodiesHeld(
            max_bodies=config.max_running + config.max_waiting, max_bytes=limits.max_bodies_bytes
        ),
        of_paths={openai.TRANSCRIPTIONS: config.max_file_bytes},
        timeout_s=limits.body_timeout_s,
    )
    app.add_middleware(RateLimit, limits=limits)
    app.add_middleware(Keys, access=access)
    app.add_middleware(Origins, access=access)
    if access.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=access.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],  # OpenAI's own client has a dozen
            expose_headers=[ID_HEADER, "Retry-After"],
        )
    app.add_middleware(RequestLog, on_done=app.state.metrics.count_request)
    app.add_middleware(LingeringClose, lingering=app.state.lingering)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    config: ServerConfig = app.state.config
    app.state.checking, app.state.awaiting_load = CapacityLimiter(_MAX_CHECKS), CapacityLimiter(1)
    app.state.live = live.LiveSessions(config.live)
    app.state.turns = Turns(max_running=config.max_running, max_waiting=config.max_waiting)
    app.state.metrics.watch_queues(
        requests=lambda: app.state.turns.present, clips=lambda: num_waiting_clips(app)
    )
    with logging_to_files(config.log_folder, config.log):
        load_in_background(app, then=lambda: _report_readiness(app))
        yield
        await run_in_threadpool(close_model, app)


def _report_readiness(app: FastAPI) -> None:
    """Log why a remote model does not answer."""
    app.state.on_ready()
    try:
        if app.state.predictor:
            app.state.predictor.backend.check_ready()
    except ModelError as error:
        logger.error("%s", error)


def serve(config: ServerConfig) -> None:
    """Serve until told to stop, then finish what runs; what is logged goes to the terminal too.

    Raises:
        ValueError: anyone on the network could ask, and nobody said so.
        OSError: the log folder cannot be written, or the port is taken.
    """
    config.access.check_open(config.host)
    for _, handler in open_logs(config.log_folder, config.log):
        handler.close()
    with logging_to_terminal(config.log):
        for line in unread_variables(os.environ):
            logger.warning("%s", line)
        say = logger.info if config.log.format == "json" else _print
        say(f"Loading {config.model.name}")
        tracer_provider = open_tracing(os.environ)
        app = create_app(config, load=load_predictor, tracer_provider=tracer_provider)
        app.state.on_ready = lambda: say(_greeting(app))
        _listen(app, config)
        if tracer_provider:
            tracer_provider.shutdown()


def _print(line: str) -> None:
    print(line, flush=True)


def _listen(app: FastAPI, config: ServerConfig) -> None:
    server = make_server(app, config)
    with _open_listener(config) as listener:
        # Connections inherit it. Without it a body waits up to 40 ms for its headers' receipt.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.run(sockets=[listener])


def _open_listener(config: ServerConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise OSError(
            f"got port {config.port} of {config.host}, which another program holds; needed: a free "
            "one, by STT_PORT or --port"
        ) from error


def _greeting(app: FastAPI) -> str:
    config, predictor = app.state.config, app.state.predictor
    what = config.model.name if predictor else "without a model"
    if predictor and config.remote:
        name = config.remote.model or predictor.pipeline.name
        what = f"{name}, which TensorFlow Serving at {config.remote.address} holds,"
    host = f"[{config.host}]" if ":" in config.host else config.host
    address = f"http://{host}:{config.port}"
    return f"Serving {what} on {address} (in a browser: {address}/app/)"


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

"""The HTTP service: routes, and the mapping of errors to HTTP. `python api.py` runs it."""

from __future__ import annotations

import logging
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import uvicorn
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import (
    APIRouter,
    Depends,
    FastAPI,
    File,
    HTTPException,
    Query,
    Request,
    Response,
    UploadFile,
)
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from config import (
    AudioConfig,
    AudioError,
    GivenUpError,
    ModelError,
    ModelUnavailableError,
    OverloadedError,
    ServerConfig,
    SpeechToTextError,
)
from http_limits import BodyLimit, Turns
from predictor import Predictor, load_predictor
from request_log import RequestLog, open_logs
from settings import read_settings
from speech.subtitles import to_text
from speech.transcript import Transcript
from upload_forms import MEDIA_TYPES, UploadAnswer, UploadQuery, options_of

logger = logging.getLogger("stt.api")

MESSAGE = "WAV to Tensor Processor API is running"
RETRY_AFTER_S = 5
RETRY_SOON_S = 1
CLIENT_GONE = 499
_MAX_CHECKS = 4


class ErrorAnswer(BaseModel):
    """What an error returns; a missing field returns a list of what is missing."""

    detail: str


Loader = Callable[[ServerConfig], Predictor]
router = APIRouter()


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
    app.include_router(router)
    app.add_middleware(BodyLimit, max_bytes=config.max_upload_bytes)
    app.add_middleware(RequestLog)
    app.add_exception_handler(SpeechToTextError, _answer_error)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    handlers = open_logs(app.state.config.log_folder)
    for name, handler in handlers:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)
    config: ServerConfig = app.state.config
    app.state.checking = CapacityLimiter(_MAX_CHECKS)
    app.state.turns = Turns(max_running=config.max_running, max_waiting=config.max_waiting)
    try:
        await run_in_threadpool(_load_once, app)
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


def _load_once(app: FastAPI) -> Predictor:
    with app.state.loading:
        if app.state.predictor is None:
            try:
                app.state.predictor = _load(app.state.config, app.state.load)
            except Exception as error:  # whatever a model's files make TensorFlow raise
                raise ModelUnavailableError(f"the model is not loaded: {error}") from error
        predictor: Predictor = app.state.predictor
        return predictor


def _load(config: ServerConfig, load: Loader) -> Predictor:
    predictor = load(config)
    return predictor if config.remote else predictor.batching(config.batching)


async def get_predictor(request: Request) -> Predictor:
    """Return the service's predictor; without one, `ModelUnavailableError` after another try."""
    if request.app.state.predictor is None:
        return await run_in_threadpool(_load_once, request.app)
    predictor: Predictor = request.app.state.predictor
    return predictor


async def get_config(request: Request) -> ServerConfig:
    """Return the service's settings."""
    config: ServerConfig = request.app.state.config
    return config


PredictorDep = Annotated[Predictor, Depends(get_predictor)]
ConfigDep = Annotated[ServerConfig, Depends(get_config)]


def _audio(app: FastAPI) -> AudioConfig:
    """Return the audio form in force: the loaded model's, or the native one."""
    predictor: Predictor | None = app.state.predictor
    limit_s = app.state.config.max_duration_s
    return predictor.audio if predictor else AudioConfig(max_duration_s=limit_s)


@router.get("/")
async def status(request: Request) -> dict[str, Any]:
    """Say that the service runs, and what audio it takes."""
    rate = _audio(request.app).sample_rate_hz
    specs = {"sample_rate": rate, "format": "16-bit PCM WAV", "channels": "mono"}
    return {"status": "ok", "message": MESSAGE, "audio_specs": specs}


@router.get("/audio_specs/")
async def audio_specs(request: Request) -> dict[str, Any]:
    """Say in full what `/upload/` takes."""
    audio, config = _audio(request.app), request.app.state.config
    return {
        "sample_rate": audio.sample_rate_hz,
        "sample_width_bytes": 2,
        "encoding": "signed 16-bit little-endian PCM",
        "format": "16-bit PCM WAV",
        "container": "RIFF/WAVE",
        "channels": "mono",
        "max_duration_s": audio.max_duration_s,
        "max_upload_bytes": config.max_upload_bytes,
    }


@router.get("/ready/", responses={503: {"model": ErrorAnswer}})
async def ready(request: Request) -> dict[str, str]:
    """Say whether a model answers now: 200, or 503 with why not.

    It has threads of its own: uploads that wait may hold all the others.
    """
    app = request.app
    predictor = await run_sync(_load_once, app, limiter=app.state.checking)
    await run_sync(predictor.backend.check_ready, limiter=app.state.checking)
    return {"status": "ready", "model": predictor.pipeline.name}


@router.post(
    "/upload/",
    response_model=UploadAnswer,
    response_model_exclude_none=True,
    responses={
        200: {"content": {kind: {} for kind in MEDIA_TYPES.values()}},
        **{code: {"model": ErrorAnswer} for code in (400, 413, 503)},
    },
)
async def upload(
    request: Request,
    file: Annotated[UploadFile, File(description="A native WAV file.")],
    query: Annotated[UploadQuery, Query()],
    predictor: PredictorDep,
    config: ConfigDep,
) -> UploadAnswer | Response:
    """Transcribe a WAV file: mono, 16-bit PCM, 22 050 Hz.

    In a thread, when its turn has come; what waits for it is dropped if its client goes.
    """
    if (file.size or 0) > config.max_upload_bytes:
        raise HTTPException(
            413, f"got {file.size} bytes; needed: at most {config.max_upload_bytes} bytes"
        )
    try:
        options = options_of(query, predictor.pipeline.alphabet)
    except ValueError as error:
        raise HTTPException(422, str(error)) from error

    def transcribe(given_up: threading.Event) -> Transcript:
        return predictor.transcribe(file.file.read(), options, given_up=given_up)

    transcript: Transcript = await request.app.state.turns.run(request, transcribe)
    if query.format == "json":
        return UploadAnswer.of(transcript, words=query.words)
    content = to_text(transcript, query.format)
    return Response(content, media_type=MEDIA_TYPES[query.format])


def _answer_error(_: Request, error: Exception) -> JSONResponse:
    """Map an error to its status: bad audio 400, no model or no room 503, any other 500."""
    if isinstance(error, AudioError):
        return JSONResponse({"detail": str(error)}, 400)
    if isinstance(error, ModelUnavailableError):
        wait_s = RETRY_SOON_S if isinstance(error, OverloadedError) else RETRY_AFTER_S
        headers = {"Retry-After": str(wait_s)}
        return JSONResponse({"detail": str(error)}, 503, headers=headers)
    if isinstance(error, GivenUpError):  # only the log will show it
        return JSONResponse({"detail": str(error)}, CLIENT_GONE)
    return JSONResponse({"detail": str(error)}, 500)


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
    server = uvicorn.Server(
        uvicorn.Config(app, host=config.host, port=config.port, log_level="warning")
    )
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

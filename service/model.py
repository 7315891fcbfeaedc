"""The model of the service: loaded when it starts, or when a request finds it missing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import Depends, FastAPI
from starlette.requests import HTTPConnection

from config import AudioConfig, ModelError, ModelUnavailableError
from predictor import Predictor
from service_config import ServerConfig

logger = logging.getLogger("stt.api")

FAILURE_BELIEVED_S = 3.0
Loader = Callable[[ServerConfig], Predictor]


def load_once(app: FastAPI) -> Predictor:
    """Return the service's predictor, loaded if it was not yet; wait if it is being loaded.

    Raises:
        ModelUnavailableError: it cannot be loaded; a call some seconds later tries again.
    """
    with app.state.loading:
        return _load_if_missing(app)


def load_in_background(app: FastAPI, *, then: Callable[[], None] = lambda: None) -> None:
    """Begin to load the model unless it is being loaded; call `then` once it is, or has failed."""
    if app.state.loading.acquire(blocking=False):  # by now, so that requests come after it
        threading.Thread(target=_load_and_release, args=[app, then], daemon=True).start()


def _load_and_release(app: FastAPI, then: Callable[[], None]) -> None:
    try:
        _load_if_missing(app)
    except ModelUnavailableError:
        pass  # `load_error` has it
    finally:
        app.state.loading.release()
    then()


def _load_if_missing(app: FastAPI) -> Predictor:
    state = app.state
    if state.predictor is None:
        if time.monotonic() < state.load_again_at:  # or each of many requests would take as long
            raise ModelUnavailableError(state.load_error)
        try:
            state.predictor = _load(app)
        except Exception as error:  # whatever a model's files make TensorFlow raise
            state.load_error = f"the model is not loaded: {error}"
            state.load_again_at = time.monotonic() + FAILURE_BELIEVED_S
            logger.error("%s", state.load_error)
            raise ModelUnavailableError(state.load_error) from error
    predictor: Predictor = state.predictor
    return predictor


def _load(app: FastAPI) -> Predictor:
    config, metrics = app.state.config, app.state.metrics
    predictor: Predictor = app.state.load(config).observed(app.state.observer)
    metrics.show_model(name=predictor.pipeline.name, version=predictor.backend.version)
    if config.remote:
        return predictor
    return predictor.batching(config.batching, on_batch=metrics.batch_clips.observe)


@contextmanager
def told_to_anyone(app: FastAPI) -> Iterator[None]:
    """Let a model's error say what is wrong only where no key is needed; the log has it anyway."""
    try:
        yield
    except ModelError as error:
        if not app.state.config.access.api_keys:
            raise
        logger.warning("%s", error)
        raise type(error)("no model answers; the service's log says why") from error


def close_model(app: FastAPI) -> None:
    """Let go of the model; of one that is being loaded, once it is."""
    with app.state.loading:
        if app.state.predictor is not None:
            app.state.predictor.backend.close()


def num_waiting_clips(app: FastAPI) -> int:
    """Return how many clips wait for the network in this process."""
    backend = app.state.predictor.backend if app.state.predictor else None
    return getattr(backend, "num_waiting", 0)


async def get_predictor(connection: HTTPConnection) -> Predictor:
    """Return the service's predictor; without one, `ModelUnavailableError` after another try.

    Who waits for it does so outside the threads that others need.
    """
    app = connection.app
    if app.state.predictor is None:
        return await run_sync(load_once, app, limiter=app.state.awaiting_load)
    predictor: Predictor = app.state.predictor
    return predictor


async def get_config(connection: HTTPConnection) -> ServerConfig:
    """Return the service's settings."""
    config: ServerConfig = connection.app.state.config
    return config


def audio_of(app: FastAPI) -> AudioConfig:
    """Return the audio form in force: the loaded model's, or the native one."""
    predictor: Predictor | None = app.state.predictor
    limit_s = app.state.config.max_duration_s
    return predictor.audio if predictor else AudioConfig(max_duration_s=limit_s)


PredictorDep = Annotated[Predictor, Depends(get_predictor)]
ConfigDep = Annotated[ServerConfig, Depends(get_config)]

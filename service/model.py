"""The model of the service: loaded when it starts, or when a request finds it missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from config import AudioConfig, ModelUnavailableError, ServerConfig
from predictor import Predictor

Loader = Callable[[ServerConfig], Predictor]


def load_once(app: FastAPI) -> Predictor:
    """Return the service's predictor, loaded if it was not yet.

    Raises:
        ModelUnavailableError: it cannot be loaded; the next call tries again.
    """
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


async def get_predictor(connection: HTTPConnection) -> Predictor:
    """Return the service's predictor; without one, `ModelUnavailableError` after another try."""
    if connection.app.state.predictor is None:
        return await run_in_threadpool(load_once, connection.app)
    predictor: Predictor = connection.app.state.predictor
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

"""`GET /health/live` and `GET /health/ready`: what probes ask."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
from anyio.to_thread import run_sync
from fastapi import APIRouter, FastAPI, Request

from config import ModelUnavailableError
from predictor import Predictor
from recogniser import Unobserved
from service.answers import LiveAnswer, ReadyAnswer
from service.errors import ErrorAnswer
from service.model import load_in_background, told_to_anyone
from speech.audio import Waveform

FRESH_S = 5.0
_CLIP_S, _CLIP_HZ = 0.5, 180.0

router = APIRouter(tags=["running"])


class Readiness:
    """Whether a transcription succeeded of late: of a built-in clip, then of anybody's."""

    def __init__(
        self, *, fresh_s: float = FRESH_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Believe a success for `fresh_s` seconds."""
        self._fresh_s, self._clock = fresh_s, clock
        self._succeeded_at: float | None = None
        self._checking = threading.Lock()

    def saw_success(self) -> None:
        """Take note that somebody's clip was computed, so that a busy service needs no probe."""
        if self._succeeded_at is not None:
            self._succeeded_at = self._clock()

    def check(self, predictor: Predictor) -> None:
        """Return if a transcription succeeds, or did of late.

        Raises:
            ModelUnavailableError: it does not; the message says why.
        """
        with self._checking:
            if self._is_fresh():
                return
            try:
                predictor.backend.check_ready()
                clip = builtin_clip(predictor.audio.sample_rate_hz)
                predictor.observed(Unobserved()).transcribe_waveforms([clip])
            except Exception as error:  # whatever it is, this service is not ready
                self._succeeded_at = None
                raise ModelUnavailableError(f"the model does not answer: {error}") from error
            self._succeeded_at = self._clock()

    def _is_fresh(self) -> bool:
        at = self._succeeded_at
        return at is not None and self._clock() - at < self._fresh_s


def builtin_clip(sample_rate_hz: int) -> Waveform:
    """Return half a second of a hum that swells and fades as a syllable does, float32."""
    time_s = np.arange(int(_CLIP_S * sample_rate_hz)) / sample_rate_hz
    hum = sum(np.sin(2 * np.pi * _CLIP_HZ * k * time_s) / k for k in range(1, 9))
    return (0.1 * np.sin(np.pi * time_s / _CLIP_S) * hum).astype(np.float32)


@router.head("/health/live", include_in_schema=False)
@router.get("/health/live")
async def live() -> LiveAnswer:
    """Say that the process turns: if this fails, restart it."""
    return LiveAnswer(status="alive")


@router.head("/health/ready", include_in_schema=False)
@router.get("/health/ready", responses={503: {"model": ErrorAnswer}})
async def ready(request: Request) -> ReadyAnswer:
    """Say whether a built-in clip can be transcribed now: 200, or 503 with why not.

    A success is believed for some seconds, and while clients' own audio is transcribed. Where keys
    are set, why not is only in the log.
    """
    state = request.app.state
    if state.predictor is None and state.load_error is None:
        raise ModelUnavailableError("the model is still loading")
    with told_to_anyone(request.app):
        return await _check(request.app)


async def _check(app: FastAPI) -> ReadyAnswer:
    predictor: Predictor | None = app.state.predictor
    if predictor is None:
        why = app.state.load_error
        load_in_background(app)
        raise ModelUnavailableError(why)
    await run_sync(app.state.readiness.check, predictor, limiter=app.state.checking)
    return ReadyAnswer.of(predictor)

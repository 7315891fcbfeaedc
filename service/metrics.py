"""`GET /metrics`: what Prometheus is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from functools import partial

from fastapi import APIRouter, Request, Response
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.types import Scope

UNMATCHED = "unmatched"
PAGE = "/app/"
_METHODS = frozenset(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WS"])
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_FACTORS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5)
_CLIPS = (1, 2, 4, 8, 16, 32)

router = APIRouter()


class Metrics:
    """The figures of one service, in a registry of its own."""

    def __init__(self, paths: Collection[str] = ()) -> None:
        """Begin to count.

        Args:
            paths: which are routes of their own, so that what is refused before it is routed
                has one too.
        """
        self._paths = frozenset(paths)
        own = self.registry = CollectorRegistry()
        counter, gauge = partial(Counter, registry=own), partial(Gauge, registry=own)
        histogram = partial(Histogram, registry=own)
        text = "Requests answered; of a WebSocket the code is that of its close."
        self._requests = counter("stt_requests", text, ["route", "method", "code"])
        text = "Time from a request's headers to the end of its answer; over HTTP."
        self._request_seconds = histogram("stt_request_seconds", text, ["route"], buckets=_SECONDS)
        self._audio_seconds = counter("stt_audio_seconds", "Audio transcribed.", ["route"])
        text = "Time that transcribing took, as a share of the audio's duration."
        self._real_time_factor = histogram("stt_real_time_factor", text, buckets=_FACTORS)
        text = "Clips that the network computed together."
        self.batch_clips = histogram("stt_batch_clips", text, buckets=_CLIPS)
        self.live_sessions = gauge("stt_live_sessions", "Live sessions open.")
        text = "Requests that wait or are worked on."
        self._queue_requests = gauge("stt_queue_requests", text)
        self._queue_clips = gauge("stt_queue_clips", "Clips that wait for the network.")
        self._model = Info("stt_model", "The model that is loaded.", registry=own)
        threads = gauge("stt_threads", "Threads of the process that run Python.")
        threads.set_function(threading.active_count)
        ProcessCollector(registry=own)
        GCCollector(registry=own)

    def watch_queues(self, *, requests: Callable[[], int], clips: Callable[[], int]) -> None:
        """Read the queues' lengths from these whenever somebody asks."""
        self._queue_requests.set_function(requests)
        self._queue_clips.set_function(clips)

    def show_model(self, *, name: str, version: str) -> None:
        """Say which model is loaded."""
        self._model.info({"model": name, "version": version})

    def count_request(self, scope: Scope, status: int, elapsed_s: float) -> None:
        """Count a request that was answered."""
        route, method = self._route_of(scope), scope.get("method", "WS")
        method = method if method in _METHODS else "other"
        self._requests.labels(route, method, str(status)).inc()
        if scope["type"] == "http":  # of a WebSocket it is how long somebody spoke
            self._request_seconds.labels(route).observe(elapsed_s)

    def count_audio(
        self, scope: Scope | None, *, audio_s: float, elapsed_s: float | None = None
    ) -> None:
        """Count audio that was transcribed; of live audio the time it took says nothing: None."""
        self._audio_seconds.labels(self._route_of(scope or {})).inc(audio_s)
        if elapsed_s is not None and audio_s > 0:
            self._real_time_factor.observe(elapsed_s / audio_s)

    def _route_of(self, scope: Scope) -> str:
        """Return the template of the route: paths that no route has are all one."""
        template = getattr(scope.get("route"), "path", None)
        if isinstance(template, str):
            return template
        path = scope.get("path", "")
        if path in self._paths:
            return str(path)
        return PAGE if path.startswith(PAGE) else UNMATCHED


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Figures in the text form of Prometheus.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    },
)
async def metrics(request: Request) -> Response:
    """Return the service's figures for Prometheus."""
    content = generate_latest(request.app.state.metrics.registry)
    return Response(content, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

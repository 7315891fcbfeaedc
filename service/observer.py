"""What the service is told of its predictor's work, and whom it tells: figures, traces, logs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from opentelemetry.trace import Tracer

from service.health import Readiness
from service.logs import FIELDS
from service.metrics import Metrics
from service.request_log import current_scope
from speech.transcript import Transcript

logger = logging.getLogger("stt.predictor")


@dataclass(frozen=True)
class ServiceObserver:
    """A predictor's `Observer`; what it is told belongs to the request that it is told in."""

    metrics: Metrics
    tracer: Tracer
    readiness: Readiness
    log_transcripts: bool

    def step(self, name: str) -> AbstractContextManager[object]:
        """Return a span of the request's trace."""
        return self.tracer.start_as_current_span(name, record_exception=False)

    def computed(self) -> None:
        """Take it for a sign that the model answers."""
        self.readiness.saw_success()

    def transcribed(self, transcripts: Sequence[Transcript], elapsed_s: float) -> None:
        """Count, and log the texts if that was asked for."""
        audio_s = sum(transcript.duration_s for transcript in transcripts)
        self.metrics.count_audio(current_scope.get(), audio_s=audio_s, elapsed_s=elapsed_s)
        for transcript in transcripts:
            self.heard(transcript.text, transcript.duration_s)

    def heard(self, text: str, audio_s: float) -> None:
        """Log a text if that was asked for."""
        if self.log_transcripts:
            logger.info("heard %r", text, extra={FIELDS: {"text": text, "audio_s": audio_s}})

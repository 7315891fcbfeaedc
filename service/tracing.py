"""OpenTelemetry: where traces go, if the standard variables of its SDK say so."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace

from service.keys import METRICS_PATH

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

logger = logging.getLogger("stt.api")

SERVICE_NAME = "speech-to-text"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def open_tracing(environment: Mapping[str, str]) -> TracerProvider | None:
    """Return what sends spans where `environment` says; None if it does not, or cannot be.

    Where it names a place and the packages are missing, a warning says what to install.
    """
    if not any(environment.get(name) for name in _ENDPOINTS):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        logger.warning(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and nothing is traced: %s; "
            "needed: pip install -e '.[otel]'",
            error,
        )
        return None
    name = environment.get("OTEL_SERVICE_NAME", SERVICE_NAME)
    return make_provider(BatchSpanProcessor(OTLPSpanExporter()), service_name=name)


def make_provider(processor: Any, *, service_name: str = SERVICE_NAME) -> TracerProvider:
    """Return a provider of tracers that hands spans to `processor`, without what users wrote."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider

    class WithoutQuery(SpanProcessor):
        """Hot words are in queries."""

        def on_start(self, span: Span, parent_context: Any = None) -> None:  # noqa: ARG002
            if span.attributes and "url.query" in span.attributes:
                span.set_attribute("url.query", "REDACTED")

        def on_end(self, span: ReadableSpan) -> None: ...

    provider = TracerProvider(resource=Resource.create({"service.name": service_name}))
    provider.add_span_processor(WithoutQuery())
    provider.add_span_processor(processor)
    return provider


def telemetry_of(provider: trace.TracerProvider | None) -> TelemetryConfig:
    """Return FastAPI's settings: a span a request, none for probes; logs and metrics are ours."""
    return {
        "tracer_provider": provider or trace.NoOpTracerProvider(),
        "tracing": provider is not None,
        "metrics": False,
        "logs": False,
        "operation_spans": False,
        "auto_configure": False,
        "exclude": _is_probe,
    }


def _is_probe(scope: Any) -> bool:
    path = scope["path"]
    return path == METRICS_PATH or path.startswith("/health/")


def tracer_of(provider: trace.TracerProvider | None) -> trace.Tracer:
    """Return what makes the spans within a request."""
    return (provider or trace.NoOpTracerProvider()).get_tracer("stt")

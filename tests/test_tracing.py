"""Traces: a span a request with its steps below, and a warning where the packages are missing."""

from __future__ import annotations

import base64
import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import api
from config import AudioConfig
from predictor import Predictor
from service.tracing import make_provider, open_tracing
from service_config import ServerConfig
from serving.local import LocalBackend
from speech.audio import encode_native
from tests.clips import babble

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def client(
    server_config: ServerConfig, model_folder: Path, exporter: InMemorySpanExporter
) -> Iterator[TestClient]:
    provider = make_provider(SimpleSpanProcessor(exporter))

    def load(_: ServerConfig) -> Predictor:
        return Predictor(LocalBackend(model_folder))

    app = api.create_app(server_config, load=load, tracer_provider=provider)
    with TestClient(app) as client:
        yield client
    provider.shutdown()


def clip() -> bytes:
    return encode_native(babble(0.5), AudioConfig())


def spans_of(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def test_a_request_continues_its_clients_trace_and_its_steps_lie_below(
    client: TestClient, exporter: InMemorySpanExporter
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    query = {"hotwords": "zanzibar"}
    client.post("/upload/", files={"file": clip()}, params=query, headers=headers)
    spans = spans_of(exporter)
    assert spans.keys() == {"POST /upload/", "audio", "network", "decoding"}
    request = spans.pop("POST /upload/")
    assert request.parent.span_id == int(PARENT, 16)
    assert {span.parent.span_id for span in spans.values()} == {request.context.span_id}
    assert {span.context.trace_id for span in (request, *spans.values())} == {int(TRACE, 16)}
    assert request.attributes["http.response.status_code"] == 200
    assert request.resource.attributes["service.name"] == "speech-to-text"
    told = [str(dict(span.attributes)) for span in (request, *spans.values())]
    assert "zanzibar" not in "".join(told), "queries are private"


def test_the_json_door_has_the_same_steps(
    client: TestClient, exporter: InMemorySpanExporter
) -> None:
    client.post("/transcribe_mobile", json={"audio": base64.b64encode(clip()).decode()})
    names = {"POST /transcribe_mobile", "audio", "network", "decoding"}
    assert spans_of(exporter).keys() == names


def test_the_door_of_openai_has_the_same_steps(
    client: TestClient, exporter: InMemorySpanExporter
) -> None:
    path = "/v1/audio/transcriptions"
    client.post(path, files={"file": clip()}, data={"model": "whisper-1"})
    spans = spans_of(exporter)
    assert spans.keys() == {f"POST {path}", "audio", "network", "decoding"}
    request = spans.pop(f"POST {path}")
    assert {span.parent.span_id for span in spans.values()} == {request.context.span_id}


def test_probes_are_not_traced(client: TestClient, exporter: InMemorySpanExporter) -> None:
    for path in ("/health/live", "/health/ready", "/metrics"):
        client.get(path)
    assert not exporter.get_finished_spans()
    client.get("/")
    assert spans_of(exporter).keys() == {"GET /"}


def test_log_lines_name_the_trace(
    server_config: ServerConfig, model_folder: Path, exporter: InMemorySpanExporter
) -> None:
    config = replace(server_config, log=replace(server_config.log, format="json"))
    provider = make_provider(SimpleSpanProcessor(exporter))
    app = api.create_app(
        config, load=lambda _: Predictor(LocalBackend(model_folder)), tracer_provider=provider
    )
    with TestClient(app) as client:
        client.get("/", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    assert TRACE in (config.log_folder / "api.log").read_text(encoding="utf-8")


def test_without_an_address_nothing_is_traced() -> None:
    assert open_tracing({}) is None
    assert open_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}) is None


def test_with_an_address_spans_are_sent_there() -> None:
    provider = open_tracing({**ENDPOINT, "OTEL_SERVICE_NAME": "mine"})
    assert isinstance(provider, TracerProvider)
    assert provider.resource.attributes["service.name"] == "mine"
    provider.shutdown()


def test_without_the_packages_a_warning_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in [name for name in sys.modules if name.startswith("opentelemetry.exporter")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)
    with caplog.at_level(logging.WARNING, logger="stt.api"):
        assert open_tracing(ENDPOINT) is None
    assert "nothing is traced: " in caplog.text
    assert "needed: pip install -e '.[otel]'" in caplog.text

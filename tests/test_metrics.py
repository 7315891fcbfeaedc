"""What Prometheus is told, and that nobody can make it remember more and more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import WebSocketDenialResponse

import api
from config import AudioConfig
from predictor import Predictor
from service.metrics import Metrics
from service_config import AccessConfig, LimitsConfig, ServerConfig
from serving.local import LocalBackend
from speech.audio import encode_native
from tests.clips import babble


@pytest.fixture(scope="module")
def predictor(model_folder: Path) -> Predictor:
    return Predictor(LocalBackend(model_folder))


@pytest.fixture
def client(server_config: ServerConfig, predictor: Predictor) -> Iterator[TestClient]:
    with TestClient(api.create_app(server_config, load=lambda _: predictor)) as client:
        yield client


def figures(client: TestClient) -> dict[tuple[str, frozenset], float]:
    """Return the value of each sample by its name and labels."""
    response = client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(client: TestClient, name: str, **labels: str) -> float:
    return figures(client)[name, frozenset(labels.items())]


def upload(client: TestClient, seconds: float = 0.5) -> None:
    clip = encode_native(babble(seconds), AudioConfig())
    assert client.post("/upload/", files={"file": clip}).status_code == 200


def test_requests_are_counted_by_route_method_and_code(client: TestClient) -> None:
    for _ in range(2):
        upload(client)
    client.post("/upload/", files={"file": b"no WAV"})
    client.get("/upload/")
    count = "stt_requests_total"
    assert value(client, count, route="/upload/", method="POST", code="200") == 2
    assert value(client, count, route="/upload/", method="POST", code="400") == 1
    assert value(client, count, route="/upload/", method="GET", code="405") == 1
    assert value(client, "stt_request_seconds_count", route="/upload/") == 4
    assert value(client, "stt_request_seconds_sum", route="/upload/") > 0


def test_what_is_refused_before_it_is_routed_has_its_route(
    server_config: ServerConfig, predictor: Predictor
) -> None:
    key, count = "a-key-of-sixteen-or-more", "stt_requests_total"
    config = replace(
        server_config,
        access=AccessConfig(api_keys=(key,), metrics_public=True),
        limits=LimitsConfig(rate_per_minute=1),
    )
    with TestClient(api.create_app(config, load=lambda _: predictor)) as client:
        client.post("/upload/", files={"file": b"x"})
        client.post("/v1/audio/transcriptions", headers={"Origin": "https://evil.example"})
        for _ in range(2):
            client.get("/audio_specs/", headers={"X-API-Key": key})
        with pytest.raises(WebSocketDenialResponse), client.websocket_connect("/v1/stream"):
            pass
        client.get("/v1/models/tiny")
        assert value(client, count, route="/upload/", method="POST", code="401") == 1
        route = "/v1/audio/transcriptions"
        assert value(client, count, route=route, method="POST", code="403") == 1
        assert value(client, count, route="/audio_specs/", method="GET", code="429") == 1
        assert value(client, count, route="/v1/stream", method="WS", code="401") == 1
        assert value(client, count, route="unmatched", method="GET", code="401") == 1


def test_the_page_and_the_documentation_have_routes(client: TestClient) -> None:
    for path in ("/app/", "/app/index.html", "/app/js/nothing.js", "/docs", "/openapi.json"):
        client.get(path, follow_redirects=False)
    client.post("/upload/", headers={"Content-Length": "9999999999"})
    count = "stt_requests_total"
    assert value(client, count, route="/app/", method="GET", code="200") == 2
    assert value(client, count, route="/app/", method="GET", code="404") == 1
    assert [name for name in figures(client) if name[0] == count and ("route", "/docs") in name[1]]
    assert value(client, count, route="/openapi.json", method="GET", code="200") == 1
    assert value(client, count, route="/upload/", method="POST", code="413") == 1


def test_audio_its_speed_and_batches_are_counted(client: TestClient) -> None:
    upload(client, 0.5)
    upload(client, 1.25)
    assert value(client, "stt_audio_seconds_total", route="/upload/") == pytest.approx(1.75)
    assert value(client, "stt_real_time_factor_count") == 2
    assert value(client, "stt_batch_clips_count") == 2
    assert value(client, "stt_batch_clips_bucket", le="1.0") == 2


def test_probes_are_no_audio(client: TestClient) -> None:
    upload(client)
    assert client.get("/health/ready").status_code == 200
    assert value(client, "stt_audio_seconds_total", route="/upload/") == 0.5
    assert value(client, "stt_real_time_factor_count") == 1


def test_the_model_the_queues_and_the_process_are_told(client: TestClient) -> None:
    upload(client)
    assert value(client, "stt_model_info", model="tiny", version="1") == 1
    assert value(client, "stt_queue_requests") == 0
    assert value(client, "stt_queue_clips") == 0
    assert value(client, "stt_live_sessions") == 0
    assert value(client, "stt_threads") >= 2
    assert value(client, "process_resident_memory_bytes") > 1e6
    assert value(client, "process_open_fds") > 0


def test_live_sessions_are_counted_while_they_are_open(client: TestClient) -> None:
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_json({"type": "start", "sample_rate_hz": 22_050})
        assert socket.receive_json()["type"] == "ready"
        assert value(client, "stt_live_sessions") == 1
        socket.send_bytes(bytes(22_050))
        socket.send_json({"type": "close"})
        while socket.receive_json()["type"] != "closed":
            pass
        assert socket.receive()["type"] == "websocket.close"
    assert value(client, "stt_live_sessions") == 0
    assert value(client, "stt_audio_seconds_total", route="/v1/stream") == pytest.approx(0.5)
    assert value(client, "stt_requests_total", route="/v1/stream", method="WS", code="1000") == 1


@pytest.mark.parametrize(
    ("code", "counted"), [(1001, "1001"), (1005, "1005"), (1000, "1000"), (4321, "1000")]
)
def test_a_websocket_that_its_client_closes_is_counted_by_its_code(
    client: TestClient, server_config: ServerConfig, code: int, counted: str
) -> None:
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_json({"type": "start", "sample_rate_hz": 22_050})
        assert socket.receive_json()["type"] == "ready"
        socket.close(code)
    labels = {"route": "/v1/stream", "method": "WS", "code": counted}
    assert value(client, "stt_requests_total", **labels) == 1
    log = (server_config.log_folder / "api.log").read_text(encoding="utf-8")
    assert f" WS /v1/stream -> {counted} in " in log


def test_queues_are_read_when_somebody_asks() -> None:
    metrics, lengths = Metrics(), [3, 5]
    metrics.watch_queues(requests=lambda: lengths[0], clips=lambda: lengths[1])
    assert metrics.registry.get_sample_value("stt_queue_requests") == 3
    lengths[1] = 7
    assert metrics.registry.get_sample_value("stt_queue_clips") == 7


def test_what_strangers_ask_for_adds_no_series(client: TestClient) -> None:
    client.get("/nothing/0")
    client.request("BREW", "/upload/")
    before = {name for name in figures(client) if name[0].startswith("stt_")}
    for i in range(50):
        client.get(f"/nothing/{i}")
        client.get(f"/nothing?{i}")
        client.request(f"BREW{i}", "/upload/")
    client.get("/metrics")
    after = {name for name in figures(client) if name[0].startswith("stt_")}
    assert {n for n in after - before if dict(n[1]).get("route") != "/metrics"} == set()
    counted = value(client, "stt_requests_total", route="unmatched", method="GET", code="404")
    assert counted == 101


def test_services_of_one_process_count_apart(
    server_config: ServerConfig, predictor: Predictor, client: TestClient
) -> None:
    upload(client)
    with TestClient(api.create_app(server_config, load=lambda _: predictor)) as other:
        other.get("/")
        assert not [name for name in figures(other) if ("route", "/upload/") in name[1]]

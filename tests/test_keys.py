"""Who may ask: keys, pages of other origins, and no open port by accident."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse
from starlette.types import Message

import api
from predictor import Predictor
from service.keys import Keys, is_open
from service.origins import Origins
from service_config import AccessConfig, ServerConfig
from serving.local import LocalBackend

KEY, OTHER = "a-key-of-sixteen-or-more", "0123456789abcdef"
ACCESS = AccessConfig(api_keys=(KEY, OTHER))
ORIGIN = "https://pages.example"


@pytest.fixture(scope="module")
def predictor(model_folder: Path) -> Predictor:
    return Predictor(LocalBackend(model_folder))


def client_of(config: ServerConfig, predictor: Predictor, access: AccessConfig) -> TestClient:
    return TestClient(api.create_app(replace(config, access=access), load=lambda _: predictor))


@pytest.fixture
def client(server_config: ServerConfig, predictor: Predictor) -> Iterator[TestClient]:
    with client_of(server_config, predictor, ACCESS) as client:
        yield client


def specs(client: TestClient, **headers: str | bytes) -> httpx.Response:
    return client.get("/audio_specs/", headers={k.replace("_", "-"): v for k, v in headers.items()})


@pytest.mark.parametrize("key", [KEY, OTHER])
def test_any_of_the_keys_opens(client: TestClient, key: str) -> None:
    assert specs(client, Authorization=f"Bearer {key}").status_code == 200
    assert specs(client, Authorization=f"bearer  {key} ").status_code == 200
    assert specs(client, X_API_Key=key).status_code == 200
    assert specs(client, Authorization="Bearer no", X_API_Key=key).status_code == 200


def test_what_takes_as_long_for_any_key_decides(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which keys are compared does not depend on the key given, nor how far it is right."""
    compared: list[int] = []

    def compare(given: bytes, known: bytes) -> bool:
        compared.append(len(given))
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for key in (KEY, OTHER, KEY[:-1], "x"):
        assert specs(client, X_API_Key=key).status_code == 401, "or something else decides"
    assert compared == [sha256().digest_size] * 2 * 4, "each with both keys, in one length"


@pytest.mark.parametrize(
    ("headers", "got"),
    [
        ({}, "got no API key"),
        ({"Authorization": KEY}, "got no API key"),
        ({"Authorization": f"Basic {KEY}"}, "got no API key"),
        ({"Authorization": f"Bearer {KEY}x"}, "got a key that is not known"),
        ({"Authorization": f"Bearer {KEY[:-1]}"}, "got a key that is not known"),
        ({"X_API_Key": f"{KEY},{OTHER}"}, "got a key that is not known"),
        ({"X_API_Key": "ключ".encode()}, "got a key that is not known"),
    ],
)
def test_without_a_key_it_is_401_in_words(client: TestClient, headers: dict, got: str) -> None:
    response = specs(client, **headers)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.headers["X-Request-ID"]
    needed = "needed: `Authorization: Bearer KEY` or `X-API-Key: KEY`"
    assert response.json() == {"detail": f"{got}; {needed}"}


def test_below_v1_the_error_has_openai_s_form(client: TestClient) -> None:
    response = client.get("/v1/models")
    assert response.status_code == 401
    error = response.json()["error"]
    assert error.pop("message").startswith("got no API key")
    assert error == {"type": "invalid_request_error", "param": None, "code": "invalid_api_key"}


@pytest.mark.parametrize(
    "path", ["/", "/ready/", "/health/live", "/health/ready", "/docs", "/openapi.json"]
)
def test_what_probes_and_people_look_at_is_open(client: TestClient, path: str) -> None:
    assert client.get(path).status_code in (200, 503)


@pytest.mark.parametrize("path", ["/upload/", "/metrics", "/v1/stream", "/health", "/apple", "//"])
def test_other_paths_are_not_open(path: str) -> None:
    assert not is_open(path)


def test_metrics_can_be_public(server_config: ServerConfig, predictor: Predictor) -> None:
    with client_of(server_config, predictor, ACCESS) as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"X-API-Key": KEY}).status_code == 200
    public = replace(ACCESS, metrics_public=True)
    with client_of(server_config, predictor, public) as client:
        assert client.get("/metrics").status_code == 200


# WebSockets


def live(access: AccessConfig) -> TestClient:
    """Return a client of a service with a WebSocket behind what guards the real one."""
    app = FastAPI()

    @app.websocket("/v1/stream")
    async def stream(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("hello")
        await socket.close()

    app.add_middleware(Keys, access=access)
    app.add_middleware(Origins, access=access)
    return TestClient(app)


@pytest.mark.parametrize("access", [ACCESS, AccessConfig()], ids=["keys", "no keys"])
def test_a_websocket_takes_its_key_as_a_subprotocol_and_says_so(access: AccessConfig) -> None:
    protocol = f"stt-key.{KEY}"
    with live(access).websocket_connect("/v1/stream", subprotocols=["x", protocol]) as socket:
        assert socket.receive_text() == "hello"
        assert socket.accepted_subprotocol == protocol


def test_a_websocket_takes_its_key_as_a_header() -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    with live(ACCESS).websocket_connect("/v1/stream", headers=headers) as socket:
        assert socket.receive_text() == "hello"
        assert socket.accepted_subprotocol is None


@pytest.mark.parametrize("subprotocols", [[], ["stt-key.wrong"], [KEY]])
def test_a_websocket_without_a_key_is_401(subprotocols: list[str]) -> None:
    with (
        pytest.raises(WebSocketDenialResponse) as got,
        live(ACCESS).websocket_connect("/v1/stream", subprotocols=subprotocols),
    ):
        pass
    assert got.value.status_code == 401
    assert got.value.json()["error"]["code"] == "invalid_api_key"


def test_a_server_that_cannot_answer_a_websocket_in_words_closes_it() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def never(*_: object) -> None:
        raise AssertionError

    scope = {"type": "websocket", "path": "/v1/stream", "headers": [], "extensions": {}}
    asyncio.run(Keys(never, access=ACCESS)(scope, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "401"}]


@pytest.mark.parametrize(
    ("origin", "may_come"),
    [
        (None, True),
        ("http://testserver", True),
        ("http://testserver:80", True),
        (ORIGIN, True),
        ("http://testserver:81", False),
        ("https://testserver", False),
        ("https://evil.example", False),
        (f"{ORIGIN}.evil.example", False),
        ("null", False),
        ("http://testserver:port", False),
    ],
)
def test_a_websocket_of_a_page_from_elsewhere_is_403(origin: str | None, may_come: bool) -> None:
    client = live(AccessConfig(cors_origins=(ORIGIN,)))
    headers = {"Host": "testserver:80"} | ({"Origin": origin} if origin else {})
    if may_come:
        with client.websocket_connect("/v1/stream", headers=headers) as socket:
            assert socket.receive_text() == "hello"
        return
    with (
        pytest.raises(WebSocketDenialResponse) as got,
        client.websocket_connect("/v1/stream", headers=headers),
    ):
        pass
    assert got.value.status_code == 403


# Pages of other origins


def test_pages_of_the_list_may_ask(server_config: ServerConfig, predictor: Predictor) -> None:
    access = replace(ACCESS, cors_origins=(ORIGIN,))
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    with client_of(server_config, predictor, access) as client:
        allowed = client.options("/upload/", headers={"Origin": ORIGIN, **ask})
        assert allowed.status_code == 200
        assert allowed.headers["Access-Control-Allow-Origin"] == ORIGIN
        refused = client.options("/upload/", headers={"Origin": "https://evil.example", **ask})
        assert refused.status_code == 400
        assert "Access-Control-Allow-Origin" not in refused.headers
        answer = client.get("/audio_specs/", headers={"Origin": ORIGIN})
    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN, "or a page cannot read why"


def test_without_a_list_no_other_page_may(client: TestClient) -> None:
    headers = {"Origin": ORIGIN, "X-API-Key": KEY}
    response = client.get("/audio_specs/", headers=headers)
    assert "Access-Control-Allow-Origin" not in response.headers


# Settings


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_an_open_port_needs_keys_or_a_word(server_config: ServerConfig, host: str) -> None:
    config = replace(server_config, host=host)
    with pytest.raises(ValueError, match=r"set STT_API_KEYS=KEY,… \(or STT_ALLOW_OPEN=true"):
        api.serve(config)
    AccessConfig(allow_open=True).check_open(host)
    ACCESS.check_open(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.9.9.9", "[::1]"])
def test_loopback_needs_none(host: str) -> None:
    AccessConfig().check_open(host)


@pytest.mark.parametrize("key", ["short", "with a space and length", "with/slashes/abcdefgh"])
def test_a_key_that_does_not_fit_is_refused_and_not_told(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STT_API_KEYS", f"{KEY},{key}")
    with pytest.raises(ValueError, match="api_keys: number 2, of ") as got:
        api.read_settings()
    assert key not in str(got.value)


def test_keys_and_origins_are_lists_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STT_API_KEYS", f"{KEY}, {OTHER},")
    monkeypatch.setenv("STT_CORS_ORIGINS", f"{ORIGIN},http://localhost:3000")
    config = api.read_settings()
    assert config.access == AccessConfig(
        api_keys=(KEY, OTHER), cors_origins=(ORIGIN, "http://localhost:3000")
    )
    assert KEY not in repr(config)
    monkeypatch.setenv("STT_CORS_ORIGINS", "example.org")
    with pytest.raises(ValueError, match=r"needed: as https://example\.org"):
        api.read_settings()

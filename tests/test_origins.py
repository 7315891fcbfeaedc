"""Which pages may send forms, which headers they may set, and by which name they may ask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse

import api
from config import AudioConfig
from predictor import Predictor
from service_config import AccessConfig, ServerConfig
from serving.local import LocalBackend
from speech.audio import encode_native
from tests.clips import babble

KEY = "a-key-of-sixteen-or-more"
ORIGIN = "https://pages.example"
DOORS = ["/upload/", "/v1/audio/transcriptions", "/transcribe_mobile"]


@pytest.fixture(scope="module")
def predictor(model_folder: Path) -> Predictor:
    return Predictor(LocalBackend(model_folder))


def client_of(
    config: ServerConfig, predictor: Predictor, base: str = "http://testserver", **access: object
) -> TestClient:
    config = replace(config, access=AccessConfig(**access))
    return TestClient(api.create_app(config, load=lambda _: predictor), base_url=base)


@pytest.fixture
def client(server_config: ServerConfig, predictor: Predictor) -> Iterator[TestClient]:
    with client_of(server_config, predictor, cors_origins=(ORIGIN,)) as client:
        yield client


def send_form(client: TestClient, path: str = "/upload/", **headers: str) -> httpx.Response:
    """Send what a page of any origin may send without asking first."""
    files = {"file": encode_native(babble(0.5), AudioConfig())}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(path, files=files, data={"model": "whisper-1"}, headers=named)


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"{ORIGIN}.evil.example"])
def test_a_form_of_a_page_from_elsewhere_is_403(client: TestClient, path: str, origin: str) -> None:
    response = send_form(client, path, Origin=origin)
    assert response.status_code == 403
    assert "a page of this origin may not ask; needed: one of STT_CORS_ORIGINS" in response.text
    assert ("error" in response.json()) == path.startswith("/v1/")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": ORIGIN},
        {"Origin": "http://testserver"},
        {"Origin": "https://outside.example", "Sec_Fetch_Site": "same-origin"},
    ],
    ids=["no browser", "allowed", "own", "own behind a proxy"],
)
def test_other_forms_pass(client: TestClient, headers: dict[str, str]) -> None:
    assert send_form(client, **headers).status_code == 200


def test_what_changes_nothing_may_be_asked_from_everywhere(client: TestClient) -> None:
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    response = client.get("/audio_specs/", headers=headers)
    assert response.status_code == 200
    assert "Access-Control-Allow-Origin" not in response.headers


def test_the_headers_of_openai_s_client_are_allowed(client: TestClient) -> None:
    names = "authorization,x-stainless-arch,x-stainless-lang,x-stainless-retry-count,x-request-id"
    headers = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": names,
    }
    response = client.options("/v1/audio/transcriptions", headers=headers)
    assert response.status_code == 200
    allowed = response.headers["Access-Control-Allow-Headers"].replace(" ", "").split(",")
    assert set(names.split(",")) <= set(allowed)


LOOPBACK = "http://127.0.0.1:8000"


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000"])
def test_a_name_of_this_machine_passes(
    server_config: ServerConfig, predictor: Predictor, host: str
) -> None:
    with client_of(server_config, predictor, LOOPBACK) as client:
        assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example"])
def test_any_other_name_for_this_machine_is_403(
    server_config: ServerConfig, predictor: Predictor, host: str
) -> None:
    """As when a page's own name is given this machine's address: all seems of its origin."""
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    with client_of(server_config, predictor, LOOPBACK) as client:
        response = client.get("/", headers=headers)
        assert response.status_code == 403
        assert response.json()["detail"].startswith(f"got the host {host!r}; needed: localhost")
        with (
            pytest.raises(WebSocketDenialResponse) as got,
            client.websocket_connect("ws://127.0.0.1:8000/v1/stream", headers=headers),
        ):
            pass
        assert got.value.status_code == 403


@pytest.mark.parametrize("access", [{"allow_open": True}, {"api_keys": (KEY,)}])
def test_behind_a_proxy_or_a_key_any_name_will_do(
    server_config: ServerConfig, predictor: Predictor, access: dict
) -> None:
    with client_of(server_config, predictor, LOOPBACK, **access) as client:
        assert client.get("/", headers={"Host": "stt.example"}).status_code == 200

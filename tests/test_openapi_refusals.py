"""What is refused before a route is asked is described where it is answered, and only there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import jsonschema
import pytest
from fastapi.testclient import TestClient

import api
from config import ModelUnavailableError
from predictor import Predictor
from service.openai import TRANSCRIPTIONS
from service_config import AccessConfig, LimitsConfig, ServerConfig

KEY = "a-key-of-sixteen-or-more"
KEYS = AccessConfig(api_keys=(KEY,))
MINE = {"X-API-Key": KEY}
ELSEWHERE = {"Origin": "https://evil.example"}
OPEN = {"/", "/ready/", "/health/live", "/health/ready"}


def client_of(config: ServerConfig, access: AccessConfig, **limits: float) -> TestClient:
    """Return a client, from this machine, of the service without a model."""

    def load(_: ServerConfig) -> Predictor:
        raise ModelUnavailableError("the disk is gone")

    config = replace(config, access=access, limits=LimitsConfig(**limits), max_upload_bytes=1000)
    return TestClient(api.create_app(config, load=load), base_url="http://127.0.0.1")


def operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def check_described(
    description: dict[str, Any], operation: dict[str, Any], answer: httpx.Response
) -> None:
    """Hold an answer, with its headers, against what its operation says of its status."""
    described = operation["responses"][str(answer.status_code)]
    schema = described["content"]["application/json"]["schema"]
    whole = {**schema, "components": description["components"]}
    jsonschema.Draft202012Validator(whole).validate(answer.json())
    said = {name.lower() for name in described.get("headers", {})}
    assert said == {"www-authenticate", "retry-after"} & set(answer.headers)


def test_a_wrong_field_is_422_but_below_v1_where_it_is_400(server_config: ServerConfig) -> None:
    with client_of(server_config, AccessConfig()) as client:
        description = client.get("/openapi.json").json()
    posts = {path: op["responses"] for verb, path, op in operations(description) if verb == "post"}
    assert {path for path in posts if "422" in posts[path]} == {"/upload/", "/transcribe_mobile"}
    assert "400" in posts[TRANSCRIPTIONS]


def test_both_ways_to_give_a_key_are_described(server_config: ServerConfig) -> None:
    with client_of(server_config, KEYS) as client:
        description = client.get("/openapi.json").json()
    schemes = description["components"]["securitySchemes"]
    assert {scheme["type"] for scheme in schemes.values()} == {"http", "apiKey"}
    for _, path, operation in operations(description):
        either = [] if path in OPEN else [{name: []} for name in schemes]
        assert operation.get("security", []) == either, path


@pytest.mark.parametrize(
    ("access", "without_key"),
    [
        (AccessConfig(), OPEN | {"/metrics", "/upload/"}),
        (replace(KEYS, metrics_public=True), OPEN | {"/metrics"}),
    ],
    ids=["no keys", "public figures"],
)
def test_what_needs_no_key_says_so(
    server_config: ServerConfig, access: AccessConfig, without_key: set[str]
) -> None:
    with client_of(server_config, access) as client:
        description = client.get("/openapi.json").json()
    assert ("securitySchemes" in description["components"]) is bool(access.api_keys)
    for path in without_key:
        for operation in description["paths"][path].values():
            assert "security" not in operation
            assert "401" not in operation["responses"]


def test_401_and_429_are_described_where_they_are_answered(server_config: ServerConfig) -> None:
    with client_of(server_config, KEYS, rate_per_minute=1) as client:
        description = client.get("/openapi.json").json()
        client.get("/audio_specs/", headers=MINE)
        for method, path, operation in operations(description):
            without_key = client.request(method, path)
            again = client.request(method, path, headers=MINE)
            assert ("401" in operation["responses"]) is (without_key.status_code == 401), path
            assert ("429" in operation["responses"]) is (again.status_code == 429), path
            for answer in (without_key, again):
                if answer.status_code in (401, 429):
                    check_described(description, operation, answer)


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, ELSEWHERE], ids=["host", "origin"])
def test_403_is_described(server_config: ServerConfig, headers: dict[str, str]) -> None:
    with client_of(server_config, AccessConfig()) as client:
        description = client.get("/openapi.json").json()
        for method, path, operation in operations(description):
            assert "429" not in operation["responses"], "nothing is limited here"
            answer = client.request(method, path, headers=headers)
            if method == "post" or headers is not ELSEWHERE:
                assert answer.status_code == 403, path
                check_described(description, operation, answer)


@pytest.mark.parametrize("path", ["/upload/", "/transcribe_mobile", TRANSCRIPTIONS])
def test_408_413_and_503_are_described(server_config: ServerConfig, path: str) -> None:
    config = replace(server_config, max_file_bytes=1000)
    bodies: dict[int, Any] = {
        413: {"content": bytes(200_000)},
        503: {"files": {"file": b"x"}, "data": {"model": "whisper-1"}},
    }
    if path == "/transcribe_mobile":
        bodies[503] = {"json": {"audio": "AAAA"}}
    with client_of(config, AccessConfig()) as client:
        description = client.get("/openapi.json").json()
        operation = description["paths"][path]["post"]
        assert "408" in operation["responses"]
        for status, body in bodies.items():
            answer = client.post(path, **body)
            assert answer.status_code == status
            check_described(description, operation, answer)

"""The examples of the OpenAPI description, sent as Swagger UI fills them in, are answered 200."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import api
from predictor import load_predictor
from service_config import ServerConfig

SAMPLE = Path(__file__).parents[1] / "Data/samples/sample.wav"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of the bundled model's service: the examples name it."""
    config = ServerConfig(log_folder=tmp_path_factory.mktemp("logs"), compile_clips=False)
    with TestClient(api.create_app(config, load=load_predictor)) as client:
        yield client


def resolved(description: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return description["components"]["schemas"][name] if name else schema


def examples_of(properties: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the first example of each field, of a file the sample."""
    return {
        name: SAMPLE.read_bytes() if "contentMediaType" in values else values["examples"][0]
        for name, values in properties.items()
    }


def filled_in(
    description: dict[str, Any], path: str, operation: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return the address of a request with all examples, and what httpx is told of the rest."""
    query: dict[str, Any] = {}
    for parameter in operation.get("parameters", []):
        (example, *_) = parameter["schema"].get("examples") or parameter["examples"]
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", example)
        else:
            query[parameter["name"]] = example
    rest: dict[str, Any] = {"params": query}
    for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
        examples = examples_of(resolved(description, body["schema"])["properties"])
        if media_type == "application/json":
            return path, {**rest, "json": examples}
        files = {name: value for name, value in examples.items() if isinstance(value, bytes)}
        fields = {name: value for name, value in examples.items() if name not in files}
        return path, {**rest, "files": files, "data": fields}
    return path, rest


def test_all_examples_of_an_operation_together_are_answered(
    client: TestClient, subtests: pytest.Subtests
) -> None:
    description = client.get("/openapi.json").json()
    asked = 0
    for template, operations in description["paths"].items():
        for method, operation in operations.items():
            path, rest = filled_in(description, template, operation)
            asked += bool(rest["params"]) + ("files" in rest or "json" in rest)
            with subtests.test(f"{method} {template}"):
                answer = client.request(method, path, **rest)
                assert answer.status_code == 200, answer.text
    assert asked >= 4

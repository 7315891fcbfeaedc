"""The OpenAPI description says of every field what it is, with an example."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

import api
from service.openai import TRANSCRIPTIONS
from service_config import ServerConfig

OF_FASTAPI = {"HTTPValidationError", "ValidationError"}


@pytest.fixture
def description(server_config: ServerConfig) -> dict[str, Any]:
    return api.create_app(server_config, load=lambda _: None).openapi()


def fields(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the fields of every body, and every parameter."""
    for name, schema in description["components"]["schemas"].items():
        if name not in OF_FASTAPI:
            for field, values in schema.get("properties", {}).items():
                yield f"{name}.{field}", values
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", []):
                values = {**parameter["schema"], **parameter}
                yield f"{method} {path} {parameter['name']}", values


def is_file(values: dict[str, Any]) -> bool:
    return "binary" in (values.get("format"), values.get("items", {}).get("format")) or (
        "contentMediaType" in values
    )


def undocumented(description: dict[str, Any]) -> list[str]:
    return [
        name
        for name, values in fields(description)
        if not values.get("description")
        or not (is_file(values) or values.get("examples") or "example" in values)
    ]


def test_every_field_has_a_description_and_an_example(description: dict[str, Any]) -> None:
    assert len(list(fields(description))) > 40
    assert undocumented(description) == []


@pytest.mark.parametrize("missing", ["description", "examples"])
def test_a_field_without_is_found(description: dict[str, Any], missing: str) -> None:
    broken = copy.deepcopy(description)
    del broken["components"]["schemas"]["UploadAnswer"]["properties"]["transcription"][missing]
    assert undocumented(broken) == ["UploadAnswer.transcription"]


def test_every_route_says_what_it_does_and_which_errors_it_has(
    description: dict[str, Any],
) -> None:
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            assert operation["description"], (method, path)
    assert {"400", "408", "413", "422", "503"} <= set(
        description["paths"]["/upload/"]["post"]["responses"]
    )


def test_examples_fit_their_schemas(description: dict[str, Any]) -> None:
    schemas = {"components": description["components"]}
    checked = 0
    for name, values in fields(description):
        schema = values.get("schema", values)
        for example in values.get("examples", []):
            validator = jsonschema.Draft202012Validator({**schemas, **schema})
            assert validator.is_valid(example), (name, example)
            checked += 1
    assert checked > 40


def test_events_are_described_field_by_field(description: dict[str, Any]) -> None:
    answers = description["paths"][TRANSCRIPTIONS]["post"]["responses"]["200"]["content"]
    stream, schemas = answers["text/event-stream"], description["components"]["schemas"]
    data = stream["itemSchema"]["properties"]["data"]
    events = jsonschema.Draft202012Validator(
        {"components": {"schemas": schemas}, **data["contentSchema"]}
    )
    (example,) = stream["examples"].values()
    lines = [line for line in example["value"].splitlines() if line]
    kinds = []
    for line in lines:
        event = json.loads(line.removeprefix("data: "))
        events.validate(event)
        kinds.append(event["type"])
    assert kinds == ["transcript.text.delta", "transcript.text.delta", "transcript.text.done"]
    assert not events.is_valid({"type": "transcript.text.delta"})
    assert not events.is_valid({"type": "transcript.text.more", "delta": "the"})

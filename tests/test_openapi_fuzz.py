"""Requests made from the OpenAPI description: answers are as described, and never a failure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.python.asgi import shutdown_lifespans
from schemathesis.specs.openapi import checks

import api
from predictor import Predictor
from service_config import ServerConfig
from serving.local import LocalBackend

EXAMPLES = 15
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
UNDESCRIBED = {405, 411}  # of any path, by HTTP itself


@pytest.fixture(scope="module")
def description(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return the description of a running service."""
    config = ServerConfig(
        model=model_folder,
        log_folder=tmp_path_factory.mktemp("logs"),
        max_upload_bytes=200_000,
        max_duration_s=5.0,
    )
    app = api.create_app(config, load=lambda _: Predictor(LocalBackend(model_folder)))
    yield schemathesis.openapi.from_asgi("/openapi.json", app)
    shutdown_lifespans()


def ask(case: Any) -> None:
    response = case.call()
    assert response.status_code < 500 or response.status_code == 503, response.text
    if response.status_code == 503:
        assert response.headers["retry-after"]
    assert response.headers["x-request-id"]
    if response.status_code not in UNDESCRIBED:
        case.validate_response(response, checks=CHECKS)


def test_answers_are_as_described(description: Any, subtests: pytest.Subtests) -> None:
    operations = [result.ok() for result in description.get_all_operations()]
    assert {"/upload/", "/transcribe_mobile", "/health/ready"} <= {o.path for o in operations}
    for operation in operations:
        made = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
        with subtests.test(operation.label):
            made(given(case=operation.as_strategy())(ask))()

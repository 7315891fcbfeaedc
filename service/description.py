"""What `/openapi.json` says beyond what the routes do."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from service.openai_events import event_schemas


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the description of the service as it is set, in OpenAPI's form."""
    if app.openapi_schema:
        return app.openapi_schema
    description = FastAPI.openapi(app)  # is kept in `openapi_schema`
    description["components"]["schemas"].update(event_schemas())
    return description

"""What `/openapi.json` says beyond what the routes do: keys, refusals before a route, events."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from service.errors import ErrorAnswer
from service.keys import needs_key
from service.openai_errors import OpenAIErrorAnswer, is_openai
from service.openai_events import event_schemas
from service.rate import is_free
from service_config import ServerConfig

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`"},
    "header": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "`X-API-Key: KEY`",
    },
}
_REASONS = {
    401: "No key, or not one of the service's.",
    403: "A page from elsewhere asks, or the host is not this machine's.",
    429: "This client asks too much, in a minute or at a time.",
}
_HEADERS = {
    401: ("WWW-Authenticate", {"type": "string"}, "`Bearer`."),
    429: ("Retry-After", {"type": "integer"}, "Seconds until asking again may help."),
    503: ("Retry-After", {"type": "integer"}, "Seconds until asking again may help."),
}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the description of the service as it is set, in OpenAPI's form."""
    if app.openapi_schema:
        return app.openapi_schema
    description = FastAPI.openapi(app)  # is kept in `openapi_schema`
    config: ServerConfig = app.state.config
    description["components"]["schemas"].update(event_schemas())
    if config.access.api_keys:
        description["components"]["securitySchemes"] = _SCHEMES
    for path, operations in description["paths"].items():
        for operation in operations.values():
            if is_openai(path):  # a wrong field is 400 there
                operation["responses"].pop("422", None)
            _add_refusals(operation, path, config)
    return description


def _add_refusals(operation: dict[str, Any], path: str, config: ServerConfig) -> None:
    """Say what is answered before the route is asked, and which headers come with it."""
    responses = operation["responses"]
    if needs_key(path, config.access):
        operation["security"] = [{name: []} for name in _SCHEMES]
        responses["401"] = _refusal(path, 401)
    responses["403"] = _refusal(path, 403)
    is_limited = config.limits.rate_per_minute or config.limits.max_per_client
    if is_limited and not is_free(path):
        responses["429"] = _refusal(path, 429)
    for status, (name, schema, meaning) in _HEADERS.items():
        if str(status) in responses:
            header = {"schema": schema, "description": meaning}
            responses[str(status)]["headers"] = {name: header}


def _refusal(path: str, status: int) -> dict[str, Any]:
    answer = OpenAIErrorAnswer if is_openai(path) else ErrorAnswer
    schema = {"$ref": f"#/components/schemas/{answer.__name__}"}
    return {"description": _REASONS[status], "content": {"application/json": {"schema": schema}}}

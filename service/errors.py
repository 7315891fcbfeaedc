"""Errors to HTTP: bad audio 400, no model or no room 503, any other 500.

Under `/v1/` they have the form of OpenAI's API, elsewhere FastAPI's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exception_handlers import (
    http_exception_handler,
    request_validation_exception_handler,
)
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from config import (
    AudioError,
    AudioTooLongError,
    GivenUpError,
    ModelUnavailableError,
    OverloadedError,
    SpeechToTextError,
    UnsupportedAudioError,
)
from service.openai_errors import invalid_form, is_openai, openai_error

RETRY_AFTER_S = 5
RETRY_SOON_S = 1
CLIENT_GONE = 499


class ErrorAnswer(BaseModel):
    """What an error returns; a missing field returns a list of what is missing."""

    detail: str


def status_of(error: Exception) -> int:
    """Return the status that an error is answered with."""
    if isinstance(error, UnsupportedAudioError):
        return 415
    if isinstance(error, AudioTooLongError):
        return 413
    if isinstance(error, AudioError):
        return 400
    if isinstance(error, ModelUnavailableError):
        return 503
    return CLIENT_GONE if isinstance(error, GivenUpError) else 500  # 499: only the log shows it


def headers_of(error: Exception) -> dict[str, str]:
    """Return `Retry-After` for what may go better later."""
    if not isinstance(error, ModelUnavailableError):
        return {}
    wait_s = RETRY_SOON_S if isinstance(error, OverloadedError) else RETRY_AFTER_S
    return {"Retry-After": str(wait_s)}


def refusal(
    path: str,
    status: int,
    message: str,
    headers: Mapping[str, str] | None = None,
    *,
    cause: Exception | None = None,
) -> JSONResponse:
    """Return an error's answer, in the form that clients of `path` expect."""
    body: dict[str, Any] = {"detail": message}
    if is_openai(path):
        body = openai_error(status, message, cause=cause)
    return JSONResponse(body, status, headers=headers)


def add_error_answers(app: FastAPI) -> None:
    """Let `app` answer every error in words."""
    app.add_exception_handler(SpeechToTextError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(Exception, _answer_failure)


async def _answer_error(request: Request, error: Exception) -> Response:
    status, headers = status_of(error), headers_of(error)
    return refusal(request.url.path, status, str(error), headers, cause=error)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    path, status = request.url.path, error.status_code
    if is_openai(path):
        return refusal(path, status, error.detail, error.headers, cause=error)
    return await http_exception_handler(request, error)


async def _answer_invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    if is_openai(request.url.path):
        return JSONResponse(invalid_form(error), 400)
    return await request_validation_exception_handler(request, error)


async def _answer_failure(request: Request, _: Exception) -> Response:
    """Answer a mistake of the service's own; the log has its traceback."""
    if is_openai(request.url.path):
        return refusal(request.url.path, 500, "the service failed; its log says why")
    return PlainTextResponse("Internal Server Error", 500)

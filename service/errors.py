"""Errors to HTTP: bad audio 400, no model or no room 503, any other 500.

Under `/v1/` they have the form of OpenAI's API, elsewhere FastAPI's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from config import (
    AudioError,
    AudioTooLongError,
    GivenUpError,
    ModelUnavailableError,
    OverloadedError,
    SpeechToTextError,
    UnsupportedAudioError,
)
from service.openai_errors import in_words, invalid_form, is_openai, openai_error

RETRY_AFTER_S = 5
RETRY_SOON_S = 1
CLIENT_GONE = 499


class ErrorAnswer(BaseModel):
    """What an error returns."""

    detail: str = Field(
        description="What was got, and what is needed.",
        examples=["got 0 bytes; needed: a WAV file"],
    )


class FieldError(BaseModel):
    """What is wrong with a field."""

    type: str = Field(description="The kind of error.", examples=["missing"])
    loc: list[str | int] = Field(description="Where the field is.", examples=[["body", "file"]])
    msg: str = Field(description="What is needed.", examples=["Field required"])


class InvalidAnswer(BaseModel):
    """What a request returns whose fields are missing or out of bounds."""

    detail: str | list[FieldError] = Field(
        description="Each field that is wrong, or in words what is.",
        examples=[[{"type": "missing", "loc": ["body", "file"], "msg": "Field required"}]],
    )


INVALID: dict[int | str, dict[str, Any]] = {422: {"model": InvalidAnswer}}


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
    # Not what was in them: NaN is no JSON, and a recording of megabytes is of no use to its sender.
    detail = [
        {"type": wrong["type"], "loc": wrong["loc"], "msg": in_words(wrong)}
        for wrong in error.errors()
    ]
    return JSONResponse({"detail": detail}, 422)

"""Errors to HTTP: bad audio 400, no model or no room 503, any other 500."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from config import AudioError, GivenUpError, ModelUnavailableError, OverloadedError

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


async def answer_invalid(_: Request, error: Exception) -> JSONResponse:
    """Answer what is wrong with a request's fields, without what was in them: JSON's NaN is none.

    Neither would a recording of some megabytes be of use to who sent it.
    """
    if not isinstance(error, RequestValidationError):
        raise error
    names = FieldError.model_fields.keys()
    detail = [{name: wrong[name] for name in names} for wrong in error.errors()]
    return JSONResponse({"detail": detail}, 422)


async def answer_error(_: Request, error: Exception) -> JSONResponse:
    """Answer an error in words."""
    return JSONResponse({"detail": str(error)}, status_of(error), headers=headers_of(error))

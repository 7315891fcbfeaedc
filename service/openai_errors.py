"""Errors in the form of OpenAI's API: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from config import AudioError, AudioTooLongError, UnsupportedAudioError

PREFIX = "/v1/"
_CODES = {
    401: "invalid_api_key",
    403: "origin_not_allowed",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "file_too_large",
    429: "rate_limit_exceeded",
    503: "unavailable",
}
_AUDIO_CODES = {
    UnsupportedAudioError: "unsupported_audio",
    AudioTooLongError: "audio_too_long",
    AudioError: "invalid_audio",
}


class OpenAIError(BaseModel):
    """What went wrong: in words, of which kind, with which field, and a code for programs."""

    message: Annotated[
        str,
        Field(
            description="What was got, and what is needed.",
            examples=["got 0 bytes; needed: an audio file"],
        ),
    ]
    type: Annotated[
        str, Field(description="Of which kind it is.", examples=["invalid_request_error"])
    ]
    param: Annotated[
        str | None, Field(description="The field that is wrong.", examples=["file"])
    ] = None
    code: Annotated[
        str | None, Field(description="The same for programs.", examples=["invalid_audio"])
    ] = None


class OpenAIErrorAnswer(BaseModel):
    """What an error under `/v1/` returns."""

    error: Annotated[
        OpenAIError,
        Field(
            description="What went wrong.",
            examples=[
                {
                    "message": "no such model",
                    "type": "invalid_request_error",
                    "param": "model",
                    "code": "model_not_found",
                }
            ],
        ),
    ]


class RefusedError(HTTPException):
    """A request that cannot be answered, with the field that is wrong and a code for programs."""

    def __init__(self, status: int, message: str, *, param: str, code: str) -> None:
        super().__init__(status, message)
        self.param, self.code = param, code


def is_openai(path: str) -> bool:
    """Whether clients of a path expect OpenAI's form."""
    return path.startswith(PREFIX)


def openai_error(status: int, message: str, *, cause: Exception | None = None) -> dict[str, Any]:
    """Return the body of an error's answer.

    Args:
        cause: says which field is wrong, where it is known.
    """
    error = OpenAIError(message=message, type=_type_of(status), code=_CODES.get(status))
    if isinstance(cause, RefusedError):
        error.param, error.code = cause.param, cause.code
    for kind, code in _AUDIO_CODES.items():
        if isinstance(cause, kind):
            error.param, error.code = "file", code
            break
    return OpenAIErrorAnswer(error=error).model_dump()


def invalid_form(error: RequestValidationError) -> dict[str, Any]:
    """Return the body of the answer to a form whose fields are not what they must be."""
    first = error.errors()[0]
    param = str(first["loc"][1]) if len(first["loc"]) > 1 else None
    code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
    message = in_words(first)
    message = f"{param}: {message}" if param else message
    found = OpenAIError(message=message, type=_type_of(400), param=param, code=code)
    return OpenAIErrorAnswer(error=found).model_dump()


def in_words(wrong: Mapping[str, Any]) -> str:
    """Return what is wrong with a field, as pydantic found it, in words for who sent it."""
    if wrong["loc"][-1:] == ("file",) and wrong["type"] == "value_error":
        return "got text; needed: a file (with curl: -F file=@NAME)"
    if wrong["type"] == "model_attributes_type" and isinstance(wrong["input"], bytes):
        return "got a body that is not called JSON; needed: Content-Type: application/json"
    return str(wrong["msg"])


def _type_of(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"

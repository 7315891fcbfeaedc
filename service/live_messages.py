"""What is said over `/v1/stream` beside audio and captions."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from captions.pcm import MAX_RATE_HZ, MIN_RATE_HZ
from service.languages import check_languages
from service.upload_forms import DecodingFields
from speech.alphabet import Alphabet
from speech.decoding.decoder import DecodingOptions


class CloseCode(IntEnum):
    """Of RFC 6455, section 7.4.1, and of IANA's registry behind it."""

    NORMAL = 1000
    UNSUPPORTED = 1003
    INVALID = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL = 1011
    RESTART = 1012
    TRY_LATER = 1013


class LiveError(Exception):
    """Ends a session: `code` and a message for the client, then a close."""

    def __init__(self, code: str, message: str, close_code: CloseCode) -> None:
        super().__init__(message)
        self.code, self.close_code = code, close_code

    def to_json(self) -> dict[str, str]:
        """Return the message that comes before the close."""
        return {"type": "error", "code": self.code, "message": str(self)}


class Start(DecodingFields):
    """The first message: what audio follows, and how it is decoded."""

    type: Literal["start"]
    sample_rate_hz: int = Field(ge=MIN_RATE_HZ, le=MAX_RATE_HZ, strict=True)
    language: str | None = Field(
        None, max_length=35, description="`en`, `en-GB`, `en_GB` or `english`."
    )
    words: bool = Field(True, description="Captions with words, their times and confidence.")

    def options(self, alphabet: Alphabet) -> DecodingOptions:
        """Return what it asks of the decoder; `LiveError` if a hot word is none."""
        try:
            return super().options(alphabet)
        except ValueError as error:
            raise LiveError("invalid_message", str(error), CloseCode.POLICY) from error


class Finalize(BaseModel):
    """End the utterance now."""

    type: Literal["finalize"]


class Keepalive(BaseModel):
    """Nothing is said, but the session is to go on."""

    type: Literal["keepalive"]


class Close(BaseModel):
    """The last message: finals, then the end."""

    type: Literal["close"]


ClientMessage = Start | Finalize | Keepalive | Close
_MESSAGES: TypeAdapter[ClientMessage] = TypeAdapter(
    Annotated[ClientMessage, Field(discriminator="type")]
)


def read_message(text: str) -> ClientMessage:
    """Return what a client's text message says.

    Raises:
        LiveError: it is no JSON, or no message of these.
    """
    try:
        return _MESSAGES.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
    if first["type"] == "string_unicode":
        raise LiveError("invalid_json", "got text that is not UTF-8", CloseCode.INVALID)
    if first["type"] == "json_invalid":
        raise LiveError("invalid_json", f"got no JSON: {first['msg']}", CloseCode.INVALID)
    place = ".".join(str(part) for part in first["loc"])
    message = f"{place}: {first['msg']}" if place else first["msg"]
    raise LiveError("invalid_message", message, CloseCode.POLICY)


def read_start(message: str | bytes) -> Start:
    """Return what a client's first message says; `LiveError` if it is no start that can be met."""
    needed = 'needed first: {"type": "start", "sample_rate_hz": 16000}, as text'
    if isinstance(message, bytes):
        raise LiveError("start_needed", f"got audio; {needed}", CloseCode.UNSUPPORTED)
    start = read_message(message)
    if not isinstance(start, Start):
        raise LiveError("start_needed", f"got {start.type}; {needed}", CloseCode.POLICY)
    try:
        check_languages([start.language] if start.language else [])
    except ValueError as error:
        raise LiveError("invalid_message", f"language: {error}", CloseCode.POLICY) from error
    return start

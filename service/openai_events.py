"""The events of `stream=true`: OpenAI's fields, and confidence."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from service.openai_answers import Language, LogProb
from service.openai_errors import OpenAIErrorAnswer

_REF = "#/components/schemas/{model}"
_LOGPROBS = [[{"token": "the", "logprob": -0.02, "bytes": [116, 104, 101]}]]
_EXAMPLE = """\
data: {"type": "transcript.text.delta", "delta": "the old house"}

data: {"type": "transcript.text.delta", "delta": " near the river"}

data: {"type": "transcript.text.done", "text": "the old house near the river", \
"languages": [{"code": "en"}], "duration": 4.2, "confidence": 0.94}

"""


class TextDelta(BaseModel):
    """What was heard of one more piece; joined, all of them are the text."""

    type: Annotated[
        Literal["transcript.text.delta"],
        Field(description="`transcript.text.delta`.", examples=["transcript.text.delta"]),
    ] = "transcript.text.delta"
    delta: Annotated[
        str,
        Field(
            description="The piece's text, with the space before it.", examples=[" near the river"]
        ),
    ]
    logprobs: Annotated[
        list[LogProb] | None,
        Field(description="Of each word, if asked for.", examples=_LOGPROBS),
    ] = None


class TextDone(BaseModel):
    """The last event: all that was heard."""

    type: Annotated[
        Literal["transcript.text.done"],
        Field(description="`transcript.text.done`.", examples=["transcript.text.done"]),
    ] = "transcript.text.done"
    text: Annotated[str, Field(description="What was said.", examples=["the old house"])]
    languages: Annotated[
        list[Language],
        Field(description="The model's, if anything was said.", examples=[[{"code": "en"}]]),
    ]
    logprobs: Annotated[
        list[LogProb] | None,
        Field(description="Of each word, if asked for.", examples=_LOGPROBS),
    ] = None
    duration: Annotated[float, Field(description="Of the audio, in seconds.", examples=[4.2])]
    confidence: Annotated[float, Field(description="From 0 to 1.", examples=[0.94])]


class StreamError(OpenAIErrorAnswer):
    """The last event instead, where something went wrong after the first."""

    type: Annotated[Literal["error"], Field(description="`error`.", examples=["error"])] = "error"


TranscriptEvent = Annotated[TextDelta | TextDone | StreamError, Field(discriminator="type")]


def event_schemas() -> dict[str, Any]:
    """Return the JSON schemas that `event_stream` refers to, by name."""
    schema = TypeAdapter(TranscriptEvent).json_schema(ref_template=_REF, mode="serialization")
    return {**schema.pop("$defs"), "TranscriptEvent": schema}


def event_stream() -> dict[str, Any]:
    """Return what OpenAPI says of the media type: of each event, as FastAPI describes its own."""
    data = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"$ref": _REF.format(model="TranscriptEvent")},
    }
    event = {"type": "object", "properties": {"data": data}, "required": ["data"]}
    return {"itemSchema": event, "examples": {"of two pieces": {"value": _EXAMPLE}}}

"""OpenAI's contract: `POST /v1/audio/transcriptions` and `GET /v1/models`."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse

from service.model import ConfigDep, PredictorDep
from service.openai_answers import (
    ModelAnswer,
    ModelsAnswer,
    TranscriptionAnswer,
    VerboseAnswer,
    answer_of,
)
from service.openai_errors import OpenAIErrorAnswer, RefusedError
from service.openai_events import event_stream
from service.openai_forms import FormDep, check_model, model_names
from service.openai_stream import Heard, answer_with_events
from service.upload_forms import MEDIA_TYPES
from service_config import ServerConfig
from speech.pipeline import FILE_NAME
from speech.recordings import read_blocks
from speech.subtitles import to_text
from speech.transcript import Transcript

TRANSCRIPTIONS = "/v1/audio/transcriptions"
_TEXT = {"schema": {"type": "string"}}
_OTHER_TYPES = {**dict.fromkeys(MEDIA_TYPES.values(), _TEXT), "text/event-stream": event_stream()}
_REASONS = {
    400: "A field or the audio is wrong; `param` says which.",
    404: "No such model.",
    408: "The request did not arrive in time.",
    413: "The file is too large, or the recording too long.",
    415: "No known audio, or PyAV is needed.",
    503: "No model or no room at present; `Retry-After` says when to ask again.",
}

ModelName = Annotated[
    str, Path(description="The model's name, or one of OpenAI's.", examples=["english-small"])
]

router = APIRouter(tags=["OpenAI"])


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"model": OpenAIErrorAnswer, "description": _REASONS[status]} for status in statuses
    }


@router.post(
    TRANSCRIPTIONS,
    response_model=VerboseAnswer | TranscriptionAnswer,
    responses={200: {"content": _OTHER_TYPES}, **_refusals(*_REASONS)},
)
async def transcribe(
    request: Request, form: FormDep, predictor: PredictorDep, config: ConfigDep
) -> Response:
    """Transcribe a recording of any kind and length, as OpenAI's API does.

    In a thread, when its turn has come, a stretch of it at a time; a client that goes ends it.
    """
    _check_size(form.file.size or 0, config)
    check_model(form.model, predictor.pipeline.name)
    alphabet = predictor.pipeline.alphabet
    audio = replace(predictor.audio, max_duration_s=config.max_recording_s)

    def work(given_up: threading.Event, heard: Heard | None = None) -> Transcript:
        options = form.options(alphabet)
        with closing(read_blocks(form.file.file, audio, given_up=given_up)) as blocks:
            return predictor.transcribe_blocks(blocks, options, heard=heard, given_up=given_up)

    if form.is_stream:
        return await answer_with_events(request, work, has_logprobs=form.has_logprobs)
    transcript: Transcript = await request.app.state.turns.run(request, work)
    if form.response_format in MEDIA_TYPES:
        content = to_text(transcript, form.response_format)
        return Response(content, media_type=MEDIA_TYPES[form.response_format])
    answer = answer_of(transcript, form, alphabet)
    return JSONResponse(answer.model_dump(exclude_none=True))


@router.get("/v1/models", response_model=ModelsAnswer, responses=_refusals(503))
async def models(predictor: PredictorDep, config: ConfigDep) -> ModelsAnswer:
    """List the model that is served, first by its own name, then by each of OpenAI's for it."""
    created = _created(config)
    names = model_names(predictor.pipeline.name)
    return ModelsAnswer(data=[ModelAnswer(id=name, created=created) for name in names])


@router.get("/v1/models/{name:path}", response_model=ModelAnswer, responses=_refusals(404, 503))
async def model(name: ModelName, predictor: PredictorDep, config: ConfigDep) -> ModelAnswer:
    """Describe the model that is served, under its own name or one of OpenAI's."""
    check_model(name, predictor.pipeline.name)
    return ModelAnswer(id=name, created=_created(config))


def _created(config: ServerConfig) -> int:
    path = config.model / FILE_NAME
    return int(path.stat().st_mtime) if path.exists() else 0


def _check_size(num_bytes: int, config: ServerConfig) -> None:
    if num_bytes > config.max_file_bytes:
        raise RefusedError(
            413,
            f"got {num_bytes} bytes; needed: at most {config.max_file_bytes} bytes",
            param="file",
            code="file_too_large",
        )

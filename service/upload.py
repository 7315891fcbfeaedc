"""`POST /upload/`, and what an earlier service's clients ask beside it."""

from __future__ import annotations

import threading
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, File, HTTPException, Query, Request, Response, UploadFile

from service.answers import AudioForm, AudioSpecs, ReadyAnswer, StatusAnswer
from service.errors import INVALID, ErrorAnswer
from service.model import ConfigDep, PredictorDep, audio_of, load_once, told_to_anyone
from service.upload_forms import MEDIA_TYPES, UploadAnswer, UploadQuery
from speech.subtitles import to_text
from speech.transcript import Transcript

MESSAGE = "WAV to Tensor Processor API is running"
FORMAT = "16-bit PCM WAV"

router = APIRouter()


@router.get("/", tags=["running"])
async def status(request: Request) -> StatusAnswer:
    """Say that the service runs, and what audio it takes."""
    rate = audio_of(request.app).sample_rate_hz
    specs = AudioForm(sample_rate=rate, format=FORMAT, channels="mono")
    return StatusAnswer(status="ok", message=MESSAGE, audio_specs=specs)


@router.get("/audio_specs/", tags=["transcription"])
async def audio_specs(request: Request) -> AudioSpecs:
    """Say in full what `/upload/` takes."""
    audio, config = audio_of(request.app), request.app.state.config
    return AudioSpecs(
        sample_rate=audio.sample_rate_hz,
        sample_width_bytes=2,
        encoding="signed 16-bit little-endian PCM",
        format=FORMAT,
        container="RIFF/WAVE",
        channels="mono",
        max_duration_s=audio.max_duration_s,
        max_upload_bytes=config.max_upload_bytes,
    )


@router.get(
    "/ready/",
    responses={503: {"model": ErrorAnswer}},
    response_model_exclude_none=True,
    tags=["running"],
)
async def ready(request: Request) -> ReadyAnswer:
    """Say whether a model answers now: 200, or 503 with why not.

    It has threads of its own: uploads that wait may hold all the others.
    """
    app = request.app
    with told_to_anyone(app):
        predictor = await run_sync(load_once, app, limiter=app.state.checking)
        await run_sync(predictor.backend.check_ready, limiter=app.state.checking)
    return ReadyAnswer(status="ready", model=predictor.pipeline.name, version=None)


@router.post(
    "/upload/",
    response_model=UploadAnswer,
    response_model_exclude_none=True,
    responses={
        200: {"content": {kind: {} for kind in MEDIA_TYPES.values()}},
        **{code: {"model": ErrorAnswer} for code in (400, 408, 413, 503)},
        **INVALID,
    },
    tags=["transcription"],
)
async def upload(
    request: Request,
    file: Annotated[UploadFile, File(description="A native WAV file.")],
    query: Annotated[UploadQuery, Query()],
    predictor: PredictorDep,
    config: ConfigDep,
) -> UploadAnswer | Response:
    """Transcribe a WAV file: mono, 16-bit PCM, 22 050 Hz.

    In a thread, when its turn has come; what waits for it is dropped if its client goes.
    """
    if (file.size or 0) > config.max_upload_bytes:
        raise HTTPException(
            413, f"got {file.size} bytes; needed: at most {config.max_upload_bytes} bytes"
        )
    try:
        options = query.options(predictor.pipeline.alphabet)
    except ValueError as error:
        raise HTTPException(422, str(error)) from error

    def transcribe(given_up: threading.Event) -> Transcript:
        return predictor.transcribe(file.file.read(), options, given_up=given_up)

    transcript: Transcript = await request.app.state.turns.run(request, transcribe)
    if query.format == "json":
        return UploadAnswer.of(transcript, words=query.words)
    content = to_text(transcript, query.format)
    return Response(content, media_type=MEDIA_TYPES[query.format])

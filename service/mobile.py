"""`POST /transcribe_mobile`: audio as base64 in JSON, for clients that know no multipart."""

from __future__ import annotations

import base64
import binascii
import re
import threading
import time
from contextlib import closing
from io import BytesIO

import numpy as np
from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, Field

from config import AudioConfig, AudioError
from predictor import Predictor
from service.errors import INVALID, ErrorAnswer
from service.model import PredictorDep
from service.upload_forms import DecodingFields
from speech.audio import encode_native
from speech.decoding.decoder import DecodingOptions
from speech.recordings import read_blocks

router = APIRouter(tags=["transcription"])

_DATA_URL = re.compile(r"data:[^,]{0,200};base64,")
_SHORTEST_S = 0.001  # durations are rounded to it
_URL_SAFE = str.maketrans("-_", "+/", " \t\r\n")  # and lines that were wrapped


def _hum_in_base64() -> str:
    """Return the shortest recording that shows what is meant: a WAV file of 10 ms."""
    audio = AudioConfig(sample_rate_hz=4000)
    hum = 0.1 * np.sin(np.arange(40)).astype(np.float32)
    return base64.b64encode(encode_native(hum, audio)).decode()


class MobileQuery(DecodingFields):
    """A clip, and how to decode it."""

    audio: str = Field(
        description="A whole audio file of any form that is known, in base64; a data URL will do. "
        "The body of the request may be as large as an upload, so that the file has three quarters "
        "of that: 12 MiB in a body of 16 MiB.",
        examples=[_hum_in_base64()],
    )


class MobileAnswer(BaseModel):
    """What was heard, and how long that took."""

    transcription: str = Field(description="The text.", examples=["the old house"])
    confidence: float = Field(description="From 0 to 1.", examples=[0.94])
    audio_duration: float = Field(description="Of the audio, in seconds.", examples=[1.25])
    inference_time: float = Field(
        description="Seconds that decoding and recognising took.", examples=[0.04]
    )
    real_time_factor: float = Field(
        description="`inference_time` as a share of `audio_duration`.", examples=[0.032]
    )


@router.post(
    "/transcribe_mobile",
    responses={**{code: {"model": ErrorAnswer} for code in (400, 408, 413, 415, 503)}, **INVALID},
)
async def transcribe_mobile(
    request: Request, query: MobileQuery, predictor: PredictorDep
) -> MobileAnswer:
    """Transcribe an audio file that is given as base64 in JSON."""
    try:
        options = query.options(predictor.pipeline.alphabet)
    except ValueError as error:
        raise HTTPException(422, str(error)) from error

    def work(given_up: threading.Event) -> MobileAnswer:
        return _transcribe(predictor, query.audio, options, given_up)

    answer: MobileAnswer = await request.app.state.turns.run(request, work)
    return answer


def _transcribe(
    predictor: Predictor, audio: str, options: DecodingOptions, given_up: threading.Event
) -> MobileAnswer:
    started = time.perf_counter()
    with predictor.observer.step("audio"):
        file = BytesIO(decode_base64(audio))
    with closing(read_blocks(file, predictor.audio, given_up=given_up)) as blocks:
        transcript = predictor.transcribe_blocks(blocks, options, given_up=given_up)
    elapsed_s = time.perf_counter() - started
    return MobileAnswer(
        transcription=transcript.text,
        confidence=transcript.confidence,
        audio_duration=transcript.duration_s,
        inference_time=round(elapsed_s, 4),
        real_time_factor=round(elapsed_s / max(transcript.duration_s, _SHORTEST_S), 4),
    )


def decode_base64(text: str) -> bytes:
    """Return the bytes of base64 of either alphabet, padded or not, or of a data URL.

    Raises:
        AudioError: it is no base64.
    """
    prefix = _DATA_URL.match(text)
    text = text[prefix.end() if prefix else 0 :].translate(_URL_SAFE).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        message = f"audio is not base64: {error}; needed: an audio file in base64"
        raise AudioError(message) from error

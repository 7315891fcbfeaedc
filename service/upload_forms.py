"""What `/upload/` is asked, and what it answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from speech.alphabet import Alphabet
from speech.decoding.decoder import DecodingOptions
from speech.decoding.hotwords import parse_hotword
from speech.transcript import Transcript

MAX_N_BEST = 20
MAX_BEAM_WIDTH = 128
MAX_HOTWORDS = 100
MEDIA_TYPES = {
    "text": "text/plain",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
}


class UploadQuery(BaseModel):
    """How `/upload/` decodes, and what it returns."""

    format: Literal["json", "text", "srt", "vtt"] = "json"
    words: bool = Field(False, description="With times and confidence (json).")
    n_best: int = Field(1, ge=1, le=MAX_N_BEST, description="Likeliest texts (json).")
    decoder: Literal["greedy", "beam"] | None = Field(None, description="The model's if not set.")
    beam_width: int | None = Field(None, ge=1, le=MAX_BEAM_WIDTH)
    hotwords: list[str] = Field([], max_length=MAX_HOTWORDS, description="`phrase` or `phrase:8`.")


class WordAnswer(BaseModel):
    """A word with its times in seconds and its confidence in [0, 1]."""

    text: str
    start_s: float
    end_s: float
    confidence: float


class AlternativeAnswer(BaseModel):
    """A text that may have been said; scores compare texts of one clip."""

    text: str
    score: float


class UploadAnswer(BaseModel):
    """What `/upload/` returns; `transcryption` is the contract's spelling.

    `words` are there if they were asked for; `alternatives` if more than one text was, and the
    first of them is the transcription.
    """

    transcryption: str
    transcription: str
    confidence: float
    duration_s: float
    model: str
    words: list[WordAnswer] | None = None
    alternatives: list[AlternativeAnswer] | None = None

    @classmethod
    def of(cls, transcript: Transcript, *, words: bool) -> UploadAnswer:
        """Return the answer for a transcript."""
        values = transcript.to_json(words=words)
        return cls(transcryption=transcript.text, transcription=values.pop("text"), **values)


def options_of(query: UploadQuery, alphabet: Alphabet) -> DecodingOptions:
    """Return what a query asks of the decoder.

    Raises:
        ValueError: a hot word is none, or the alphabet has no space to tell words by.
    """
    return DecodingOptions(
        decoder=query.decoder,
        beam_width=query.beam_width,
        n_best=query.n_best,
        hotwords=tuple(parse_hotword(text, alphabet) for text in query.hotwords),
    )

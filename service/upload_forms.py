"""What `/upload/` is asked, much of it as other doors are, and what it answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from config import LARGEST_BEAM_WIDTH
from speech.alphabet import Alphabet
from speech.decoding.decoder import DecodingOptions
from speech.decoding.hotwords import parse_hotword
from speech.transcript import Transcript

MAX_N_BEST = 20
MAX_BEAM_WIDTH = 256  # of a request: others wait while it is searched; a command may ask for more
MAX_HOTWORDS = 100
MAX_HOTWORD_CHARACTERS = 200  # what is left of them without punctuation has a limit of its own
_LONGEST_QUOTE = 20
MEDIA_TYPES = {
    "text": "text/plain",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
}

HotWordText = Annotated[str, Field(max_length=MAX_HOTWORD_CHARACTERS)]


def shortened(text: str) -> str:
    """Return what somebody sent as a message may quote it, however long it is."""
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"


def _check_beam_width(width: int) -> int:
    if not 1 <= width <= MAX_BEAM_WIDTH:
        raise PydanticCustomError(
            "beam_width",
            "got {got}; needed: 1 to {most}, the limit of this service (stt transcribe "
            "--beam-width, which searches on your own machine, goes up to {most_of_commands})",
            {
                "got": shortened(str(width)),
                "most": MAX_BEAM_WIDTH,
                "most_of_commands": LARGEST_BEAM_WIDTH,
            },
        )
    return width


BeamWidth = Annotated[
    int,
    AfterValidator(_check_beam_width),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_BEAM_WIDTH}),
]


class DecodingFields(BaseModel):
    """How audio is decoded, as every door that takes it in JSON or in a query is asked."""

    decoder: Literal["greedy", "beam"] | None = Field(
        None, description="The model's own if not set.", examples=["beam"]
    )
    beam_width: BeamWidth | None = Field(
        None,
        description=f"Texts that the beam search keeps, 1 to {MAX_BEAM_WIDTH}; the model's own if "
        "not set.",
        examples=[64],
    )
    hotwords: list[HotWordText] = Field(
        [],
        max_length=MAX_HOTWORDS,
        description="Words to listen for: `phrase`, or `phrase:8` with a weight.",
        examples=[["Philip Steels", "zanzibar:8"]],
    )

    def options(self, alphabet: Alphabet) -> DecodingOptions:
        """Return what is asked of the decoder.

        Raises:
            ValueError: a hot word is none, or the alphabet has no space to tell words by.
        """
        hotwords = tuple(parse_hotword(text, alphabet) for text in self.hotwords)
        return DecodingOptions(decoder=self.decoder, beam_width=self.beam_width, hotwords=hotwords)


class UploadQuery(DecodingFields):
    """How `/upload/` decodes, and what it returns."""

    format: Literal["json", "text", "srt", "vtt"] = Field(
        "json", description="The form of the answer.", examples=["srt"]
    )
    words: bool = Field(
        False, description="Words with times and confidence (json).", examples=[True]
    )
    n_best: int = Field(
        1, ge=1, le=MAX_N_BEST, description="How many of the likeliest texts (json).", examples=[3]
    )

    def options(self, alphabet: Alphabet) -> DecodingOptions:
        """Return what is asked of the decoder; see `DecodingFields.options`."""
        return replace(super().options(alphabet), n_best=self.n_best)


class WordAnswer(BaseModel):
    """A word with its times and its confidence."""

    text: str = Field(description="The word.", examples=["house"])
    start_s: float = Field(description="Seconds from the start of the clip.", examples=[0.36])
    end_s: float = Field(description="Seconds from the start of the clip.", examples=[0.68])
    confidence: float = Field(description="From 0 to 1.", examples=[0.97])


class AlternativeAnswer(BaseModel):
    """A text that may have been said; scores compare texts of one clip."""

    text: str = Field(description="The text.", examples=["the old house"])
    score: float = Field(description="Higher is likelier.", examples=[-3.2])


class UploadAnswer(BaseModel):
    """What `/upload/` returns; `transcryption` is the contract's spelling.

    `words` are there if they were asked for; `alternatives` if more than one text was, and the
    first of them is the transcription.
    """

    transcryption: str = Field(
        description="The text, under the name of an earlier service.", examples=["the old house"]
    )
    transcription: str = Field(description="The text.", examples=["the old house"])
    confidence: float = Field(description="From 0 to 1.", examples=[0.94])
    duration_s: float = Field(description="Of the audio, in seconds.", examples=[1.25])
    model: str = Field(description="Which model heard it.", examples=["english-small"])
    words: list[WordAnswer] | None = Field(
        None,
        description="If `words` was asked for.",
        examples=[[{"text": "the", "start_s": 0.1, "end_s": 0.2, "confidence": 0.98}]],
    )
    alternatives: list[AlternativeAnswer] | None = Field(
        None,
        description="If `n_best` was over 1.",
        examples=[[{"text": "the old house", "score": -3.2}]],
    )

    @classmethod
    def of(cls, transcript: Transcript, *, words: bool) -> UploadAnswer:
        """Return the answer for a transcript."""
        values = transcript.to_json(words=words)
        return cls(transcryption=transcript.text, transcription=values.pop("text"), **values)

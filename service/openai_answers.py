"""What `/v1/audio/transcriptions` and `/v1/models` answer: OpenAI's fields, and confidence."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from service.languages import LANGUAGE, LANGUAGE_CODE
from service.openai_forms import TranscriptionForm
from speech.alphabet import Alphabet
from speech.subtitles import SubtitleConfig, group_words
from speech.transcript import Transcript, Word

_LEAST_CONFIDENCE = 1e-6
# A segment is what a cue would be, were lines as long as one likes.
_SEGMENTS = SubtitleConfig(max_line_characters=10_000, max_lines=1)


class LogProb(BaseModel):
    """A word, with the space before it: the natural logarithm of its confidence, and its bytes."""

    token: Annotated[
        str, Field(description="The word, with the space before it.", examples=[" house"])
    ]
    logprob: Annotated[
        float, Field(description="Natural logarithm of its confidence.", examples=[-0.03])
    ]
    bytes: Annotated[list[int], Field(description="Its UTF-8 bytes.", examples=[[32, 104, 111]])]


class Usage(BaseModel):
    """How many seconds of audio were transcribed, rounded up."""

    type: Annotated[
        Literal["duration"], Field(description="`duration`.", examples=["duration"])
    ] = "duration"
    seconds: Annotated[int, Field(description="Audio transcribed, rounded up.", examples=[5])]


class Language(BaseModel):
    """A language that was heard."""

    code: Annotated[str, Field(description="ISO 639-1.", examples=["en"])]


class TranscriptionAnswer(BaseModel):
    """The answer of form `json`; `logprobs` if they were asked for."""

    text: Annotated[str, Field(description="What was said.", examples=["the old house"])]
    languages: Annotated[
        list[Language],
        Field(description="The model's, if anything was said.", examples=[[{"code": "en"}]]),
    ]
    duration: Annotated[float, Field(description="Of the audio, in seconds.", examples=[4.2])]
    confidence: Annotated[float, Field(description="From 0 to 1.", examples=[0.94])]
    model: Annotated[str, Field(description="Which model heard it.", examples=["english-small"])]
    usage: Annotated[
        Usage,
        Field(description="What was worked on.", examples=[{"type": "duration", "seconds": 5}]),
    ]
    logprobs: Annotated[
        list[LogProb] | None,
        Field(
            description="Of each word, if asked for.",
            examples=[[{"token": "the", "logprob": -0.02, "bytes": [116, 104, 101]}]],
        ),
    ] = None


class TimedWord(BaseModel):
    """A word with its times in seconds and its confidence in [0, 1]."""

    word: Annotated[str, Field(description="The word.", examples=["house"])]
    start: Annotated[float, Field(description="Seconds from the start.", examples=[0.36])]
    end: Annotated[float, Field(description="Seconds from the start.", examples=[0.68])]
    confidence: Annotated[float, Field(description="From 0 to 1.", examples=[0.97])]


class TimedSegment(BaseModel):
    """What is said between two pauses, at most seven seconds of it.

    `tokens` are the labels of its characters. `avg_logprob` is the mean logarithm of its words'
    confidence. `compression_ratio` is Whisper's: the text's bytes over those that zlib needs.
    `seek` is its start in hundredths of a second. `temperature` and `no_speech_prob` are always 0:
    nothing is drawn, and where there is no speech, there is no segment.
    """

    id: Annotated[int, Field(description="Counted from 0.", examples=[0])]
    seek: Annotated[int, Field(description="Its start in hundredths of a second.", examples=[36])]
    start: Annotated[float, Field(description="Seconds from the start.", examples=[0.36])]
    end: Annotated[float, Field(description="Seconds from the start.", examples=[2.1])]
    text: Annotated[str, Field(description="What is said in it.", examples=["the old house"])]
    tokens: Annotated[
        list[int], Field(description="Labels of its characters.", examples=[[20, 8, 5]])
    ]
    temperature: Annotated[float, Field(description="Always 0.", examples=[0.0])] = 0.0
    avg_logprob: Annotated[
        float, Field(description="Mean logarithm of its words' confidence.", examples=[-0.05])
    ]
    compression_ratio: Annotated[
        float, Field(description="Bytes of the text over those that zlib needs.", examples=[0.8])
    ]
    no_speech_prob: Annotated[float, Field(description="Always 0.", examples=[0.0])] = 0.0
    confidence: Annotated[float, Field(description="From 0 to 1.", examples=[0.95])]


class VerboseAnswer(BaseModel):
    """The answer of form `verbose_json`; `segments` and `words` if they were asked for."""

    task: Annotated[
        Literal["transcribe"], Field(description="`transcribe`.", examples=["transcribe"])
    ] = "transcribe"
    language: Annotated[str, Field(description="The model's.", examples=["english"])] = LANGUAGE
    duration: Annotated[float, Field(description="Of the audio, in seconds.", examples=[4.2])]
    text: Annotated[str, Field(description="What was said.", examples=["the old house"])]
    confidence: Annotated[float, Field(description="From 0 to 1.", examples=[0.94])]
    model: Annotated[str, Field(description="Which model heard it.", examples=["english-small"])]
    usage: Annotated[
        Usage,
        Field(description="What was worked on.", examples=[{"type": "duration", "seconds": 5}]),
    ]
    segments: Annotated[
        list[TimedSegment] | None,
        Field(description="Of the text, unless only words were asked for.", examples=[[]]),
    ] = None
    words: Annotated[
        list[TimedWord] | None,
        Field(
            description="If `word` was asked for.",
            examples=[[{"word": "the", "start": 0.1, "end": 0.2, "confidence": 0.98}]],
        ),
    ] = None


class ModelAnswer(BaseModel):
    """The model that is served, under one of its names.

    `created` is the time of its `pipeline.json`, in Unix seconds.
    """

    id: Annotated[str, Field(description="Its name.", examples=["english-small"])]
    object: Annotated[Literal["model"], Field(description="`model`.", examples=["model"])] = "model"
    created: Annotated[int, Field(description="In seconds since 1970.", examples=[1790000000])]
    owned_by: Annotated[str, Field(description="Who has it.", examples=["speech-to-text"])] = (
        "speech-to-text"
    )


class ModelsAnswer(BaseModel):
    """All models: the one that is served, under each of its names."""

    object: Annotated[Literal["list"], Field(description="`list`.", examples=["list"])] = "list"
    data: Annotated[
        list[ModelAnswer],
        Field(
            description="The models.",
            examples=[
                [
                    {
                        "id": "english-small",
                        "object": "model",
                        "created": 1790000000,
                        "owned_by": "speech-to-text",
                    }
                ]
            ],
        ),
    ]


def answer_of(
    transcript: Transcript, form: TranscriptionForm, alphabet: Alphabet
) -> TranscriptionAnswer | VerboseAnswer:
    """Return the answer of form `json` or `verbose_json`."""
    common: dict[str, Any] = {
        "text": transcript.text,
        "duration": transcript.duration_s,
        "confidence": transcript.confidence,
        "model": transcript.model,
        "usage": Usage(seconds=math.ceil(transcript.duration_s)),
    }
    if form.response_format != "verbose_json":
        logprobs = logprobs_of(transcript.words) if form.has_logprobs else None
        languages = languages_of(transcript)
        return TranscriptionAnswer(**common, languages=languages, logprobs=logprobs)
    has_words, has_segments = (name in form.granularities for name in ("word", "segment"))
    return VerboseAnswer(
        **common,
        segments=_segments(transcript.words, alphabet) if has_segments else None,
        words=[_timed(word) for word in transcript.words] if has_words else None,
    )


def languages_of(transcript: Transcript) -> list[Language]:
    """Return the model's language, or none where nothing was said."""
    return [Language(code=LANGUAGE_CODE)] if transcript.text else []


def logprobs_of(words: Sequence[Word], *, is_first: bool = True) -> list[LogProb]:
    """Return the words' log-probabilities; joined, the tokens are the text.

    Args:
        is_first: nothing was said before: the first word has no space.
    """
    tokens = [word.text if is_first and not i else f" {word.text}" for i, word in enumerate(words)]
    return [
        LogProb(token=token, logprob=_logprob(word), bytes=list(token.encode()))
        for token, word in zip(tokens, words, strict=True)
    ]


def _segments(words: Sequence[Word], alphabet: Alphabet) -> list[TimedSegment]:
    groups = group_words(words, _SEGMENTS)
    return [_segment(i, group, alphabet) for i, group in enumerate(groups)]


def _segment(place: int, words: Sequence[Word], alphabet: Alphabet) -> TimedSegment:
    text = " ".join(word.text for word in words)
    content = text.encode()
    return TimedSegment(
        id=place,
        seek=int(words[0].start_s * 100),
        start=words[0].start_s,
        end=max(word.end_s for word in words),
        text=text,
        tokens=alphabet.encode(text),
        avg_logprob=round(sum(map(_logprob, words)) / len(words), 4),
        compression_ratio=round(len(content) / len(zlib.compress(content)), 4),
        confidence=round(sum(word.confidence for word in words) / len(words), 4),
    )


def _timed(word: Word) -> TimedWord:
    return TimedWord(word=word.text, start=word.start_s, end=word.end_s, confidence=word.confidence)


def _logprob(word: Word) -> float:
    return round(math.log(max(word.confidence, _LEAST_CONFIDENCE)), 4)

"""What `/v1/audio/transcriptions` and `/v1/models` answer: OpenAI's fields, and confidence."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel

from service.openai_forms import LANGUAGE, TranscriptionForm
from speech.alphabet import Alphabet
from speech.subtitles import SubtitleConfig, group_words
from speech.transcript import Transcript, Word

_LEAST_CONFIDENCE = 1e-6
# A segment is what a cue would be, were lines as long as one likes.
_SEGMENTS = SubtitleConfig(max_line_characters=10_000, max_lines=1)


class LogProb(BaseModel):
    """A word, with the space before it: the natural logarithm of its confidence, and its bytes."""

    token: str
    logprob: float
    bytes: list[int]


class Usage(BaseModel):
    """How many seconds of audio were transcribed, rounded up."""

    type: Literal["duration"] = "duration"
    seconds: int


class TranscriptionAnswer(BaseModel):
    """The answer of form `json`; `logprobs` if they were asked for."""

    text: str
    duration: float
    confidence: float
    model: str
    usage: Usage
    logprobs: list[LogProb] | None = None


class TimedWord(BaseModel):
    """A word with its times in seconds and its confidence in [0, 1]."""

    word: str
    start: float
    end: float
    confidence: float


class TimedSegment(BaseModel):
    """What is said between two pauses, at most seven seconds of it.

    `tokens` are the labels of its characters. `avg_logprob` is the mean logarithm of its words'
    confidence. `compression_ratio` is Whisper's: the text's bytes over those that zlib needs.
    `seek` is its start in hundredths of a second. `temperature` and `no_speech_prob` are always 0:
    nothing is drawn, and where there is no speech, there is no segment.
    """

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float = 0.0
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float = 0.0
    confidence: float


class VerboseAnswer(BaseModel):
    """The answer of form `verbose_json`; `segments` and `words` if they were asked for."""

    task: Literal["transcribe"] = "transcribe"
    language: str = LANGUAGE
    duration: float
    text: str
    confidence: float
    model: str
    usage: Usage
    segments: list[TimedSegment] | None = None
    words: list[TimedWord] | None = None


class ModelAnswer(BaseModel):
    """The model that is served; `created` is the time of its `pipeline.json`, in Unix seconds."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "speech-to-text"


class ModelsAnswer(BaseModel):
    """All models: the one that is served."""

    object: Literal["list"] = "list"
    data: list[ModelAnswer]


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
        return TranscriptionAnswer(**common, logprobs=logprobs)
    has_words, has_segments = (name in form.granularities for name in ("word", "segment"))
    return VerboseAnswer(
        **common,
        segments=_segments(transcript.words, alphabet) if has_segments else None,
        words=[_timed(word) for word in transcript.words] if has_words else None,
    )


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

"""What `/v1/audio/transcriptions` is asked: OpenAI's fields, and three of our own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, File, Form, UploadFile

from service.languages import check_languages
from service.openai_errors import RefusedError
from service.upload_forms import MAX_BEAM_WIDTH, MAX_HOTWORDS, BeamWidth, HotWordText
from speech.alphabet import Alphabet, normalise
from speech.decoding.decoder import DecodingOptions
from speech.decoding.hotwords import HotWord, parse_hotword

OPENAI_MODELS = frozenset(
    [
        "gpt-4o-mini-transcribe",
        "gpt-4o-mini-transcribe-2025-03-20",
        "gpt-4o-mini-transcribe-2025-12-15",
        "gpt-4o-transcribe",
        "gpt-transcribe",
        "whisper-1",
    ]
)
_MIN_HINT_LETTERS = 4  # shorter ones fit in many places by chance

ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
Granularity = Literal["word", "segment"]


@dataclass(frozen=True, kw_only=True)
class TranscriptionForm:
    """A request to transcribe a file, whose fields fit together."""

    file: UploadFile
    model: str
    response_format: ResponseFormat
    granularities: frozenset[Granularity]
    has_logprobs: bool
    is_stream: bool
    prompt: str
    keywords: Sequence[str]
    hotwords: Sequence[str]
    decoder: Literal["greedy", "beam"] | None
    beam_width: int | None

    def options(self, alphabet: Alphabet) -> DecodingOptions:
        """Return what is asked of the decoder; to be called in a thread, for a prompt can be long.

        Of more words than are listened for, `hotwords` come first, then `keywords`, then the
        prompt's from its end: of a long prompt Whisper reads the end, too.

        Raises:
            RefusedError: a hot word is none. Hints that the alphabet cannot spell are ignored.
        """
        try:
            given = [parse_hotword(text, alphabet) for text in self.hotwords]
        except ValueError as error:
            raise _refused("hotwords", str(error)) from error
        hints = (*self.keywords, *reversed(_long_words(self.prompt, alphabet)))
        words = {word.text: word for word in given}
        for word in _spelled(hints, alphabet):
            if len(words) >= MAX_HOTWORDS:
                break
            words.setdefault(word.text, word)
        return DecodingOptions(
            decoder=self.decoder, beam_width=self.beam_width, hotwords=tuple(words.values())
        )


def read_form(
    *,
    file: Annotated[
        UploadFile, File(description="Audio. What kind of file it is, its content says.")
    ],
    model: Annotated[
        str,
        Form(
            description="The model's own name, as `GET /v1/models` gives it, or one of OpenAI's.",
            examples=["whisper-1"],
        ),
    ],
    language: Annotated[
        str | None, Form(description="`en`, `en-GB`, `en_GB` or `english`.", examples=["en"])
    ] = None,
    languages: Annotated[
        list[str],
        Form(
            alias="languages[]",
            default_factory=list,
            description="English is among them.",
            examples=[["en"]],
        ),
    ],
    prompt: Annotated[
        str | None,
        Form(
            description="Its words of four letters and more are listened for: the last ones, if "
            "there are too many.",
            examples=["Riverside, the old mill"],
        ),
    ] = None,
    keywords: Annotated[
        list[HotWordText],
        Form(
            alias="keywords[]",
            default_factory=list,
            max_length=MAX_HOTWORDS,
            description="Listened for, as phrases.",
            examples=[["Riverside"]],
        ),
    ],
    temperature: Annotated[
        float,
        Form(
            ge=0,
            le=1,
            description="Of no effect: the same audio always has the same text.",
            examples=[0.0],
        ),
    ] = 0.0,
    response_format: Annotated[
        ResponseFormat, Form(description="The form of the answer.", examples=["verbose_json"])
    ] = "json",
    granularities: Annotated[
        list[Granularity],
        Form(
            alias="timestamp_granularities[]",
            default_factory=list,
            description="What `verbose_json` has times of: `segment` if nothing is said.",
            examples=[["word"]],
        ),
    ],
    include: Annotated[
        list[Literal["logprobs"]],
        Form(
            alias="include[]",
            default_factory=list,
            description="`logprobs`, with `json`: the logarithm of each word's confidence.",
            examples=[[]],
        ),
    ],
    stream: Annotated[
        bool,
        Form(
            description="With `json` or `text`: answer with server-sent events, while the file is "
            "transcribed.",
            examples=[False],
        ),
    ] = False,
    hotwords: Annotated[
        list[HotWordText],
        Form(
            default_factory=list,
            max_length=MAX_HOTWORDS,
            description="Ours: `phrase` or `phrase:8`, repeatable.",
            examples=[["riverside:12"]],
        ),
    ],
    bracketed_hotwords: Annotated[
        list[HotWordText],
        Form(
            alias="hotwords[]",
            default_factory=list,
            max_length=MAX_HOTWORDS,
            description="The same as `hotwords`, as OpenAI's clients name a list.",
            examples=[["riverside:12"]],
        ),
    ],
    decoder: Annotated[
        Literal["greedy", "beam"] | None,
        Form(description="Ours: the model's if not set.", examples=["beam"]),
    ] = None,
    beam_width: Annotated[
        BeamWidth | None,
        Form(description=f"Ours: texts kept a frame, 1 to {MAX_BEAM_WIDTH}.", examples=[64]),
    ] = None,
) -> TranscriptionForm:
    """Read the form's fields; `RefusedError` names one that does not fit the others."""
    del temperature  # was checked
    for param, named in (("language", [language]), ("languages[]", languages)):
        _check_language(param, [name for name in named if name])
    if granularities and response_format != "verbose_json":
        raise _refused(
            "timestamp_granularities[]",
            f"got response_format {response_format}; needed: verbose_json, to have times in",
        )
    if include and response_format != "json":
        raise _refused(
            "include[]", f"got response_format {response_format}; needed: json, to have logprobs in"
        )
    if stream and response_format not in ("json", "text"):
        raise _refused("stream", f"got response_format {response_format}; needed: json or text")
    hotwords = [*hotwords, *bracketed_hotwords]
    if len(hotwords) > MAX_HOTWORDS:
        raise _refused("hotwords", f"got {len(hotwords)} hot words; needed: at most {MAX_HOTWORDS}")
    return TranscriptionForm(
        file=file,
        model=model,
        response_format=response_format,
        granularities=frozenset(granularities or ["segment"]),
        has_logprobs=bool(include),
        is_stream=stream,
        prompt=prompt or "",
        keywords=keywords,
        hotwords=hotwords,
        decoder=decoder,
        beam_width=beam_width,
    )


FormDep = Annotated[TranscriptionForm, Depends(read_form)]


def model_names(served: str) -> list[str]:
    """Return all names of the model that is served: its own, then OpenAI's."""
    return [served, *sorted(OPENAI_MODELS - {served})]


def check_model(name: str, served: str) -> None:
    """Return if `name` means the model that is served; else raise `RefusedError`, a 404."""
    if name not in model_names(served):
        raise RefusedError(
            404,
            f"the model {name[:200]!r} does not exist; needed: {served}, or a name of OpenAI's "
            f"for it ({', '.join(sorted(OPENAI_MODELS))})",
            param="model",
            code="model_not_found",
        )


def _check_language(param: str, named: Sequence[str]) -> None:
    try:
        check_languages(named)
    except ValueError as error:
        raise _refused(param, str(error)) from error


def _long_words(prompt: str, alphabet: Alphabet) -> list[str]:
    words = normalise(prompt, alphabet).split()
    return [word for word in words if sum(map(str.isalpha, word)) >= _MIN_HINT_LETTERS]


def _spelled(hints: Iterable[str], alphabet: Alphabet) -> Iterator[HotWord]:
    """Yield the hints that the alphabet can spell; a colon in them is no weight."""
    for hint in dict.fromkeys(hints):
        try:
            yield parse_hotword(hint.replace(":", " "), alphabet)
        except ValueError:
            continue


def _refused(param: str, message: str) -> RefusedError:
    return RefusedError(400, message, param=param, code="invalid_value")

"""What the clients of `benchmarks.load` ask: a route or a form of it each, with how often."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

import httpx

from benchmarks.load_answers import Answer, answer_of
from benchmarks.load_clips import Clip
from benchmarks.load_stream import STREAM, caption

Ask = Callable[[httpx.AsyncClient, Clip], Awaitable[Answer]]
_TRANSCRIPTIONS = "/v1/audio/transcriptions"
_DONE = '"transcript.text.done"'


@dataclass(frozen=True)
class Route:
    """A way to ask the service, of `share` among all."""

    path: str
    form: str
    share: int
    ask: Ask

    @property
    def name(self) -> str:
        """What it is called in results."""
        return f"{self.path} {self.form}".strip()


async def _upload(
    client: httpx.AsyncClient,
    clip: Clip,
    *,
    query: Mapping[str, str] | None = None,
    needs: str = '"transcryption":',
) -> Answer:
    files = {"file": ("a.wav", clip.wav, "audio/wav")}
    return answer_of(await client.post("/upload/", params=query, files=files), needs=needs)


async def _mobile(client: httpx.AsyncClient, clip: Clip) -> Answer:
    body = {"audio": base64.b64encode(clip.flac).decode()}
    return answer_of(await client.post("/transcribe_mobile", json=body), needs='"transcription":')


async def _openai(
    client: httpx.AsyncClient,
    clip: Clip,
    *,
    file: str,
    form: Mapping[str, str],
    kind: str,
    needs: str,
) -> Answer:
    files = {"file": ("a", getattr(clip, file))}
    fields = {"model": "whisper-1", **form}
    response = await client.post(_TRANSCRIPTIONS, data=fields, files=files)
    return answer_of(response, needs=needs, kind=kind)


async def _get(client: httpx.AsyncClient, _: Clip, *, path: str, needs: str) -> Answer:
    return answer_of(await client.get(path), needs=needs)


def _transcriptions() -> list[Route]:
    """Return every form of answer, each with another kind of file."""
    json, srt = "application/json", "application/x-subrip"
    words = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
    asked: list[tuple[str, int, str, str, str, dict[str, str]]] = [
        ("json", 2, "flac", json, '"text":', {}),
        ("text", 1, "mp3", "text/plain", "", {"response_format": "text"}),
        ("srt", 1, "wav", srt, "", {"response_format": "srt"}),
        ("vtt", 1, "ogg", "text/vtt", "WEBVTT", {"response_format": "vtt"}),
        ("verbose_json, words", 2, "wav", json, '"words":', words),
        ("stream=true", 3, "flac", "text/event-stream", _DONE, {"stream": "true"}),
    ]
    return [
        Route(
            _TRANSCRIPTIONS,
            name,
            share,
            partial(_openai, file=file, form=form, kind=kind, needs=needs),
        )
        for name, share, file, kind, needs, form in asked
    ]


_WORDS = {"words": "true", "n_best": "3", "hotwords": "zanzibar"}
ROUTES = (
    Route("/upload/", "", 5, _upload),
    Route("/upload/", "words, 3 best, a hot word", 2, partial(_upload, query=_WORDS)),
    Route("/upload/", "vtt", 1, partial(_upload, query={"format": "vtt"}, needs="WEBVTT")),
    Route("/transcribe_mobile", "", 4, _mobile),
    *_transcriptions(),
    Route(STREAM, "live captions", 4, caption),
    Route("/health/ready", "", 1, partial(_get, path="/health/ready", needs="ready")),
    Route("/metrics", "", 1, partial(_get, path="/metrics", needs="stt_requests_total")),
)

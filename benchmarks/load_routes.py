"""What the clients of `benchmarks.load` ask: one route each, with how often it is asked."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx

Ask = Callable[[httpx.AsyncClient, bytes], Awaitable[httpx.Response]]


@dataclass(frozen=True)
class Route:
    """A way to ask the service: `path` as its OpenAPI description has it, or it is left out."""

    path: str
    share: int
    ask: Ask


async def _upload(client: httpx.AsyncClient, wav: bytes) -> httpx.Response:
    return await client.post("/upload/", files={"file": ("a.wav", wav, "audio/wav")})


async def _words(client: httpx.AsyncClient, wav: bytes) -> httpx.Response:
    query: dict[str, str | int] = {"words": "true", "n_best": 3, "hotwords": "zanzibar"}
    return await client.post("/upload/", params=query, files={"file": ("a.wav", wav)})


async def _mobile(client: httpx.AsyncClient, wav: bytes) -> httpx.Response:
    audio = base64.b64encode(wav).decode()
    return await client.post("/transcribe_mobile", json={"audio": audio})


async def _openai(client: httpx.AsyncClient, wav: bytes) -> httpx.Response:
    form = {"model": "whisper-1", "response_format": "verbose_json"}
    files = {"file": ("a.wav", wav)}
    return await client.post("/v1/audio/transcriptions", data=form, files=files)


async def _ready(client: httpx.AsyncClient, _: bytes) -> httpx.Response:
    return await client.get("/health/ready")


async def _metrics(client: httpx.AsyncClient, _: bytes) -> httpx.Response:
    return await client.get("/metrics")


ROUTES = (
    Route("/upload/", 6, _upload),
    Route("/upload/", 2, _words),
    Route("/transcribe_mobile", 4, _mobile),
    Route("/v1/audio/transcriptions", 6, _openai),
    Route("/health/ready", 1, _ready),
    Route("/metrics", 1, _metrics),
)

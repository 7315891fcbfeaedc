"""A client of live captions under `benchmarks.load`: it speaks, reads partials, and closes."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks.load_answers import Answer
from benchmarks.load_clips import Clip

STREAM = "/v1/stream"
CHUNK_S = 0.1
SPEED = 2.0  # times as fast as it was spoken: the protocol takes audio as fast as it is worked on
TIMEOUT_S = 120.0
RETRY_S = 1.0  # the protocol says "later", and no more


async def caption(client: httpx.AsyncClient, clip: Clip) -> Answer:
    """Send a clip; it is done when a final and the session's regular end came.

    Its latency counts from the end of the audio to the end of the session: a clip takes as long
    to send as it does.

    Raises:
        OSError: no connection; `TimeoutError`: no end of the session in `TIMEOUT_S`.
        WebSocketException: no WebSocket.
    """
    url = str(client.base_url.copy_with(scheme="ws", path=STREAM))
    async with (
        asyncio.timeout(TIMEOUT_S),
        connect(url, proxy=None, compression=None, open_timeout=None) as server,
    ):
        return await _converse(server, clip)


async def _converse(server: ClientConnection, clip: Clip) -> Answer:
    heard: Counter[str] = Counter()
    error: dict[str, Any] = {}
    speaking: asyncio.Task[float] | None = None
    with suppress(ConnectionClosed):  # if refused already, what was said is still to be read
        await server.send(json.dumps({"type": "start", "sample_rate_hz": clip.rate_hz}))
    with suppress(ConnectionClosed):  # the code of the close says how it ended
        while True:
            message = json.loads(await server.recv())
            heard[message["type"]] += 1
            if message["type"] == "ready":
                speaking = asyncio.create_task(_speak(server, clip))
            elif message["type"] == "error":
                error = message
    ended = time.perf_counter()
    spoken = await speaking if speaking else ended
    return _answer_of(server.close_code, heard, error, latency_s=ended - spoken)


async def _speak(server: ClientConnection, clip: Clip) -> float:
    """Send a clip's chunks, each when it is due, and the close; return when that was."""
    size, started = 2 * round(CHUNK_S * clip.rate_hz), time.perf_counter()
    with suppress(ConnectionClosed):
        for i, start in enumerate(range(0, len(clip.pcm), size), start=1):
            await server.send(clip.pcm[start : start + size])
            await asyncio.sleep(max(0.0, started + i * CHUNK_S / SPEED - time.perf_counter()))
        await server.send(json.dumps({"type": "close"}))
    return time.perf_counter()


def _answer_of(
    code: int | None, heard: Counter[str], error: dict[str, Any], *, latency_s: float
) -> Answer:
    if error.get("code") == "too_many_sessions":
        return Answer(code=str(code), retry_after_s=RETRY_S)
    is_done = code == 1000 and heard["final"] > 0 and heard["closed"] == 1
    fault = "" if is_done else f"heard {dict(heard)}, {error}"
    return Answer(code=str(code), fault=fault, latency_s=latency_s)

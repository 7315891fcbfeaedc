"""One session of live captions: what its client sends, and what it is told."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from anyio import CapacityLimiter, fail_after
from anyio.to_thread import run_sync
from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from captions.events import Caption, Final
from captions.pcm import SAMPLE_BYTES, PcmStream
from captions.session import Captioner, CaptionSession
from config import GivenUpError, ModelUnavailableError
from service.live_inbox import End, FinalizeNow, Inbox, Item
from service.live_messages import (
    Close,
    CloseCode,
    Finalize,
    LiveError,
    Start,
    read_message,
    read_start,
)
from service.metrics import Metrics
from service.model import get_predictor
from service.observer import ServiceObserver
from service_config import LiveConfig

logger = logging.getLogger("stt.api")

T = TypeVar("T")

_WORTHWHILE_S = 0.04


class LiveSession:
    """One client: a task that reads what it sends, and one that works on it in a thread."""

    def __init__(self, socket: WebSocket, config: LiveConfig) -> None:
        self.id = uuid.uuid4().hex[:12]
        self._socket, self._config = socket, config
        self._ends_at = time.monotonic() + config.max_session_s
        self._given_up = threading.Event()
        self._captioner: Captioner | None = None
        self._has_started, self._counted_s = False, 0.0
        self.inbox = Inbox()

    @property
    def duration_s(self) -> float:
        """Of the audio that was worked on."""
        return self._captioner.duration_s if self._captioner else 0.0

    async def run(self, threads: CapacityLimiter) -> None:
        """Caption until the client has enough, has gone, or is told why not; close the socket."""
        reading = asyncio.create_task(self._read())
        try:
            await self._work(threads)
            await self._socket.close(CloseCode.NORMAL)
        except LiveError as error:
            await self.refuse(error)
        except (WebSocketDisconnect, GivenUpError):
            return
        finally:
            reading.cancel()

    async def refuse(self, error: LiveError) -> None:
        """Say why and close the socket."""
        with suppress(WebSocketDisconnect):
            await self.say(error.to_json())
            await self._socket.close(error.close_code)

    async def say(self, message: dict[str, Any]) -> None:
        """Send a message; `WebSocketDisconnect` if the client has gone, or does not read."""
        await self._socket.send_json(message)

    async def _open(self, start: Start, threads: CapacityLimiter) -> _Hearing:
        """Make what hears the audio, and say that it is ready."""
        try:
            predictor = await get_predictor(self._socket)
        except ModelUnavailableError as error:
            raise _unavailable(error) from error
        options = start.options(predictor.pipeline.alphabet)
        open_session = partial(CaptionSession, predictor, options=options, given_up=self._given_up)
        self._captioner = captioner = await self._run(open_session, threads=threads)
        model_rate_hz, rate_hz = predictor.audio.sample_rate_hz, start.sample_rate_hz
        self.inbox.set_sizes(
            max_bytes=round(self._config.max_buffered_s * rate_hz * SAMPLE_BYTES),
            worthwhile_bytes=round(_WORTHWHILE_S * rate_hz * SAMPLE_BYTES),
        )
        ready = {"session": self.id, "model": predictor.pipeline.name, "sample_rate_hz": rate_hz}
        await self.say({"type": "ready", **ready})
        pcm = PcmStream(sample_rate_hz=rate_hz, model_rate_hz=model_rate_hz)
        return _Hearing(captioner, pcm)

    async def _read(self) -> None:
        """Put what the client sends into the inbox; while that is full nothing is read."""
        try:
            while await self.inbox.room():
                self._take(await self._receive())
        except LiveError as error:
            self.inbox.end(End(error))
        except WebSocketDisconnect:
            self._given_up.set()
            self.inbox.end(End(is_gone=True))
        except Exception:  # without an end the other task would wait for ever
            self.inbox.end(End(self._failed()))

    async def _receive(self) -> str | bytes:
        """Return the client's next message, of a size that is allowed, sent in time."""
        left_s, idle_s = self._ends_at - time.monotonic(), self._config.idle_s
        if left_s <= 0:  # a limit of 0 s would not keep from reading what is there already
            raise self._too_long()
        try:
            with fail_after(min(idle_s, left_s)):
                message = await self._socket.receive()
        except TimeoutError:
            if left_s <= idle_s:
                raise self._too_long() from None
            detail = f"got nothing for {idle_s:g} s; needed: audio or keepalive"
            raise LiveError("idle_timeout", detail, CloseCode.POLICY) from None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"])
        text, binary = message.get("text"), message.get("bytes")
        content: str | bytes = (binary or b"") if text is None else text
        if len(content) > self._config.max_message_bytes:
            limit = f"needed: at most {self._config.max_message_bytes} bytes"
            detail = f"got a message of {len(content)}; {limit}"
            raise LiveError("message_too_large", detail, CloseCode.TOO_BIG)
        return content

    def _too_long(self) -> LiveError:
        detail = f"a session lasts {self._config.max_session_s:g} s at most"
        return LiveError("session_too_long", detail, CloseCode.POLICY)

    def _take(self, message: str | bytes) -> None:
        if not self._has_started:
            self.inbox.put(read_start(message))
            self._has_started = True
            return
        if isinstance(message, bytes):
            self.inbox.put_audio(message)
            return
        command = read_message(message)
        if isinstance(command, Start):
            raise LiveError("invalid_message", "got a second start", CloseCode.POLICY)
        if isinstance(command, Finalize):
            self.inbox.put(FinalizeNow())
        elif isinstance(command, Close):
            self.inbox.end(End())

    async def _work(self, threads: CapacityLimiter) -> None:
        start = await self.inbox.get()
        if not isinstance(start, Start):
            raise _reason(start)
        hearing = await self._open(start, threads)
        observer: ServiceObserver = self._socket.app.state.observer

        async def caption(work: Callable[..., list[Caption]], *arguments: object) -> None:
            try:
                captions = await self._run(work, *arguments, threads=threads)
            finally:
                self._count_audio()
            for found in captions:
                if isinstance(found, Final):
                    observer.heard(found.text, round(found.end_s - found.start_s, 3))
                await self.say(found.to_json(words=start.words))

        while not isinstance(item := await self.inbox.get(), End):
            if isinstance(item, bytearray):
                await caption(hearing.hear, bytes(item))
            else:
                await caption(hearing.finalize)
                await self.say({"type": "finalized"})
        if not item.is_gone:
            await caption(hearing.finalize)
        if item.is_gone or item.error:
            raise _reason(item)
        await self.say({"type": "closed", "duration_s": round(self.duration_s, 3)})

    def _count_audio(self) -> None:
        """Count what was heard since it was last counted: a session may take hours."""
        metrics: Metrics = self._socket.app.state.metrics
        metrics.count_audio(self._socket.scope, audio_s=self.duration_s - self._counted_s)
        self._counted_s = self.duration_s

    async def _run(self, work: Callable[..., T], *arguments: object, threads: CapacityLimiter) -> T:
        try:
            return await run_sync(work, *arguments, limiter=threads)
        except GivenUpError:
            raise
        except ModelUnavailableError as error:
            raise _unavailable(error) from error
        except Exception as error:  # whatever it is, the client is told that it was not its fault
            raise self._failed() from error

    def _failed(self) -> LiveError:
        logger.exception("%s failed", self.id)
        return LiveError("internal", "the service failed", CloseCode.INTERNAL)


class _Hearing:
    """Bytes to captions; called in threads, by one at a time."""

    def __init__(self, captioner: Captioner, pcm: PcmStream) -> None:
        self._captioner, self._pcm = captioner, pcm

    def hear(self, pcm: bytes) -> list[Caption]:
        return self._captioner.feed(self._pcm.push(pcm))

    def finalize(self) -> list[Caption]:
        return self._captioner.feed(self._pcm.flush()) + self._captioner.finalize()


def _reason(end: Item) -> Exception:
    """Return why nothing more comes, if that was not the client's wish."""
    if isinstance(end, End) and end.error and not end.is_gone:
        return end.error
    return GivenUpError("the client went")


def _unavailable(error: ModelUnavailableError) -> LiveError:
    return LiveError("model_unavailable", str(error), CloseCode.TRY_LATER)

"""A transcript as server-sent events, while its recording is transcribed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from config import GivenUpError, SpeechToTextError
from service.errors import status_of
from service.openai_answers import languages_of, logprobs_of
from service.openai_errors import openai_error
from service.openai_events import TextDelta, TextDone
from speech.transcript import Transcript

Heard = Callable[[Transcript], None]
Work = Callable[[threading.Event, Heard], Transcript]

_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


async def answer_with_events(request: Request, work: Work, *, has_logprobs: bool) -> Response:
    """Return `work`'s transcript as events: what was heard of each piece, then all of it.

    What fails before the first piece was heard is raised, so that its answer has a status.

    Args:
        work: run in a thread when its turn has come, until its end or until the client has gone.
    """
    heard: asyncio.Queue[Transcript | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def tell(piece: Transcript) -> None:
        loop.call_soon_threadsafe(heard.put_nowait, piece)

    turns = request.app.state.turns
    task = asyncio.create_task(turns.run(request, lambda given_up: work(given_up, tell)))
    task.add_done_callback(lambda _: heard.put_nowait(None))
    first = await heard.get()
    if first is None:
        await task
    return EventStream(_Events(first, heard, task, has_logprobs=has_logprobs))


class EventStream(Response):
    """Sends events as they come, and ends no earlier than what makes them."""

    media_type = "text/event-stream"

    def __init__(self, events: _Events) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["Content-Length"]
        self.events = events

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        """Send them; the turn receives, and stops the work once the client has gone."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        try:
            await send(start)
            async for event in self.events.all():
                body = f"data: {json.dumps(event)}\n\n".encode()
                await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await asyncio.wait([self.events.task])


class _Events:
    """The events of one transcript: deltas, which joined are its text, and the last one."""

    def __init__(
        self,
        first: Transcript | None,
        heard: asyncio.Queue[Transcript | None],
        task: asyncio.Task[Transcript],
        *,
        has_logprobs: bool,
    ) -> None:
        self._first, self._heard, self.task = first, heard, task
        self._has_logprobs = has_logprobs

    async def all(self) -> AsyncIterator[dict[str, Any]]:
        """Yield them in order; without the last one if the client has gone."""
        piece, is_first = self._first, True
        while piece is not None:
            if piece.text:
                yield self._delta(piece, is_first)
                is_first = False
            piece = await self._heard.get()
        try:
            yield self._done(await self.task)
        except GivenUpError:
            return
        except SpeechToTextError as error:
            yield {"type": "error", **openai_error(status_of(error), str(error), cause=error)}
        except Exception:
            yield {"type": "error", **openai_error(500, "the service failed; its log says why")}
            raise

    def _delta(self, piece: Transcript, is_first: bool) -> dict[str, Any]:
        text = piece.text if is_first else f" {piece.text}"
        logprobs = logprobs_of(piece.words, is_first=is_first) if self._has_logprobs else None
        return TextDelta(delta=text, logprobs=logprobs).model_dump(exclude_none=True)

    def _done(self, transcript: Transcript) -> dict[str, Any]:
        return TextDone(
            text=transcript.text,
            languages=languages_of(transcript),
            logprobs=logprobs_of(transcript.words) if self._has_logprobs else None,
            duration=transcript.duration_s,
            confidence=transcript.confidence,
        ).model_dump(exclude_none=True)

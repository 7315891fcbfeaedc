"""The bounds on bodies, at the level at which they arrive, and on how many requests there are."""

import asyncio
import threading

import pytest
from fastapi import HTTPException, Request
from starlette.types import Message, Receive, Scope, Send

from config import GivenUpError, OverloadedError
from service.limits import BodiesHeld, BodyLimit, Turns

MAX_BYTES = 100_000
CHUNK = bytes(50_000)
SCOPE: Scope = {"type": "http", "method": "POST", "path": "/", "headers": []}


class Reader:
    """An application that reads its whole body."""

    def __init__(self) -> None:
        self.received = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            self.received += len(message.get("body", b""))
            if not message.get("more_body"):
                return


def run(scope: Scope, num_chunks: int) -> tuple[Reader, int, list[Message]]:
    """Send `num_chunks` through a limit; return the reader, the chunks asked for, what was sent."""
    asked, sent, reader = 0, [], Reader()

    async def receive() -> Message:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": CHUNK, "more_body": asked < num_chunks}

    async def send(message: Message) -> None:
        sent.append(message)

    try:
        held = BodiesHeld(max_bodies=1, max_bytes=MAX_BYTES)
        limit = BodyLimit(reader, max_bytes=MAX_BYTES, held=held)
        asyncio.run(limit(scope, receive, send))
    except HTTPException as error:
        sent.append({"type": "raised", "status": error.status_code, "detail": error.detail})
    return reader, asked, sent


def test_a_body_within_the_limit_passes() -> None:
    reader, asked, sent = run(SCOPE, 2)
    assert (reader.received, asked, sent) == (100_000, 2, [])


def test_a_body_without_a_length_is_read_no_further_than_the_limit() -> None:
    reader, asked, sent = run(SCOPE, 1000)
    assert asked == 4, "the first chunk over the limit is the last that is asked for"
    assert reader.received == 150_000
    assert sent[0]["status"] == 413


@pytest.mark.parametrize("length", [b"999999", b"99999999999999999999"])
def test_a_declared_length_over_the_limit_reads_nothing(length: bytes) -> None:
    reader, asked, sent = run({**SCOPE, "headers": [(b"content-length", length)]}, 1000)
    assert (reader.received, asked) == (0, 0)
    assert sent[0]["status"] == 413
    assert b"needed: a file of at most 100000 bytes" in sent[1]["body"]


def test_a_body_is_held_until_the_last_of_the_answer_is_sent() -> None:
    held, told = BodiesHeld(max_bodies=1, max_bytes=MAX_BYTES), []

    async def receive() -> Message:
        return {"type": "http.request", "body": CHUNK}

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await send({"type": "http.response.body", "body": b"y"})

    async def send(_: Message) -> None:
        told.append(len(held))

    asyncio.run(BodyLimit(answer, max_bytes=MAX_BYTES, held=held)(SCOPE, receive, send))
    assert told == [1, 1, 0]


def test_other_scopes_pass() -> None:
    reader, _, _ = run({"type": "lifespan"}, 5)
    assert reader.received == 250_000


class Client:
    """Sent a whole request; may go away."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.request = Request({**SCOPE, "headers": []}, self.receive)

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}


class Work:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.started, self.go_on = asyncio.Event(), threading.Event()
        self.loop = asyncio.get_running_loop()

    def __call__(self, _: threading.Event) -> str:
        self.loop.call_soon_threadsafe(self.started.set)
        assert self.go_on.wait(60)
        return "done"


def test_requests_beyond_those_that_may_wait_are_refused() -> None:
    async def main() -> None:
        turns, work = Turns(max_running=1, max_waiting=2), Work()
        tasks = [asyncio.create_task(turns.run(Client().request, work)) for _ in range(3)]
        await work.started.wait()
        assert turns.present == 3
        with pytest.raises(OverloadedError, match="3 requests wait or are worked on"):
            await turns.run(Client().request, work)
        work.go_on.set()
        assert await asyncio.gather(*tasks) == ["done"] * 3
        assert turns.present == 0
        assert await turns.run(Client().request, work) == "done"

    asyncio.run(main())


def test_a_client_that_goes_while_it_waits_leaves_its_place() -> None:
    async def main() -> None:
        turns, work, never = Turns(max_running=1, max_waiting=1), Work(), Work()
        running = asyncio.create_task(turns.run(Client().request, work))
        await work.started.wait()
        client = Client()
        waiting = asyncio.create_task(turns.run(client.request, never))
        client.gone.set()
        with pytest.raises(GivenUpError, match="before its turn came"):
            await waiting
        assert turns.present == 1
        assert not never.started.is_set()
        work.go_on.set()
        assert await running == "done"

    asyncio.run(main())


def test_work_is_told_that_its_client_has_gone() -> None:
    async def main() -> None:
        turns, client = Turns(max_running=1, max_waiting=0), Client()
        loop, started = asyncio.get_running_loop(), asyncio.Event()

        def work(given_up: threading.Event) -> bool:
            loop.call_soon_threadsafe(started.set)
            return given_up.wait(60)

        running = asyncio.create_task(turns.run(client.request, work))
        await started.wait()
        client.gone.set()
        assert await running, "what runs is not cancelled"
        assert turns.present == 0

    asyncio.run(main())


def test_what_work_raises_is_raised_and_its_place_is_free() -> None:
    def fail(_: threading.Event) -> None:
        raise ArithmeticError("no")

    async def main() -> None:
        turns = Turns(max_running=1, max_waiting=0)
        for _ in range(2):
            with pytest.raises(ArithmeticError, match="no"):
                await turns.run(Client().request, fail)

    asyncio.run(main())


def test_work_whose_task_is_cancelled_is_told_so() -> None:
    """As when a service that stops waits no longer: a thread would go on for ever."""

    async def main() -> None:
        turns, started = Turns(max_running=1, max_waiting=0), asyncio.Event()
        loop, told = asyncio.get_running_loop(), []

        def work(given_up: threading.Event) -> None:
            loop.call_soon_threadsafe(started.set)
            told.append(given_up.wait(10))

        running = asyncio.create_task(turns.run(Client().request, work))
        await started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        while not told:
            await asyncio.sleep(0.01)
        assert told == [True]

    asyncio.run(main())

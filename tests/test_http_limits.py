"""The bound on bodies, at the level at which they arrive."""

import asyncio

import pytest
from fastapi import HTTPException
from starlette.types import Message, Receive, Scope, Send

from http_limits import BodyLimit

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
        asyncio.run(BodyLimit(reader, max_bytes=MAX_BYTES)(scope, receive, send))
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


def test_other_scopes_pass() -> None:
    reader, _, _ = run({"type": "lifespan"}, 5)
    assert reader.received == 250_000

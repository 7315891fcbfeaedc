"""How much one client may ask: a minute, and at a time; and how long its body may take."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import HTTPException
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

import api
from predictor import Predictor
from service.keys import CLIENT
from service.limits import BodiesHeld, BodyLimit
from service.rate import RateLimit, TokenBuckets, client_of
from service_config import AccessConfig, LimitsConfig, ServerConfig
from serving.local import LocalBackend

KEYS = ("a-key-of-sixteen-or-more", "another-key-of-sixteen")


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_bucket_empties_and_fills_evenly() -> None:
    clock = Clock()
    buckets = TokenBuckets(6, clock=clock)
    assert [buckets.take("a") for _ in range(6)] == [0] * 6
    assert buckets.take("a") == pytest.approx(10)
    clock.now_s += 4
    assert buckets.take("a") == pytest.approx(6)
    clock.now_s += 6
    assert buckets.take("a") == 0
    assert buckets.take("b") == 0, "another client has its own"


@given(st.lists(st.floats(0, 30), min_size=1, max_size=60), st.floats(0.5, 100))
def test_no_time_gives_more_than_the_rate(waits_s: list[float], per_minute: float) -> None:
    clock = Clock()
    buckets = TokenBuckets(per_minute, clock=clock)
    taken = 0
    for wait_s in waits_s:
        clock.now_s += wait_s
        taken += buckets.take("a") == 0
    allowed = max(1.0, per_minute) + sum(waits_s) * per_minute / 60
    assert taken <= allowed + 1e-6


def test_the_clients_longest_unseen_are_forgotten() -> None:
    buckets = TokenBuckets(1, max_clients=3, clock=Clock())
    for client in "abcabd":
        buckets.take(client)
    assert len(buckets) == 3
    assert buckets.take("a") > 0
    assert buckets.take("c") == 0, "forgotten, so it begins anew"


@pytest.mark.parametrize(
    ("scope", "client"),
    [
        ({"client": ("192.0.2.1", 5)}, "192.0.2.1"),
        ({"client": ("2001:db8:1:2:3:4:5:6", 5)}, "2001:db8:1:2::/64"),
        ({"client": ("testclient", 5)}, "testclient"),
        ({"client": None}, "unknown"),
        ({"client": ("192.0.2.1", 5), CLIENT: "key ab"}, "key ab"),
    ],
)
def test_a_client_is_a_key_or_an_address(scope: Scope, client: str) -> None:
    assert client_of(scope) == client


@pytest.fixture(scope="module")
def predictor(model_folder: Path) -> Predictor:
    return Predictor(LocalBackend(model_folder))


@pytest.fixture
def client(server_config: ServerConfig, predictor: Predictor) -> Iterator[TestClient]:
    config = replace(
        server_config,
        access=AccessConfig(api_keys=KEYS),
        limits=LimitsConfig(rate_per_minute=3),
    )
    with TestClient(api.create_app(config, load=lambda _: predictor)) as client:
        yield client


def test_beyond_the_rate_it_is_429_for_that_key_alone(client: TestClient) -> None:
    mine, yours = ({"X-API-Key": key} for key in KEYS)
    assert [client.get("/audio_specs/", headers=mine).status_code for _ in range(3)] == [200] * 3
    refused = client.get("/audio_specs/", headers=mine)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 20
    assert refused.json()["detail"].startswith("too many requests in a minute; needed: a wait of")
    assert client.get("/audio_specs/", headers=yours).status_code == 200
    openai = client.get("/v1/models", headers=mine)
    assert openai.status_code == 429
    assert openai.json()["error"]["code"] == "rate_limit_exceeded"
    assert {client.get("/health/live").status_code for _ in range(9)} == {200}, "probes are free"
    assert {client.get("/metrics", headers=mine).status_code for _ in range(9)} == {200}


def test_beyond_so_many_at_a_time_it_is_429_until_one_ends() -> None:
    async def main() -> None:
        go_on, sent = asyncio.Event(), []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await go_on.wait()
            await send({"type": "http.response.start", "status": 200})

        async def receive() -> Message:
            return {"type": "http.request"}

        async def send(message: Message) -> None:
            sent.append(message)

        limit = RateLimit(app, limits=LimitsConfig(max_per_client=2))
        scope = {"type": "http", "path": "/upload/", "client": ("192.0.2.1", 5), "headers": []}
        running = [asyncio.create_task(limit(dict(scope), receive, send)) for _ in range(2)]
        await asyncio.sleep(0)
        await limit(dict(scope), receive, send)
        assert sent[0]["status"] == 429
        assert (b"retry-after", b"1") in sent[0]["headers"]
        assert b"2 requests of yours run; needed: under that many" in sent[1]["body"]
        other = asyncio.create_task(limit({**scope, "client": ("192.0.2.2", 5)}, receive, send))
        go_on.set()
        await asyncio.gather(*running, other)
        await limit(dict(scope), receive, send)
        assert [m["status"] for m in sent if "status" in m] == [429, 200, 200, 200, 200]
        assert not limit._present, "who asks nothing costs nothing"

    asyncio.run(main())


def test_a_body_that_takes_too_long_is_408() -> None:
    async def main() -> None:
        chunks = iter([b"x" * 10, b"x" * 10])
        received = []

        async def receive() -> Message:
            body = next(chunks, None)
            if body is None:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": body, "more_body": True}

        async def reader(scope: Scope, receive: Receive, send: Send) -> None:
            while True:
                received.append(await receive())

        async def send(message: Message) -> None: ...

        held = BodiesHeld(max_bodies=1, max_bytes=1000)
        limit = BodyLimit(reader, max_bytes=1000, held=held, timeout_s=0.05)
        with pytest.raises(HTTPException) as got:
            await limit({"type": "http", "path": "/", "headers": []}, receive, send)
        assert got.value.status_code == 408
        assert got.value.detail == "got 20 bytes in 0.05 s; needed: the whole body"
        assert len(received) == 2

    asyncio.run(main())


def test_a_whole_body_may_be_worked_on_for_longer() -> None:
    """What waits after the body is whole waits for the client to go: that has no limit."""

    async def main() -> None:
        messages = iter([{"type": "http.request", "body": b"x"}])
        gone = asyncio.Event()

        async def receive() -> Message:
            message = next(messages, None)
            if message is None:
                await gone.wait()
            return message or {"type": "http.disconnect"}

        async def reader(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            asyncio.get_running_loop().call_later(0.2, gone.set)
            assert (await receive())["type"] == "http.disconnect"

        async def send(message: Message) -> None: ...

        held = BodiesHeld(max_bodies=1, max_bytes=1000)
        limit = BodyLimit(reader, max_bytes=1000, held=held, timeout_s=0.01)
        await limit({"type": "http", "path": "/", "headers": []}, receive, send)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("STT_RATE_PER_MINUTE", "0", "rate_per_minute 0.0 is not positive"),
        ("STT_RATE_PER_MINUTE", "nan", "rate_per_minute nan is not positive"),
        ("STT_MAX_PER_CLIENT", "0", "max_per_client 0 is under 1"),
        ("STT_BODY_TIMEOUT_S", "0", "body_timeout_s 0.0 is not positive"),
        ("STT_MAX_BODIES_BYTES", "0", "max_bodies_bytes 0 is under 1"),
        ("STT_GRACEFUL_S", "-1", "graceful_s -1 is negative"),
    ],
)
def test_settings_out_of_range_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        api.read_settings()


def test_settings_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RATE_PER_MINUTE": 60, "MAX_PER_CLIENT": 4, "GRACEFUL_S": 9}.items():
        monkeypatch.setenv(f"STT_{name}", str(value))
    expected = LimitsConfig(rate_per_minute=60, max_per_client=4, graceful_s=9)
    assert api.read_settings().limits == expected

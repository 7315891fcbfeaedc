"""Live clients that do not wait for `ready`: their audio is heard, and their going is seen."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import asyncio
import json

import pytest

from service.live_inbox import Inbox
from tests.live_server import Client, Served
from tests.live_sessions import predictor, said, served  # noqa: F401

SMALL_BYTES = 640  # less than is handed out by itself


def start(client: Client) -> None:
    """Ask for a session, and do not wait for it."""
    client.say("start", sample_rate_hz=22_050)


def test_audio_in_small_messages_is_heard(served: Served) -> None:
    with served.client() as client:
        start(client)
        client.send(said(), chunk_bytes=SMALL_BYTES)
        client.say("close")
        messages, code = client.hear_all()
    kinds = [message["type"] for message in messages]
    assert (kinds[0], kinds[-1], code) == ("ready", "closed", 1000)
    assert "final" in kinds


def test_a_little_audio_and_then_nothing_is_no_end(served: Served) -> None:
    with served.client() as client:
        start(client)
        client.connection.send(bytes(SMALL_BYTES))
        assert client.hear()["type"] == "ready"
        client.say("finalize")
        assert client.hear_until("finalized")


def test_a_client_that_goes_after_a_little_audio_leaves_its_place(served: Served) -> None:
    for _ in range(3):
        with served.client() as client:
            start(client)
            client.connection.send(bytes(SMALL_BYTES))
            client.vanish()
    served.wait_until(lambda: len(served.sessions) == 0)


def test_room_that_grows_wakes_who_waits_for_it() -> None:
    async def grow() -> bool:
        inbox = Inbox()
        inbox.put_audio(bytes(SMALL_BYTES))
        waiting = asyncio.create_task(inbox.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        inbox.set_sizes(max_bytes=2 * SMALL_BYTES, worthwhile_bytes=2 * SMALL_BYTES)
        return await asyncio.wait_for(waiting, 60)

    assert asyncio.run(grow())


@pytest.mark.parametrize("with_words", [True, False])
def test_the_messages_are_those_of_one_who_waits(served: Served, with_words: bool) -> None:
    """What is said early is not lost: the finals are the same."""
    finals = []
    for waits in (True, False):
        with served.client() as client:
            client.say("start", sample_rate_hz=22_050, words=with_words)
            if waits:
                assert client.hear()["type"] == "ready"
            client.send(said())
            client.say("close")
            messages, _ = client.hear_all()
            finals.append(json.dumps([m for m in messages if m["type"] == "final"]))
    assert finals[0] == finals[1]

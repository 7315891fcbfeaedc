"""`/v1/stream` on the wire: a real server, a real client, a real model."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile
import soxr
from fastapi import WebSocket
from starlette.types import Message
from websockets.exceptions import ConnectionClosed

import api
from captions.session import CaptionSession
from captions.sources import to_pcm
from config import LiveConfig, ModelError, ServerConfig
from predictor import Predictor, load_predictor
from service import server
from service.live import LiveSession
from service.live_inbox import Item
from service_config import LimitsConfig
from serving.local import LocalBackend
from tests.clips import babble
from tests.live_server import Client, Served, finals, serving

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "Data/samples/sample.wav"
RATE_HZ = 22_050


def quiet(duration_s: float) -> np.ndarray:
    draw = np.random.default_rng(3)
    return (0.0005 * draw.standard_normal(round(duration_s * RATE_HZ))).astype(np.float32)


def said(duration_s: float = 2.0, *, seed: int = 1, silence_s: float = 1.0) -> bytes:
    """Return PCM: some silence, what the model takes for speech, silence."""
    parts = [quiet(0.5), babble(duration_s, seed=seed), quiet(silence_s)]
    return to_pcm(np.concatenate(parts))


@pytest.fixture(scope="module")
def predictor(model_folder: Path) -> Predictor:
    return Predictor(LocalBackend(model_folder))


@pytest.fixture
def served(server_config: ServerConfig, predictor: Predictor) -> Iterator[Served]:
    with serving(server_config, lambda _: predictor) as served:
        yield served


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with served.client() as client:
        yield client


@pytest.fixture(scope="module")
def bundled_served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = ServerConfig(log_folder=tmp_path_factory.mktemp("logs"), compile_clips=False)
    with serving(config, load_predictor) as served:
        yield served


def test_captions_are_those_of_a_session(client: Client, predictor: Predictor) -> None:
    ready = client.start()
    assert ready == {
        "type": "ready",
        "session": ready["session"],
        "model": "tiny",
        "sample_rate_hz": RATE_HZ,
    }
    pcm = said()
    client.send(pcm)
    client.say("close")
    messages, code = client.hear_all()
    samples = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768
    session = CaptionSession(predictor)
    (wanted,) = [c for c in session.feed(samples) + session.finalize() if c.kind == "final"]
    (final,) = finals(messages)
    assert final == {"type": "final", **json.loads(json.dumps(asdict(wanted)))}
    assert final["words"]
    assert set(final["words"][0]) == {"text", "start_s", "end_s", "confidence"}
    assert messages[-1] == {"type": "closed", "duration_s": 3.5}
    assert code == 1000


def test_partials_grow_into_the_final_and_words_are_left_out_if_not_wanted(
    client: Client,
) -> None:
    client.start(words=False)
    pcm = said(5.0)
    for start in range(0, len(pcm), RATE_HZ // 2):
        client.send(pcm[start : start + RATE_HZ // 2])
        time.sleep(0.02)
    client.say("close")
    messages, _ = client.hear_all()
    kinds = [message["type"] for message in messages]
    assert kinds[0] == "partial"
    assert kinds[-2:] == ["final", "closed"]
    assert kinds.count("partial") >= 2
    for message in messages[:-1]:
        assert set(message) == {"type", "id", "text", "start_s", "end_s", "confidence"}
        assert message["id"] == 0


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_other_rates_are_resampled(bundled_served: Served, rate_hz: int) -> None:
    waveform, own_hz = soundfile.read(SAMPLE, dtype="float32")
    resampled = soxr.resample(np.concatenate([quiet(0.5), waveform]), own_hz, rate_hz)
    with bundled_served.client() as client:
        client.start(rate_hz, hotwords=["knew:80"], language="en")
        client.send(to_pcm(resampled), chunk_bytes=1001)
        client.say("close")
        messages, code = client.hear_all()
    text = " ".join(final["text"] for final in finals(messages))
    wanted = "the old house stood near the river and the people of the town knew it well"
    assert jiwer.wer(wanted, text) <= 0.15
    assert "knew it well" in text
    assert code == 1000
    assert messages[-1]["duration_s"] == pytest.approx(len(waveform) / own_hz + 0.5, abs=0.01)


def test_finalize_answers_with_the_final_and_the_session_goes_on(client: Client) -> None:
    client.start()
    client.send(said(silence_s=0.0))
    client.say("finalize")
    messages = client.hear_until("finalized")
    assert [m["type"] for m in messages[-2:]] == ["final", "finalized"]
    assert messages[-2]["text"]
    client.say("finalize")
    assert client.hear() == {"type": "finalized"}
    client.send(said(seed=2))
    (final,) = finals(client.hear_until("final"))
    assert final["id"] == messages[-2]["id"] + 1
    assert final["start_s"] >= 3.0 - 0.3
    client.say("close")
    assert client.hear_all()[0][-1]["type"] == "closed"


def test_silence_says_nothing(client: Client) -> None:
    client.start()
    client.send(bytes(4 * RATE_HZ))
    client.send(b"")
    client.say("close")
    assert client.hear_all() == ([{"type": "closed", "duration_s": 2.0}], 1000)


@pytest.mark.parametrize(
    ("message", "code", "close_code", "text"),
    [
        (b"\0\0", "start_needed", 1003, 'needed first: {"type": "start"'),
        ("", "invalid_json", 1007, "got no JSON"),
        ("start", "invalid_json", 1007, "got no JSON"),
        ("[" * 100_000, "invalid_json", 1007, "recursion limit"),
        ("7", "invalid_message", 1008, "an object"),
        ("{}", "invalid_message", 1008, "'type'"),
        ('{"type": "begin"}', "invalid_message", 1008, "'begin'"),
        ('{"type": "finalize"}', "start_needed", 1008, "got finalize; needed first"),
        ('{"type": "start"}', "invalid_message", 1008, "sample_rate_hz: Field required"),
        ('{"type": "start", "sample_rate_hz": 7999}', "invalid_message", 1008, "8000"),
        ('{"type": "start", "sample_rate_hz": 192001}', "invalid_message", 1008, "192000"),
        ('{"type": "start", "sample_rate_hz": "16000"}', "invalid_message", 1008, "integer"),
        (
            '{"type": "start", "sample_rate_hz": 16000, "hotwords": ["..."]}',
            "invalid_message",
            1008,
            "hot word",
        ),
        (
            '{"type": "start", "sample_rate_hz": 16000, "beam_width": 0}',
            "invalid_message",
            1008,
            "beam_width: got 0; needed: 1 to 128",
        ),
    ],
)
def test_a_first_message_that_is_no_start(
    bundled_served: Served, message: str | bytes, code: str, close_code: int, text: str
) -> None:
    with bundled_served.client() as client:
        client.connection.send(message)
        (error,), closed = client.hear_all()
    assert (error["type"], error["code"], closed) == ("error", code, close_code)
    assert text in error["message"]


@pytest.mark.parametrize(
    ("message", "code", "close_code"),
    [
        ("audio", "invalid_json", 1007),
        ('{"type": "pause"}', "invalid_message", 1008),
        ('{"type": "start", "sample_rate_hz": 16000}', "invalid_message", 1008),
    ],
)
def test_an_error_later_comes_after_the_finals(
    client: Client, message: str, code: str, close_code: int
) -> None:
    client.start()
    client.send(said())
    client.connection.send(message)
    messages, closed = client.hear_all()
    assert [m["type"] for m in messages[-2:]] == ["final", "error"]
    assert (messages[-1]["code"], closed) == (code, close_code)


def test_a_message_over_the_limit_closes_with_1009(
    server_config: ServerConfig, predictor: Predictor
) -> None:
    with serving(server_config, lambda _: predictor, max_message_bytes=2048) as served:
        with served.client() as client:
            client.start()
            client.connection.send(bytes(2049))
            assert client.hear_all()[1] == 1009
        with served.client() as client:
            client.start()
            client.connection.send(bytes(2048))
            client.say("close")
            assert client.hear_all()[1] == 1000


def test_a_client_that_says_nothing_is_told_to_go(
    server_config: ServerConfig, predictor: Predictor
) -> None:
    with serving(server_config, lambda _: predictor, idle_s=0.3) as served:
        with served.client() as client:
            (error,), code = client.hear_all()
            assert (error["code"], code) == ("idle_timeout", 1008)
        with served.client() as client:
            client.start()
            client.send(said(silence_s=0.0))
            messages, code = client.hear_all()
    assert [m["type"] for m in messages[-2:]] == ["final", "error"]
    assert messages[-1]["message"] == "got nothing for 0.3 s; needed: audio or keepalive"
    assert code == 1008


def test_keepalives_keep_a_session(server_config: ServerConfig, predictor: Predictor) -> None:
    with (
        serving(server_config, lambda _: predictor, idle_s=2.0) as served,
        served.client() as client,
    ):
        client.start()
        for _ in range(6):
            time.sleep(0.5)
            client.say("keepalive")
        client.say("close")
        assert client.hear_all() == ([{"type": "closed", "duration_s": 0.0}], 1000)


def test_a_session_has_an_end(server_config: ServerConfig, predictor: Predictor) -> None:
    with (
        serving(server_config, lambda _: predictor, max_session_s=0.5) as served,
        served.client() as client,
    ):
        client.start()
        (error,), code = client.hear_all()
    assert (error["code"], code) == ("session_too_long", 1008)
    assert error["message"] == "a session lasts 0.5 s at most"


def test_a_session_has_an_end_for_a_client_that_never_pauses() -> None:
    async def main() -> Item:
        messages = iter([{"type": "websocket.connect"}] + 100 * [{"text": '{"type": "keepalive"}'}])

        async def receive() -> Message:
            return {"type": "websocket.receive", **next(messages)}

        async def send(_: Message) -> None: ...

        socket = WebSocket({"type": "websocket", "headers": []}, receive, send)
        await socket.accept()
        session = LiveSession(socket, LiveConfig(max_session_s=0.01))
        session._has_started = True
        await asyncio.sleep(0.02)
        await session._read()
        return await session.inbox.get()

    assert asyncio.run(main()).error.code == "session_too_long"


def test_one_session_too_many(server_config: ServerConfig, predictor: Predictor) -> None:
    with serving(server_config, lambda _: predictor, max_sessions=1) as served:
        with served.client() as first, served.client() as second:
            first.start()
            (error,), code = second.hear_all()
            assert (error["code"], code) == ("too_many_sessions", 1013)
            assert error["message"] == "1 sessions run; needed: under that many"
        served.wait_until(lambda: len(served.sessions) == 0)
        with served.client() as third:
            assert third.start()["type"] == "ready"


class Gate(LocalBackend):
    """Computes nothing until it is told to go on; then fails if it is to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.started, self.go_on = threading.Event(), threading.Event()
        self.failure: Exception | None = None

    def log_probs(self, waveforms, given_up=None):
        self.started.set()
        assert self.go_on.wait(60)
        if self.failure:
            raise self.failure
        return super().log_probs(waveforms, given_up)


@pytest.fixture
def gate(model_folder: Path) -> Iterator[Gate]:
    gate = Gate(model_folder)
    yield gate
    gate.go_on.set()


def test_audio_that_the_model_is_behind_with_is_not_read(
    server_config: ServerConfig, gate: Gate
) -> None:
    limits = {"max_buffered_s": 1.0, "max_message_bytes": 16_384}
    with (
        serving(server_config, lambda _: Predictor(gate), **limits) as served,
        served.client() as client,
    ):
        client.start()
        client.send(said())
        assert gate.started.wait(60)
        pcm = bytes(2 * 60 * RATE_HZ)
        sending = threading.Thread(target=client.send, args=[pcm])
        sending.start()
        (session,) = served.sessions._running
        served.wait_until(lambda: session.inbox.waiting_bytes >= 2 * RATE_HZ)
        time.sleep(0.3)
        assert session.inbox.waiting_bytes <= 2 * RATE_HZ + 16_384
        gate.go_on.set()
        sending.join(60)
        client.say("close")
        messages, code = client.hear_all()
    assert messages[-1] == {"type": "closed", "duration_s": 63.5}
    assert code == 1000


def test_a_client_that_goes_leaves_nothing(
    server_config: ServerConfig, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(server_config, lambda _: Predictor(gate)) as served:
        with served.client() as client:
            client.start()
            client.send(said())
            assert gate.started.wait(60)
            (session,) = served.sessions._running
            client.vanish()
        assert session._given_up.wait(60)
        gate.go_on.set()
        served.wait_until(lambda: len(served.sessions) == 0)
        del session
        before = threading.active_count()
        for _ in range(10):
            with served.client() as client:
                client.start()
                client.send(said())
                client.vanish()
            served.wait_until(lambda: len(served.sessions) == 0)
        assert threading.active_count() <= before + 1
        assert served.sessions.threads.borrowed_tokens == 0
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_service_that_stops_says_the_finals_first(
    server_config: ServerConfig, gate: Gate
) -> None:
    with serving(server_config, lambda _: Predictor(gate)) as served, served.client() as client:
        client.start()
        client.send(said(silence_s=0.0))
        assert gate.started.wait(60)
        served.server.should_exit = True
        served.wait_until(lambda: served.sessions._stopping is not None)
        with pytest.raises(ConnectionRefusedError), served.client():
            pass
        gate.go_on.set()
        messages, code = client.hear_all()
    assert [m["type"] for m in messages[-2:]] == ["final", "error"]
    assert messages[-2]["text"]
    assert (messages[-1]["code"], code) == ("server_stopping", 1012)


def test_a_service_that_stops_does_not_wait_for_who_says_nothing(served: Served) -> None:
    with served.client() as client:
        served.wait_until(lambda: len(served.sessions) == 1)
        served.server.should_exit = True
        (error,), code = client.hear_all()
    assert (error["code"], code) == ("server_stopping", 1012)


def test_a_service_that_stops_waits_no_longer_for_finals_than_for_the_rest(
    server_config: ServerConfig, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_LONGEST_FINALS_S", 3600)
    config = replace(server_config, limits=LimitsConfig(graceful_s=1))
    with serving(config, lambda _: Predictor(gate)) as served, served.client() as client:
        client.start()
        client.send(said())
        assert gate.started.wait(60)
        served.server.should_exit = True
        served.wait_until(lambda: len(served.sessions) == 0)
        gate.go_on.set()


def test_a_second_interrupt_stops_at_once(
    server_config: ServerConfig, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_LONGEST_FINALS_S", 3600)
    config = replace(server_config, limits=LimitsConfig(graceful_s=3600))
    with serving(config, lambda _: Predictor(gate)) as served, served.client() as client:
        client.start()
        client.send(said())
        assert gate.started.wait(60)
        served.server.should_exit = True
        served.wait_until(lambda: served.sessions._stopping is not None)
        served.server.force_exit = True
        served.wait_until(lambda: len(served.sessions) == 0)
        gate.go_on.set()
        served.app.state.predictor.backend.close()


def test_without_a_model_the_client_is_told_to_try_later(
    server_config: ServerConfig, tmp_path: Path
) -> None:
    def load(_: ServerConfig) -> Predictor:
        raise ModelError("it is not there yet")

    with serving(server_config, load) as served, served.client() as client:
        client.say("start", sample_rate_hz=16_000)
        (error,), code = client.hear_all()
    assert (error["code"], code) == ("model_unavailable", 1013)
    assert error["message"] == "the model is not loaded: it is not there yet"


def test_a_model_that_fails_is_the_service_s_fault(
    server_config: ServerConfig, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    gate.failure = RuntimeError("out of memory")
    gate.go_on.set()
    with serving(server_config, lambda _: Predictor(gate)) as served, served.client() as client:
        client.start()
        client.send(said())
        (error,), code = client.hear_all()
    assert (error["code"], code) == ("internal", 1011)
    assert "out of memory" not in error["message"]
    assert "out of memory" in caplog.text


def test_sessions_are_logged_without_what_was_said(
    served: Served, server_config: ServerConfig
) -> None:
    with served.client() as client:
        session = client.start()["session"]
        client.send(said())
        client.say("close")
        text = finals(client.hear_all()[0])[0]["text"]
    served.wait_until(lambda: len(served.sessions) == 0)
    log = (server_config.log_folder / "api.log").read_text(encoding="utf-8")
    assert f"{session} WS /v1/stream -> 1000, 3.5 s of audio in " in log
    assert text not in log


def test_sessions_at_a_time_share_batches_and_not_captions(
    served: Served, predictor: Predictor
) -> None:
    def speak(seed: int, found: dict[int, str]) -> None:
        with served.client() as client:
            client.start()
            client.send(said(seed=seed))
            client.say("close")
            found[seed] = " ".join(final["text"] for final in finals(client.hear_all()[0]))

    together: dict[int, str] = {}
    threads = [threading.Thread(target=speak, args=[seed, together]) for seed in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    alone: dict[int, str] = {}
    for seed in (1, 6):
        speak(seed, alone)
    assert len(together) == 6
    assert all(together.values())
    assert {seed: together[seed] for seed in alone} == alone


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([], None),
        (["graphql-ws"], None),
        (["stt-key.abc"], "stt-key.abc"),
        (["stt", "stt-key.abc"], "stt"),
        (["stt-key.abc", "stt"], "stt"),
    ],
)
def test_a_subprotocol_is_answered(served: Served, offered: list[str], chosen: str | None) -> None:
    """A browser that offers some wants one back; a key goes back only if there is no other."""
    with served.client(subprotocols=offered or None) as client:
        assert client.connection.subprotocol == chosen


def test_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STT_LIVE_MAX_SESSIONS", "3")
    monkeypatch.setenv("STT_LIVE_IDLE_S", "5")
    live = api.read_settings().live
    assert (live.max_sessions, live.idle_s) == (3, 5.0)
    monkeypatch.setenv("STT_LIVE_MAX_SESSIONS", "0")
    with pytest.raises(ValueError, match="live_max_sessions 0 is under 1"):
        api.read_settings()


@pytest.mark.parametrize(
    "values", [{"idle_s": 0}, {"max_session_s": float("inf")}, {"max_message_bytes": 1023}]
)
def test_limits_are_checked(values: dict) -> None:
    with pytest.raises(ValueError, match="live_"):
        LiveConfig(**values)


def test_a_connection_that_breaks_off_in_a_message_is_a_client_gone(served: Served) -> None:
    with served.client() as client:
        client.start()
        frame_of_which_half_comes = bytes([0x82, 0xFE, 0x10, 0x00]) + bytes(100)
        client.connection.socket.sendall(frame_of_which_half_comes)
        client.vanish()
        with pytest.raises(ConnectionClosed):
            client.hear()
    served.wait_until(lambda: len(served.sessions) == 0)

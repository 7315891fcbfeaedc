"""`/v1/stream` on the wire: a real server, a real client, a real model."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile
import soxr

from captions.session import CaptionSession
from captions.sources import to_pcm
from predictor import Predictor, load_predictor
from service_config import ServerConfig
from tests.live_server import Client, Served, finals, serving
from tests.live_sessions import RATE_HZ, client, predictor, quiet, said, served  # noqa: F401

SAMPLE = Path(__file__).parents[1] / "Data/samples/sample.wav"


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
    pcm, half_a_second, messages = said(5.0), RATE_HZ, []
    parts = pcm[: 3 * half_a_second], pcm[3 * half_a_second : 5 * half_a_second]
    for part in parts:
        client.send(part)
        messages += client.hear_until("partial")
    client.send(pcm[5 * half_a_second :])
    client.say("close")
    messages += client.hear_all()[0]
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
            "beam_width: got 0; needed: 1 to 256",
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


@pytest.mark.parametrize("text", [b"\xff", b'{"type": "start", "language": "\xe4"}', b"a\xc3"])
def test_text_that_is_not_utf_8_is_refused_in_words(
    served: Served, server_config: ServerConfig, caplog: pytest.LogCaptureFixture, text: bytes
) -> None:
    with served.client() as client:
        client.connection.send([text[:1], text[1:]], text=True)
        (error,), closed = client.hear_all()
    assert (error["code"], closed) == ("invalid_json", 1007)
    assert error["message"] == "got text that is not UTF-8"
    with served.client() as client:
        client.start()
        client.send(said())
        client.connection.send(text, text=True)
        messages, closed = client.hear_all()
    assert [m["type"] for m in messages[-2:]] == ["final", "error"]
    assert (messages[-1]["code"], closed) == ("invalid_json", 1007)
    log = server_config.log_folder / "api.log"
    served.wait_until(lambda: log.read_text(encoding="utf-8").count("/v1/stream -> 1007") == 2)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("language", ["de", "de-AT", "x_en", "engl"])
def test_another_language_is_refused(served: Served, language: str) -> None:
    with served.client() as client:
        client.say("start", sample_rate_hz=16_000, language=language)
        (error,), code = client.hear_all()
    needed = "needed: en or english, the only language here, or nothing"
    assert (error["code"], code) == ("invalid_message", 1008)
    assert error["message"] == f"language: got '{language}'; {needed}"


@pytest.mark.parametrize("language", [None, "", "en", "en-US", "en_US", "English"])
def test_english_is_heard(client: Client, language: str | None) -> None:
    assert client.start(language=language)["type"] == "ready"


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
    assert f"{session} heard 3.5 s of audio in " in log
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

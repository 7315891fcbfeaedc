"""`POST /transcribe_mobile`: base64 of any audio, and of none."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient

import api
from config import AudioConfig, AudioError
from predictor import Predictor
from service.mobile import decode_base64
from service_config import ServerConfig
from serving.local import LocalBackend
from speech.audio import encode_native
from tests.clips import babble


@pytest.fixture(scope="module")
def predictor(model_folder: Path) -> Predictor:
    return Predictor(LocalBackend(model_folder), max_duration_s=30.0)


@pytest.fixture
def client(server_config: ServerConfig, predictor: Predictor) -> Iterator[TestClient]:
    with TestClient(api.create_app(server_config, load=lambda _: predictor)) as client:
        yield client


def native(seconds: float = 0.5) -> bytes:
    return encode_native(babble(seconds), AudioConfig())


def ask(client: TestClient, audio: object, **other: object) -> httpx.Response:
    return client.post("/transcribe_mobile", json={"audio": audio, **other})


def test_it_answers_what_the_predictor_says(client: TestClient, predictor: Predictor) -> None:
    response = ask(client, base64.b64encode(native()).decode())
    expected = predictor.transcribe(native())
    answer = response.json()
    assert response.status_code == 200
    assert answer["transcription"] == expected.text
    assert expected.text, "an empty text would prove nothing"
    assert answer["confidence"] == pytest.approx(expected.confidence, abs=1e-3)
    assert answer["audio_duration"] == 0.5
    assert answer["inference_time"] > 0
    factor = answer["inference_time"] / 0.5
    assert answer["real_time_factor"] == pytest.approx(factor, rel=0.01, abs=2e-4)


@pytest.mark.parametrize(
    ("form", "subtype", "rate_hz", "channels"),
    [
        ("FLAC", "PCM_16", 44_100, 2),
        ("OGG", "VORBIS", 16_000, 1),
        ("OGG", "OPUS", 48_000, 1),
        ("MP3", "MPEG_LAYER_III", 44_100, 1),
        ("WAV", "FLOAT", 8000, 3),
    ],
)
def test_any_audio_will_do(
    client: TestClient, form: str, subtype: str, rate_hz: int, channels: int
) -> None:
    sound = np.stack([babble(1.0, rate_hz=rate_hz)] * channels, axis=1)
    file = io.BytesIO()
    soundfile.write(file, sound, rate_hz, format=form, subtype=subtype)
    response = ask(client, base64.b64encode(file.getvalue()).decode())
    assert response.status_code == 200, response.text
    assert response.json()["audio_duration"] == pytest.approx(1.0, abs=0.1)


def test_the_decoder_can_be_chosen(client: TestClient) -> None:
    audio = base64.b64encode(native()).decode()
    assert ask(client, audio, decoder="greedy").status_code == 200
    assert ask(client, audio, decoder="best").status_code == 422
    assert ask(client, audio, hotwords=["..."]).status_code == 422
    assert ask(client, audio, hotwords=["a" * 201]).status_code == 422
    assert ask(client, audio, hotwords=["old:2"] * 101).status_code == 422


def test_base64_is_taken_as_clients_write_it() -> None:
    content = bytes(range(256)) + b"x"
    plain, url_safe = base64.b64encode(content).decode(), base64.urlsafe_b64encode(content).decode()
    wrapped = "\r\n".join(plain[i : i + 76] for i in range(0, len(plain), 76))
    data_urls = [f"data:audio/wav;base64,{plain}", f"data:audio/webm;codecs=opus;base64,{plain}"]
    for text in (plain, url_safe, plain.rstrip("="), wrapped, f" {plain}\n", *data_urls):
        assert decode_base64(text) == content


@pytest.mark.parametrize("text", ["a", "ab*d", "data:audio/wav,abcd", "ключ", "ab=c", "\0\0\0\0"])
def test_what_is_no_base64_is_said_so(text: str) -> None:
    with pytest.raises(AudioError, match=r"audio is not base64: .*; needed: an audio file"):
        decode_base64(text)


@pytest.mark.parametrize(
    ("audio", "status", "detail"),
    [
        ("", 400, "got 0 bytes; needed: an audio file"),
        ("data:audio/wav;base64,", 400, "got 0 bytes; needed: an audio file"),
        ("no base64!", 400, "audio is not base64: "),
        (base64.b64encode(b"no audio").decode(), 415, "got content that is no known audio"),
        (
            base64.b64encode(native(31)).decode(),
            413,
            "got over 30 s of audio; needed: at most 30 s",
        ),
    ],
)
def test_what_is_no_audio_is_refused_in_words(
    client: TestClient, audio: str, status: int, detail: str
) -> None:
    response = ask(client, audio)
    assert response.status_code == status
    assert response.json()["detail"].startswith(detail)


def test_too_much_is_413_and_no_audio_at_all_422(client: TestClient) -> None:
    response = ask(client, "A" * 2_200_000)
    assert response.status_code == 413
    assert "needed: a file of at most 2000000 bytes" in response.json()["detail"]
    assert client.post("/transcribe_mobile", json={}).status_code == 422
    assert client.post("/transcribe_mobile", json={"audio": 5}).status_code == 422
    assert client.post("/transcribe_mobile", content=b"{").status_code == 422


def test_what_was_sent_is_not_sent_back(client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    nan = client.post("/transcribe_mobile", content=b'{"audio": NaN}', headers=headers)
    assert nan.status_code == 422
    wrong = {
        "type": "string_type",
        "loc": ["body", "audio"],
        "msg": "Input should be a valid string",
    }
    assert nan.json() == {"detail": [wrong]}
    assert len(client.post("/transcribe_mobile", json={"sound": "A" * 10_000}).content) < 200

"""The HTTP contract, over the real predictor and a real SavedModel."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import json
import logging
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient

import api
from config import AudioConfig, ModelError
from predictor import Predictor
from service import model
from service_config import ServerConfig
from serving.local import LocalBackend
from speech.audio import encode_native
from tests.upload_service import client, predictor, upload, wav  # noqa: F401

RATE_HZ = 22_050
NEEDED = "needed: 1 channel, 16-bit PCM, 22050 Hz WAV"


def test_root_says_what_earlier_clients_expect(client: TestClient) -> None:
    assert client.get("/").json() == {
        "status": "ok",
        "message": "WAV to Tensor Processor API is running",
        "audio_specs": {"sample_rate": 22050, "format": "16-bit PCM WAV", "channels": "mono"},
    }


def test_audio_specs_give_the_limits(client: TestClient) -> None:
    specs = client.get("/audio_specs/").json()
    assert specs["sample_rate"] == 22050
    assert specs["channels"] == "mono"
    assert specs["max_upload_bytes"] == 2_000_000
    assert specs["max_duration_s"] == 30.0


def test_upload_answers_what_the_predictor_says(client: TestClient, predictor: Predictor) -> None:
    response = upload(client, wav())
    expected = predictor.transcribe(wav())
    assert response.status_code == 200
    assert response.json() == {
        "transcryption": expected.text,
        "transcription": expected.text,
        "confidence": pytest.approx(expected.confidence, abs=1e-3),
        "duration_s": 0.5,
        "model": "tiny",
    }
    assert expected.text, "an empty text would prove nothing"
    assert len(response.headers["X-Request-ID"]) == 12


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"", "got 0 bytes; needed: a WAV file"),
        (b"hello", "not a WAV file: it does not start with RIFF and WAVE"),
        (wav(sample_rate_hz=16_000), f"got 1 channel, 16-bit PCM, 16000 Hz; {NEEDED}"),
        (
            wav()[:22] + struct.pack("<H", 2) + wav()[24:],
            f"got 2 channels, 16-bit PCM, 22050 Hz; {NEEDED}",
        ),
        (
            wav()[:34] + struct.pack("<H", 8) + wav()[36:],
            f"got 1 channel, 8-bit PCM, 22050 Hz; {NEEDED}",
        ),
        (wav()[:44], "got 0 samples; needed: at least 1 sample"),
        (wav(31.0), "got over 30 s of audio; needed: at most 30 s"),
    ],
    ids=["empty", "text", "rate", "stereo", "8-bit", "no samples", "too long"],
)
def test_what_is_not_native_is_refused_in_words(
    client: TestClient, content: bytes, detail: str
) -> None:
    response = upload(client, content)
    assert (response.status_code, response.json()) == (400, {"detail": detail})


def test_a_missing_field_is_422(client: TestClient) -> None:
    assert client.post("/upload/", files={"sound": ("a.wav", wav())}).status_code == 422
    assert client.post("/upload/").status_code == 422


def test_a_declared_size_over_the_limit_is_413(client: TestClient) -> None:
    response = upload(client, bytes(2_200_000))
    assert response.status_code == 413
    assert "needed: a file of at most 2000000 bytes" in response.json()["detail"]


def test_a_file_just_over_the_limit_is_413(client: TestClient) -> None:
    response = upload(client, bytes(2_000_001))
    assert response.status_code == 413
    assert response.json()["detail"] == "got 2000001 bytes; needed: at most 2000000 bytes"


def test_an_undeclared_body_over_the_limit_is_413(client: TestClient) -> None:
    def body() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        for _ in range(30):
            yield bytes(100_000)
        yield b"\r\n--x--\r\n"

    response = client.post(
        "/upload/", content=body(), headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert response.status_code == 413
    assert "needed: a file of at most 2000000 bytes" in response.json()["detail"]


def test_silence_is_an_empty_text_and_200(bundled: Path, server_config: ServerConfig) -> None:
    predictor = Predictor(LocalBackend(bundled))
    silence = encode_native(np.zeros(2 * RATE_HZ, np.float32), AudioConfig())
    with TestClient(api.create_app(server_config, load=lambda _: predictor)) as client:
        response = upload(client, silence)
    assert response.status_code == 200
    assert response.json()["transcryption"] == ""


def test_without_a_model_it_runs_and_says_503(
    server_config: ServerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []

    def load(config: ServerConfig) -> Predictor:
        loads.append(config)
        return Predictor(LocalBackend(tmp_path / "nothing"))

    monkeypatch.setattr(model, "FAILURE_BELIEVED_S", 0)
    with TestClient(api.create_app(server_config, load=load)) as client:
        assert client.get("/").status_code == 200
        response = upload(client, wav())
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "5"
    assert "the model is not loaded: no usable model in" in response.json()["detail"]
    assert len(loads) == 2, "a request tries again"


def test_whatever_loading_raises_is_503(server_config: ServerConfig) -> None:
    def load(_: ServerConfig) -> Predictor:
        raise OSError("the disk is gone")

    with TestClient(api.create_app(server_config, load=load)) as client:
        response = upload(client, wav())
    assert response.status_code == 503
    assert response.json()["detail"] == "the model is not loaded: the disk is gone"


def test_a_model_that_appears_later_serves(
    server_config: ServerConfig, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "FAILURE_BELIEVED_S", 0)
    answers = iter([ModelError("not yet"), predictor])

    def load(_: ServerConfig) -> Predictor:
        answer = next(answers)
        if isinstance(answer, ModelError):
            raise answer
        return answer

    with TestClient(api.create_app(server_config, load=load)) as client:
        assert upload(client, wav()).status_code == 200


def test_requests_and_work_are_logged(client: TestClient, server_config: ServerConfig) -> None:
    request_id = upload(client, wav()).headers["X-Request-ID"]
    requests = (server_config.log_folder / "api.log").read_text(encoding="utf-8")
    work = (server_config.log_folder / "predictor.log").read_text(encoding="utf-8")
    assert f"{request_id} POST /upload/ -> 200 in " in requests
    assert "1 clips, 0.5 s of audio in " in work


def test_logs_are_closed_when_the_service_stops(
    server_config: ServerConfig, predictor: Predictor
) -> None:
    before = list(logging.getLogger("stt.api").handlers)
    with TestClient(api.create_app(server_config, load=lambda _: predictor)):
        assert len(logging.getLogger("stt.api").handlers) == len(before) + 1
    assert logging.getLogger("stt.api").handlers == before


def malformed_wavs(count: int) -> list[bytes]:
    """Return WAV files broken in many ways, the same in every run."""
    draw = np.random.default_rng(2)
    whole = wav(0.1)
    broken = []
    for i in range(count):
        content = bytearray(whole)
        kind = i % 6
        if kind == 0:
            content = content[: int(draw.integers(0, len(whole)))]
        elif kind == 1:
            for _ in range(int(draw.integers(1, 6))):
                content[int(draw.integers(0, 44))] = int(draw.integers(0, 256))
        elif kind == 2:
            size = int(draw.choice([0, 1, 3, 2**31 - 1, 2**31, 2**32 - 1, len(whole) * 2]))
            content[40:44] = struct.pack("<I", size)
        elif kind == 3:
            size = int(draw.choice([0, 1, 15, 17, 2**32 - 1]))
            content[16:20] = struct.pack("<I", size)
        elif kind == 4:
            name = bytes(draw.choice([b"LIST", b"bext", b"fmt ", b"data", b"\0\0\0\0"]))
            size = int(draw.choice([0, 1, 4, 2**16, 2**32 - 1]))
            extra = name.ljust(4, b"\0") + struct.pack("<I", size) + bytes(int(draw.integers(0, 9)))
            content = content[:12] + bytearray(extra) + content[12:]
        else:
            content = bytearray(
                draw.integers(0, 256, int(draw.integers(0, 200)), np.uint8).tobytes()
            )
            content[:0] = b"RIFF\xff\xff\xff\xffWAVE" if draw.random() < 0.5 else b""
        broken.append(bytes(content))
    return broken


def test_malformed_wavs_never_break_the_service(client: TestClient) -> None:
    seen: dict[int, int] = {}
    for content in malformed_wavs(360):
        response = upload(client, content)
        assert response.status_code in (200, 400), (content[:64], response.text)
        assert json.loads(response.text)
        seen[response.status_code] = seen.get(response.status_code, 0) + 1
    assert seen[400] > 150
    assert seen[200] > 20
    assert upload(client, wav()).status_code == 200


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STT_PORT", "8123")
    monkeypatch.setenv("STT_MAX_UPLOAD_BYTES", "1000")
    config = api.read_settings()
    assert (config.host, config.port, config.max_upload_bytes) == ("127.0.0.1", 8123, 1000)
    monkeypatch.setenv("STT_PORT", "70000")
    with pytest.raises(ValueError, match="port 70000 is not in 0 to 65535"):
        api.read_settings()


def test_a_port_that_is_taken_is_told_in_words(server_config: ServerConfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port} of .* another program holds; .* STT_PORT"):
            api.serve(replace(server_config, port=port))


@pytest.mark.parametrize(
    ("host", "address"), [("127.0.0.1", "http://127.0.0.1:8000"), ("::1", "http://[::1]:8000")]
)
def test_the_greeting_has_an_address_that_a_browser_opens(
    server_config: ServerConfig, predictor: Predictor, host: str, address: str
) -> None:
    config = replace(server_config, host=host, port=8000)
    with TestClient(api.create_app(config, load=lambda _: predictor)) as client:
        assert f"on {address} (in a browser: {address}/app/)" in api._greeting(client.app)


def test_connections_send_their_answers_at_once(
    server_config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nagle's algorithm would hold an answer's body until its headers are acknowledged."""
    seen = []

    def run(_: uvicorn.Server, sockets: list[socket.socket]) -> None:
        with socket.create_connection(sockets[0].getsockname()), sockets[0].accept()[0] as accepted:
            seen.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(uvicorn.Server, "run", run)
    api.serve(replace(server_config, port=0))
    assert seen == [1]

"""The HTTP contract, over the real predictor and a real SavedModel."""

import json
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

import api
from config import AudioConfig, ModelError, ServerConfig
from predictor import Predictor, load_predictor
from service import model
from service.limits import Turns
from service.upload_forms import MAX_BEAM_WIDTH
from serving.local import LocalBackend
from speech.alphabet import Alphabet
from speech.audio import encode_native
from tests.clips import babble
from tests.services import served

ROOT = Path(__file__).parents[1]
RATE_HZ = 22_050
NEEDED = "needed: 1 channel, 16-bit PCM, 22050 Hz WAV"


@pytest.fixture(scope="module")
def predictor(model_folder: Path) -> Predictor:
    return Predictor(LocalBackend(model_folder), max_duration_s=30.0)


@pytest.fixture
def client(server_config: ServerConfig, predictor: Predictor) -> Iterator[TestClient]:
    with TestClient(api.create_app(server_config, load=lambda _: predictor)) as client:
        yield client


def wav(seconds: float = 0.5, **config: int) -> bytes:
    audio = AudioConfig(**config)
    return encode_native(babble(seconds, rate_hz=audio.sample_rate_hz), audio)


def upload(client: TestClient, content: bytes, name: str = "clip.wav") -> httpx.Response:
    return client.post("/upload/", files={"file": (name, content, "audio/wav")})


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


def ask(client: TestClient, **query: object) -> httpx.Response:
    return client.post(
        "/upload/", params=query, files={"file": ("clip.wav", sample(), "audio/wav")}
    )


def sample() -> bytes:
    return (ROOT / "Data/samples/sample.wav").read_bytes()


@pytest.fixture(scope="module")
def bundled_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    config = ServerConfig(log_folder=tmp_path_factory.mktemp("logs"), compile_clips=False)
    with TestClient(api.create_app(config, load=load_predictor)) as client:
        yield client


def test_words_and_alternatives_are_there_if_asked_for(bundled_client: TestClient) -> None:
    plain = ask(bundled_client).json()
    assert set(plain) == {"transcryption", "transcription", "confidence", "duration_s", "model"}
    full = ask(bundled_client, words=True, n_best=3).json()
    assert [word["text"] for word in full["words"]] == full["transcription"].split()
    assert set(full["words"][0]) == {"text", "start_s", "end_s", "confidence"}
    scores = [alternative["score"] for alternative in full["alternatives"]]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert full["alternatives"][0]["text"] == full["transcription"]


def test_the_best_path_alone_is_an_alternative_if_more_were_asked_for(
    bundled_client: TestClient,
) -> None:
    answer = ask(bundled_client, decoder="greedy", n_best=3).json()
    (only,) = answer["alternatives"]
    assert only["text"] == answer["transcription"]
    assert -1000 < only["score"] < 0


def test_the_decoder_can_be_chosen(bundled_client: TestClient) -> None:
    beam, greedy = ask(bundled_client).json(), ask(bundled_client, decoder="greedy").json()
    assert beam == ask(bundled_client, decoder="beam", beam_width=32).json()
    assert "people of the town" in beam["transcription"]
    assert greedy["transcription"] not in ("", beam["transcription"])


def test_hotwords_lift_what_was_nearly_heard(bundled_client: TestClient) -> None:
    lifted = ask(bundled_client, hotwords=["knew:80", "zanzibar"]).json()["transcription"]
    assert "town knew it well" in lifted
    assert "zanzibar" not in lifted


@pytest.mark.parametrize(
    ("form", "kind", "start"),
    [
        ("text", "text/plain", "the old house stood"),
        ("srt", "application/x-subrip", "1\n00:00:00,"),
        ("vtt", "text/vtt", "WEBVTT"),
    ],
)
def test_other_forms(bundled_client: TestClient, form: str, kind: str, start: str) -> None:
    response = ask(bundled_client, format=form)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith(kind)
    assert response.text.startswith(start)
    assert "old house" in response.text


def test_a_parameter_of_somebody_elses_is_ignored(bundled_client: TestClient) -> None:
    assert ask(bundled_client, utm="1").status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        {"format": "doc"},
        {"n_best": 0},
        {"n_best": 21},
        {"decoder": "best"},
        {"beam_width": MAX_BEAM_WIDTH + 1},
        {"beam_width": 0},
        {"beam_width": "wide"},
        {"hotwords": "..."},
        {"hotwords": "steels:many"},
        {"hotwords": ["a"] * 101},
    ],
)
def test_queries_out_of_bounds_are_422(bundled_client: TestClient, query: dict) -> None:
    response = ask(bundled_client, **query)
    assert response.status_code == 422
    assert response.json()["detail"]


def test_a_beam_that_is_too_wide_is_told_whose_limit_it_is(bundled_client: TestClient) -> None:
    assert ask(bundled_client, beam_width=MAX_BEAM_WIDTH).status_code == 200
    (wrong,) = ask(bundled_client, beam_width=MAX_BEAM_WIDTH + 1).json()["detail"]
    assert wrong["loc"] == ["query", "beam_width"]
    assert wrong["msg"] == (
        "got 129; needed: 1 to 128, the limit of this service (stt transcribe --beam-width, "
        "which searches on your own machine, goes up to 1024)"
    )


def test_hotwords_where_the_alphabet_has_no_space_are_422(
    server_config: ServerConfig, predictor: Predictor
) -> None:
    class Unspaced:
        """A model whose alphabet has another symbol in the place of the space."""

        version = "1"
        symbols = tuple(s.replace(" ", "-") for s in predictor.pipeline.alphabet.symbols)
        pipeline = replace(predictor.pipeline, alphabet=Alphabet(symbols))
        log_probs = predictor.backend.log_probs

        def check_ready(self) -> None: ...

        def close(self) -> None: ...

    unspaced = Predictor(Unspaced())
    with TestClient(api.create_app(server_config, load=lambda _: unspaced)) as client:
        assert ask(client).status_code == 200
        response = ask(client, hotwords="knew")
    assert response.status_code == 422
    assert response.json()["detail"].startswith(
        "hot word 'knew', and the model's alphabet has no space; needed: "
    )


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


class Waiting(Predictor):
    """Holds its answer back until it is told to go on."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__(predictor.backend)
        self.started, self.go_on = threading.Event(), threading.Event()

    def transcribe(self, wav_bytes: bytes, options=None, *, given_up=None):
        self.started.set()
        assert self.go_on.wait(60)
        return super().transcribe(wav_bytes, options, given_up=given_up)


def wait_until(client: TestClient, holds: Callable[[Turns], bool]) -> None:
    """Wait for something of how many uploads there are."""
    while not client.portal.call(lambda: holds(client.app.state.turns)):
        time.sleep(0.01)


def test_inference_does_not_block_the_event_loop(
    server_config: ServerConfig, predictor: Predictor
) -> None:
    waiting = Waiting(predictor)
    with TestClient(api.create_app(server_config, load=lambda _: waiting)) as client:
        answers = []
        thread = threading.Thread(target=lambda: answers.append(upload(client, wav())))
        thread.start()
        assert waiting.started.wait(60)
        others = [threading.Thread(target=upload, args=(client, wav())) for _ in range(50)]
        for other in others:
            other.start()
        wait_until(client, lambda turns: turns.present == 51)
        assert client.get("/").status_code == 200
        assert not answers
        waiting.go_on.set()
        for started in (thread, *others):
            started.join(60)
    assert answers[0].status_code == 200


def test_readiness_is_told_however_many_uploads_wait(
    server_config: ServerConfig, predictor: Predictor
) -> None:
    waiting = Waiting(predictor)
    with TestClient(api.create_app(server_config, load=lambda _: waiting)) as client:
        uploads = [threading.Thread(target=upload, args=(client, wav())) for _ in range(50)]
        for started in uploads:
            started.start()
        wait_until(client, lambda turns: turns.present == 50)
        assert client.get("/ready/").json() == {"status": "ready", "model": "tiny"}
        waiting.go_on.set()
        for started in uploads:
            started.join(60)


class Gate(LocalBackend):
    """Notes how many clips each batch has, and holds it until it is told to go on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.batches: list[int] = []
        self.started, self.go_on = threading.Event(), threading.Event()

    def log_probs(self, waveforms, given_up=None):
        self.batches.append(len(waveforms))
        self.started.set()
        assert self.go_on.wait(60)
        return super().log_probs(waveforms, given_up)


@pytest.fixture
def gate(model_folder: Path) -> Iterator[Gate]:
    gate = Gate(model_folder)
    yield gate
    gate.go_on.set()


def waiting_clips(app: FastAPI, count: int) -> list:
    """Return the clips that wait once there are `count`; only while the model computes another."""
    batcher = app.state.predictor.backend
    with batcher._changed:
        assert batcher._changed.wait_for(lambda: len(batcher._waiting) == count, 60)
        return [*batcher._waiting]


def test_uploads_that_come_together_are_one_batch(
    server_config: ServerConfig, gate: Gate, predictor: Predictor
) -> None:
    app = api.create_app(server_config, load=lambda _: Predictor(gate))
    wavs = [encode_native(babble(0.5 + 0.05 * i, seed=i), AudioConfig()) for i in range(6)]
    with TestClient(app) as client, ThreadPoolExecutor(6) as pool:
        first = pool.submit(upload, client, wavs[0])
        assert gate.started.wait(60)
        others = [pool.submit(upload, client, wav) for wav in wavs[1:]]
        waiting_clips(app, 5)
        gate.go_on.set()
        answers = [answer.result().json()["transcription"] for answer in (first, *others)]
    assert answers == [predictor.transcribe(wav).text for wav in wavs]
    assert gate.batches == [1, 5]


def test_one_upload_more_than_may_wait_is_503(server_config: ServerConfig, gate: Gate) -> None:
    config = replace(server_config, max_running=1, max_waiting=1)
    app = api.create_app(config, load=lambda _: Predictor(gate))
    with TestClient(app) as client, ThreadPoolExecutor(2) as pool:
        allowed = [pool.submit(upload, client, wav()) for _ in range(2)]
        wait_until(client, lambda turns: turns.present == 2)
        refused = upload(client, wav())
        gate.go_on.set()
        assert [answer.result().status_code for answer in allowed] == [200, 200]
        assert upload(client, wav()).status_code == 200
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "1"
    assert refused.json() == {"detail": "2 requests wait or are worked on; needed: under that many"}


def send(port: int) -> httpx.Response:
    files = {"file": ("clip.wav", wav(), "audio/wav")}
    return httpx.post(f"http://127.0.0.1:{port}/upload/", files=files, timeout=60, trust_env=False)


def test_an_upload_whose_client_goes_while_it_waits_is_not_computed(
    server_config: ServerConfig, gate: Gate
) -> None:
    app = api.create_app(server_config, load=lambda _: Predictor(gate))
    with served(app) as (_, port), ThreadPoolExecutor(1) as pool:
        answer = pool.submit(send, port)
        assert gate.started.wait(60)
        request = httpx.Request("POST", "http://127.0.0.1/upload/", files={"file": wav()})
        lines = [f"{name}: {value}" for name, value in request.headers.items()]
        head = "\r\n".join(["POST /upload/ HTTP/1.1", *lines, "", ""]).encode()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head + request.read())
            (waiting,) = waiting_clips(app, 1)
        assert waiting.given_up.wait(60)
        gate.go_on.set()
        assert answer.result().status_code == 200
        assert send(port).status_code == 200
    assert gate.batches == [1, 1]
    log = (server_config.log_folder / "api.log").read_text(encoding="utf-8")
    assert [line.split("-> ")[1][:3] for line in log.splitlines()].count("499") == 1


def test_a_service_that_stops_answers_what_it_has(server_config: ServerConfig, gate: Gate) -> None:
    app = api.create_app(server_config, load=lambda _: Predictor(gate))
    with ThreadPoolExecutor(3) as pool:
        with served(app) as (server, port):
            answers = [pool.submit(send, port) for _ in range(3)]
            assert gate.started.wait(60)
            waiting_clips(app, 2)
            server.should_exit = True
            gate.go_on.set()
        assert [answer.result(60).status_code for answer in answers] == [200] * 3
    assert not app.state.predictor.backend._thread.is_alive()


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

"""What probes are told: while the model loads, when it answers, and when it does not."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

import api
from captions.sources import to_pcm
from config import ModelError, ModelUnavailableError
from predictor import Predictor, load_predictor
from service import model
from service.health import Readiness, builtin_clip
from service_config import AccessConfig, ServerConfig
from serving.local import LocalBackend
from serving_config import RemoteConfig
from speech.audio import encode_native
from tests.clips import babble


class Counting(LocalBackend):
    """Counts its calls, and fails while it is told to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.num_calls, self.error = 0, None

    def log_probs(self, waveforms, given_up=None):
        self.num_calls += 1
        if self.error:
            raise self.error
        return super().log_probs(waveforms, given_up)


@pytest.fixture
def backend(model_folder: Path) -> Counting:
    return Counting(model_folder)


def wait_until_loaded(client: TestClient) -> None:
    with client.app.state.loading:
        assert client.app.state.predictor is not None


def test_the_process_is_alive_and_the_model_ready(
    server_config: ServerConfig, backend: Counting
) -> None:
    with TestClient(api.create_app(server_config, load=lambda _: Predictor(backend))) as client:
        assert client.get("/health/live").json() == {"status": "alive"}
        wait_until_loaded(client)
        response = client.get("/health/ready")
    assert response.status_code == 200
    assert response.json() == {"status": "ready", "model": "tiny", "version": "1"}
    assert backend.num_calls == 1, "a clip was transcribed"


def test_while_the_model_loads_it_listens_and_says_so(
    server_config: ServerConfig, backend: Counting
) -> None:
    go_on = threading.Event()

    def load(_: ServerConfig) -> Predictor:
        assert go_on.wait(60)
        return Predictor(backend)

    answers: list[httpx.Response] = []
    clip = encode_native(babble(0.5), backend.pipeline.audio)
    with TestClient(api.create_app(server_config, load=load)) as client:
        assert client.get("/health/live").status_code == 200
        loading = client.get("/health/ready")
        upload = threading.Thread(
            target=lambda: answers.append(client.post("/upload/", files={"file": clip}))
        )
        upload.start()
        go_on.set()
        upload.join(60)
        assert client.get("/health/ready").status_code == 200
    assert loading.status_code == 503
    assert loading.headers["Retry-After"] == "5"
    assert loading.json() == {"detail": "the model is still loading"}
    assert answers[0].status_code == 200, "who comes meanwhile waits"


def test_a_model_that_could_not_be_loaded_is_tried_again_by_probes(
    server_config: ServerConfig, backend: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "FAILURE_BELIEVED_S", 0)
    answers = iter([ModelError("no such file"), Predictor(backend)])

    def load(_: ServerConfig) -> Predictor:
        answer = next(answers)
        if isinstance(answer, ModelError):
            raise answer
        return answer

    with TestClient(api.create_app(server_config, load=load)) as client:
        with client.app.state.loading:
            assert client.app.state.predictor is None
        failed = client.get("/health/ready")
        wait_until_loaded(client)
        assert client.get("/health/ready").status_code == 200
    assert failed.status_code == 503
    assert failed.json() == {"detail": "the model is not loaded: no such file"}


def test_a_failure_to_load_is_believed_for_a_while(
    server_config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "FAILURE_BELIEVED_S", 3600)
    loads = []

    def load(config: ServerConfig) -> Predictor:
        loads.append(config)
        raise ModelError("no such file")

    with TestClient(api.create_app(server_config, load=load)) as client:
        for path in ("/health/ready", "/ready/", "/v1/models", "/v1/models", "/health/ready"):
            response = client.get(path)
            assert response.status_code == 503, path
        assert "the model is not loaded: no such file" in response.text
        with client.app.state.loading:
            assert len(loads) == 1
        client.app.state.load_again_at = time.monotonic()
        assert client.get("/v1/models").status_code == 503
        assert len(loads) == 2


def test_where_keys_are_set_strangers_are_not_told_why(server_config: ServerConfig) -> None:
    key = "a-key-of-sixteen-or-more"
    config = replace(server_config, access=AccessConfig(api_keys=(key,)))

    def load(_: ServerConfig) -> Predictor:
        raise ModelError("no file /home/somebody/model")

    with TestClient(api.create_app(config, load=load)) as client:
        with client.app.state.loading:
            assert client.app.state.predictor is None
        for path in ("/health/ready", "/ready/"):
            response = client.get(path)
            assert response.status_code == 503
            assert response.headers["Retry-After"] == "5"
            assert response.json() == {"detail": "no model answers; the service's log says why"}
        answer = client.get("/v1/models", headers={"X-API-Key": key})
        assert "/home/somebody" in answer.text, "who has a key is told"
    log = (config.log_folder / "api.log").read_text(encoding="utf-8")
    assert "the model is not loaded: no file /home/somebody/model" in log


def test_a_probe_may_ask_for_the_head_alone(server_config: ServerConfig, backend: Counting) -> None:
    with TestClient(api.create_app(server_config, load=lambda _: Predictor(backend))) as client:
        wait_until_loaded(client)
        for path in ("/health/live", "/health/ready"):
            assert client.head(path).status_code == 200
        backend.error = ArithmeticError("the weights are gone")
        client.app.state.readiness._succeeded_at = None
        assert client.head("/health/ready").status_code == 503


def test_who_waits_for_the_model_keeps_nobody_from_the_page(
    server_config: ServerConfig, backend: Counting
) -> None:
    go_on = threading.Event()

    def load(_: ServerConfig) -> Predictor:
        assert go_on.wait(60)
        return Predictor(backend)

    with (
        TestClient(api.create_app(server_config, load=load)) as client,
        ThreadPoolExecutor(60) as pool,
    ):
        app = client.app
        waiting = [pool.submit(client.get, "/v1/models") for _ in range(60)]
        while client.portal.call(lambda: app.state.awaiting_load.statistics().tasks_waiting) < 59:
            time.sleep(0.01)
        assert client.get("/app/").status_code == 200
        go_on.set()
        assert [answer.result(60).status_code for answer in waiting] == [200] * 60


def test_a_remote_model_that_is_away_is_503_with_why(server_config: ServerConfig) -> None:
    config = replace(server_config, remote=RemoteConfig(address="127.0.0.1:1"))
    with TestClient(api.create_app(config, load=load_predictor)) as client:
        wait_until_loaded(client)
        response = client.get("/health/ready")
        assert client.get("/health/live").status_code == 200
    assert response.status_code == 503
    assert "UNAVAILABLE" in response.json()["detail"]


def test_any_error_of_the_model_is_503(server_config: ServerConfig, backend: Counting) -> None:
    backend.error = ArithmeticError("the weights are gone")
    with TestClient(api.create_app(server_config, load=lambda _: Predictor(backend))) as client:
        wait_until_loaded(client)
        response = client.get("/health/ready")
        assert response.json() == {"detail": "the model does not answer: the weights are gone"}
        assert response.status_code == 503
        backend.error = None
        assert client.get("/health/ready").status_code == 200, "failures are not kept"


def test_a_success_is_believed_for_a_while(backend: Counting) -> None:
    now_s, predictor = 100.0, Predictor(backend)
    readiness = Readiness(fresh_s=5, clock=lambda: now_s)
    readiness.saw_success()
    for now_s, num_calls in ((100.0, 1), (104.9, 1), (105.0, 2), (109.9, 2)):
        readiness.check(predictor)
        assert backend.num_calls == num_calls, now_s
    readiness.saw_success()
    now_s = 114.0
    readiness.check(predictor)
    assert backend.num_calls == 2, "a client's clip was as good as a probe's"
    now_s, backend.error = 120.0, ModelError("gone")
    with pytest.raises(ModelUnavailableError, match="the model does not answer: gone"):
        readiness.check(predictor)


def test_probes_that_come_together_are_one_transcription(backend: Counting) -> None:
    predictor, readiness = Predictor(backend), Readiness()
    probes = [threading.Thread(target=readiness.check, args=[predictor]) for _ in range(8)]
    for probe in probes:
        probe.start()
    for probe in probes:
        probe.join(60)
    assert backend.num_calls == 1


def test_uploads_keep_a_service_ready(server_config: ServerConfig, backend: Counting) -> None:
    clip = encode_native(babble(0.5), backend.pipeline.audio)
    with TestClient(api.create_app(server_config, load=lambda _: Predictor(backend))) as client:
        wait_until_loaded(client)
        assert client.get("/health/ready").status_code == 200
        at = at_of(client)
        assert client.post("/upload/", files={"file": clip}).status_code == 200
        assert client.app.state.readiness._succeeded_at > at


def at_of(client: TestClient) -> float:
    """Return when the service last knew itself ready, once that is past."""
    at = client.app.state.readiness._succeeded_at
    while time.monotonic() == at:
        time.sleep(0.001)
    return at


def test_live_captions_keep_a_service_ready_and_silence_does_not(
    server_config: ServerConfig, backend: Counting
) -> None:
    silence = encode_native(np.zeros(22_050, np.float32), backend.pipeline.audio)
    with TestClient(api.create_app(server_config, load=lambda _: Predictor(backend))) as client:
        wait_until_loaded(client)
        assert client.get("/health/ready").status_code == 200
        at, calls = at_of(client), backend.num_calls
        assert client.post("/upload/", files={"file": silence}).json()["transcription"] == ""
        assert backend.num_calls == calls, "silence is not computed"
        assert client.app.state.readiness._succeeded_at == at, "so it says nothing of the model"
        with client.websocket_connect("/v1/stream") as socket:
            socket.send_json({"type": "start", "sample_rate_hz": 22_050})
            socket.send_bytes(to_pcm(babble(1.0)))
            socket.send_json({"type": "close"})
            while socket.receive_json()["type"] != "closed":
                pass
        assert client.app.state.readiness._succeeded_at > at


def test_a_long_recording_keeps_a_service_ready_before_its_end(
    server_config: ServerConfig, backend: Counting
) -> None:
    with TestClient(api.create_app(server_config, load=lambda _: Predictor(backend))) as client:
        wait_until_loaded(client)
        assert client.get("/health/ready").status_code == 200
        at, seen = at_of(client), []
        blocks = [babble(1.0, seed=i) for i in range(30)]
        client.app.state.predictor.transcribe_blocks(
            blocks, heard=lambda _: seen.append(client.app.state.readiness._succeeded_at)
        )
    assert len(seen) > 1
    assert seen[0] > at


@pytest.mark.parametrize("rate_hz", [8000, 22_050])
def test_the_built_in_clip_is_half_a_second_within_the_scale(rate_hz: int) -> None:
    clip = builtin_clip(rate_hz)
    assert (clip.dtype, clip.shape) == (np.float32, (rate_hz // 2,))
    assert 0.05 < np.abs(clip).max() < 1

"""The remote backend: right answers, every failure in words, and recovery by itself."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
import trustme
from fastapi.testclient import TestClient

import api
from config import AudioError, ModelError, ModelUnavailableError
from predictor import load_predictor
from service_config import ServerConfig
from serving.local import LocalBackend
from serving.remote import RemoteBackend
from serving.stand_in.interfaces import build_grpc_server
from serving.stubs import predict_pb2
from serving.tensors import fill_proto
from serving_config import ModelServerConfig, RemoteConfig
from speech.pipeline import read_pipeline, write_pipeline
from tests.example_clients import free_ports
from tests.model_servers import ROOT, Running, free_port, running, server_process


@pytest.fixture(scope="module")
def server(model_folder: Path) -> Iterator[Running]:
    config = ModelServerConfig(
        model_name="tiny",
        model_base_path=model_folder / "saved_model",
        file_system_poll_wait_seconds=0,
    )
    with running(config) as server:
        yield server


@contextmanager
def remote(folder: Path, address: str, **settings: object) -> Iterator[RemoteBackend]:
    backend = RemoteBackend(folder, RemoteConfig(address=address, **settings))
    yield backend
    backend.close()


def clip(seconds: float = 1.0) -> np.ndarray:
    count = int(seconds * 22_050)
    return np.random.default_rng(5).uniform(-0.5, 0.5, count).astype(np.float32)


def test_clips_in_one_request_are_as_in_this_process(server: Running, model_folder: Path) -> None:
    clips = [clip(1.0), clip(0.1), clip(2.5)]
    expected = LocalBackend(model_folder).log_probs(clips)
    with remote(model_folder, server.address) as backend:
        backend.check_ready()
        for got, wanted in zip(backend.log_probs(clips), expected, strict=True):
            np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_a_minute_of_audio_passes(server: Running, model_folder: Path) -> None:
    """5.3 MB: over the 4 MB that gRPC allows where nothing is said."""
    with remote(model_folder, server.address) as backend:
        (log_probs,) = backend.log_probs([clip(60.0)])
    assert len(log_probs) > 25 * 59


def test_audio_larger_than_a_message_is_an_audio_error(server: Running, model_folder: Path) -> None:
    with (
        remote(model_folder, server.address, max_message_bytes=1024**2) as backend,
        pytest.raises(AudioError, match=r"got clips of \d+ bytes .* at most 1048576 bytes"),
    ):
        backend.log_probs([clip(15.0)])


def test_audio_that_the_server_finds_too_large_is_an_audio_error(
    server: Running, model_folder: Path
) -> None:
    options = [("grpc.max_receive_message_length", 100_000)]
    small = build_grpc_server(server.manager, max_threads=1, options=options)
    port = small.add_insecure_port("127.0.0.1:0")
    small.start()
    with (
        remote(model_folder, f"127.0.0.1:{port}") as backend,
        pytest.raises(AudioError, match=r"too long for the server: .*larger than max"),
    ):
        backend.log_probs([clip(3.0)])
    small.stop(None).wait()


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        (
            {"model": "nobody"},
            ModelUnavailableError,
            r"model nobody at \S+: Servable not found for request: Latest\(nobody\) \(NOT_FOUND\)",
        ),
        ({"version": 9}, ModelUnavailableError, r"Specific\(tiny, 9\) \(NOT_FOUND\)"),
        ({"label": "stable"}, ModelError, "Unrecognized servable version label: stable"),
    ],
)
def test_refusals_carry_the_servers_message(server, model_folder, settings, kind, message) -> None:
    with remote(model_folder, server.address, **settings) as backend:
        with pytest.raises(kind, match=message) as caught:
            backend.log_probs([clip()])
        assert type(caught.value) is kind
        with pytest.raises(kind):
            backend.check_ready()


def test_a_version_can_be_asked_for(server: Running, model_folder: Path) -> None:
    with remote(model_folder, server.address, version=1) as backend:
        backend.check_ready()
        assert len(backend.log_probs([clip()])) == 1


def test_a_model_of_another_alphabet_is_refused(
    server: Running, model_folder: Path, tmp_path: Path
) -> None:
    pipeline = read_pipeline(model_folder)
    alphabet = type(pipeline.alphabet)(pipeline.alphabet.symbols[:-1])
    write_pipeline(tmp_path, type(pipeline)(**{**vars(pipeline), "alphabet": alphabet}))
    with (
        remote(tmp_path, server.address) as backend,
        pytest.raises(ModelError, match=r"gives log_probs float32 \[1, \d+, 29\] and .*; needed"),
    ):
        backend.log_probs([clip()])


def test_nobody_there_is_unavailable_after_a_few_tries(model_folder: Path) -> None:
    with remote(model_folder, f"127.0.0.1:{free_port()}") as backend:
        with pytest.raises(ModelUnavailableError, match=r"Connection refused \(UNAVAILABLE\)"):
            backend.log_probs([clip()])
        with pytest.raises(ModelUnavailableError, match="UNAVAILABLE"):
            backend.check_ready()


def test_a_proxy_for_web_pages_is_not_asked(server, model_folder, monkeypatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with remote(model_folder, server.address) as backend:
        backend.check_ready()


@pytest.mark.parametrize(
    ("log_probs", "num_frames"),
    [
        (np.zeros((1, 4, 29), np.int32), np.array([4], np.int32)),
        (np.array([[[b"x"] * 29]], object), np.array([1], np.int32)),
        (np.zeros((4, 29), np.float32), np.array([4], np.int32)),
        (np.zeros((1, 4, 29), np.float32), np.array([4, 4], np.int32)),
        (np.zeros((1, 4, 29), np.float32), np.array(4, np.int32)),
        (np.zeros((1, 4, 29), np.float32), np.array([4.0], np.float32)),
        (np.zeros((1, 4, 29), np.float32), np.array([-1], np.int32)),
        (np.zeros((1, 4, 29), np.float32), np.array([5], np.int32)),
    ],
)
def test_odd_answers_are_model_errors(server, model_folder, log_probs, num_frames) -> None:
    odd = Odd(log_probs, num_frames)
    with (
        flaky_server(server, odd) as address,
        remote(model_folder, address) as backend,
        pytest.raises(ModelError, match=r"needed by pipeline\.json"),
    ):
        backend.log_probs([clip()])


class Odd(grpc.ServerInterceptor):
    """Answers every call with the same tensors."""

    def __init__(self, log_probs: np.ndarray, num_frames: np.ndarray) -> None:
        self.response = predict_pb2.PredictResponse()
        fill_proto(self.response.outputs["log_probs"], log_probs)
        fill_proto(self.response.outputs["num_frames"], num_frames)

    def intercept_service(self, continuation: Callable, details: object) -> object:
        handler = continuation(details)
        answer = self.response.SerializeToString()
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: answer, handler.request_deserializer
        )


class Flaky(grpc.ServerInterceptor):
    """Answers the first `count` calls with `code`."""

    def __init__(self, code: grpc.StatusCode, count: int, *, delay_s: float = 0.0) -> None:
        self.code, self.left, self.calls, self.delay_s = code, count, 0, delay_s

    def intercept_service(self, continuation: Callable, details: object) -> object:
        handler = continuation(details)
        self.calls += 1
        self.left -= 1
        if self.left < 0:
            return handler

        def refuse(request: object, context: grpc.ServicerContext) -> None:
            time.sleep(self.delay_s)
            context.abort(self.code, "not now")

        return grpc.unary_unary_rpc_method_handler(refuse, handler.request_deserializer)


@contextmanager
def flaky_server(server: Running, flaky: grpc.ServerInterceptor) -> Iterator[str]:
    """Serve the models of `server` behind an interceptor; yield the address."""
    built = build_grpc_server(server.manager, max_threads=2, interceptors=[flaky])
    port = built.add_insecure_port("127.0.0.1:0")
    built.start()
    yield f"127.0.0.1:{port}"
    built.stop(None).wait()


@pytest.mark.parametrize("seconds", [1.0, 60.0])
def test_unavailable_is_tried_again(server: Running, model_folder: Path, seconds: float) -> None:
    """Large requests too: gRPC keeps only 256 KiB of a call for another try, if not told."""
    flaky = Flaky(grpc.StatusCode.UNAVAILABLE, 2)
    with flaky_server(server, flaky) as address, remote(model_folder, address) as backend:
        assert len(backend.log_probs([clip(seconds)])) == 1
    assert flaky.calls == 3


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INTERNAL, ModelError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ModelUnavailableError),
        (grpc.StatusCode.UNAUTHENTICATED, ModelError),
    ],
)
def test_nothing_else_is_tried_again(server, model_folder, code, kind) -> None:
    flaky = Flaky(code, 1)
    with flaky_server(server, flaky) as address, remote(model_folder, address) as backend:
        with pytest.raises(kind, match=f"not now \\({code.name}\\)") as caught:
            backend.log_probs([clip()])
        assert type(caught.value) is kind
    assert flaky.calls == 1


def test_the_deadline_holds(server: Running, model_folder: Path) -> None:
    flaky = Flaky(grpc.StatusCode.UNAVAILABLE, 1, delay_s=5.0)
    with (
        flaky_server(server, flaky) as address,
        remote(model_folder, address, deadline_s=0.3) as backend,
        pytest.raises(ModelUnavailableError, match="DEADLINE_EXCEEDED"),
    ):
        backend.log_probs([clip()])


class NeedsToken(grpc.ServerInterceptor):
    """Refuses calls without the right bearer token."""

    def intercept_service(self, continuation: Callable, details: object) -> object:
        handler = continuation(details)
        if ("authorization", "Bearer secret") in details.invocation_metadata:
            return handler

        def refuse(request: object, context: grpc.ServicerContext) -> None:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you")

        return grpc.unary_unary_rpc_method_handler(refuse, handler.request_deserializer)


@pytest.fixture(scope="module")
def tls_server(server: Running, tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """Yield the address of a server with TLS and a token, and its authority's file."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    file = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    built = build_grpc_server(server.manager, max_threads=2, interceptors=[NeedsToken()])
    chain = certificate.cert_chain_pems[0].bytes()
    credentials = grpc.ssl_server_credentials([(certificate.private_key_pem.bytes(), chain)])
    port = built.add_secure_port("127.0.0.1:0", credentials)
    built.start()
    yield f"127.0.0.1:{port}", file
    built.stop(None).wait()


def test_tls_and_a_token(tls_server: tuple[str, Path], model_folder: Path) -> None:
    address, ca_file = tls_server
    settings = {"tls": True, "ca_file": ca_file}
    with remote(model_folder, address, **settings, token="secret") as backend:
        assert len(backend.log_probs([clip()])) == 1
        backend.check_ready()
    with (
        remote(model_folder, address, **settings, token="wrong") as backend,
        pytest.raises(ModelError, match="who are you \\(UNAUTHENTICATED\\)"),
    ):
        backend.log_probs([clip()])
    with (
        remote(model_folder, address, tls=True) as backend,
        pytest.raises(ModelUnavailableError, match="UNAVAILABLE"),
    ):
        backend.check_ready()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"address": " "}, "address ' '; needed: host:port"),
        ({"address": "127.0.0.1"}, "needed: host:port"),
        ({"address": "127.0.0.1:99999"}, "needed: host:port"),
        ({"address": "http://127.0.0.1:8500"}, "needed: host:port"),
        ({"version": 2**63}, "version 9223372036854775808 is not in 0"),
        ({"version": 1, "label": "stable"}, "got version 1 and label stable"),
        ({"token": "secret"}, "token without tls"),
        ({"ca_file": Path("x")}, "ca_file without tls"),
        ({"deadline_s": 0.0}, "deadline_s 0.0 is not positive"),
        ({"max_message_bytes": 1000}, "max_message_bytes 1000 is under 1 MiB"),
    ],
)
def test_settings_are_checked(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RemoteConfig(**{"address": "127.0.0.1:8500", **settings})


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(RemoteConfig(address="x:1", tls=True, token="secret"))


def test_a_ca_file_that_is_not_there_is_a_model_error(model_folder: Path) -> None:
    config = RemoteConfig(address="x:1", tls=True, ca_file=Path("nowhere.pem"))
    with pytest.raises(ModelError, match=r"cannot read the certificates nowhere.pem"):
        RemoteBackend(model_folder, config)


def upload(client: TestClient) -> object:
    content = (ROOT / "Data/samples/sample.wav").read_bytes()
    return client.post("/upload/", files={"file": ("sample.wav", content, "audio/wav")})


def test_the_api_outlives_its_server(bundled: Path, tmp_path: Path) -> None:
    """No server, a server, a killed server, a new one: 503, 200, 503, 200."""
    port, rest_port = free_ports(2)
    config = ServerConfig(
        model=bundled,
        log_folder=tmp_path / "logs",
        remote=RemoteConfig(address=f"127.0.0.1:{port}"),
    )

    def check_away() -> None:
        for response in (upload(client), client.get("/ready/")):
            assert response.status_code == 503
            assert response.headers["Retry-After"] == "5"
            assert "english-small at 127.0.0.1" in response.json()["detail"]
        assert client.get("/").status_code == 200

    with TestClient(api.create_app(config, load=load_predictor)) as client:
        check_away()
        for _ in range(2):
            with server_process(port, rest_port) as process:
                for _ in range(100):  # the channel waits at most two seconds to connect anew
                    if client.get("/ready/").status_code == 200:
                        break
                    time.sleep(0.1)
                response = upload(client)
                assert response.status_code == 200, response.json()
                assert response.json()["transcription"].startswith("the old house stood")
                process.kill()
                process.wait(60)
            check_away()


def test_the_remote_way_loads_no_tensorflow() -> None:
    """In a process of its own: what `STT_TF_SERVING=… make run` imports before it serves."""
    code = """
import sys
import api
from service_config import ServerConfig
from serving_config import RemoteConfig
predictor = api.load_predictor(ServerConfig(remote=RemoteConfig(address="127.0.0.1:1")))
assert predictor.pipeline.name == "english-small"
loaded = [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "keras")]
assert not [name for name in loaded if "python" in name or name.startswith("keras")], loaded
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)

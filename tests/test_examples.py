"""The clients of `examples/`, and one that nobody here wrote, against running servers."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import soundfile
import tensorflow as tf
from google.protobuf import descriptor_pb2
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

import api
from predictor import Predictor, load_predictor
from service_config import ServerConfig
from serving.local import LocalBackend
from speech.decoding.greedy import greedy_decode
from tests.example_clients import (
    BIN,
    ROOT,
    Client,
    Server,
    copy_node_client,
    free_ports,
    run,
    running_server,
)
from tests.proto_fields import fields_of, installed_fields
from tests.real_clients import skip_without
from tests.services import served

SAMPLE = "Data/samples/sample.wav"
PIPELINE = "Models/english-small/pipeline.json"
README = (ROOT / "examples/README.md").read_text(encoding="utf-8")
SHOWN = dict(re.findall(r"```sh\n([^\n]*)\n```\n\n```text\n(.*?)```", README, re.DOTALL))
LIVE = {line: SHOWN.pop(line) for line in [*SHOWN] if "live_captions" in line}
START = ".venv/bin/stt model-server"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The stand-in, started as examples/README.md does."""
    assert f"```sh\n{START}\n```" in README
    command = START.replace(".venv/bin", str(BIN)).split()
    with running_server(command, tmp_path_factory.mktemp("server") / "log") as running:
        yield running


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("node") / "node"
    copy_node_client(folder)
    return folder


def make_client(name: str, address: str, request: pytest.FixtureRequest) -> Client:
    if name == "node":
        folder = request.getfixturevalue("node_folder")
        return Client(["node", str(folder / "client.mjs")], address)
    return Client([sys.executable, "-W", "error", f"examples/{name}_client.py"], address)


@pytest.fixture(params=["grpc", "rest", "node"])
def client(request: pytest.FixtureRequest, server: Server) -> Client:
    address = server.rest if request.param == "rest" else server.grpc
    return make_client(request.param, address, request)


@pytest.fixture(scope="module")
def predictor(bundled: Path) -> Predictor:
    return Predictor(LocalBackend(bundled))


@pytest.fixture
def other_rate(tmp_path: Path) -> str:
    """A WAV file of 16 kHz."""
    soundfile.write(tmp_path / "clip.wav", np.zeros(16_000), 16_000, subtype="PCM_16")
    return str(tmp_path / "clip.wav")


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """As many seconds as a message of 4 MB, gRPC's own limit, does not hold."""
    samples, rate_hz = soundfile.read(ROOT / SAMPLE, dtype="int16")
    path = tmp_path_factory.mktemp("long") / "long.wav"
    soundfile.write(path, np.resize(samples, 50 * rate_hz), rate_hz)
    return str(path)


def test_the_file_s_text_and_confidence(client: Client, predictor: Predictor) -> None:
    wanted = predictor.transcribe((ROOT / SAMPLE).read_bytes())
    done = client(SAMPLE)
    lines = [f"text:       {wanted.text}", f"confidence: {wanted.confidence:.2f}"]
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, lines, "")


def test_log_probs_decoded_by_the_client(client: Client, predictor: Predictor) -> None:
    waveform, _ = soundfile.read(ROOT / SAMPLE, dtype="float32")
    (log_probs,) = predictor.backend.log_probs([waveform])
    done = client(SAMPLE, "--log-probs", PIPELINE)
    frames, symbols = log_probs.shape
    text = greedy_decode(log_probs, predictor.pipeline.alphabet)
    lines = [f"log_probs:  {frames} frames x {symbols} symbols", f"text:       {text}"]
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, lines, "")


@pytest.mark.parametrize("name", ["grpc", "node"])
def test_a_request_over_grpc_s_own_limit(
    name: str, request: pytest.FixtureRequest, server: Server, long_clip: str
) -> None:
    done = make_client(name, server.grpc, request)(long_clip, "--log-probs", PIPELINE)
    assert re.match(r"log_probs:  12\d\d frames x 29 symbols\ntext:       the o", done.stdout)


def test_another_rate_is_refused_by_the_server(client: Client, other_rate: str) -> None:
    line = client.error(other_rate)
    assert "clip.wav: got 1 channel, 16-bit PCM, 16000 Hz; needed: " in line
    assert "22050 Hz" in line


def test_another_rate_is_refused_before_samples_are_sent(client: Client, other_rate: str) -> None:
    line = client.error(other_rate, "--log-probs", PIPELINE)
    assert line.endswith("got 1 channels, 16 bits, 16000 Hz; needed: 1 channel, 16 bits, 22050 Hz")


def test_files_that_are_not_what_they_must_be(client: Client, tmp_path: Path) -> None:
    cut = tmp_path / "cut.wav"
    cut.write_bytes((ROOT / SAMPLE).read_bytes()[:30])
    assert "cannot read no.wav: " in client.error("no.wav")
    assert "cannot read no.wav: " in client.error("no.wav", "--log-probs", PIPELINE)
    assert "cannot read no.json: " in client.error(SAMPLE, "--log-probs", "no.json")
    assert "README.md: not a WAV file" in client.error("README.md")
    for path in ("README.md", str(cut)):
        assert f"{path} is not a WAV file" in client.error(path, "--log-probs", PIPELINE)
    assert "is not a model's pipeline.json" in client.error(SAMPLE, "--log-probs", "README.md")


def test_an_alphabet_of_another_model(client: Client, tmp_path: Path) -> None:
    pipeline = json.loads((ROOT / PIPELINE).read_text(encoding="utf-8"))
    path = tmp_path / "pipeline.json"
    path.write_text(json.dumps({**pipeline, "alphabet": pipeline["alphabet"][:-1]}))
    line = client.error(SAMPLE, "--log-probs", str(path))
    assert line == f"error: english-small gives 29 symbols; {path} has 28"


def test_models_versions_and_labels_that_are_not_there(client: Client) -> None:
    where = f" at {client.address}: "
    line = client.error(SAMPLE, "--model", "nothing")
    assert f"error: model nothing{where}Servable not found for request: Latest(nothing) (" in line
    assert "Specific(english-small, 7) (" in client.error(SAMPLE, "--version", "7")
    assert "label: stable (" in client.error(SAMPLE, "--label", "stable")
    assert client(SAMPLE, "--version", "1").returncode == 0
    both = client(SAMPLE, "--version", "1", "--label", "stable")
    assert both.returncode == 2
    assert "usage: " in both.stderr


@pytest.mark.parametrize("name", ["grpc", "rest", "node"])
def test_a_server_that_is_away(name: str, request: pytest.FixtureRequest) -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    line = make_client(name, address, request).error(SAMPLE)
    assert line.startswith(f"error: model english-small at {address}: ")
    assert re.search("refused|No connection", line)


@pytest.mark.parametrize("name", ["grpc", "rest", "node"])
def test_the_port_of_the_other_protocol(
    name: str, request: pytest.FixtureRequest, server: Server
) -> None:
    address = server.grpc if name == "rest" else server.rest
    assert address in make_client(name, address, request).error(SAMPLE)


class PackedAnswers(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers in `tensor_content`, 4.6 MB with the frames beyond the clip's; keeps the request."""

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802 (the stubs' name)
        self.request = request
        path = np.full((1, 40_000), 28)
        path[0, :7] = [0, 3, 3, 0, 3, 1, 4]
        outputs = {
            "log_probs": tf.make_tensor_proto(np.log(np.eye(29, dtype="float32")[path] + 0.01)),
            "num_frames": tensor_pb2.TensorProto(dtype="DT_INT32", tensor_content=b"\7\0\0\0"),
        }
        outputs["num_frames"].tensor_shape.dim.add(size=1)
        assert outputs["log_probs"].tensor_content
        return predict_pb2.PredictResponse(outputs=outputs)


@pytest.mark.parametrize("name", ["grpc", "node"])
def test_what_is_asked_and_large_answers_as_packed_bytes(
    name: str, request: pytest.FixtureRequest
) -> None:
    answers, other = PackedAnswers(), grpc.server(ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(answers, other)
    port = other.add_insecure_port("127.0.0.1:0")
    other.start()
    try:
        ask = make_client(name, f"127.0.0.1:{port}", request)
        done = ask(SAMPLE, "--model", "mine", "--label", "stable", "--log-probs", PIPELINE)
    finally:
        other.stop(0).wait()
    spec = answers.request.model_spec
    assert (spec.name, spec.version_label, spec.signature_name) == (
        "mine",
        "stable",
        "serving_default",
    )
    waveform, _ = soundfile.read(ROOT / SAMPLE, dtype="float32")
    np.testing.assert_array_equal(
        tf.make_ndarray(answers.request.inputs["waveform"]), waveform[None]
    )
    assert tf.make_ndarray(answers.request.inputs["num_samples"]).tolist() == [len(waveform)]
    assert done.stdout == "log_probs:  7 frames x 29 symbols\ntext:       aa b\n"


def test_the_node_client_s_messages_are_the_installed_ones(node_folder: Path) -> None:
    """Name, number, type, label and oneof of each field, and the enum's values."""
    script = """
        import protoLoader from "@grpc/proto-loader";
        const options = {includeDirs: ["protos"], keepCase: true};
        const loaded = protoLoader.loadSync("tensorflow_serving.proto", options);
        const files = loaded["tensorflow.serving.PredictRequest"].fileDescriptorProtos;
        console.log(JSON.stringify(files.map((file) => Buffer.from(file).toString("base64"))));
    """
    (node_folder / "descriptors.mjs").write_text(script)
    done = subprocess.run(
        ["node", "descriptors.mjs"], cwd=node_folder, capture_output=True, text=True, check=True
    )
    ours: dict[str, Any] = {}
    for content in json.loads(done.stdout):
        file = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(content))
        if file.package != "google.protobuf":
            ours |= fields_of(file)
    framework = [
        f"tensorflow/core/framework/{name}.proto" for name in ("tensor", "tensor_shape", "types")
    ]
    serving = [f"tensorflow_serving/apis/{name}.proto" for name in ("model", "predict")]
    theirs = installed_fields([*framework, *serving])
    assert len(ours) > 20
    assert ours == {name: theirs.get(name) for name in ours}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the HTTP service."""
    config = ServerConfig(log_folder=tmp_path_factory.mktemp("logs"), compile_clips=False)
    with served(api.create_app(config, load=load_predictor)) as (_, port):
        yield f"127.0.0.1:{port}"


def in_the_test(line: str, server: Server, request: pytest.FixtureRequest) -> str:
    """Return a line of the README for these servers, this Python and the copied Node client."""
    if line.startswith("node "):
        folder = request.getfixturevalue("node_folder")
        line = line.replace("examples/node", str(folder))
    if "curl" in line and not shutil.which("curl"):
        skip_without("curl")
    address = server.rest if "rest" in line else server.grpc
    if "openai_client" in line:
        address = request.getfixturevalue("service")
    line = line if "curl" in line else f"{line} --address {address}"
    return line.replace(".venv/bin", str(BIN)).replace("127.0.0.1:8501", server.rest)


def test_the_readme_shows_every_client() -> None:
    clients = ("grpc_client.py", "rest_client.py", "client.mjs", "openai_client.py")
    for name in ("curl", *clients, "openai_client.mjs"):
        assert any(name in line for line in SHOWN)


@pytest.mark.parametrize("line", SHOWN)
def test_a_line_of_the_readme_prints_what_it_shows(
    line: str, request: pytest.FixtureRequest, server: Server
) -> None:
    done = run(["bash", "-c", in_the_test(line, server, request)])
    assert (done.stdout, done.stderr, done.returncode) == (SHOWN[line], "", 0)


def test_the_curl_line_prints_reasons_and_takes_long_files(
    request: pytest.FixtureRequest, server: Server, other_rate: str, long_clip: str
) -> None:
    (line,) = (line for line in SHOWN if "curl" in line)
    line = in_the_test(line, server, request)
    refused = run(["bash", "-c", line.replace(SAMPLE, other_rate)]).stdout
    assert "16000 Hz; needed: " in refused
    assert "Servable not found" in run(["bash", "-c", line.replace("english-small", "no")]).stdout
    assert run(["bash", "-c", line.replace(SAMPLE, long_clip)]).stdout.startswith("the o")


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_of_the_readme_lead_somewhere(link: str) -> None:
    assert (ROOT / "examples" / link).exists()


@pytest.mark.parametrize("name", ["python", "node"])
def test_the_service_s_clients_print_words_and_reasons(
    name: str, service: str, request: pytest.FixtureRequest
) -> None:
    command = [sys.executable, "-W", "error", "examples/openai_client.py"]
    if name == "node":
        command = ["node", str(request.getfixturevalue("node_folder") / "openai_client.mjs")]
    client = Client(command, service)
    lines = client(SAMPLE).stdout.splitlines()
    assert re.fullmatch(r"  0\.\d\d  the", lines[0])
    assert [line.split()[1] for line in lines[:3]] == ["the", "old", "house"]
    assert "cannot read no.wav: " in client.error("no.wav")
    assert "got content that is no known audio; needed: WAV" in client.error("README.md")
    away = f"127.0.0.1:{free_ports(1)[0]}"
    assert Client(command, away).error(SAMPLE).startswith(f"error: {away}: ")


def test_node_packages_are_pinned() -> None:
    package = json.loads((ROOT / "examples/node/package.json").read_text(encoding="utf-8"))
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", pin) for pin in package["dependencies"].values())


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_a_published_client_gets_right_answers(
    kind: str, server: Server, predictor: Predictor, tmp_path: Path
) -> None:
    waveform, _ = soundfile.read(ROOT / SAMPLE, dtype="float32")
    np.save(tmp_path / "clip.npy", waveform)
    address = server.grpc if kind == "grpc" else server.rest
    paths = [str(tmp_path / name) for name in ("clip.npy", "answer.npz")]
    done = run([sys.executable, "tests/published_client.py", kind, address, *paths])
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    (wanted,) = predictor.backend.log_probs([waveform])
    with np.load(paths[1]) as outputs:
        np.testing.assert_allclose(outputs["log_probs"], wanted[None], atol=1e-4)
        assert outputs["num_frames"].tolist() == [len(wanted)]
    state = {"state": "AVAILABLE", "error_code": 0, "error_message": ""}
    assert answer["status"] == {"1": state}
    *not_found, invalid = answer["errors"]
    assert not_found == [
        "ModelNotFoundError: Could not find version 1 of model nothing",
        "ModelNotFoundError: Could not find version 7 of model english-small",
        "ModelNotFoundError: Servable not found for request: Specific(nothing, 1)",
        *["ModelNotFoundError: Servable not found for request: Specific(english-small, 7)"] * 2,
    ]
    assert re.match("InvalidInputError: .*num_samples", invalid)
    check_metadata(answer["metadata"], kind)


def check_metadata(metadata: Any, kind: str) -> None:
    """By gRPC the client reads the message; by REST it hands on the server's JSON."""
    if kind == "grpc":
        assert metadata == {
            "model_version": 1,
            "inputs": {
                "waveform": {"shape": [-1, -1], "dtype": "DT_FLOAT"},
                "num_samples": {"shape": [-1], "dtype": "DT_INT32"},
            },
            "outputs": {
                "log_probs": {"shape": [-1, -1, 29], "dtype": "DT_FLOAT"},
                "num_frames": {"shape": [-1], "dtype": "DT_INT32"},
            },
        }
        return
    assert metadata["model_spec"] == {"name": "english-small", "signature_name": "", "version": "1"}
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    shape = signatures["serving_default"]["outputs"]["log_probs"]["tensor_shape"]
    assert [dim["size"] for dim in shape["dim"]] == ["-1", "-1", "29"]
    assert set(signatures["transcribe"]["outputs"]) == {"text", "error", "confidence"}

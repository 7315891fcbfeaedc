"""One model, eight ways to it: the same log-probabilities and the same text for real speech."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from fastapi.testclient import TestClient

import api
from config import AudioConfig
from predictor import load_predictor
from service_config import ServerConfig
from serving.local import LocalBackend, newest_version
from serving.remote import RemoteBackend
from serving_config import ModelServerConfig, RemoteConfig
from speech.audio import decode_native
from speech.decoding.greedy import greedy_decode
from speech.pipeline import read_pipeline
from tests.model_servers import Running, running

CLIPS = 20
PATH = "/v1/models/english-small:predict"


@pytest.fixture(scope="module")
def wavs(ljspeech: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((ljspeech / "wavs").glob("*.wav"))[:CLIPS]]


@pytest.fixture(scope="module")
def waveforms(wavs: list[bytes]) -> list[np.ndarray]:
    return [decode_native(wav, AudioConfig()) for wav in wavs]


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(ModelServerConfig(file_system_poll_wait_seconds=0)) as server:
        yield server


@pytest.fixture(scope="module")
def expected(bundled: Path, waveforms: list[np.ndarray]) -> list[np.ndarray]:
    """Return what `tf.saved_model.load` gives: the first way, and the measure of the others."""
    signature = tf.saved_model.load(str(newest_version(bundled))).signatures["serving_default"]
    outputs = [
        signature(waveform=tf.constant([clip]), num_samples=tf.constant([len(clip)]))
        for clip in waveforms
    ]
    assert len(outputs) == CLIPS
    return [output["log_probs"][0].numpy() for output in outputs]


@pytest.fixture(scope="module")
def texts(bundled: Path, expected: list[np.ndarray]) -> list[str]:
    alphabet = read_pipeline(bundled).alphabet
    found = [greedy_decode(log_probs, alphabet) for log_probs in expected]
    assert len(set(found)) == CLIPS, "texts that are all alike would prove nothing"
    return found


def through_the_session(bundled: Path, waveforms: list[np.ndarray]) -> list[np.ndarray]:
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(newest_version(bundled)))
        signature = graph.signature_def["serving_default"]
        inputs, output = signature.inputs, signature.outputs["log_probs"].name
        return [
            session.run(
                output,
                {inputs["waveform"].name: [clip], inputs["num_samples"].name: [len(clip)]},
            )[0]
            for clip in waveforms
        ]


def through_the_local_backend(bundled: Path, waveforms: list[np.ndarray]) -> list[np.ndarray]:
    return LocalBackend(bundled).log_probs(waveforms)


def through_grpc(server: Running, bundled: Path, waveforms: list[np.ndarray]) -> list[np.ndarray]:
    backend = RemoteBackend(bundled, RemoteConfig(address=server.address))
    answers = backend.log_probs(waveforms)
    backend.close()
    return answers


def through_rows(server: Running, waveforms: list[np.ndarray]) -> list[np.ndarray]:
    answers = []
    for clip in waveforms:
        row = {"waveform": clip.tolist(), "num_samples": len(clip)}
        (answer,) = server.rest.post(PATH, json={"instances": [row]}).json()["predictions"]
        answers.append(np.array(answer["log_probs"])[: answer["num_frames"]])
    return answers


def through_columns(server: Running, waveforms: list[np.ndarray]) -> list[np.ndarray]:
    answers = []
    for clip in waveforms:
        columns = {"waveform": [clip.tolist()], "num_samples": [len(clip)]}
        outputs = server.rest.post(PATH, json={"inputs": columns}).json()["outputs"]
        answers.append(np.array(outputs["log_probs"][0])[: outputs["num_frames"][0]])
    return answers


@pytest.mark.parametrize("way", ["session", "local", "grpc", "rows", "columns"])
def test_log_probs_are_the_same(way, server, bundled, waveforms, expected, texts) -> None:
    answers = {
        "session": lambda: through_the_session(bundled, waveforms),
        "local": lambda: through_the_local_backend(bundled, waveforms),
        "grpc": lambda: through_grpc(server, bundled, waveforms),
        "rows": lambda: through_rows(server, waveforms),
        "columns": lambda: through_columns(server, waveforms),
    }[way]()
    alphabet = read_pipeline(bundled).alphabet
    for log_probs, wanted, text in zip(answers, expected, texts, strict=True):
        np.testing.assert_allclose(log_probs, wanted, atol=1e-4)
        assert greedy_decode(np.asarray(log_probs, np.float32), alphabet) == text


@pytest.fixture(scope="module")
def answers(server: Running, bundled: Path, wavs: list[bytes], tmp_path_factory) -> dict:
    """Return what the API says on either backend: the best path, and all that the beam gives."""
    found = {}
    for way, remote in (("local", None), ("remote", RemoteConfig(address=server.address))):
        logs = tmp_path_factory.mktemp(way)
        config = ServerConfig(model=bundled, log_folder=logs, remote=remote)
        with TestClient(api.create_app(config, load=load_predictor)) as client:
            for query in ("decoder=greedy", "words=true&n_best=3&hotwords=printing"):
                found[way, query] = [
                    client.post(f"/upload/?{query}", files={"file": ("a.wav", wav)}).json()
                    for wav in wavs
                ]
    return found


@pytest.mark.parametrize("way", ["local", "remote"])
def test_the_api_gives_the_same_text(way: str, answers: dict, texts: list[str]) -> None:
    assert [answer["transcription"] for answer in answers[way, "decoder=greedy"]] == texts


def test_words_times_and_alternatives_are_alike(answers: dict) -> None:
    query = "words=true&n_best=3&hotwords=printing"
    for local, remote in zip(answers["local", query], answers["remote", query], strict=True):
        assert local["transcription"] == remote["transcription"]
        assert len(local["words"]) == len(local["transcription"].split())
        for mine, theirs in zip(local["words"], remote["words"], strict=True):
            times = [(word["text"], word["start_s"], word["end_s"]) for word in (mine, theirs)]
            assert times[0] == times[1]
            assert mine["confidence"] == pytest.approx(theirs["confidence"], abs=1e-2)
        texts = [[a["text"] for a in answer["alternatives"]] for answer in (local, remote)]
        assert texts[0] == texts[1]
        assert len(set(texts[0])) == len(texts[0]) <= 3
        assert texts[0][0] == local["transcription"]
        scores = [[a["score"] for a in answer["alternatives"]] for answer in (local, remote)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-2)

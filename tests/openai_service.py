"""The bundled model behind a real socket, and OpenAI's own Python client for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from openai import OpenAI

import api
from predictor import Predictor, load_predictor
from service_config import ServerConfig
from tests.media_files import encode
from tests.services import served

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "Data/samples/sample.wav"
RATE_HZ = 22_050


def sample() -> np.ndarray:
    return soundfile.read(SAMPLE, dtype="float32")[0]


def client_of(port: int) -> OpenAI:
    return OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_predictor(ServerConfig(compile_clips=False))


@pytest.fixture(scope="module")
def client(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    config = ServerConfig(
        log_folder=tmp_path_factory.mktemp("logs"),
        max_file_bytes=8_000_000,
        max_recording_s=120.0,
        max_upload_bytes=2_000_000,
    )
    app = api.create_app(config, load=lambda _: predictor)
    with served(app) as (_, port), client_of(port) as client:
        yield client


@pytest.fixture(scope="module")
def long_wav() -> bytes:
    """A minute and a half: the sample again and again, with pauses between."""
    pauses = [0.4, 2.5, 0.8, 3.0]
    parts = [np.append(sample(), np.zeros(round(s * RATE_HZ), np.float32)) for s in pauses * 4]
    waveform = np.concatenate(parts)[: 90 * RATE_HZ]
    noise = np.random.default_rng(5).normal(0, 1e-4, len(waveform)).astype(np.float32)
    return encode("wav-16", waveform + noise, RATE_HZ)


def ask(client: OpenAI, content: bytes | None = None, **fields):
    file = ("clip.wav", SAMPLE.read_bytes() if content is None else content)
    return client.audio.transcriptions.create(file=file, **{"model": "whisper-1", **fields})

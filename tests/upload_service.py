"""What tests of `/upload/` share: the service over a real SavedModel, and what is sent to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

import api
from config import AudioConfig
from predictor import Predictor
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


def wav(seconds: float = 0.5, **config: int) -> bytes:
    audio = AudioConfig(**config)
    return encode_native(babble(seconds, rate_hz=audio.sample_rate_hz), audio)


def upload(client: TestClient, content: bytes, name: str = "clip.wav") -> httpx.Response:
    return client.post("/upload/", files={"file": (name, content, "audio/wav")})

"""A real service under hostile uploads: 4xx, and no growth of memory or threads."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from config import AudioConfig
from speech.audio import encode_native
from tests.clips import babble
from tests.hostile import AUDIO, FORMS, HTTP, JSONS, attacks, send
from tests.service_process import Service, running

ROUND = 130
CLIENTS = 8
MAX_GROWTH_BYTES = 24 * 1024 * 1024


@pytest.fixture(scope="module")
def service(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {
        "STT_MAX_UPLOAD_BYTES": "3000000",
        "STT_MAX_DURATION_S": "30",
        "STT_BODY_TIMEOUT_S": "1",
        "MALLOC_ARENA_MAX": "2",  # so that memory that is free is given back, or used again
    }
    with running(model_folder, tmp_path_factory.mktemp("logs"), **settings) as service:
        yield service


def attack(service: Service, *, seed: int) -> list[str]:
    """Send a round of attacks; return what the service should not have answered."""
    paths = set(service.get("/openapi.json").json()["paths"])
    round_ = list(attacks(ROUND, paths=paths, seed=seed))
    with ThreadPoolExecutor(CLIENTS) as pool:
        statuses = list(pool.map(lambda one: send(service.port, one), round_))
    return [
        f"{one.kind} to {one.path}: {status}"
        for one, status in zip(round_, statuses, strict=True)
        if not one.is_fine(status)
    ]


def test_every_kind_is_in_a_round() -> None:
    kinds = {one.kind for one in attacks(ROUND, paths={"/upload/", "/transcribe_mobile"})}
    assert kinds == {*AUDIO, *FORMS, *JSONS, *HTTP}


def test_hostile_uploads_are_4xx_and_cost_nothing_that_stays(service: Service) -> None:
    num_threads = service.num_threads()
    assert attack(service, seed=0) == []
    memory_bytes = service.memory_bytes()
    assert attack(service, seed=1) == []
    assert service.num_threads() <= num_threads + 2 * CLIENTS, "a client has two at most"
    assert service.memory_bytes() - memory_bytes < MAX_GROWTH_BYTES
    clip = encode_native(babble(0.5), AudioConfig())
    assert service.upload(clip).status_code == 200, "and it still serves"
    assert service.get("/health/ready").status_code == 200

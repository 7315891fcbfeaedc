"""A real service under hostile uploads: 4xx, and no growth of memory or threads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from config import AudioConfig
from speech.audio import encode_native
from tests.clips import babble
from tests.hostile import DOORS, FORMS, HTTP, JSONS, LIMITS, Attack, attacks, send
from tests.hostile_audio import AUDIO
from tests.service_process import Service, running

ROUND = 150
CLIENTS = 8
# The allocator keeps what large bodies left free: a round is up to 4 MB over the one before it,
# five rounds too. An attack that left 80 kB behind would be over this.
MAX_GROWTH_BYTES = 12 * 1024 * 1024
SETTLE_S = 20.0  # anyio ends threads that were idle for 10 s, when next one is needed


@pytest.fixture(scope="module")
def service(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {
        **LIMITS,
        "STT_MAX_UPLOAD_BYTES": "3000000",
        "STT_MAX_DURATION_S": "30",
    }
    with running(model_folder, tmp_path_factory.mktemp("logs"), **settings) as service:
        yield service


def attack(service: Service, *, seed: int) -> list[tuple[Attack, int | None]]:
    """Send a round of attacks; return them with the status that each was answered with."""
    paths = set(service.get("/openapi.json").json()["paths"])
    round_ = list(attacks(ROUND, paths=paths, seed=seed))
    with ThreadPoolExecutor(CLIENTS) as pool:
        statuses = list(pool.map(lambda one: send(service.port, one), round_))
    return list(zip(round_, statuses, strict=True))


def wrong(answers: list[tuple[Attack, int | None]]) -> list[str]:
    """Return what the service should not have answered."""
    return [f"{one.kind} to {one.path}: {got}" for one, got in answers if not one.is_fine(got)]


def growth_bytes(service: Service, *, seed: int) -> int:
    """Return what a round of attacks adds to the memory."""
    memory_bytes = service.memory_bytes()
    assert wrong(attack(service, seed=seed)) == []
    return service.memory_bytes() - memory_bytes


def idle_threads(service: Service) -> int:
    """Return how many threads are left when nothing runs: the least in a while."""
    clip, found = encode_native(babble(0.5), AudioConfig()), [service.num_threads()]
    until = time.monotonic() + SETTLE_S
    while time.monotonic() < until:
        time.sleep(1)
        assert service.upload(clip).status_code == 200
        found.append(service.num_threads())
    return min(found)


def test_every_kind_is_in_a_round_on_every_route() -> None:
    sent = {(one.path, one.kind) for one in attacks(ROUND, paths={*DOORS})}
    forms, phones = {*AUDIO, *HTTP, *FORMS}, {*AUDIO, *HTTP, *JSONS}
    wanted = {"/upload/": forms, "/v1/audio/transcriptions": forms, "/transcribe_mobile": phones}
    assert sent == {(path, kind) for path, kinds in wanted.items() for kind in kinds}


def test_every_route_reaches_the_audio(service: Service) -> None:
    """None is refused for something else: its key, its form, its model's name."""
    odd = {one.path: one for one in attacks(ROUND, paths={*DOORS}) if one.kind == "1 sample"}
    assert {path: send(service.port, one) for path, one in odd.items()} == dict.fromkeys(DOORS, 200)


def test_hostile_uploads_are_4xx_and_cost_nothing_that_stays(service: Service) -> None:
    num_threads = idle_threads(service)
    answers = attack(service, seed=0)
    assert wrong(answers) == []
    grown = [growth_bytes(service, seed=1)]
    if grown[0] >= MAX_GROWTH_BYTES:  # a leak does it again
        grown.append(growth_bytes(service, seed=2))
    assert min(grown) < MAX_GROWTH_BYTES, grown
    assert idle_threads(service) <= num_threads
    clip = encode_native(babble(0.5), AudioConfig())
    assert service.upload(clip).status_code == 200, "and it still serves"
    assert service.get("/health/ready").status_code == 200

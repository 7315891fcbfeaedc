"""64 clients for five minutes on a mix of routes: answers, latencies, memory and threads.

Run it with `make bench-load`, on a machine that does nothing else: the clients are on it too. It
fails if something else is answered than what was asked for, but for refusals for now (503 with
`Retry-After`, or one live session too many); on more than a few of those; or if memory or threads
grow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from websockets.exceptions import WebSocketException

from benchmarks.load_clips import Clip, make_clips
from benchmarks.load_report import Sample, draw, faults, summarise, table_of
from benchmarks.load_routes import ROUTES, Route
from benchmarks.machine import describe_machine
from service_config import ServerConfig
from speech.audio import write_atomically
from tests.service_process import Service, running

CLIENTS, SECONDS, SAMPLE_S, TIMEOUT_S = 64, 300.0, 1.0, 120.0
NO_ANSWER = "no answer"
SETTINGS = {"MALLOC_ARENA_MAX": "2", "STT_COMPILE_CLIPS": "true"}
RESULTS, PLOT = Path("benchmarks/results/load.json"), Path("docs/load.png")


class Load:
    """What clients in a closed loop were answered, by the name of the route."""

    def __init__(self, routes: Sequence[Route], clips: list[Clip], *, until: float) -> None:
        self._routes = [route for route in routes for _ in range(route.share)]
        self._clips, self._until = clips, until
        self.latencies_s: dict[str, list[float]] = {route.name: [] for route in routes}
        self.codes: dict[str, Counter[str]] = {route.name: Counter() for route in routes}
        self.refused, self.wrong = 0, list[str]()

    @property
    def num_answers(self) -> int:
        """Of all routes."""
        return sum(codes.total() for codes in self.codes.values())

    async def client(self, base_url: str, seed: int) -> None:
        """Ask, wait for the answer, and ask again; after a refusal as late as it says."""
        draw = np.random.default_rng(seed)
        async with httpx.AsyncClient(
            base_url=base_url, timeout=TIMEOUT_S, trust_env=False
        ) as client:
            while time.monotonic() < self._until:
                route = self._routes[int(draw.integers(len(self._routes)))]
                await self._ask(client, route, self._clips[int(draw.integers(len(self._clips)))])

    async def _ask(self, client: httpx.AsyncClient, route: Route, clip: Clip) -> None:
        started = time.perf_counter()
        try:
            answer = await route.ask(client, clip)
        except (httpx.HTTPError, WebSocketException, OSError) as error:
            self.codes[route.name][NO_ANSWER] += 1
            self.wrong.append(f"{route.name}: {error!r}")
            return
        elapsed_s = time.perf_counter() - started
        self.codes[route.name][answer.code] += 1
        if answer.retry_after_s is not None:
            self.refused += 1
            await asyncio.sleep(answer.retry_after_s)
        elif answer.fault:
            self.wrong.append(f"{route.name}: {answer.code} {answer.fault}")
        else:
            self.latencies_s[route.name].append(
                elapsed_s if answer.latency_s is None else answer.latency_s
            )


async def run(
    service: Service, *, num_clients: int, seconds: float
) -> tuple[Load, list[Sample], float]:
    """Return what was answered, memory and threads about once a second, and how long it took.

    The first sample is from before the first client asks, the last from after the last answer.
    """
    clips, started = make_clips(), time.monotonic()
    load = Load(ROUTES, clips, until=started + seconds)

    def sample() -> Sample:
        return Sample(
            time_s=round(time.monotonic() - started, 1),
            memory_bytes=service.memory_bytes(),
            threads=service.num_threads(),
            answers=load.num_answers,
        )

    samples = [sample()]
    clients = [asyncio.create_task(load.client(service.url, i)) for i in range(num_clients)]
    waiting: set[asyncio.Task[None]] = set(clients)
    while waiting:
        _, waiting = await asyncio.wait(waiting, timeout=SAMPLE_S)
        samples.append(sample())
    await asyncio.gather(*clients)
    return load, samples, time.monotonic() - started


def _command(clients: int, seconds: float) -> str:
    if (clients, seconds) == (CLIENTS, SECONDS):
        return "make bench-load"
    return f"python -m benchmarks.load --clients {clients} --seconds {seconds:g}"


def main() -> None:
    """Measure, print, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    given = parser.parse_args()
    console, machine = Console(), describe_machine()
    with (
        TemporaryDirectory() as logs,
        running(ServerConfig.model, Path(logs), **SETTINGS) as service,
    ):
        load, samples, took_s = asyncio.run(
            run(service, num_clients=given.clients, seconds=given.seconds)
        )
    content: dict[str, Any] = {
        "command": _command(given.clients, given.seconds),
        "machine": machine,
        "settings": SETTINGS,
        "clients": given.clients,
        **summarise(
            samples,
            latencies_s=load.latencies_s,
            codes=load.codes,
            refused=load.refused,
            wrong=load.wrong,
            took_s=took_s,
        ),
    }
    console.print(machine)
    console.print(table_of(content))
    for name in ("requests_per_s", "refused_share", "memory_growth"):
        console.print(f"{name}: {content[name]}")
    write_atomically(RESULTS, json.dumps(content, indent=2) + "\n")
    draw(samples, PLOT)
    console.print(f"wrote {RESULTS} and {PLOT}")
    if found := faults(content):
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()

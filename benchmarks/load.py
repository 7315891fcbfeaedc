"""64 clients for five minutes on a mix of routes: answers, latencies, memory and threads.

Run it with `make bench-load`. It fails on any 5xx but a 503 with `Retry-After`, on more than a few
of those, or if memory or threads grow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import matplotlib.pyplot as plt
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.load_routes import ROUTES, Route
from benchmarks.machine import describe_machine
from config import AudioConfig
from service_config import ServerConfig
from speech.audio import decode_native, encode_native, write_atomically
from tests.service_process import Service, running

CLIENTS, SECONDS, SAMPLE_S, TIMEOUT_S = 64, 300.0, 1.0, 120.0
CLIP_SECONDS = (1.0, 3.0, 5.0, 8.0)
MAX_REFUSED, MAX_GROWTH, MAX_NEW_THREADS = 0.05, 0.05, 4
SETTINGS = {"MALLOC_ARENA_MAX": "2", "STT_COMPILE_CLIPS": "true"}
SAMPLES = Path("Data/samples")
RESULTS, PLOT = Path("benchmarks/results/load.json"), Path("benchmarks/results/load.png")


class Load:
    """What clients in a closed loop were answered."""

    def __init__(self, routes: list[Route], clips: list[bytes], *, until: float) -> None:
        self._routes = [route for route in routes for _ in range(route.share)]
        self._clips, self._until = clips, until
        self.latencies_s: dict[str, list[float]] = {route.path: [] for route in routes}
        self.codes: dict[str, Counter[str]] = {route.path: Counter() for route in routes}
        self.wrong: list[str] = []

    async def client(self, base_url: str, seed: int) -> None:
        """Ask, wait for the answer, and ask again; after a 503 as long as it says."""
        draw = np.random.default_rng(seed)
        async with httpx.AsyncClient(
            base_url=base_url, timeout=TIMEOUT_S, trust_env=False
        ) as client:
            while time.monotonic() < self._until:
                route = self._routes[int(draw.integers(len(self._routes)))]
                await self._ask(client, route, self._clips[int(draw.integers(len(self._clips)))])

    async def _ask(self, client: httpx.AsyncClient, route: Route, clip: bytes) -> None:
        started = time.perf_counter()
        try:
            answer = await route.ask(client, clip)
        except httpx.HTTPError as error:
            self.wrong.append(f"{route.path}: {error!r}")
            return
        self.codes[route.path][str(answer.status_code)] += 1
        if answer.status_code == 503 and "Retry-After" in answer.headers:
            await asyncio.sleep(float(answer.headers["Retry-After"]))
        elif answer.status_code != 200:
            self.wrong.append(f"{route.path}: {answer.status_code} {answer.text[:200]}")
        else:
            self.latencies_s[route.path].append(time.perf_counter() - started)


async def run(service: Service, *, num_clients: int, seconds: float) -> tuple[Load, list[Any]]:
    """Return what was answered, and memory and threads about once a second."""
    paths = set(service.get("/openapi.json").json()["paths"])
    routes = [route for route in ROUTES if route.path in paths]
    started = time.monotonic()
    load, samples = Load(routes, make_clips(), until=started + seconds), []
    async with asyncio.TaskGroup() as group:
        clients = [group.create_task(load.client(service.url, i)) for i in range(num_clients)]
        while not all(client.done() for client in clients):
            samples.append(
                {
                    "time_s": round(time.monotonic() - started, 1),
                    "memory_bytes": service.memory_bytes(),
                    "threads": service.num_threads(),
                    "answered": sum(sum(codes.values()) for codes in load.codes.values()),
                }
            )
            await asyncio.sleep(SAMPLE_S)
    return load, samples


def make_clips() -> list[bytes]:
    """Return WAV files of the samples' speech, of several lengths."""
    audio = AudioConfig()
    clips = [decode_native(path.read_bytes(), audio) for path in sorted(SAMPLES.glob("*.wav"))]
    speech = np.concatenate(clips)
    counts = [int(seconds * audio.sample_rate_hz) for seconds in CLIP_SECONDS]
    return [encode_native(np.resize(np.roll(speech, -n), n), audio) for n in counts]


def summarise(load: Load, samples: list[Any], *, seconds: float) -> dict[str, Any]:
    """Return the figures of a run."""
    rows = []
    for path, latencies_s in load.latencies_s.items():
        shares = np.percentile(latencies_s, (50, 95, 99)) if latencies_s else (0, 0, 0)
        names = ("p50_ms", "p95_ms", "p99_ms")
        figures = {name: round(1000 * float(s), 1) for name, s in zip(names, shares, strict=True)}
        rows.append({"route": path, "codes": dict(load.codes[path]), **figures})
    answered = sum(sum(codes.values()) for codes in load.codes.values())
    refused = sum(codes["503"] for codes in load.codes.values())
    return {
        "seconds": seconds,
        "requests_per_s": round(answered / seconds, 1),
        "refused_share": round(refused / max(1, answered), 4),
        "memory_growth": round(growth(samples), 4),
        "routes": rows,
        "wrong": load.wrong[:100],
        "over_time": samples,
    }


def growth(samples: list[Any]) -> float:
    """Return by which share memory grew from the second quarter of the time to the last."""
    quarter = max(1, len(samples) // 4)
    memory = [sample["memory_bytes"] for sample in samples]
    before = np.mean(memory[quarter : 2 * quarter] or memory[:1])
    return float(np.mean(memory[-quarter:]) / before - 1)


def faults(result: dict[str, Any]) -> list[str]:
    """Return what is not as it should be."""
    found, samples = list(result["wrong"]), result["over_time"]
    if result["refused_share"] > MAX_REFUSED:
        found.append(f"{result['refused_share']:.1%} were refused; needed: {MAX_REFUSED:.0%}")
    if result["memory_growth"] > MAX_GROWTH:
        found.append(f"memory grew by {result['memory_growth']:.1%}; needed: {MAX_GROWTH:.0%}")
    new_threads = samples[-1]["threads"] - samples[len(samples) // 2]["threads"]
    if new_threads > MAX_NEW_THREADS:
        found.append(f"{new_threads} more threads than half way; needed: {MAX_NEW_THREADS}")
    return found


def draw(samples: list[Any], path: Path) -> None:
    """Draw memory, threads and answers over time."""
    figure, axes = plt.subplots(3, 1, sharex=True, figsize=(7, 6), layout="constrained")
    time_s = [sample["time_s"] for sample in samples]
    answered = np.array([sample["answered"] for sample in samples])
    axes[0].plot(time_s, [sample["memory_bytes"] / 1e6 for sample in samples])
    axes[1].plot(time_s, [sample["threads"] for sample in samples])
    axes[2].plot(time_s, np.gradient(answered, time_s) if len(samples) > 1 else answered)
    for axis, label in zip(axes, ("memory, MB", "threads", "answers a second"), strict=True):
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
    axes[-1].set_xlabel("seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


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
        load, samples = asyncio.run(run(service, num_clients=given.clients, seconds=given.seconds))
    result = summarise(load, samples, seconds=given.seconds)
    console.print(machine)
    table = Table(title=f"{given.clients} clients for {given.seconds:g} s")
    for name in ("route", "answers", "p50 ms", "p95 ms", "p99 ms"):
        table.add_column(name, justify="right")
    for row in result["routes"]:
        codes = ", ".join(f"{code}: {count}" for code, count in row["codes"].items())
        table.add_row(row["route"], codes, *(f"{row[f'p{p}_ms']:.0f}" for p in (50, 95, 99)))
    console.print(table)
    for name in ("requests_per_s", "refused_share", "memory_growth"):
        console.print(f"{name}: {result[name]}")
    content = {"command": "make bench-load", "machine": machine, "clients": given.clients, **result}
    write_atomically(RESULTS, json.dumps(content, indent=2) + "\n")
    draw(samples, PLOT)
    console.print(f"wrote {RESULTS} and {PLOT}")
    if found := faults(result):
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()

"""`POST /upload/` under load: requests one by one, and batched as the service does by default.

Run it with `make bench-uploads`. The service is `api.py` with the bundled model, a process of its
own on the same cores. Clients keep a connection each, send a clip of five seconds, wait for its
text, and send the next.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine
from config import AudioConfig
from service_config import ServerConfig
from speech.audio import decode_native, encode_native, write_atomically

REQUESTS = {1: 64, 4: 128, 16: 256, 64: 512}
ROUNDS = 3
MODES = {"one by one": {"STT_MAX_RUNNING": "1", "STT_BATCH_MAX_CLIPS": "1"}, "batched": {}}
CLIP_SECONDS = 5
NUM_CLIPS = 8
START_S, STOP_S = 120, 30
HOST = "127.0.0.1"
MODEL = ServerConfig.model
SAMPLES = Path("Data/samples")
RESULTS = Path("benchmarks/results/uploads.json")


def make_requests(port: int) -> list[bytes]:
    """Return whole HTTP requests: clips of the samples, each from another place of them."""
    audio = AudioConfig()
    clips = [decode_native(path.read_bytes(), audio) for path in sorted(SAMPLES.glob("*.wav"))]
    speech, count = np.concatenate(clips), CLIP_SECONDS * audio.sample_rate_hz
    places = np.linspace(0, len(speech), NUM_CLIPS, endpoint=False).astype(int)
    wavs = [encode_native(np.resize(np.roll(speech, -place), count), audio) for place in places]
    return [
        _to_bytes(httpx.Request("POST", _url(port, "upload/"), files={"file": w})) for w in wavs
    ]


def _to_bytes(request: httpx.Request) -> bytes:
    head = f"{request.method} {request.url.path} HTTP/1.1"
    lines = [head, *(f"{name}: {value}" for name, value in request.headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + request.read()


def _url(port: int, path: str) -> str:
    return f"http://{HOST}:{port}/{path}"


@contextmanager
def service(settings: dict[str, str]) -> Iterator[int]:
    """Run `api.py` with `settings` and yield its port once the model answers."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    with TemporaryDirectory() as logs:
        own = {"STT_HOST": HOST, "STT_PORT": str(port), "STT_LOG_FOLDER": logs}
        plain = {name: v for name, v in os.environ.items() if not name.startswith("STT_")}
        environment = {**plain, **own, "STT_MODEL": str(MODEL), **settings}
        command = [sys.executable, "api.py"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
            try:
                _wait_until_ready(process, port)
                yield port
            finally:
                _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(_url(port, "ready/"), timeout=START_S, trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise SystemExit("the service did not get ready")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()


async def load(port: int, num_clients: int, num_requests: int) -> list[float]:
    """Return the seconds that each of `num_requests` took, sent by `num_clients` in a closed loop.

    Raises:
        ExceptionGroup: of a RuntimeError, an answer was not 200.
    """
    requests, latencies = make_requests(port), []
    left = iter(range(num_requests))

    async def client() -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            for i in left:
                started = time.perf_counter()
                writer.write(requests[i % len(requests)])
                await writer.drain()
                await _read_answer(reader)
                latencies.append(time.perf_counter() - started)
        finally:
            writer.close()
            await writer.wait_closed()

    async with asyncio.TaskGroup() as group:
        for _ in range(num_clients):
            group.create_task(client())
    return latencies


async def _read_answer(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    body = await reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0]))
    if " 200 " not in head.split("\r\n")[0]:
        raise RuntimeError(f"got {head.splitlines()[0]}: {body.decode()}; needed: 200")


def measure(port: int, num_clients: int, num_requests: int) -> dict[str, float]:
    """Return requests a second and latencies, after a request of each client that is not timed."""
    asyncio.run(load(port, num_clients, num_clients))
    started = time.perf_counter()
    latencies = asyncio.run(load(port, num_clients, num_requests))
    row: dict[str, float] = {"clients": num_clients, "requests": num_requests}
    row["requests_per_s"] = num_requests / (time.perf_counter() - started)
    shares = dict(zip((50, 95, 99), np.percentile(latencies, (50, 95, 99)), strict=True))
    return row | {f"p{share}_ms": 1000 * float(seconds) for share, seconds in shares.items()}


def measure_all() -> list[dict[str, Any]]:
    """Return the best round of each number of clients; the modes in turn, each in a new process."""
    best: dict[tuple[str, int], dict[str, Any]] = {}
    for _ in range(ROUNDS):
        for mode, settings in MODES.items():
            with service(settings) as port:
                for num_clients, num_requests in REQUESTS.items():
                    row = {"mode": mode, **measure(port, num_clients, num_requests)}
                    before = best.setdefault((mode, num_clients), row)
                    if row["requests_per_s"] > before["requests_per_s"]:
                        best[mode, num_clients] = row
    return [best[mode, num_clients] for mode in MODES for num_clients in REQUESTS]


def compare(rows: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Return for each number of clients the throughputs' ratio, and latencies in single requests.

    A single request is the median of one client whose requests are handled one by one. As many
    clients as `n` in a closed loop wait `n / throughput` on average, whatever the service does.
    """
    before, after = ([row for row in rows if row["mode"] == mode] for mode in MODES)
    single_ms = before[0]["p50_ms"]
    return [
        {
            "clients": new["clients"],
            "throughput_ratio": new["requests_per_s"] / old["requests_per_s"],
            "p95_ratio": new["p95_ms"] / old["p95_ms"],
            "p95_in_single_requests": new["p95_ms"] / single_ms,
            "mean_in_single_requests": 1e3 * new["clients"] / new["requests_per_s"] / single_ms,
        }
        for old, new in zip(before, after, strict=True)
    ]


def main() -> None:
    """Measure, print, write."""
    console, machine = Console(), describe_machine()
    rows = measure_all()
    ratios = compare(rows)
    console.print(machine)
    table = Table(title=f"{CLIP_SECONDS} s clips to /upload/, best of {ROUNDS} rounds")
    for name in ("mode", "clients", "requests a second", "p50 ms", "p95 ms", "p99 ms"):
        table.add_column(name, justify="right")
    for row in rows:
        figures = [row[name] for name in ("requests_per_s", "p50_ms", "p95_ms", "p99_ms")]
        table.add_row(row["mode"], str(row["clients"]), *(f"{figure:.1f}" for figure in figures))
    console.print(table)
    for ratio in ratios:
        console.print(", ".join(f"{name} {value:.2f}" for name, value in ratio.items()))
    result = {"command": "make bench-uploads", "machine": machine, "load": rows, "ratios": ratios}
    write_atomically(RESULTS, json.dumps(result, indent=2) + "\n")
    console.print(f"wrote {RESULTS}")


if __name__ == "__main__":
    main()

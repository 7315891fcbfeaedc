"""The stand-in server under load, with and without batching; and what a remote model saves.

Run it with `make bench-serving`. Clients are threads of this process, each with one request at a
time: a clip of five seconds, over gRPC. The stand-in is a process of its own on the same cores.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine
from config import ModelUnavailableError
from service_config import ServerConfig
from serving.remote import RemoteBackend
from serving_config import RemoteConfig
from speech.audio import decode_native, write_atomically

CLIENTS = (1, 4, 16)
SECONDS = 10.0
ROUNDS = 3
CLIP_SECONDS = 5
STARTS = 3
SAMPLES = Path("Data/samples")
BATCHING = Path("serving/docker/batching_parameters.txt")
RESULTS = Path("benchmarks/results/serving.json")
_START = """
import sys, time
started = time.perf_counter()
import api
from settings import read_settings
config = read_settings(**({"tf_serving": sys.argv[1]} if len(sys.argv) > 1 else {}))
predictor = api.load_predictor(config)
predictor.backend.check_ready()
seconds = time.perf_counter() - started
with open("/proc/self/status") as status:
    memory = next(line.split()[1] for line in status if line.startswith("VmRSS"))
print(seconds, int(memory) / 1024)
"""


def make_clip(backend: RemoteBackend) -> np.ndarray:
    """Return the sample clips, repeated and cut to `CLIP_SECONDS`."""
    audio = backend.pipeline.audio
    clips = [decode_native(path.read_bytes(), audio) for path in sorted(SAMPLES.glob("*.wav"))]
    return np.resize(np.concatenate(clips), CLIP_SECONDS * audio.sample_rate_hz)


@contextmanager
def stand_in(*flags: str) -> Iterator[str]:
    """Run `stt model-server` and yield its gRPC address once the model is available."""
    ports = [_free_port(), _free_port()]
    command = [sys.executable, "-m", "cli", "model-server", f"--port={ports[0]}"]
    with subprocess.Popen(
        [*command, f"--rest_api_port={ports[1]}", *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield _wait_until_ready(f"127.0.0.1:{ports[0]}")
        finally:
            process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(address: str) -> str:
    backend = RemoteBackend(ServerConfig().model, RemoteConfig(address=address))
    for _ in range(120):
        try:
            backend.check_ready()
            backend.close()
            return address
        except ModelUnavailableError:
            time.sleep(0.5)
    raise SystemExit("the stand-in did not get ready")


def measure(address: str, num_clients: int) -> dict[str, float]:
    """Return requests a second and latencies of `num_clients` for `SECONDS`."""
    backend = RemoteBackend(ServerConfig().model, RemoteConfig(address=address))
    clip, latencies = make_clip(backend), []
    until = time.perf_counter() + SECONDS

    def client() -> None:
        while (started := time.perf_counter()) < until:
            backend.log_probs([clip])
            latencies.append(time.perf_counter() - started)

    threads = [threading.Thread(target=client) for _ in range(num_clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    backend.close()
    return {
        "clients": num_clients,
        "requests_per_s": len(latencies) / SECONDS,
        "p50_ms": 1000 * float(np.percentile(latencies, 50)),
        "p95_ms": 1000 * float(np.percentile(latencies, 95)),
    }


def measure_loads() -> list[dict[str, Any]]:
    """Return the best round of each number of clients, batching off and on in turn."""
    rows: dict[tuple[bool, int], dict[str, Any]] = {}
    flags = ("--enable_batching", f"--batching_parameters_file={BATCHING}")
    for _ in range(ROUNDS):
        for batching in (False, True):
            with stand_in(*(flags if batching else ())) as address:
                for num_clients in CLIENTS:
                    row = {"batching": batching, **measure(address, num_clients)}
                    best = rows.get((batching, num_clients), row)
                    key = "requests_per_s"
                    rows[batching, num_clients] = row if row[key] >= best[key] else best
    return [rows[key] for key in sorted(rows)]


def measure_starts() -> dict[str, dict[str, float]]:
    """Return the least seconds until the API's model is ready, and the memory then, both ways."""
    starts: dict[str, list[tuple[float, float]]] = {"local": [], "remote": []}
    with stand_in() as address:
        for _ in range(STARTS):
            for way, arguments in (("local", []), ("remote", [address])):
                command = [sys.executable, "-c", _START, *arguments]
                environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
                out = subprocess.run(
                    command, env=environment, capture_output=True, text=True, check=True
                ).stdout
                seconds, memory = map(float, out.split())
                starts[way].append((seconds, memory))
    return {
        way: {"start_s": min(s for s, _ in runs), "memory_mib": min(m for _, m in runs)}
        for way, runs in starts.items()
    }


def main() -> None:
    """Measure, print, write."""
    console, machine = Console(), describe_machine()
    starts, loads = measure_starts(), measure_loads()
    console.print(machine)
    table = Table(title=f"{CLIP_SECONDS} s clips over gRPC, best of {ROUNDS} rounds")
    for name in ("batching", "clients", "requests a second", "p50 ms", "p95 ms"):
        table.add_column(name, justify="right")
    for row in loads:
        figures = [f"{row[name]:.1f}" for name in ("requests_per_s", "p50_ms", "p95_ms")]
        table.add_row("on" if row["batching"] else "off", str(row["clients"]), *figures)
    console.print(table)
    for way, start in starts.items():
        console.print(f"{way}: ready in {start['start_s']:.2f} s, {start['memory_mib']:.0f} MiB")
    result = {"command": "make bench-serving", "machine": machine, "start": starts, "load": loads}
    write_atomically(RESULTS, json.dumps(result, indent=2) + "\n")
    console.print(f"wrote {RESULTS}")


if __name__ == "__main__":
    main()

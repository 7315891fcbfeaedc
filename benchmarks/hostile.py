"""2 000 hostile uploads against a real service of the bundled model: answers, memory, threads.

Run it with `make bench-hostile`. It fails if one is answered otherwise than 4xx (or 200, where a
clip is only odd), or if memory or threads grow. The service has its usual limits, but that a
recording lasts five minutes at most, so that bombs are beyond it, and that a body has two seconds;
clips are not compiled, and the memory allocator keeps two arenas, so that growth is seen.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine
from service_config import ServerConfig
from speech.audio import write_atomically
from tests.hostile import LIMITS, Attack, attacks, send
from tests.service_process import Service, running

COUNT, QUARTERS, CLIENTS = 2000, 4, 16
MAX_GROWTH_BYTES, MAX_NEW_THREADS = 64 * 1024 * 1024, 4
RESULTS = Path("benchmarks/results/hostile.json")


def measure(service: Service, count: int) -> dict[str, Any]:
    """Return what was answered, and memory and threads at the start and after each quarter."""
    paths = set(service.get("/openapi.json").json()["paths"])
    by_kind: dict[str, Counter[str]] = {}
    by_route: dict[str, Counter[str]] = {}
    samples, wrong, done = [_sample(service, 0)], [], 0
    started = time.perf_counter()
    for chosen in _in_quarters(list(attacks(count, paths=paths))):
        with ThreadPoolExecutor(CLIENTS) as pool:
            statuses = list(pool.map(lambda one: send(service.port, one), chosen))
        for attack, status in zip(chosen, statuses, strict=True):
            for name, counts in ((attack.kind, by_kind), (attack.path, by_route)):
                counts.setdefault(name, Counter())[str(status or "no answer")] += 1
            if not attack.is_fine(status):
                wrong.append(f"{attack.kind} to {attack.path}: {status}")
        done += len(chosen)
        samples.append(_sample(service, done))
    return {
        "uploads": done,
        "seconds": round(time.perf_counter() - started, 1),
        "wrong": wrong,
        "is_ready": service.get("/health/ready").status_code == 200,
        "after_each_quarter": samples,
        "routes": by_route,
        "kinds": dict(sorted(by_kind.items())),
    }


def _in_quarters(all_attacks: list[Attack]) -> list[list[Attack]]:
    size = -(-len(all_attacks) // QUARTERS)
    return [all_attacks[i : i + size] for i in range(0, len(all_attacks), size)]


def _sample(service: Service, uploads: int) -> dict[str, int]:
    memory_bytes, threads = service.memory_bytes(), service.num_threads()
    return {"uploads": uploads, "memory_bytes": memory_bytes, "threads": threads}


def faults(result: dict[str, Any]) -> list[str]:
    """Return what is not as it should be; growth is that from half of the uploads on."""
    samples = result["after_each_quarter"]
    middle, last = samples[len(samples) // 2], samples[-1]
    grown = last["memory_bytes"] - middle["memory_bytes"]
    found = list(result["wrong"])
    if grown > MAX_GROWTH_BYTES:
        found.append(f"memory grew by {grown} bytes; needed: at most {MAX_GROWTH_BYTES}")
    if last["threads"] - middle["threads"] > MAX_NEW_THREADS:
        found.append(f"threads grew from {middle['threads']} to {last['threads']}")
    if not result["is_ready"]:
        found.append("the service is not ready any more")
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    given = parser.parse_args()
    console, machine = Console(), describe_machine()
    with (
        TemporaryDirectory() as logs,
        running(ServerConfig.model, Path(logs), **LIMITS) as service,
    ):
        result = measure(service, given.count)
    console.print(machine)
    table = Table(title=f"{result['uploads']} hostile uploads in {result['seconds']} s")
    table.add_column("route or kind")
    table.add_column("answers")
    for name, answers in {**result["routes"], **result["kinds"]}.items():
        table.add_row(name, ", ".join(f"{status}: {n}" for status, n in answers.items()))
    console.print(table)
    for sample in result["after_each_quarter"]:
        memory = f"{sample['memory_bytes'] / 1e6:.0f} MB, {sample['threads']} threads"
        console.print(f"{sample['uploads']} uploads: {memory}")
    command = f"python -m benchmarks.hostile --count {given.count}"
    content = {
        "command": "make bench-hostile" if given.count == COUNT else command,
        "machine": machine,
        "limits": LIMITS,
        **result,
    }
    write_atomically(RESULTS, json.dumps(content, indent=2) + "\n")
    console.print(f"wrote {RESULTS}")
    if found := faults(result):
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()

"""2 000 hostile uploads against a real service of the bundled model: answers, memory, threads.

Run it with `make bench-hostile`. It fails if one is answered otherwise than 4xx (or 200, where a
clip is only odd), or if memory or threads grow.
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
from tests.hostile import Attack, attacks, send
from tests.service_process import Service, running

COUNT, ROUNDS, CLIENTS = 2000, 10, 16
SETTINGS = {"STT_BODY_TIMEOUT_S": "2", "MALLOC_ARENA_MAX": "2"}
MAX_GROWTH_BYTES, MAX_NEW_THREADS = 64 * 1024 * 1024, 4
RESULTS = Path("benchmarks/results/hostile.json")


def measure(service: Service, count: int, rounds: int) -> dict[str, Any]:
    """Return what was answered, and memory and threads after each round."""
    paths = set(service.get("/openapi.json").json()["paths"])
    kinds: dict[str, Counter[str]] = {}
    samples, wrong = [_sample(service)], []
    started = time.perf_counter()
    for chosen in _in_rounds(list(attacks(count, paths=paths)), rounds):
        with ThreadPoolExecutor(CLIENTS) as pool:
            statuses = list(pool.map(lambda one: send(service.port, one), chosen))
        for attack, status in zip(chosen, statuses, strict=True):
            kinds.setdefault(attack.kind, Counter())[str(status or "hung up")] += 1
            if not attack.is_fine(status):
                wrong.append(f"{attack.kind} to {attack.path}: {status}")
        samples.append(_sample(service))
    return {
        "uploads": count,
        "seconds": round(time.perf_counter() - started, 1),
        "wrong": wrong,
        "kinds": {kind: dict(counter) for kind, counter in sorted(kinds.items())},
        "after_each_round": samples,
        "is_ready": service.get("/health/ready").status_code == 200,
    }


def _in_rounds(all_attacks: list[Attack], rounds: int) -> list[list[Attack]]:
    size = -(-len(all_attacks) // rounds)
    return [all_attacks[i : i + size] for i in range(0, len(all_attacks), size)]


def _sample(service: Service) -> dict[str, int]:
    return {"memory_bytes": service.memory_bytes(), "threads": service.num_threads()}


def faults(result: dict[str, Any]) -> list[str]:
    """Return what is not as it should be; growth is that from half of the rounds on."""
    samples = result["after_each_round"]
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
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    console, machine = Console(), describe_machine()
    with (
        TemporaryDirectory() as logs,
        running(ServerConfig.model, Path(logs), **SETTINGS) as service,
    ):
        result = measure(service, given.count, given.rounds)
    console.print(machine)
    table = Table(title=f"{given.count} hostile uploads in {result['seconds']} s")
    table.add_column("kind")
    table.add_column("answers")
    for kind, answers in result["kinds"].items():
        table.add_row(kind, ", ".join(f"{status}: {n}" for status, n in answers.items()))
    console.print(table)
    for sample in result["after_each_round"]:
        console.print(f"{sample['memory_bytes'] / 1e6:.0f} MB, {sample['threads']} threads")
    content = {"command": "make bench-hostile", "machine": machine, **result}
    write_atomically(RESULTS, json.dumps(content, indent=2) + "\n")
    console.print(f"wrote {RESULTS}")
    if found := faults(result):
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()

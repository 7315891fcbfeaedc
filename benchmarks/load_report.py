"""What `benchmarks.load` says of a run: figures by route, memory and threads over time, faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

MAX_REFUSED, MAX_GROWTH, MAX_NEW_THREADS = 0.05, 0.05, 4
STEADY_S = 120.0  # a shorter run is all beginning: lengths are compiled, threads are started
MAX_WRONG_SHOWN = 100
MINUTE_S = 60.0
_SHARES = {"p50_ms": 50, "p95_ms": 95, "p99_ms": 99}


@dataclass(frozen=True)
class Sample:
    """The service at a moment: its memory in RAM, its threads, the answers so far."""

    time_s: float
    memory_bytes: int
    threads: int
    answers: int


def summarise(
    samples: Sequence[Sample],
    *,
    latencies_s: Mapping[str, Sequence[float]],
    codes: Mapping[str, Counter[str]],
    refused: int,
    wrong: Sequence[str],
    took_s: float,
) -> dict[str, Any]:
    """Return the figures of a run.

    Args:
        latencies_s: of what was done, by route; requests a second are of this.
        codes: of all answers, by route.
        refused: for now, of all answers.
        wrong: each answer that is a fault, in words.
    """
    answers = sum(counts.total() for counts in codes.values())
    return {
        "seconds": round(took_s, 1),
        "answers": answers,
        "requests_per_s": round(sum(map(len, latencies_s.values())) / took_s, 1),
        "refused_share": round(refused / max(1, answers), 4),
        "num_wrong": len(wrong),
        "wrong": list(wrong[:MAX_WRONG_SHOWN]),
        "memory_growth": round(growth([sample.memory_bytes for sample in samples]), 4),
        "new_threads": samples[-1].threads - samples[len(samples) // 2].threads,
        "over_time": [asdict(sample) for sample in by_minute(samples)],
        "routes": [
            {"route": name, "codes": dict(codes[name]), **_percentiles(found)}
            for name, found in latencies_s.items()
        ],
    }


def _percentiles(latencies_s: Sequence[float]) -> dict[str, float | None]:
    """Return them in ms; None of no latencies."""
    if not latencies_s:
        return dict.fromkeys(_SHARES)
    found = np.percentile(latencies_s, list(_SHARES.values()))
    return {name: round(1000 * float(s), 1) for name, s in zip(_SHARES, found, strict=True)}


def growth(memory: Sequence[float]) -> float:
    """Return by which share memory grew from the second quarter of the time to the last."""
    quarter = max(1, len(memory) // 4)
    before = np.mean(memory[quarter : 2 * quarter] or memory[:1])
    return float(np.mean(memory[-quarter:]) / before - 1)


def by_minute(samples: Sequence[Sample]) -> list[Sample]:
    """Return the first sample, the first of each further minute, and the last."""
    chosen = [samples[0]]
    for sample in samples[1:-1]:
        if sample.time_s // MINUTE_S > chosen[-1].time_s // MINUTE_S:
            chosen.append(sample)
    return [*chosen, samples[-1]]


def faults(result: Mapping[str, Any]) -> list[str]:
    """Return what is not as it should be; of a short run not what grew."""
    found = list(result["wrong"])
    if result["num_wrong"] > len(found):
        found.append(f"{result['num_wrong']} answers are wrong")
    if result["refused_share"] > MAX_REFUSED:
        found.append(f"{result['refused_share']:.1%} were refused; needed: {MAX_REFUSED:.0%}")
    if result["seconds"] < STEADY_S:
        return found
    if result["memory_growth"] > MAX_GROWTH:
        found.append(f"memory grew by {result['memory_growth']:.1%}; needed: {MAX_GROWTH:.0%}")
    if result["new_threads"] > MAX_NEW_THREADS:
        new = result["new_threads"]
        found.append(f"{new} more threads than half way; needed: {MAX_NEW_THREADS}")
    return found


def table_of(result: Mapping[str, Any]) -> Table:
    """Return the figures for people."""
    table = Table(title=f"{result['clients']} clients for {result['seconds']:g} s")
    table.add_column("route")
    for name in ("answers", "p50 ms", "p95 ms", "p99 ms"):
        table.add_column(name, justify="right")
    for row in result["routes"]:
        codes = ", ".join(f"{code}: {count}" for code, count in row["codes"].items())
        times = ("" if row[name] is None else f"{row[name]:.0f}" for name in _SHARES)
        table.add_row(row["route"], codes, *times)
    for sample in result["over_time"]:
        memory = f"{sample['memory_bytes'] / 1e6:.0f} MB, {sample['threads']} threads"
        table.add_row(f"at {sample['time_s']:.0f} s", memory)
    return table


def draw(samples: Sequence[Sample], path: Path) -> None:
    """Draw memory and threads over time."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    time_s = [sample.time_s for sample in samples]
    panels[0].plot(time_s, [sample.memory_bytes / 1e6 for sample in samples])
    panels[1].plot(time_s, [sample.threads for sample in samples])
    for panel, label in zip(panels, ("memory, MB", "threads"), strict=True):
        panel.set_ylabel(label)
        panel.set_ylim(0, 1.2 * panel.dataLim.y1)
        panel.grid(alpha=0.3)
    panels[-1].set_xlabel("seconds")
    figure.savefig(path, dpi=100)

"""The benchmarks of load and of hostile uploads, small, and what they call a fault."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import hostile, load
from benchmarks.load_routes import ROUTES
from config import ServerConfig

MB = 1_000_000


def sample(memory_mb: float, threads: int = 9) -> dict[str, float]:
    return {"memory_bytes": memory_mb * MB, "threads": threads}


def test_clients_ask_the_routes_that_there_are(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ServerConfig, "model", model_folder)
    monkeypatch.setattr(load, "RESULTS", tmp_path / "load.json")
    monkeypatch.setattr(load, "PLOT", tmp_path / "load.png")
    monkeypatch.setattr(load, "MAX_GROWTH", 10.0)  # a service that has just begun grows
    monkeypatch.setattr(load, "MAX_NEW_THREADS", 100)
    monkeypatch.setattr(sys, "argv", ["load", "--clients", "4", "--seconds", "4"])
    load.main()
    result = json.loads((tmp_path / "load.json").read_text(encoding="utf-8"))
    assert result["wrong"] == []
    asked = {row["route"]: row for row in result["routes"]}
    assert {"/upload/", "/transcribe_mobile", "/health/ready", "/metrics"} <= asked.keys()
    assert asked.keys() <= {route.path for route in ROUTES}
    assert asked["/upload/"]["codes"].keys() == {"200"}
    assert 0 < asked["/upload/"]["p50_ms"] <= asked["/upload/"]["p99_ms"]
    assert result["over_time"][-1]["answered"] > 0
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")


def test_growth_refusals_and_failures_are_faults() -> None:
    flat = [sample(100) for _ in range(40)]
    fine = {"wrong": [], "refused_share": 0.01, "memory_growth": 0.0, "over_time": flat}
    assert load.faults(fine) == []
    assert load.growth(flat) == 0
    leak = [sample(100 + i) for i in range(40)]
    assert load.growth(leak) == pytest.approx(20 / 114.5)
    assert "memory grew by 17.5%" in load.faults({**fine, "memory_growth": 0.175})[0]
    assert "30.0% were refused" in load.faults({**fine, "refused_share": 0.3})[0]
    assert load.faults({**fine, "wrong": ["/upload/: 500"]}) == ["/upload/: 500"]
    threads = [*flat, sample(100, 99)]
    assert "90 more threads" in load.faults({**fine, "over_time": threads})[0]


def test_what_hostile_uploads_must_not_do_is_a_fault() -> None:
    fine = {"wrong": [], "after_each_quarter": [sample(100)] * 5, "is_ready": True}
    assert hostile.faults(fine) == []
    grown = [*[sample(100)] * 4, sample(300)]
    assert "memory grew by 200000000" in hostile.faults({**fine, "after_each_quarter": grown})[0]
    more = [*[sample(100)] * 4, sample(100, 50)]
    assert hostile.faults({**fine, "after_each_quarter": more}) == ["threads grew from 9 to 50"]
    assert hostile.faults({**fine, "wrong": ["x: 500"], "is_ready": False}) == [
        "x: 500",
        "the service is not ready any more",
    ]

"""The benchmark of uploads, small: a real service of a tiny model, in both modes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import uploads


def test_both_modes_are_measured_at_each_number_of_clients(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(uploads, "MODEL", model_folder)
    monkeypatch.setattr(uploads, "REQUESTS", {1: 2, 3: 6})
    monkeypatch.setattr(uploads, "ROUNDS", 1)
    monkeypatch.setattr(uploads, "RESULTS", tmp_path / "uploads.json")
    uploads.main()
    result = json.loads((tmp_path / "uploads.json").read_text(encoding="utf-8"))
    modes = [(row["mode"], row["clients"]) for row in result["load"]]
    assert modes == [("one by one", 1), ("one by one", 3), ("batched", 1), ("batched", 3)]
    for row in result["load"]:
        assert row["requests_per_s"] > 0
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
    assert [ratio["clients"] for ratio in result["ratios"]] == [1, 3]


def test_ratios_are_of_the_same_number_of_clients_and_of_a_single_request() -> None:
    def row(mode: str, clients: int, requests_per_s: float, p50_ms: float, p95_ms: float) -> dict:
        names = ("mode", "clients", "requests_per_s", "p50_ms", "p95_ms")
        return dict(zip(names, (mode, clients, requests_per_s, p50_ms, p95_ms), strict=True))

    rows = [
        row("one by one", 1, 40, 25, 30),
        row("one by one", 16, 40, 400, 450),
        row("batched", 1, 40, 25, 30),
        row("batched", 16, 100, 150, 200),
    ]
    assert uploads.compare(rows)[1] == {
        "clients": 16,
        "throughput_ratio": 2.5,
        "p95_ratio": pytest.approx(200 / 450),
        "p95_in_single_requests": 8.0,
        "mean_in_single_requests": pytest.approx(6.4),
    }


def test_a_service_that_ends_at_once_is_an_error() -> None:
    with pytest.raises(SystemExit, match="did not get ready"), uploads.service({"STT_HOST": "?"}):
        pass


def test_an_answer_that_is_no_text_is_an_error(model_folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(uploads, "MODEL", model_folder)
    with uploads.service({"STT_MAX_DURATION_S": "1"}) as port, pytest.raises(ExceptionGroup) as got:
        uploads.measure(port, 1, 1)
    assert "needed: 200" in str(got.value.exceptions[0])

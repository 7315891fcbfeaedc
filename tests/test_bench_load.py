"""The benchmarks of load and of hostile uploads, small, and what they call a fault."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

import api
from benchmarks import hostile, load
from benchmarks.load_answers import Answer, answer_of
from benchmarks.load_clips import Clip, make_clips
from benchmarks.load_report import Sample, by_minute, faults, growth, summarise
from benchmarks.load_routes import ROUTES, Ask
from benchmarks.load_stream import caption
from service import live
from service_config import ServerConfig
from tests.service_process import running

MB = 1_000_000


def sample(memory_mb: float, threads: int = 9) -> dict[str, float]:
    return {"memory_bytes": memory_mb * MB, "threads": threads}


def test_clients_ask_every_route_that_takes_audio(server_config: ServerConfig) -> None:
    description = api.create_app(server_config, load=lambda _: None).openapi()
    posts = {path for path, operations in description["paths"].items() if "post" in operations}
    assert len(posts) >= 3
    assert {*posts, live.PATH} <= {route.path for route in ROUTES}
    assert len({route.name for route in ROUTES}) == len(ROUTES)


def test_a_short_run_is_all_done_and_written(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ServerConfig, "model", model_folder)
    monkeypatch.setattr(load, "RESULTS", tmp_path / "load.json")
    monkeypatch.setattr(load, "PLOT", tmp_path / "load.png")
    monkeypatch.setattr(sys, "argv", ["load", "--clients", "6", "--seconds", "6"])
    load.main()
    result = json.loads((tmp_path / "load.json").read_text(encoding="utf-8"))
    assert result["wrong"] == []
    assert result["command"] == "python -m benchmarks.load --clients 6 --seconds 6"
    asked = {row["route"]: row for row in result["routes"]}
    assert asked.keys() == {route.name for route in ROUTES}
    for name, row in asked.items():
        assert row["codes"].keys() <= {"1000" if live.PATH in name else "200"}
        assert not row["codes"] or 0 < row["p50_ms"] <= row["p99_ms"]
    first, last = result["over_time"]
    assert (first["answers"], last["answers"]) == (0, result["answers"])
    assert result["answers"] >= 6
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")


def answers_of(
    model: Path, logs: Path, asked: Sequence[tuple[Ask, Clip]], **settings: str
) -> list[Answer]:
    """Return what clients of a real service are answered that ask at the same time."""

    async def all_at_once(url: str) -> list[Answer]:
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            return await asyncio.gather(*(ask(client, clip) for ask, clip in asked))

    with running(model, logs, **settings) as service:
        return asyncio.run(all_at_once(service.url))


def test_every_route_answers_every_clip(model_folder: Path, tmp_path: Path) -> None:
    asked = [(route, clip) for clip in make_clips() for route in ROUTES]
    answers = answers_of(model_folder, tmp_path, [(route.ask, clip) for route, clip in asked])
    for (route, _), answer in zip(asked, answers, strict=True):
        assert answer.fault == "", route.name
        assert answer.code == ("1000" if route.path == live.PATH else "200")


def test_a_live_session_too_many_is_refused_for_now(model_folder: Path, tmp_path: Path) -> None:
    limits = {"STT_LIVE_MAX_SESSIONS": "1"}
    answers = answers_of(model_folder, tmp_path, [(caption, make_clips()[-1])] * 2, **limits)
    assert sorted(answer.code for answer in answers) == ["1000", "1013"]
    (refused,) = (answer for answer in answers if answer.retry_after_s is not None)
    assert (refused.code, refused.fault) == ("1013", "")


def test_a_live_session_that_is_broken_off_is_a_fault(model_folder: Path, tmp_path: Path) -> None:
    limits = {"STT_LIVE_MAX_SESSION_S": "0.5"}
    (answer,) = answers_of(model_folder, tmp_path, [(caption, make_clips()[-1])], **limits)
    assert (answer.code, answer.retry_after_s) == ("1008", None)
    assert "session_too_long" in answer.fault


def test_an_answer_without_what_was_asked_for_is_a_fault() -> None:
    def answer(status: int, text: str, **headers: str) -> Answer:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return answer_of(httpx.Response(status, text=text, headers=headers), needs='"text":')

    assert answer(200, '{"text":""}') == Answer(code="200")
    assert answer(503, "", Retry_After="5") == Answer(code="503", retry_after_s=5.0)
    assert answer(200, 'data: {"type": "error"}').fault == 'data: {"type": "error"}'
    assert answer(200, "").fault == "empty"
    assert answer(503, "no time said").fault == "no time said"
    subtitles = httpx.Response(200, text="", headers={"Content-Type": "application/x-subrip"})
    assert answer_of(subtitles, needs="", kind="application/x-subrip").fault == ""
    assert answer_of(subtitles, needs="", kind="text/plain").fault == "empty"


def test_growth_refusals_and_failures_are_faults() -> None:
    flat = [100.0] * 40
    assert growth(flat) == 0
    assert growth([100.0 + i for i in range(40)]) == pytest.approx(20 / 114.5)
    fine = {
        "wrong": [],
        "num_wrong": 0,
        "refused_share": 0.01,
        "memory_growth": 0.0,
        "new_threads": 0,
        "seconds": 300.0,
    }
    assert faults(fine) == []
    grown = {**fine, "memory_growth": 0.175, "new_threads": 90}
    assert "memory grew by 17.5%" in faults(grown)[0]
    assert "90 more threads" in faults(grown)[1]
    assert faults({**grown, "seconds": 10.0}) == [], "all beginning"
    assert "30.0% were refused" in faults({**fine, "refused_share": 0.3})[0]
    wrong = {**fine, "wrong": ["/upload/: 500"], "num_wrong": 2}
    assert faults(wrong) == ["/upload/: 500", "2 answers are wrong"]


def test_a_summary_has_every_minute_and_counts_by_route() -> None:
    samples = [Sample(float(s), 100, 9 + s // 100, s) for s in range(131)]
    assert [sample.time_s for sample in by_minute(samples)] == [0, 60, 120, 130]
    result = summarise(
        samples,
        latencies_s={"/upload/": [0.1] * 99 + [1.1], "/metrics": []},
        codes={"/upload/": Counter({"200": 100, "503": 25}), "/metrics": Counter()},
        refused=25,
        wrong=[],
        took_s=50.0,
    )
    assert (result["requests_per_s"], result["refused_share"]) == (2.0, 0.2)
    assert [row["threads"] for row in result["over_time"]] == [9, 9, 10, 10]
    upload, metrics = result["routes"]
    assert upload["codes"] == {"200": 100, "503": 25}
    assert (upload["p50_ms"], upload["p99_ms"]) == (100.0, pytest.approx(110.0))
    assert metrics["p50_ms"] is None


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

"""OpenAI's contract, asked by OpenAI's own Node.js client."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from tests.example_clients import ROOT, copy_node_client, run
from tests.media_files import encode
from tests.openai_service import (  # noqa: F401
    RATE_HZ,
    SAMPLE,
    ask,
    client,
    long_wav,
    predictor,
    sample,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("node") / "node"
    copy_node_client(folder)
    shutil.copy(ROOT / "tests/openai_node.mjs", folder)
    return folder


@pytest.fixture(scope="module")
def answers(folder: Path, client: OpenAI, long_wav: bytes) -> dict[str, Any]:
    (folder / "long.wav").write_bytes(long_wav)
    script, recording = folder / "openai_node.mjs", folder / "long.wav"
    done = run(["node", str(script), str(client.base_url), str(SAMPLE), str(recording)])
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_forms_are_those_that_the_python_client_gets(answers, client: OpenAI) -> None:
    plain = ask(client, include=["logprobs"])
    assert answers["json"] == plain.to_dict()
    both = ["word", "segment"]
    verbose = ask(client, response_format="verbose_json", timestamp_granularities=both)
    assert answers["verbose"] == verbose.to_dict()
    for form in ("text", "srt", "vtt"):
        assert answers[form] == ask(client, response_format=form)


def test_events(answers) -> None:
    *deltas, done = answers["events"]
    assert len(deltas) >= 4
    assert {event["type"] for event in deltas} == {"transcript.text.delta"}
    assert done["type"] == "transcript.text.done"
    assert "".join(event["delta"] for event in deltas) == done["text"]
    assert "".join(part["token"] for part in done["logprobs"]) == done["text"]


def test_models(answers, client: OpenAI) -> None:
    assert answers["models"] == [model.to_dict() for model in client.models.list().data]
    assert answers["model"]["id"] == "whisper-1"
    assert answers["model"] in answers["models"]


@pytest.mark.parametrize(
    ("name", "status", "param", "code"),
    [
        ("noAudio", 415, "file", "unsupported_audio"),
        ("noModel", 404, "model", "model_not_found"),
        ("noLanguage", 400, "language", "invalid_value"),
    ],
)
def test_refusals(answers, name: str, status: int, param: str, code: str) -> None:
    error = answers[name]
    message = error.pop("message")
    kind = "invalid_request_error"
    assert error == {"status": status, "type": kind, "param": param, "code": code}
    assert "needed: " in message


def test_a_browser_s_recording(folder: Path, client: OpenAI) -> None:
    """The example prints the words of a WebM file, and its text as it comes."""
    recording = folder / "recording.webm"
    recording.write_bytes(encode("matroska", sample(), RATE_HZ))
    address = str(client.base_url).removeprefix("http://").removesuffix("/v1/")
    command = ["node", str(folder / "openai_client.mjs"), str(recording), "--address", address]
    done = run(command)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(r"  \d\.\d\d  the\n", done.stdout)
    words = [line[8:] for line in done.stdout.splitlines()]
    assert run([*command, "--stream"]).stdout.split() == words

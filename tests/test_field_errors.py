"""Fields that are wrong, told to who sent them in words, and to the log in its own form."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import json
import logging

import pytest
from fastapi.testclient import TestClient

from service.logs import logging_to_terminal
from service_config import LogConfig
from tests.upload_service import client, predictor  # noqa: F401

NO_FILE = "got text; needed: a file (with curl: -F file=@NAME)"


def test_a_file_that_is_sent_as_text_is_told_how(client: TestClient) -> None:
    own = client.post("/upload/", data={"file": "clip.wav"})
    openai = client.post("/v1/audio/transcriptions", data={"file": "clip.wav", "model": "tiny"})
    assert own.status_code == 422
    (wrong,) = own.json()["detail"]
    assert (wrong["loc"], wrong["msg"]) == (["body", "file"], NO_FILE)
    assert openai.status_code == 400
    error = openai.json()["error"]
    assert (error["message"], error["param"]) == (f"file: {NO_FILE}", "file")


def test_json_that_is_not_called_so_is_told_how(client: TestClient) -> None:
    body = json.dumps({"audio": "AAAA"})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = client.post("/transcribe_mobile", content=body, headers=form)
    assert answer.status_code == 422
    (wrong,) = answer.json()["detail"]
    assert wrong["msg"] == (
        "got a body that is not called JSON; needed: Content-Type: application/json"
    )
    listed = client.post("/transcribe_mobile", json=["AAAA"])
    assert "application/json" not in listed.json()["detail"][0]["msg"]


def test_a_number_that_is_cut_says_so(client: TestClient) -> None:
    answer = client.post("/upload/?beam_width=1" + 20 * "0", files={"file": b""})
    assert answer.status_code == 422
    assert "got 10000000000000000000…; needed" in answer.json()["detail"][0]["msg"]


@pytest.mark.parametrize("log_format", ["plain", "json"])
def test_a_form_that_is_none_is_logged_as_all_else_is(
    client: TestClient, capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    with logging_to_terminal(LogConfig(format=log_format)):
        answer = client.post(
            "/upload/", content=b"x", headers={"Content-Type": "multipart/form-data; boundary=y"}
        )
    assert answer.status_code == 400
    printed = capsys.readouterr()
    (line,) = [
        line for line in (printed.out + printed.err).splitlines() if "boundary character" in line
    ]
    if log_format == "json":
        values = json.loads(line)
        assert values["level"] == "warning"
        assert values["request_id"] == answer.headers["X-Request-ID"]
    else:
        assert f" WARNING {answer.headers['X-Request-ID']} " in line
    assert not logging.getLogger("python_multipart").handlers

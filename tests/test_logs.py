"""What is logged: ids in every line of a request, and nothing of what was said or asked."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

import api
from captions.sources import to_pcm
from config import AudioConfig
from predictor import Predictor
from service.logs import logging_to_terminal
from service.request_log import RequestLog
from service_config import AccessConfig, LogConfig, ServerConfig
from serving.local import LocalBackend
from speech.audio import encode_native
from tests.clips import babble
from tests.service_process import running

KEY = "a-key-of-sixteen-or-more"
JSON = LogConfig(format="json")


@pytest.fixture(scope="module")
def predictor(model_folder: Path) -> Predictor:
    return Predictor(LocalBackend(model_folder))


def lines(config: ServerConfig) -> list[str]:
    """Return the lines of both files."""
    files = [config.log_folder / name for name in ("api.log", "predictor.log")]
    return [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def upload(
    client: TestClient, *, query: str = "", seconds: float = 0.5, **headers: str | bytes
) -> httpx.Response:
    clip = encode_native(babble(seconds), AudioConfig())
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(f"/upload/{query}", files={"file": clip}, headers=named)


@pytest.fixture
def client(server_config: ServerConfig, predictor: Predictor) -> Iterator[TestClient]:
    with TestClient(api.create_app(server_config, load=lambda _: predictor)) as client:
        yield client


def test_a_clients_own_id_is_in_the_answer_and_in_every_line(
    client: TestClient, server_config: ServerConfig
) -> None:
    response = upload(client, X_Request_ID="order-66.A_b")
    assert response.headers["X-Request-ID"] == "order-66.A_b"
    (request,) = [line for line in lines(server_config) if "POST /upload/" in line]
    (work,) = [line for line in lines(server_config) if "1 clips" in line]
    assert " INFO order-66.A_b POST /upload/ -> 200 in " in request
    assert " INFO order-66.A_b 1 clips, 0.5 s of audio in " in work


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a\u00a0", "<script>", "a/b"])
def test_an_id_that_is_not_well_formed_is_replaced(client: TestClient, given: str) -> None:
    response = upload(client, X_Request_ID=given.encode())
    assert response.headers["X-Request-ID"] != given
    assert len(response.headers["X-Request-ID"]) == 12


def test_json_lines_have_fields(server_config: ServerConfig, predictor: Predictor) -> None:
    config = replace(server_config, log=JSON)
    with TestClient(api.create_app(config, load=lambda _: predictor)) as client:
        upload(client, X_Request_ID="one")
    entries = [json.loads(line) for line in lines(config)]
    (request,) = [entry for entry in entries if "method" in entry]
    assert request.pop("elapsed_ms") > 0
    assert request.pop("time").endswith("+00:00")
    assert request.pop("message").startswith("POST /upload/ -> 200 in ")
    assert request == {
        "level": "info",
        "logger": "stt.api",
        "request_id": "one",
        "method": "POST",
        "path": "/upload/",
        "status": 200,
    }
    (work,) = [entry for entry in entries if "1 clips" in entry.get("message", "")]
    assert (work["logger"], work["request_id"]) == ("stt.predictor", "one")


@pytest.mark.parametrize("form", ["plain", "json"])
def test_neither_texts_nor_keys_nor_queries_are_logged(
    server_config: ServerConfig, predictor: Predictor, form: str
) -> None:
    config = replace(
        server_config, log=LogConfig(format=form), access=AccessConfig(api_keys=(KEY,))
    )
    with TestClient(api.create_app(config, load=lambda _: predictor)) as client:
        answer = upload(client, query="?hotwords=zanzibar", seconds=8, X_API_Key=KEY)
        upload(client, query=f"?key={KEY}")
    log, text = "\n".join(lines(config)), answer.json()["transcription"]
    assert len(text) > 8
    assert "-> 200" in log
    assert "-> 401" in log
    assert not [secret for secret in (text, KEY, "zanzibar", "hotwords") if secret in log]


def test_texts_are_logged_if_that_is_asked_for(
    server_config: ServerConfig, predictor: Predictor
) -> None:
    config = replace(server_config, log=LogConfig(format="json", transcripts=True))
    with TestClient(api.create_app(config, load=lambda _: predictor)) as client:
        answer = upload(client, X_Request_ID="one").json()
    (heard,) = [e for e in map(json.loads, lines(config)) if "text" in e]
    assert (heard["text"], heard["request_id"]) == (answer["transcription"], "one")


@pytest.mark.parametrize("transcripts", [True, False])
def test_texts_of_live_captions_likewise(
    server_config: ServerConfig, predictor: Predictor, transcripts: bool
) -> None:
    config = replace(server_config, log=LogConfig(format="json", transcripts=transcripts))
    finals = []
    with (
        TestClient(api.create_app(config, load=lambda _: predictor)) as client,
        client.websocket_connect("/v1/stream") as socket,
    ):
        socket.send_json({"type": "start", "sample_rate_hz": 22_050})
        socket.send_bytes(to_pcm(babble(2.0)))
        socket.send_json({"type": "close"})
        while (message := socket.receive_json())["type"] != "closed":
            finals += [message["text"]] if message["type"] == "final" else []
    assert any(finals)
    heard = [entry["text"] for entry in map(json.loads, lines(config)) if "text" in entry]
    assert heard == (finals if transcripts else [])


def test_a_path_cannot_make_a_line_of_its_own(
    client: TestClient, server_config: ServerConfig
) -> None:
    client.get("/a%0A2026-01-01 INFO x GET /forged -> 200")
    client.get("/" + "a" * 5000)
    log = lines(server_config)
    assert len([line for line in log if "forged" in line]) == 1
    assert "GET /a%0A2026-01-01%20INFO" in "\n".join(log)
    assert max(map(len, log)) < 400


def test_what_nobody_handled_is_500_with_the_id_and_a_traceback_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[tuple[int, bool]] = []
    app = FastAPI()

    @app.get("/v1/broken")
    async def broken() -> None:
        raise ArithmeticError("a secret of the service")

    @app.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        raise ArithmeticError("no")

    app.add_middleware(RequestLog, on_done=lambda _, status, s: seen.append((status, s > 0)))
    client = TestClient(app)
    with caplog.at_level(logging.INFO, logger="stt.api"):
        response = client.get("/v1/broken", headers={"X-Request-ID": "one"})
        with client.websocket_connect("/live") as socket:
            assert socket.receive()["code"] == 1011
    assert response.status_code == 500
    assert response.headers["X-Request-ID"] == "one"
    assert response.json()["error"]["message"] == "the service failed; its log says why at one"
    assert "a secret of the service" in caplog.text
    assert seen == [(500, True), (1011, True)]


def test_a_websocket_that_is_refused_is_no_error_on_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with logging_to_terminal(LogConfig()):
        for what in ("completing", "beginning"):
            message = f"ASGI callable returned without {what} handshake."
            logging.getLogger("uvicorn.error").error(message)
    printed = capsys.readouterr().err
    assert "beginning" in printed
    assert "completing" not in printed


def test_the_terminal_gets_warnings_but_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to_terminal(LogConfig()):
        logging.getLogger("stt.api").warning("beware")
        logging.getLogger("stt.api").info("never mind")
    logging.getLogger("stt.api").warning("too late")
    printed = capsys.readouterr()
    assert " WARNING - beware\n" in printed.err
    assert "never mind" not in printed.err + printed.out
    assert "too late" not in printed.err


def test_a_process_logs_json_to_its_terminal_uvicorn_s_lines_too(
    model_folder: Path, tmp_path: Path
) -> None:
    with running(model_folder, tmp_path, STT_LOG_FORMAT="json") as service:
        with service.connect() as connection:
            connection.sendall(b"no HTTP at all\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 400")
        service.get("/health/live", **{"X-Request-ID": "one"})
        live = f"ws://127.0.0.1:{service.port}/v1/stream"
        with connect(f"{live}?hotwords=zanzibar", proxy=None) as socket:
            socket.send("no JSON")
            assert "invalid_json" in str(socket.recv(timeout=60))
        with pytest.raises(InvalidStatus):
            connect(f"{live}/nothing?hotwords=zanzibar", proxy=None)
        service.process.terminate()
        service.process.wait(60)
        output = service.terminal.read_text(encoding="utf-8")
    entries = [json.loads(line) for line in output.splitlines()]
    messages = {entry["message"]: entry for entry in entries}
    assert messages["Invalid HTTP request received."]["logger"] == "uvicorn.error"
    assert [e["path"] for e in entries if e["request_id"] == "one"] == ["/health/live"]
    assert any(message.startswith("Serving tiny on http://127.0.0.1:") for message in messages)
    assert any(message.startswith("WS /v1/stream -> 1007 in ") for message in messages)
    assert "zanzibar" not in output

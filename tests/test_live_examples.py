"""The clients of live captions in `examples/`, as its README runs them, against a real service."""

from __future__ import annotations

import argparse
import asyncio
import runpy
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from websockets.sync.server import ServerConnection

from predictor import load_predictor
from service_config import AccessConfig, ServerConfig
from tests.example_clients import BIN, ROOT, copy_node_client, free_ports, run
from tests.live_server import Served, serving
from tests.real_clients import skip_without
from tests.test_captions_client import answering, answers
from tests.test_examples import LIVE

SAMPLE = "Data/samples/sample.wav"
KEY = "a-key-of-a-person"
NO = ("0", "nan", "-1", "-inf")  # speeds


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = ServerConfig(log_folder=tmp_path_factory.mktemp("logs"), compile_clips=False)
    with serving(config, load_predictor) as served:
        yield served


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = ServerConfig(
        log_folder=tmp_path_factory.mktemp("logs"),
        compile_clips=False,
        access=AccessConfig(api_keys=(KEY,)),
    )
    with serving(config, load_predictor) as served:
        yield served


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("node") / "node"
    copy_node_client(folder)
    return folder


@pytest.fixture(params=["python", "node"])
def command(request: pytest.FixtureRequest) -> list[str]:
    if request.param == "python":
        return [sys.executable, "-W", "error", "examples/live_captions.py"]
    if not shutil.which("node"):
        skip_without("node and npm")
    return ["node", str(request.getfixturevalue("node_folder") / "live_captions.mjs")]


def test_the_readme_shows_both() -> None:
    assert len(LIVE) == 2


@pytest.mark.parametrize(("line", "shown"), LIVE.items())
def test_a_line_of_the_readme_prints_what_it_shows(
    line: str, shown: str, served: Served, request: pytest.FixtureRequest
) -> None:
    if line.startswith("node "):
        folder = request.getfixturevalue("node_folder")
        line = line.replace("examples/node", str(folder))
    line = f"{line.replace('.venv/bin', str(BIN))} --url {served.url}"
    done = run(["bash", "-c", line])
    assert (done.stdout, done.stderr, done.returncode) == (shown, "", 0)


def test_partials_are_printed_if_asked_for(command: list[str], served: Served) -> None:
    done = run([*command, SAMPLE, "--url", served.url, "--partials", "--speed", "1"])
    *partials, final = done.stdout.splitlines()
    assert done.returncode == 0
    assert len(partials) >= 3
    assert all(line.startswith("  ") for line in partials)
    assert final.startswith("the old house")


def test_a_key_is_taken_from_the_environment(
    command: list[str], guarded: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [*command, SAMPLE, "--url", guarded.url, "--speed", "2"]
    assert run(asked).returncode == 1
    monkeypatch.setenv("STT_API_KEY", KEY)
    done = run(asked)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("the old house")


def test_what_goes_wrong_is_one_line(command: list[str], served: Served, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "stereo.wav", [[0.0, 0.0]], 16_000, subtype="PCM_16")
    soundfile.write(tmp_path / "slow.wav", [0.0], 4000, subtype="PCM_16")
    away = f"ws://127.0.0.1:{free_ports(1)[0]}/v1/stream"
    for arguments, wanted in [
        (["no.wav", "--url", served.url], "cannot read no.wav"),
        (["README.md", "--url", served.url], "README.md is not a WAV file"),
        ([str(tmp_path / "stereo.wav"), "--url", served.url], "got 2 channels, 16 bits"),
        ([str(tmp_path / "slow.wav"), "--url", served.url], "8000"),
        ([SAMPLE, "--url", away], ""),
        *(([SAMPLE, "--url", served.url, f"--speed={x}"], "--speed: no number over 0") for x in NO),
    ]:
        done = run([*command, *arguments])
        (line,) = done.stderr.splitlines()
        assert (done.returncode, done.stdout) == (1, "")
        assert line.startswith("error: ")
        assert wanted in line


@pytest.mark.parametrize("is_all_sent", [True, False])
@pytest.mark.parametrize("code", [1000, 1001, 1012])
def test_a_session_that_the_server_ends_early_is_an_error(
    command: list[str], code: int, is_all_sent: bool
) -> None:
    def handler(server: ServerConnection) -> None:
        server.recv()
        server.send('{"type": "ready"}')
        while isinstance(server.recv(), bytes) and is_all_sent:
            pass
        server.close(code)

    with answering(handler) as url:
        done = run([*command, SAMPLE, "--url", url, "--speed", "100"])
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert line.startswith("error: ")
    assert str(code) in line


def test_a_connection_that_breaks_is_an_error(command: list[str]) -> None:
    def handler(server: ServerConnection) -> None:
        server.recv()
        server.socket.shutdown(socket.SHUT_RDWR)

    with answering(handler) as url:
        done = run([*command, SAMPLE, "--url", url])
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert line.startswith("error: ")


@pytest.mark.parametrize("message", ["[1]", '{"a": 1}', "<html>", "null"])
def test_another_server_is_named_as_that(command: list[str], message: str) -> None:
    with answering(answers(message)) as url:
        done = run([*command, SAMPLE, "--url", url])
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert line.startswith(f"error: {url} is no server of live captions: got ")
    assert message in line


def test_what_sending_raises_ends_the_python_client() -> None:
    """In a server's session that goes on for ever."""
    path = ROOT / "examples/live_captions.py"
    example = runpy.run_path(str(path))

    def chunks() -> Iterator[bytes]:
        yield bytes(640)
        raise ValueError("the disk is out")

    async def show(url: str) -> None:
        options = argparse.Namespace(wav=None, url=url, key=None, speed=1.0, partials=False)
        await asyncio.wait_for(example["show_captions"](options), 60)

    example["show_captions"].__globals__["read_chunks"] = lambda _: (16_000, chunks())
    wanted = pytest.raises(ValueError, match="the disk is out")
    with answering(answers('{"type": "ready"}')) as url, wanted:
        asyncio.run(show(url))

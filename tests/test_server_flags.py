"""Flags are TensorFlow Serving's own; what is not honoured is refused by name."""

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from server_flags import parse_server_flags
from service_config import ServerConfig
from serving.remote import RemoteBackend
from serving_config import ModelServerConfig, RemoteConfig
from tests.model_servers import ROOT, free_port, server_process


def parse(*flags: str) -> ModelServerConfig:
    return parse_server_flags(flags, program="server")


def test_without_flags_the_bundled_model_is_served() -> None:
    config = parse()
    assert (config.port, config.rest_api_port) == (8500, 8501)
    assert config.model_name == "english-small"
    assert (config.model_base_path / "1/saved_model.pb").is_file()


def test_flags_as_the_server_takes_them() -> None:
    config = parse(
        "--port=9000",
        "--rest_api_port",
        "9001",
        "--model_name=mine",
        "--model_base_path=/models/mine",
        "--file_system_poll_wait_seconds=2.5",
        "--enable_batching",
        "--allow_version_labels_for_unavailable_models=true",
        "--batching_parameters_file=b.txt",
        "--grpc_max_threads=3",
    )
    assert (config.port, config.rest_api_port, config.model_name) == (9000, 9001, "mine")
    assert config.model_base_path == Path("/models/mine")
    assert config.file_system_poll_wait_seconds == 2.5
    assert config.enable_batching
    assert config.allow_version_labels_for_unavailable_models
    assert config.batching_parameters_file == Path("b.txt")
    assert config.grpc_max_threads == 3
    assert not parse("--enable_batching=false").enable_batching


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--ssl_config_file=x", "the stand-in does not honour --ssl_config_file=x"),
        ("--monitoring_config_file=x", "does not honour --monitoring_config_file=x"),
        ("--por=1", "does not honour --por=1"),
        ("--port=http", "argument --port: invalid int value: 'http'"),
        ("--enable_batching=maybe", "got 'maybe'; needed: true or false"),
    ],
)
def test_other_flags_are_refused_by_name(flag: str, message: str, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(flag)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--port=0"], "--port 0 is not in 1 to 65535"),
        (["--rest_api_port=70000"], "--rest_api_port 70000 is not in 1 to 65535"),
        (["--rest_api_port=8500"], "--rest_api_port 8500 cannot be same as --port"),
        (["--grpc_max_threads=0"], "--grpc_max_threads 0 is under 1"),
        (["--batching_parameters_file=x"], "is set without --enable_batching"),
        (["--model_name="], "--model_name is empty"),
        (["--file_system_poll_wait_seconds=nan"], "file_system_poll_wait_seconds nan is negative"),
    ],
)
def test_values_out_of_range_are_refused(flags: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(*flags)


def model_server(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", "model-server", *flags]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_command_says_what_it_is_for(tmp_path: Path) -> None:
    done = model_server("--help")
    assert done.returncode == 0
    assert "for development and tests" in " ".join(done.stdout.split())
    with server_process(free_port(), free_port()) as process:
        assert "for development and tests; deploy the real server" in process.stdout.readline()


def test_the_command_ends_in_words(tmp_path: Path) -> None:
    port, rest_port = free_port(), free_port()
    with server_process(port, rest_port):
        for ports in ((port, free_port()), (free_port(), rest_port)):
            taken = model_server(f"--port={ports[0]}", f"--rest_api_port={ports[1]}")
            assert taken.returncode == 1
            assert "Traceback" not in taken.stderr
            assert "cannot be used: Address already in use" in taken.stderr
    broken = tmp_path / "models.config"
    broken.write_text("model_config_list {", encoding="utf-8")
    done = model_server(f"--model_config_file={broken}")
    assert done.returncode == 2
    assert "error: Invalid protobuf file" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_running_requests_end(number: int) -> None:
    port = free_port()
    with server_process(port, free_port()) as process, ThreadPoolExecutor(1) as pool:
        backend = RemoteBackend(ServerConfig().model, RemoteConfig(address=f"127.0.0.1:{port}"))
        clip = np.zeros(22_050 * 100, np.float32)
        backend.log_probs([clip])
        answer = pool.submit(backend.log_probs, [clip])
        time.sleep(0.1)
        process.send_signal(number)
        assert len(answer.result()) == 1
        backend.close()
        assert process.wait(60) == {signal.SIGINT: 130, signal.SIGTERM: 0}[number]
        assert "Traceback" not in process.stdout.read()

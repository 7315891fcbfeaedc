"""Flags are TensorFlow Serving's own; what is not honoured is refused by name."""

import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from config import ModelUnavailableError
from server_flags import parse_server_flags
from service_config import ServerConfig
from serving.remote import RemoteBackend
from serving_config import ModelServerConfig, RemoteConfig
from tests.example_clients import free_ports
from tests.model_servers import ROOT, server_process


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
    with server_process(*free_ports(2)) as process:
        assert "for development and tests; deploy the real server" in process.stdout.readline()


def test_the_command_ends_in_words(tmp_path: Path) -> None:
    port, rest_port, free = free_ports(3)
    with server_process(port, rest_port):
        for ports in ((port, free), (free, rest_port)):
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


PATIENT = """
    max_batch_size { value: 2 }
    batch_timeout_micros { value: 3000000 }
    max_enqueued_batches { value: 1 }
    num_batch_threads { value: 1 }
    pad_variable_length_inputs: true
"""


def patient_flags(folder: Path) -> list[str]:
    """Return flags with which a clip waits three seconds for another, so that it runs for long."""
    (folder / "batching.txt").write_text(PATIENT, encoding="utf-8")
    base, warm_up = folder / "versions", shutil.ignore_patterns("assets.extra")
    shutil.copytree(ServerConfig().model / "saved_model", base, ignore=warm_up)
    batching = ("--enable_batching", f"--batching_parameters_file={folder / 'batching.txt'}")
    return [f"--model_base_path={base}", *batching]


def wait_until_one_waits(backend: RemoteBackend, clip: np.ndarray) -> None:
    """Wait until a clip waits for another: then two more are refused."""
    for _ in range(600):
        try:
            backend.log_probs([clip, clip])
        except ModelUnavailableError as error:
            if "queue to which this task was submitted is full" in str(error):
                return
            raise
        time.sleep(0.05)
    raise AssertionError("the request did not reach the server")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_running_requests_end(number: int, tmp_path: Path) -> None:
    port, rest_port = free_ports(2)
    with (
        server_process(port, rest_port, *patient_flags(tmp_path)) as process,
        ThreadPoolExecutor(1) as pool,
    ):
        backend = RemoteBackend(ServerConfig().model, RemoteConfig(address=f"127.0.0.1:{port}"))
        clip = np.zeros(22_050, np.float32)
        backend.log_probs([clip, clip])
        answer = pool.submit(backend.log_probs, [clip])
        wait_until_one_waits(backend, clip)
        process.send_signal(number)
        assert len(answer.result()) == 1
        backend.close()
        assert process.wait(60) == {signal.SIGINT: 130, signal.SIGTERM: 0}[number]
        assert "Traceback" not in process.stdout.read()

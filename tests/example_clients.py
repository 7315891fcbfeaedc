"""How the tests run the clients of `examples/`: a server on free ports, Node packages, commands."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.real_clients import skip_without

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
NPM = [
    "npm",
    "install",
    "--prefer-offline",
    "--no-save",
    "--no-package-lock",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--fetch-retries=1",
    "--fetch-retry-mintimeout=2000",
]
NO_NETWORK = "ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH"


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )


def run_npm(command: list[str]) -> None:
    """Install packages, or skip the test where npm does not get them, or not in time."""
    try:
        done = run(command)
    except subprocess.TimeoutExpired:
        skip_without("a registry that npm reaches")
    if re.search(NO_NETWORK, done.stderr):
        skip_without("a registry that npm reaches")
    assert done.returncode == 0, done.stderr


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@dataclass(frozen=True)
class Server:
    """Addresses of both ports."""

    grpc: str
    rest: str


@contextmanager
def running_server(command: list[str], log: Path) -> Iterator[Server]:
    """Start a stand-in on free ports, wait until the model answers; stop it at the end."""
    ports = free_ports(2)
    command = [*command, f"--port={ports[0]}", f"--rest_api_port={ports[1]}"]
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    running = Server(*(f"127.0.0.1:{port}" for port in ports))
    try:
        for _ in range(480):
            assert process.poll() is None, log.read_text()
            try:
                httpx.get(f"http://{running.rest}/v1/models/english-small").raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.25)
        else:
            raise AssertionError(f"no model answers at {running.rest}: {log.read_text()}")
        yield running
    finally:
        process.terminate()
        process.wait(60)


def copy_node_client(folder: Path) -> None:
    """Copy examples/node to `folder` and install its packages there, or skip the test."""
    if not shutil.which("node") or not shutil.which("npm"):
        skip_without("node and npm")
    not_ours = shutil.ignore_patterns("node_modules", "package-lock.json")
    shutil.copytree(ROOT / "examples/node", folder, ignore=not_ours)
    run_npm([*NPM, "--prefix", str(folder)])


@dataclass(frozen=True)
class Client:
    """One of the examples, and the port that it talks to."""

    command: list[str]
    address: str

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run([*self.command, "--address", self.address, *arguments])

    def error(self, *arguments: str) -> str:
        """Return the one line that it must print to standard error, and nothing else."""
        done = self(*arguments)
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ")
        return line

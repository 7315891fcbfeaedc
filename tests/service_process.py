"""The service as a process of its own, for tests over real sockets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
_TRIES, _WAIT_S = 600, 0.1


@dataclass(frozen=True)
class Service:
    """A running `api.py`."""

    process: subprocess.Popen[bytes]
    port: int
    terminal: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=headers, timeout=60, trust_env=False)

    def upload(self, content: bytes, **headers: str) -> httpx.Response:
        files = {"file": ("clip.wav", content, "audio/wav")}
        where = self.url + "/upload/"
        return httpx.post(where, files=files, headers=headers, timeout=60, trust_env=False)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def memory_bytes(self) -> int:
        """Return what of its memory is in RAM."""
        return 1024 * self._status("VmRSS")

    def num_threads(self) -> int:
        return self._status("Threads")

    def _status(self, name: str) -> int:
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8").splitlines()
        found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
        assert found, f"the service ended: {self.terminal.read_text(encoding='utf-8')}"
        return int(found[0])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(model: Path, logs: Path, **settings: str) -> Iterator[Service]:
    """Run the service with `settings` until the block ends; yield it once it is ready."""
    port = free_port()
    plain = {name: value for name, value in os.environ.items() if not name.startswith("STT_")}
    own = {"STT_PORT": str(port), "STT_MODEL": str(model), "STT_LOG_FOLDER": str(logs)}
    terminal = logs / "terminal.txt"
    with terminal.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "api.py"],
            cwd=ROOT,
            env={**plain, **own, "STT_COMPILE_CLIPS": "false", **settings},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    service = Service(process, port, terminal)
    try:
        wait_until_ready(service)
        yield service
    finally:
        process.terminate()
        process.wait(60)


def wait_until_ready(service: Service) -> None:
    for _ in range(_TRIES):
        assert service.process.poll() is None, service.terminal.read_text(encoding="utf-8")
        try:
            if service.get("/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(_WAIT_S)
    raise AssertionError("the service did not get ready")

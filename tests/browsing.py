"""How the tests use the page at `/app/`: the service on a free port, and a browser that obeys."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.example_clients import ROOT, free_ports, run_npm
from tests.real_clients import skip_without

FOLDER = ROOT / "tests/browser"
NPM = [
    "npm",
    "ci",
    "--prefer-offline",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--fetch-retries=1",
    "--fetch-retry-mintimeout=2000",
]
SCREENSHOTS = "PAGE_SCREENSHOTS"
ANSWER_TIMEOUT_S = 300


@contextmanager
def running_service(logs: Path, **environment: str) -> Iterator[str]:
    """Run `python api.py` with the bundled model on a free port; yield its address."""
    (port,) = free_ports(1)
    variables = {
        "STT_PORT": str(port),
        "STT_LOG_FOLDER": str(logs),
        "STT_COMPILE_CLIPS": "false",
        "PYTHONPATH": str(ROOT),
    }
    process = subprocess.Popen(
        [sys.executable, "api.py"], cwd=ROOT, env={**os.environ, **variables, **environment}
    )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(480):
            assert process.poll() is None, "the service ended"
            try:
                httpx.get(f"{address}/")
                break
            except httpx.TransportError:
                time.sleep(0.25)
        else:
            raise AssertionError(f"the service does not answer at {address}")
        yield address
    finally:
        process.terminate()
        process.wait(60)


def install_packages(folder: Path) -> None:
    """Copy tests/browser to `folder` and install its packages there, or skip the test."""
    if not shutil.which("node") or not shutil.which("npm"):
        skip_without("node and npm")
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("node_modules"))
    run_npm([*NPM, "--prefix", str(folder)])


def find_chromium() -> str:
    """Return where Chromium is, or skip the test."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        skip_without("a browser, the Debian package chromium")
    return found


@dataclass
class Browser:
    """A Chromium that runs the flows of tests/browser/flows.mjs, each in a new profile."""

    process: subprocess.Popen[str]

    def __call__(self, flow: str, *, expected: str = r"(?!)", **given: Any) -> Any:
        """Return what a flow returns; the page may complain only of what is `expected`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps({"flow": flow, **given}), file=self.process.stdin, flush=True)
        overdue = threading.Timer(ANSWER_TIMEOUT_S, self.process.kill)
        overdue.start()
        line = self.process.stdout.readline()
        overdue.cancel()
        assert line, f"the browser ended, or did not do {flow} in {ANSWER_TIMEOUT_S} s"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        problems = [text for text in answer["problems"] if not re.search(expected, text)]
        assert not problems, "\n".join(problems)
        return answer["value"]


@contextmanager
def running_browser(
    packages: Path, *, url: str, microphone: Path, downloads: Path
) -> Iterator[Browser]:
    """Start a browser whose microphone hears a WAV file over and over."""
    settings = {
        "url": url,
        "chromium": find_chromium(),
        "microphone": str(microphone),
        "folder": str(downloads),
        "screenshots": os.environ.get(SCREENSHOTS, ""),
    }
    process = subprocess.Popen(
        ["node", str(packages / "runner.mjs"), json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield Browser(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()

"""docs/proxy.md: its nginx passes on what the service needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from predictor import Predictor
from service_config import ServerConfig
from serving.local import LocalBackend
from tests.example_clients import ROOT, free_ports
from tests.live_server import Served, serving
from tests.real_clients import skip_without

TEXT = (ROOT / "docs/proxy.md").read_text(encoding="utf-8")
(SITE,) = re.findall(r"```nginx\n(.*?)```", TEXT, re.DOTALL)
HOST = "proxy_set_header Host $http_host;"
_BODY_EXTRA_BYTES = 64 * 1024
_TRIES, _WAIT_S = 200, 0.05


@pytest.fixture(scope="module")
def served(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = ServerConfig(log_folder=tmp_path_factory.mktemp("logs"))
    with serving(config, lambda _: Predictor(LocalBackend(model_folder))) as served:
        yield served


@contextmanager
def proxied(site: str, served: Served, folder: Path) -> Iterator[str]:
    """Run nginx before the service, without TLS; yield its address without a scheme."""
    program = shutil.which("nginx")
    if not program:
        skip_without("nginx")
    (port,) = free_ports(1)
    site = re.sub(r"ssl_\w+ .*;", "", site).replace("443 ssl", f"127.0.0.1:{port}")
    site = site.replace("127.0.0.1:8000", f"127.0.0.1:{served.port}")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder / kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr;"
        f"events {{}} http {{ access_log off; {places}\n{site} }}",
        encoding="utf-8",
    )
    command = [program, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
    process = subprocess.Popen(command)
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}/", process)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def wait_until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(_TRIES):
        assert process.poll() is None, "nginx ended"
        try:
            httpx.get(url, trust_env=False)
            return
        except httpx.TransportError:
            time.sleep(_WAIT_S)
    raise AssertionError("nginx does not answer")


def open_captions(address: str) -> None:
    """Open live captions as a page of `address` does."""
    with connect(f"ws://{address}/v1/stream", origin=f"http://{address}", proxy=None):
        pass


def test_live_captions_and_large_files_pass(served: Served, tmp_path: Path) -> None:
    with proxied(SITE, served, tmp_path) as address:
        open_captions(address)
        answer = httpx.post(
            f"http://{address}/v1/audio/transcriptions",
            files={"file": bytes(3_000_000)},
            data={"model": "whisper-1"},
            timeout=60,
            trust_env=False,
        )
        docs = httpx.get(f"http://{address}/docs", follow_redirects=True, timeout=60)
        assert docs.status_code == 200
    assert answer.json()["error"]["code"] == "unsupported_audio", "by the service, not by nginx"


@pytest.mark.parametrize("instead", ["", "proxy_set_header Host $host;"])
def test_without_its_line_of_the_host_captions_are_403(
    served: Served, tmp_path: Path, instead: str
) -> None:
    assert HOST in SITE
    with proxied(SITE.replace(HOST, instead), served, tmp_path) as address:
        with pytest.raises(InvalidStatus) as refused:
            open_captions(address)
        assert refused.value.response.status_code == 403


def test_its_largest_body_is_the_service_s() -> None:
    (most_mib,) = re.findall(r"client_max_body_size (\d+)m;", SITE)
    needed = ServerConfig().max_file_bytes + _BODY_EXTRA_BYTES
    assert needed <= int(most_mib) * 2**20 < needed + 2**20


def test_the_page_and_the_captions_say_where_it_is() -> None:
    for name in ("page.md", "live.md"):
        assert "(proxy.md" in (ROOT / "docs" / name).read_text(encoding="utf-8"), name

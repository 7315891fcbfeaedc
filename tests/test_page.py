"""The page's files: how they are served, that they are whole, and that an installation has them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.page import FOLDER, WAVEFORM_STYLE, mount_page
from service_config import ServerConfig
from tests.example_clients import ROOT

FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())
OURS = [path for path in FILES if "vendor" not in path.parts]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app = FastAPI(docs_url=None)
    mount_page(app)
    app.state.config, app.state.predictor = ServerConfig(max_file_bytes=5), None
    with TestClient(app) as client:
        yield client


def policy(client: TestClient) -> dict[str, list[str]]:
    parts = client.get("/app/").headers["Content-Security-Policy"].split("; ")
    return {name: values for name, *values in (part.split() for part in parts)}


def test_the_page_is_at_app(client: TestClient) -> None:
    answer = client.get("/app")
    assert str(answer.url).endswith("/app/")
    assert "<title>Speech to text</title>" in answer.text


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_file_comes_whole_with_its_type(client: TestClient, path: Path) -> None:
    kinds = {".css": "text/css", ".html": "text/html", ".js": "text/javascript"}
    kinds |= {".svg": "image/svg+xml"}
    answer = client.get(f"/app/{path.relative_to(FOLDER).as_posix()}")
    assert answer.content == path.read_bytes()
    assert answer.headers["Content-Type"].startswith(kinds.get(path.suffix, "text/plain"))
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Content-Security-Policy" in answer.headers
    vendored = "vendor" in path.parts
    assert ("immutable" if vendored else "no-cache") in answer.headers["Cache-Control"]


def test_the_page_is_told_what_it_may_send(client: TestClient) -> None:
    assert client.get("/app/limits.json").json() == {
        "max_file_bytes": 5,
        "max_recording_s": ServerConfig().max_recording_s,
        "sample_rate_hz": 22_050,
    }


def test_a_browser_that_has_a_file_is_told_so(client: TestClient) -> None:
    tag = client.get("/app/js/main.js").headers["ETag"]
    answer = client.get("/app/js/main.js", headers={"If-None-Match": tag})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", ["nothing.js", "..%2fpage.py", "../page.py", "vendor", "js/%00"])
def test_nothing_else_is_there(client: TestClient, path: str) -> None:
    assert client.get(f"/app/{path}").status_code == 404


def test_the_policy_lets_nothing_in_from_outside(client: TestClient) -> None:
    rules = policy(client)
    assert rules.pop("default-src") == ["'none'"]
    assert "unsafe" not in str(rules)
    allowed = {value for values in rules.values() for value in values}
    assert allowed == {"'self'", "'none'", "blob:", f"'{WAVEFORM_STYLE}'"}
    permissions = client.get("/app/").headers["Permissions-Policy"]
    assert "microphone=(self)" in permissions


def test_the_policy_names_the_style_of_the_waveform() -> None:
    (script,) = FOLDER.glob("vendor/wavesurfer.js-*/wavesurfer.esm.js")
    found = re.search(r"<style\$\{.*?\}>(.*?)</style>", script.read_text(encoding="utf-8"))
    player = (FOLDER / "js/player.js").read_text(encoding="utf-8")
    height = re.search(r"WAVEFORM_PX = (\d+)", player)
    assert found
    assert height
    style = re.sub(r"\$\{[^}]*\}", height[1], found[1]).replace("\\n", "\n")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"sha256-{digest}" == WAVEFORM_STYLE


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_file_is_small_and_names_no_other_host(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)[\w.]+", text) == []


def test_every_label_and_icon_is_there() -> None:
    page = (FOLDER / "index.html").read_text(encoding="utf-8")
    scripts = "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("js/*.js"))
    ids = set(re.findall(r'\bid="([^"]+)"', page))
    assert set(re.findall(r'\bfor="([^"]+)"', page)) <= ids
    assert set(re.findall(r'find\("#([\w-]+)', scripts)) <= ids
    icons = set(re.findall(r'<symbol id="([^"]+)"', page))
    assert set(re.findall(r'href="#(icon-\w+)"', page)) <= icons


def test_an_installation_has_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which files setuptools would put into a wheel, by what pyproject.toml says."""
    setuptools = pytest.importorskip("setuptools")
    build_py = pytest.importorskip("setuptools.command.build_py")
    monkeypatch.chdir(ROOT)
    said = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    values = {"packages": said["packages"], "package_data": said["package-data"]}
    command = build_py.build_py(setuptools.Distribution(values))
    command.ensure_finalized()
    packed = {Path(folder, name) for _, folder, _, names in command.data_files for name in names}
    assert {path.relative_to(ROOT) for path in FILES} <= packed


def test_the_packages_of_the_browser_tests_are_pinned() -> None:
    lock = json.loads((ROOT / "tests/browser/package-lock.json").read_text(encoding="utf-8"))
    packages = [package for name, package in lock["packages"].items() if name]
    assert all("integrity" in package for package in packages)
    assert not any("resolved" in package for package in packages)

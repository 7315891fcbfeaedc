"""The API's image: its Dockerfile, what is copied into it, and that this suffices."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "serving/docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
HADOLINT = Path(sys.executable).parent / "hadolint"
LOCAL_ONLY = {"tensorflow"}  # imported only where the model runs in the process


def pins(path: Path) -> dict[str, str]:
    return dict(line.split("==") for line in path.read_text(encoding="utf-8").split())


PINS = pins(ROOT / "requirements.txt")
API_PINS = pins(DOCKER / "requirements-api.txt")


def copied() -> list[tuple[list[str], str]]:
    """Return the sources and the target of each COPY out of the repository."""
    lines = [shlex.split(line) for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE)]
    return [(words[:-1], words[-1]) for words in lines if not words[0].startswith("--from")]


def in_image() -> list[Path]:
    """Return the files of the last stage, relative to the root."""
    patterns = [p for sources, target in copied() for p in sources if "docker/" not in p]
    found = [path for p in patterns for path in ROOT.glob(p)]
    files = [file for path in found for file in (path.rglob("*") if path.is_dir() else [path])]
    return sorted(file.relative_to(ROOT) for file in files if file.is_file())


def lint(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [HADOLINT, "--no-color", path], capture_output=True, text=True, check=False
    )


def test_the_linter_has_nothing_to_say() -> None:
    done = lint(DOCKER / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_the_linter_finds_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /tmp\n", encoding="utf-8")
    done = lint(tmp_path / "Dockerfile")
    assert done.returncode == 1
    assert "DL3006" in done.stdout  # an image without a tag


def test_versions_are_those_of_the_project() -> None:
    assert re.findall(r"TENSORFLOW_VERSION=(\S+)", DOCKERFILE) == [PINS["tensorflow"]]
    bases = set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", bases.pop())


def test_requirements_are_pinned_as_the_projects() -> None:
    assert API_PINS.items() <= PINS.items()


def test_requirements_are_complete_but_for_tensorflow() -> None:
    have = {canonicalize_name(name) for name in API_PINS}
    needed = {
        canonicalize_name(requirement.name)
        for name in API_PINS
        for requirement in map(Requirement, metadata.requires(name) or ())
        if not requirement.marker or requirement.marker.evaluate({"extra": ""})
    }
    assert needed - have == LOCAL_ONLY


def test_requirements_are_no_more_than_needed() -> None:
    """Each is imported by what is copied, or is a dependency of another."""
    needed = {
        canonicalize_name(Requirement(text).name)
        for name in API_PINS
        for text in metadata.requires(name) or ()
    }
    of_module = metadata.packages_distributions()
    imported = {
        canonicalize_name(name)
        for path in in_image()
        if path.suffix == ".py"
        for module in imports(ROOT / path)
        for name in of_module.get(module.partition(".")[0], ())
    }
    # FastAPI imports it where a route takes a form.
    imported.add("python-multipart")
    assert {canonicalize_name(name) for name in API_PINS} <= needed | imported


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports, also inside functions; packages' parts too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def source(module: str) -> Path | None:
    """Return the file of one of our own modules."""
    path = ROOT / module.replace(".", "/")
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file.relative_to(ROOT)
    return None


def test_all_that_the_api_imports_is_copied() -> None:
    seen: set[Path] = set()
    waiting = [Path("api.py")]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += [file for name in imports(ROOT / path) if (file := source(name))]
    assert len(seen) > 10
    assert seen <= {*in_image()}
    assert {path.parts[0] for path in in_image()}.isdisjoint({"training", "tests"})
    assert not [path for path in in_image() if "saved_model" in path.parts]


def test_the_builder_is_sent_what_is_copied_and_no_more() -> None:
    lines = (DOCKER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    sent = {rule.removeprefix("!") for rule in rules[1:]}
    assert all(rule.startswith("!") for rule in rules[1:])
    assert sent == {source for sources, _ in copied() for source in sources}
    for path in in_image():
        assert any(fnmatch(str(path), rule) or path.is_relative_to(rule) for rule in sent)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the image's `app` and `site-packages`, made as the Dockerfile does."""
    folder = tmp_path_factory.mktemp("image")
    app, site = folder / "app", folder / "site-packages"
    for path in in_image():
        (app / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, app / path)
    site.mkdir()
    for name in API_PINS:
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or ()} - {".."}:
            if top != "tensorflow" and not (site / top).exists():
                (site / top).symlink_to(distribution.locate_file(top))
    installed = Path(find_spec("tensorflow").origin).parent
    with zipfile.ZipFile(folder / "tensorflow.whl", "w") as wheel:
        for part in ("core", "compiler/xla"):
            for file in (installed / part).rglob("*.py"):
                wheel.write(file, f"tensorflow/{file.relative_to(installed)}")
        wheel.write(installed / "__init__.py", "tensorflow/__init__.py")
    script = [sys.executable, DOCKER / "tensorflow_messages.py", folder / "tensorflow.whl", site]
    subprocess.run(script, check=True)
    return folder


@pytest.fixture(scope="module")
def server(image: Path) -> Iterator[str]:
    """Run the image's command with its folders and the standard library alone; yield its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    paths = [str(image / "app"), str(image / "site-packages")]
    code = f"import runpy, sys; sys.path[:0] = {paths}; runpy.run_path('api.py', None, '__main__')"
    environment = dict(re.findall(r"(STT_\w+)=(\S+)", DOCKERFILE))
    environment |= {"STT_HOST": "127.0.0.1", "STT_PORT": str(port)}
    environment |= {"STT_LOG_FOLDER": str(image / "logs"), "STT_TF_SERVING": "127.0.0.1:1"}
    environment["STT_MODEL"] = environment["STT_MODEL"].replace("/app", str(image / "app"))
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code], cwd=image / "app", env=environment
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(480):
            assert process.poll() is None, "the API ended"
            try:
                httpx.get(url)
                break
            except httpx.TransportError:
                time.sleep(0.25)
        else:
            raise AssertionError(f"the API does not answer at {url}")
        yield url
    finally:
        process.terminate()
        process.wait(30)


def test_the_image_serves_without_tensorflow(server: str) -> None:
    """With no server to ask it is alive, not ready, and says so."""
    for path, status in (("/", 200), ("/app/", 200), ("/ready/", 503)):
        assert httpx.get(server + path, timeout=60).status_code == status, path
    clip = (ROOT / "Data/samples/sample.wav").read_bytes()
    answer = httpx.post(f"{server}/upload/", files={"file": clip}, timeout=60)
    assert answer.status_code == 503
    assert "UNAVAILABLE" in answer.json()["detail"]


def test_tensorflow_in_the_image_is_messages_only(image: Path) -> None:
    files = [*(image / "site-packages/tensorflow").rglob("*.py")]
    assert files
    assert all(path.name.endswith("_pb2.py") for path in files)
    assert not (image / "site-packages/keras").exists()


def test_a_wheel_without_messages_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "empty.whl", "w") as wheel:
        wheel.writestr("tensorflow/__init__.py", "")
    script = [sys.executable, DOCKER / "tensorflow_messages.py", tmp_path / "empty.whl", tmp_path]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no messages" in done.stderr

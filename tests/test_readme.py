"""The README's commands, executed as they stand."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.real_clients import skip_without

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent


def shell_lines(containing: str) -> list[str]:
    """Return the commands of the README's shell block that has `containing`."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    block = next(block for block in blocks if containing in block)
    return [line.partition(" #")[0].strip() for line in block.splitlines() if line.strip()]


def run(line: str, folder: Path, *, code: int = 0, **environment: str) -> str:
    """Run a command line in `folder` with this Python's commands first; return what it printed."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == code, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run `python api.py` as `make run` does, on a free port; yield the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    logs = tmp_path_factory.mktemp("logs")
    environment = {**os.environ, "STT_PORT": str(port), "STT_LOG_FOLDER": str(logs)}
    process = subprocess.Popen([sys.executable, "api.py"], cwd=ROOT, env=environment)
    try:
        for _ in range(240):
            assert process.poll() is None, "the server ended"
            try:
                httpx.get(f"http://127.0.0.1:{port}/")
                break
            except httpx.TransportError:
                time.sleep(0.5)
        else:
            raise AssertionError(f"the server does not answer at port {port}")
        yield port
    finally:
        process.terminate()
        process.wait(60)


def test_make_run_serves_and_curl_gets_text(server: int) -> None:
    if not shutil.which("curl"):
        skip_without("curl")
    for route, field in (("/v1/audio/transcriptions", "text"), ("/upload/", "transcryption")):
        (line,) = (line for line in shell_lines(route) if route in line)
        answer = run(line.replace(":8000", f":{server}"), ROOT)
        assert f'"{field}":"the old house stood near the river' in answer.replace('": "', '":"')


def test_make_run_and_make_test_are_what_the_makefile_does() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "make run " in README
    assert "make test " in README
    assert re.search(r"^run: .*\n\t\$\(BIN\)/python api.py$", makefile, re.MULTILINE)
    assert re.search(r"^test: .*\n\t\$\(BIN\)/python -m pytest ", makefile, re.MULTILINE)
    assert "make test VENV=" in (ROOT / ".ci/run").read_text(encoding="utf-8")


def test_transcribe_without_a_server() -> None:
    for line in shell_lines("make transcribe"):
        command = line.replace(".venv/bin/stt", "stt").replace(
            "make transcribe WAV=", "stt transcribe "
        )
        assert "old house" in run(command, ROOT)


def test_train_your_own(tmp_path: Path) -> None:
    """Each line, on a corpus of the sample clips, with one epoch."""
    corpus = tmp_path / "path/to/corpus"
    shutil.copytree(ROOT / "Data/samples", corpus)
    (corpus / "splits.csv").write_text(
        "id,split\nsample,train\nharbour,validation\nletter,test\n", encoding="utf-8"
    )
    run("python -c \"import soundfile as s; s.write('clip.flac', *s.read('c.wav'))\"".replace(
        "c.wav", str(corpus / "sample.wav")), tmp_path)  # fmt: skip
    (tmp_path / "sentences.txt").write_text("The old house.\nNear the river.\n", encoding="utf-8")
    lines = shell_lines("stt prepare")
    assert [line.split()[1] for line in lines] == [
        "prepare",
        "train",
        "export",
        "lm",
        "lm",
        "lm",
        "evaluate",
        "analyze",
        "transcribe",
        "stt",
    ]
    for line in lines[:-1]:
        # What has learnt for one epoch writes nothing yet, and there is nothing to tune.
        code = 4 if line.startswith("stt lm tune") else 0
        run(line.replace("--epochs 50", "--epochs 1"), tmp_path, code=code)
    assert (tmp_path / "Models/mine/saved_model/1/saved_model.pb").is_file()
    assert (tmp_path / "Data/mine/evaluation-mine-test.json").is_file()


PAGES = [
    "README.md",
    "Models/english-small/MODEL_CARD.md",
    "examples/README.md",
    *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("docs/*.md"))),
]


@pytest.mark.parametrize("page", PAGES)
def test_no_figure_is_left_to_fill_in(page: str) -> None:
    assert "@@" not in (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [*PAGES, "serving/kubernetes/README.md"])
def test_links_lead_somewhere(page: str) -> None:
    """Files beside the page, and headings of them."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for link, _, heading in re.findall(r"\]\(([^)#:]*)(#([^)]+))?\)", text):
        target = (ROOT / page).parent / link if link else ROOT / page
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [title.lower().replace(" ", "-") for title in titles]

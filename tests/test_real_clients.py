"""What a run says of tests that lacked a program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = """\
import pytest
from tests.real_clients import skip_without

@pytest.mark.parametrize("_", range(2))
def test_in_a_browser(_):
    skip_without("chromium")

@pytest.fixture
def npm():
    skip_without("a registry that npm reaches")

def test_with_a_package(npm): ...

def test_of_another_kind():
    pytest.skip("needs real speech")

def test_that_runs(): ...
"""


def run_with(plugin: str, folder: Path, *arguments: str) -> str:
    """Return what a run of `TESTS` says."""
    file = folder / "test_some.py"
    file.write_text(TESTS, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", plugin, "--rootdir", str(folder), str(file)]
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout


@pytest.mark.parametrize("processes", ["0", "2"])
def test_one_line_says_how_many_and_why(tmp_path: Path, processes: str) -> None:
    """Through the conftest.py of all tests."""
    said = run_with("tests.conftest", tmp_path, "--numprocesses", processes)
    assert "1 passed, 4 skipped" in said
    assert [line for line in said.splitlines() if "real clients and browsers" in line] == [
        "3 tests with real clients and browsers were skipped: 2 without chromium; "
        "1 without a registry that npm reaches"
    ]


def test_where_none_was_skipped_nothing_is_said(tmp_path: Path) -> None:
    said = run_with("tests.real_clients", tmp_path, "-k", "runs or another")
    assert "1 passed, 1 skipped" in said
    assert "real clients" not in said

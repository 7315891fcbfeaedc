"""Fixtures and settings that every test file shares."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from tests.models import (  # noqa: F401
    bundled,
    model_folder,
    server_config,
    streaming_model,
    tiny_model,
)
from tests.real_clients import pytest_terminal_summary  # noqa: F401
from tests.runs import corpus  # noqa: F401

# The same examples in every run, and no deadline: a busy machine is not a failure.
settings.register_profile("fixed", deadline=None, derandomize=True, database=None)
settings.load_profile("fixed")


def pytest_configure() -> None:
    """Let what tests interrupt be interrupted: a job in the background ignores Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name bytes by their number: processes that share the tests must call each by one name."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


@pytest.fixture(autouse=True)
def no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide `STT_…` variables of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("STT_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def rng() -> np.random.Generator:
    """Return random numbers that are the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def ljspeech() -> Path:
    """Return the folder of a corpus in LJSpeech's form."""
    folder = os.environ.get("LJSPEECH_DIR")
    if not folder:
        pytest.skip("needs real speech: set LJSPEECH_DIR to a corpus in LJSpeech's form")
    return Path(folder)

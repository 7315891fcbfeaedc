"""Tests that need somebody else's program: without it they are skipped, and the run says so."""

from __future__ import annotations

from collections import Counter
from typing import NoReturn

import pytest

_REASON = "no real client: "


def skip_without(program: str) -> NoReturn:
    """Skip a test whose client, browser or proxy is not on this machine.

    Args:
        program: what is missing, as it is to be read.
    """
    pytest.skip(f"{_REASON}{program}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line how many tests were skipped for want of such a program, and of which."""
    reasons = (str(report.longrepr[2]) for report in terminalreporter.getreports("skipped"))
    missing = Counter(
        reason.partition(_REASON)[2] for reason in reasons if _REASON in reason
    ).most_common()
    if missing:
        total = sum(count for _, count in missing)
        each = "; ".join(f"{count} without {program}" for program, count in missing)
        line = f"{total} tests with real clients and browsers were skipped: {each}"
        terminalreporter.section("real clients", yellow=True)
        terminalreporter.line(line, yellow=True)

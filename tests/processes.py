"""What the system says of processes, where it has /proc."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


def children() -> set[int]:
    """Return this process' children, but for those that end meanwhile."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # the program's name comes before it, in brackets, and may have anything in it
            parent = path.read_text().rsplit(")", 1)[1].split()[1]
        except OSError:
            continue
        if parent == str(os.getpid()):
            found.add(int(path.parent.name))
    return found

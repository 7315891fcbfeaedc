"""Computes clips alone, and says after each round of them how often XLA has compiled something.

XLA is told before it starts, by `XLA_FLAGS`, where to write what it compiles: so this is a process
of its own, run as `python -m tests.compiling_worker MODEL DUMP ROUNDS`.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from serving.local import LocalBackend

CLIENTS = 4


def main(model: Path, dump: Path, rounds: list[list[int]]) -> list[int]:
    """Return the number of compilations after each round.

    Args:
        rounds: the lengths, in samples, of clips that several threads compute, each alone; twice,
            before and after they are compiled.
    """
    backend = LocalBackend(model, compile_clips=True)
    assert backend.compiled
    counts = []
    for lengths in rounds:
        for _ in range(2):
            with ThreadPoolExecutor(CLIENTS) as pool:
                waveforms = [[np.zeros(length, np.float32)] for length in lengths]
                list(pool.map(backend.log_probs, waveforms))
            backend.compiled.wait()
        # One such file for each module that XLA was given to compile.
        counts.append(len(list(dump.glob("*.before_optimizations.txt"))))
    return counts


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))))

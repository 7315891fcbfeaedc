"""Clips one at a time through XLA: their lengths rounded up to few, each compiled once."""

from __future__ import annotations

import logging
import threading
from bisect import bisect_left
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from speech.audio import Waveform

logger = logging.getLogger("stt.compiled")

SHORTEST_S, LONGEST_S = 1.0, 20.0  # what is longer is cut into pieces, or is rare
STEPS_PER_DECADE = 20  # so that a length is rounded up by 6 % on average


def preferred_lengths(sample_rate_hz: int) -> list[int]:
    """Return the lengths that are compiled, in samples, each 12 % longer than the one before."""
    last = round(STEPS_PER_DECADE * float(np.log10(LONGEST_S / SHORTEST_S)))
    steps = np.linspace(0, 1, last + 1)
    return [round(s * sample_rate_hz) for s in SHORTEST_S * (LONGEST_S / SHORTEST_S) ** steps]


class CompiledModel:
    """What `training.served_model` exports for one clip, compiled while others are computed."""

    def __init__(self, loaded: Any, sample_rate_hz: int) -> None:
        """Use a loaded SavedModel that has `compute_compiled`; nothing is compiled yet."""
        self._compute = loaded.compute_compiled
        self._weights = loaded.read_compiled_weights()
        self._lengths = preferred_lengths(sample_rate_hz)
        self._ready: set[int] = set()
        self._asked: list[int] = []  # each stays, so that none is compiled twice
        self._taken = 0
        self._changed = threading.Condition()
        self._is_compiling = False

    def log_probs(self, waveform: Waveform) -> NDArray[np.float32] | None:
        """Return float32 `[frames, symbols]`, or None: this length is not compiled.

        A length that could be is compiled soon, by another thread.
        """
        place = bisect_left(self._lengths, len(waveform))
        if place == len(self._lengths):
            return None
        length = self._lengths[place]
        if length not in self._ready:
            self._ask_for(length)
            return None
        return self._run(waveform, length)

    def wait(self) -> None:
        """Return once every length that was asked for is compiled, or has failed."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_compiling)

    def _ask_for(self, length: int) -> None:
        with self._changed:
            if length in self._asked:
                return
            self._asked.append(length)
            if not self._is_compiling:
                self._is_compiling = True
                # Not a daemon: the interpreter must not end within XLA.
                threading.Thread(target=self._compile_asked, name="compiler").start()

    def _compile_asked(self) -> None:
        while (length := self._next_asked()) is not None:
            try:
                self._run(np.zeros(1, np.float32), length)
            except tf.errors.OpError:
                logger.exception("a length is not compiled; the plain graph computes it")
                continue
            self._ready.add(length)

    def _next_asked(self) -> int | None:
        """Return the length that was asked for first and not yet taken; None ends the thread."""
        with self._changed:
            if self._taken < len(self._asked):
                self._taken += 1
                return self._asked[self._taken - 1]
            self._is_compiling = False
            self._changed.notify_all()
            return None

    def _run(self, waveform: Waveform, length: int) -> NDArray[np.float32]:
        padded = np.zeros((1, length), np.float32)
        padded[0, : len(waveform)] = waveform
        num_samples = tf.constant([len(waveform)], tf.int32)
        outputs = self._compute(tf.constant(padded), num_samples, self._weights)
        num_frames = int(outputs["num_frames"][0])
        log_probs: NDArray[np.float32] = outputs["log_probs"][0, :num_frames].numpy()
        return log_probs

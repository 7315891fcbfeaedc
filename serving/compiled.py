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

logger = logging.getLogger("stt.predictor.compiled")

SHORTEST_S, LONGEST_S = 1.0, 20.0  # what is longer is cut into pieces, or is rare
STEPS_PER_DECADE = 20  # so that a length is rounded up by 6 % on average


def preferred_lengths(sample_rate_hz: int) -> list[int]:
    """Return the lengths that are compiled, in samples, each 12 % longer than the one before."""
    last = round(STEPS_PER_DECADE * float(np.log10(LONGEST_S / SHORTEST_S)))
    steps = np.linspace(0, 1, last + 1)
    return [round(s * sample_rate_hz) for s in SHORTEST_S * (LONGEST_S / SHORTEST_S) ** steps]


class CompiledModel:
    """What `training.served_model` exports for one clip, compiled while others are computed."""

    def __init__(self, loaded: Any, weights: list[tf.Tensor], sample_rate_hz: int) -> None:
        """Use a loaded SavedModel and what its `read_weights` gave; nothing is compiled yet."""
        self._compute = loaded.compute_compiled
        self._weights = loaded.arrange_weights(weights)
        self._lengths = preferred_lengths(sample_rate_hz)
        self._ready: set[int] = set()
        self._asked: list[int] = []  # each stays, so that none is compiled twice
        self._taken = 0
        self._changed = threading.Condition()
        self._is_compiling = self._is_closed = False

    def log_probs(self, waveform: Waveform) -> NDArray[np.float32] | None:
        """Return float32 `[frames, symbols]`, or None: this length is not compiled.

        A length that could be is compiled soon, by another thread.
        """
        length = self._rounded(len(waveform))
        if length is None:
            return None
        if length not in self._ready:
            self._ask_for(length)
            return None
        try:
            return self._run(waveform, length)
        except tf.errors.OpError:
            logger.exception("a compiled length failed; the plain graph computes it from now on")
            self._ready.discard(length)
            return None

    def compile(self, num_samples: int) -> None:
        """Return once clips of this length are compiled, if they can be."""
        length = self._rounded(num_samples)
        if length is not None:
            self._ask_for(length)
        self.wait()

    def wait(self) -> None:
        """Return once every length that was asked for is compiled, or has failed."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_compiling)

    def close(self) -> None:
        """Compile nothing more, and return once what is being compiled is done."""
        with self._changed:
            self._is_closed = True
        self.wait()

    def _rounded(self, num_samples: int) -> int | None:
        place = bisect_left(self._lengths, num_samples)
        return self._lengths[place] if place < len(self._lengths) else None

    def _ask_for(self, length: int) -> None:
        with self._changed:
            if self._is_closed or length in self._asked:
                return
            self._asked.append(length)
            if self._is_compiling:
                return
            # Not a daemon, whoever asks: the interpreter must not end within XLA.
            thread = threading.Thread(target=self._compile_asked, name="compiler", daemon=False)
            try:
                thread.start()
            except RuntimeError:  # no more threads: computed plainly
                logger.exception("nothing can be compiled now")
                return
            self._is_compiling = True

    def _compile_asked(self) -> None:
        while (length := self._next_asked()) is not None:
            try:
                self._run(np.zeros(1, np.float32), length)
            except Exception:  # whatever it is, the plain graph computes the length
                logger.exception("a length of %d samples cannot be compiled", length)
                continue
            self._ready.add(length)

    def _next_asked(self) -> int | None:
        """Return the length that was asked for first and not yet taken; None ends the thread."""
        with self._changed:
            is_wanted = not self._is_closed and threading.main_thread().is_alive()
            if is_wanted and self._taken < len(self._asked):
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

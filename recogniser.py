"""Recogniser: pieces of audio in, what they say out: a network, and the search in what it gives."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serving.backend import Backend
from speech.batches import batches_of
from speech.decoding.decoder import Decoded, Decoder, DecodingOptions
from speech.stream_cutting import Piece
from speech.transcript import Transcript

logger = logging.getLogger("stt.predictor")


class Observer(Protocol):
    """Is told what a `Predictor` does, in the threads that do it."""

    def step(self, name: str) -> AbstractContextManager[object]:
        """Return what is entered for a step: `audio`, `network` or `decoding`."""

    def computed(self) -> None:
        """Hear that the network computed some clips."""

    def transcribed(self, transcripts: Sequence[Transcript], elapsed_s: float) -> None:
        """Hear of what was transcribed, and how long it took."""


class Unobserved:
    """Nobody listens."""

    def step(self, name: str) -> AbstractContextManager[object]:  # noqa: ARG002
        """See `Observer.step`."""
        return nullcontext()

    def computed(self) -> None:
        """See `Observer.computed`."""

    def transcribed(self, transcripts: Sequence[Transcript], elapsed_s: float) -> None:
        """See `Observer.transcribed`."""


@dataclass(frozen=True, kw_only=True)
class Recogniser:
    """Computes with `backend`, decodes with `decoder`; safe to call from several threads."""

    backend: Backend
    decoder: Decoder
    observer: Observer = field(default_factory=Unobserved)
    decoder_lock: threading.Lock = field(default_factory=threading.Lock)

    def decode(self, log_probs: NDArray[np.float32], options: DecodingOptions | None) -> Decoded:
        """Return what the network's answer for one piece says.

        Args:
            log_probs: float32 `[frames, symbols]`.
        """
        with self.decoder_lock:
            return self.decoder.decode(log_probs, options)

    def recognise(
        self,
        pieces: Sequence[Piece],
        options: DecodingOptions | None,
        *,
        given_up: threading.Event | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Decoded]:
        """Return what the pieces say, in order; those of like length are computed together.

        Args:
            given_up: set once nobody waits for it.
            progress: called with how many pieces are done, and of how many.

        Raises:
            GivenUpError: `given_up` was set before the last batch began.
        """
        decoded: dict[int, Decoded] = {}
        lengths = [len(piece.samples) for piece in pieces]
        for batch in batches_of(lengths, sample_rate_hz=self._sample_rate_hz):
            answers = self._recognise_batch([pieces[i] for i in batch], options, given_up)
            decoded.update(zip(batch, answers, strict=True))
            if progress:
                progress(len(decoded), len(pieces))
        return [decoded[i] for i in range(len(pieces))]

    def _recognise_batch(
        self,
        pieces: Sequence[Piece],
        options: DecodingOptions | None,
        given_up: threading.Event | None,
    ) -> list[Decoded]:
        started, clips = time.perf_counter(), [piece.samples for piece in pieces]
        decoded = []
        with self.observer.step("network"):
            computed = self.backend.log_probs(clips, given_up)
        self.observer.computed()
        for log_probs in computed:
            # The search holds Python's lock: in turn, some are done early.
            with self.observer.step("decoding"):
                decoded.append(self.decode(log_probs, options))
        logger.info(
            "%d clips, %.1f s of audio in %.3f s",
            len(clips),
            sum(map(len, clips)) / self._sample_rate_hz,
            time.perf_counter() - started,
        )
        return decoded

    @property
    def _sample_rate_hz(self) -> int:
        return self.backend.pipeline.audio.sample_rate_hz

"""Clips of several threads in one batch of a model: those of like length, padded little."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from config import GivenUpError, ModelUnavailableError
from serving.backend import Backend, ClipStream, check_wanted, open_stream
from serving_config import BatchingConfig
from speech.audio import Waveform
from speech.pipeline import Pipeline


@dataclass(frozen=True, eq=False)
class _Clip:
    """A clip that waits, and where its caller waits for it.

    Attributes:
        call: what brought it, the same of all that came with it, and its place among them.
        turn: in samples of audio of its call; those of the lowest turn are next, and of these
            those whose call has had none.
    """

    waveform: Waveform
    given_up: threading.Event | None
    call: object
    place: int
    turn: float
    log_probs: Future[NDArray[np.float32]] = field(default_factory=Future)

    def is_wanted(self) -> bool:
        """Whether its caller still waits; if not, the caller is told."""
        try:
            check_wanted(self.given_up)
        except GivenUpError as error:
            self.log_probs.set_exception(error)
            return False
        return True


class MicroBatcher:
    """A `Backend` around another; its one thread computes the clips that wait in batches.

    How many wait is the callers' to bound: each waits for its own before it brings more. Callers
    get equal shares, so that one with one clip, as live captions are, does not wait for all the
    clips of others (weighted fair queueing, Demers et al. 1989, with equal weights).
    """

    def __init__(
        self,
        backend: Backend,
        config: BatchingConfig,
        *,
        on_batch: Callable[[int], object] | None = None,
    ) -> None:
        """Begin the thread; `on_batch` is called in it, with the number of clips of each batch."""
        self._backend, self._config, self._on_batch = backend, config, on_batch
        self._waiting: list[_Clip] = []  # in the order of their turns
        self._turn = 0.0
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="micro-batcher", daemon=True)
        self._thread.start()

    @property
    def pipeline(self) -> Pipeline:
        """The model's."""
        return self._backend.pipeline

    @property
    def version(self) -> str:
        """The model's."""
        return self._backend.version

    @property
    def num_waiting(self) -> int:
        """How many clips wait; those that are computed do not."""
        return len(self._waiting)

    def check_ready(self) -> None:
        """See `Backend.check_ready`."""
        self._backend.check_ready()

    def close(self) -> None:
        """End the thread after the batch that it computes; clips that wait fail."""
        with self._changed:
            self._closed = True
            left, self._waiting = self._waiting, []
            self._changed.notify()
        for clip in left:
            clip.log_probs.set_exception(ModelUnavailableError("the model is closed"))
        self._thread.join()
        self._backend.close()

    def log_probs(
        self, waveforms: list[Waveform], given_up: threading.Event | None = None
    ) -> list[NDArray[np.float32]]:
        """Compute the clips beside those of other threads; see `Backend.log_probs`.

        Raises:
            ModelUnavailableError: also if it was closed.
        """
        with self._changed:
            if self._closed:
                raise ModelUnavailableError("the model is closed")
            clips = self._in_turn(waveforms, given_up)
            self._waiting = sorted([*self._waiting, *clips], key=lambda c: (c.turn, c.place))
            self._changed.notify()
        return [clip.log_probs.result() for clip in clips]

    def open_stream(self) -> ClipStream | None:
        """Begin a clip that is computed while it is heard: by its caller, beside the batches."""
        return open_stream(self._backend)

    def _in_turn(
        self, waveforms: Sequence[Waveform], given_up: threading.Event | None
    ) -> list[_Clip]:
        """Return the clips of a call, each to come when those before it are an equal share."""
        call, turn, clips = object(), self._turn, []
        for place, waveform in enumerate(waveforms):
            clips.append(_Clip(waveform, given_up, call, place, turn))
            turn += len(waveform)
        return clips

    def _work(self) -> None:
        while not self._closed:
            self._compute(self._next_batch())

    def _next_batch(self) -> list[_Clip]:
        """Wait for clips and take a batch of them: none if it was closed, or all were given up."""
        with self._changed:
            was_idle = not self._waiting
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not was_idle:
                self._changed.wait_for(self._is_enough, timeout=self._config.wait_ms / 1000)
            self._waiting = [clip for clip in self._waiting if clip.is_wanted()]
            lengths = [len(clip.waveform) for clip in self._waiting]
            rate_hz = self.pipeline.audio.sample_rate_hz
            places = choose_batch(lengths, self._config, sample_rate_hz=rate_hz)
            batch = [self._waiting[place] for place in places]
            self._take_turn(batch)
            for place in reversed(places):
                del self._waiting[place]
            return batch

    def _take_turn(self, batch: Sequence[_Clip]) -> None:
        """Go on by what each call that waits has of a batch, were all served alike."""
        if batch:
            num_calls = len({clip.call for clip in self._waiting})
            share = sum(len(clip.waveform) for clip in batch) / num_calls
            self._turn = max(self._turn + share, batch[0].turn)

    def _is_enough(self) -> bool:
        return self._closed or len(self._waiting) >= self._config.max_clips

    def _compute(self, batch: list[_Clip]) -> None:
        if not batch:
            return
        if self._on_batch:
            self._on_batch(len(batch))
        try:
            computed = self._backend.log_probs([clip.waveform for clip in batch])
            answers = list(zip(batch, computed, strict=True))
        except Exception as error:  # whatever it is, each clip's caller gets it
            for clip in batch:
                clip.log_probs.set_exception(error)
            return
        for clip, log_probs in answers:
            clip.log_probs.set_result(log_probs)


def choose_batch(
    lengths: Sequence[int], config: BatchingConfig, *, sample_rate_hz: int
) -> list[int]:
    """Return the places of the first clip and of those after it that fit with it, in order.

    The first is in it however long it is, so that none waits for ever.

    Args:
        lengths: of the waiting clips in samples, in the order of their turns.
    """
    chosen = [0] if lengths else []
    for place in range(1, len(lengths)):
        if len(chosen) == config.max_clips:
            break
        together = [lengths[i] for i in (*chosen, place)]
        shortest, longest = min(together), max(together)
        fits = longest * len(together) <= config.max_audio_s * sample_rate_hz
        if fits and longest <= config.max_stretch * shortest:
            chosen.append(place)
    return chosen

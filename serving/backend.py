"""What a `Predictor` needs from a model, wherever the model runs."""

from __future__ import annotations

import threading
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from config import GivenUpError
from speech.audio import Waveform
from speech.pipeline import Pipeline


class Backend(Protocol):
    """A loaded model."""

    @property
    def pipeline(self) -> Pipeline:
        """What the model was trained with."""

    @property
    def version(self) -> str:
        """Which version answers: its number, or what is asked of a server that has several."""

    def log_probs(
        self, waveforms: list[Waveform], given_up: threading.Event | None = None
    ) -> list[NDArray[np.float32]]:
        """Return float32 `[frames, symbols]` for each float32 `[samples]` of native rate.

        Args:
            given_up: set once nobody waits for the answer; what is not begun then never is.

        Raises:
            GivenUpError: `given_up` was set in time.
            ModelUnavailableError: no model answers at present.
        """

    def check_ready(self) -> None:
        """Return if the model can answer now.

        Raises:
            ModelUnavailableError: it cannot; the message says why.
            ModelError: it never will with these settings.
        """

    def close(self) -> None:
        """Let go of what the backend holds; nothing is asked of it afterwards."""


class ClipStream(Protocol):
    """One clip that is computed while it is heard; one thread at a time may use it."""

    def feed(self, samples: Waveform) -> NDArray[np.float32]:
        """Hear float32 `[samples]` of native rate; there may be none.

        Returns:
            float32 `[frames, symbols]`: the log-probabilities that are ready and were not before.
        """

    def finish(self, samples: Waveform) -> NDArray[np.float32]:
        """Return what `feed` would and the frames after it, if the clip ended with these samples.

        That is not held against it: the clip may go on as if nothing had been asked. All that
        `feed` gave, and then this, is what `Backend.log_probs` gives for the whole clip, to 1e-4.
        """


@runtime_checkable
class StreamingBackend(Protocol):
    """A backend some of whose models can compute a clip while it is heard."""

    def open_stream(self) -> ClipStream | None:
        """Begin a clip; None if the model is none of them."""


def open_stream(backend: Backend) -> ClipStream | None:
    """Begin a clip that is computed while it is heard; None if the model cannot."""
    return backend.open_stream() if isinstance(backend, StreamingBackend) else None


def check_wanted(given_up: threading.Event | None) -> None:
    """Return unless nobody waits for the answer: then raise `GivenUpError`."""
    if given_up is not None and given_up.is_set():
        raise GivenUpError("nobody waits for the answer")


def pad_batch(waveforms: list[Waveform]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return the inputs of `serving_default` for clips of several lengths.

    Args:
        waveforms: each float32 `[samples]`, at least one of them.

    Returns:
        float32 `[batch, longest]`, zero-padded, and int32 `[batch]`: the lengths.
    """
    num_samples = np.array([len(waveform) for waveform in waveforms], np.int32)
    batch = np.zeros((len(waveforms), max(1, num_samples.max())), np.float32)
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = waveform
    return batch, num_samples

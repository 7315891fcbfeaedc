"""A clip that a SavedModel in this process computes while it is heard."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from speech.audio import Waveform


class LocalStream:
    """See `serving.backend.ClipStream`; some tens of kilobytes, however long the clip."""

    def __init__(self, loaded: Any, weights: list[tf.Tensor]) -> None:
        """Use a loaded SavedModel and what its `read_weights` gave."""
        self._stream, self._weights = loaded.stream, weights
        self._state: list[tf.Tensor] = loaded.stream_start()

    def feed(self, samples: Waveform) -> NDArray[np.float32]:
        """See `ClipStream.feed`."""
        outputs = self._run(samples, is_last=False)
        self._state = outputs["state"]
        return outputs["log_probs"].numpy()

    def finish(self, samples: Waveform) -> NDArray[np.float32]:
        """See `ClipStream.finish`."""
        return self._run(samples, is_last=True)["log_probs"].numpy()

    def _run(self, samples: Waveform, *, is_last: bool) -> dict[str, Any]:
        waveform = tf.constant(samples, tf.float32)
        return self._stream(waveform, tf.constant(is_last), self._state, self._weights)

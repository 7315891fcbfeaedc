"""What a `Predictor` needs from a model, wherever the model runs."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from speech.audio import Waveform
from speech.pipeline import Pipeline


class Backend(Protocol):
    """A loaded model."""

    @property
    def pipeline(self) -> Pipeline:
        """What the model was trained with."""

    def log_probs(self, waveforms: list[Waveform]) -> list[NDArray[np.float32]]:
        """Return float32 `[frames, symbols]` for each float32 `[samples]` of native rate.

        Raises:
            ModelUnavailableError: no model answers at present.
        """

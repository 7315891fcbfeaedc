"""The SavedModel in this process, through TensorFlow alone."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from config import ModelError
from serving.backend import check_wanted, pad_batch
from speech.audio import Waveform
from speech.pipeline import Pipeline, read_pipeline


class LocalBackend:
    """A model's newest SavedModel version, loaded once; calls may come from several threads."""

    def __init__(self, folder: Path) -> None:
        """Load `folder/saved_model/<highest version>`.

        Raises:
            ModelError: no pipeline, no version, or a broken one.
        """
        self._pipeline = read_pipeline(folder)
        path = newest_version(folder)
        try:
            self._loaded = tf.saved_model.load(str(path))
            self._signature = self._loaded.signatures["serving_default"]
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            raise ModelError(f"cannot load the SavedModel {path}: {error}") from error

    @property
    def pipeline(self) -> Pipeline:
        """What the model was trained with."""
        return self._pipeline

    def check_ready(self) -> None:
        """Return at once: what is loaded answers."""

    def close(self) -> None:
        """Do nothing: the model goes with the object."""

    def log_probs(
        self, waveforms: list[Waveform], given_up: threading.Event | None = None
    ) -> list[NDArray[np.float32]]:
        """Run the clips as one zero-padded batch; see `Backend.log_probs`."""
        check_wanted(given_up)
        batch, num_samples = pad_batch(waveforms)
        outputs = self._signature(waveform=tf.constant(batch), num_samples=tf.constant(num_samples))
        log_probs, num_frames = outputs["log_probs"].numpy(), outputs["num_frames"].numpy()
        return [clip[:count] for clip, count in zip(log_probs, num_frames, strict=True)]


def newest_version(folder: Path) -> Path:
    """Return the highest numbered folder of `folder/saved_model`; `ModelError` if there is none."""
    root = folder / "saved_model"
    versions = [p for p in root.glob("*") if p.name.isdigit() and p.is_dir()]
    if not versions:
        raise ModelError(f"no version in {root}; needed: what `stt export` writes")
    return max(versions, key=lambda path: int(path.name))

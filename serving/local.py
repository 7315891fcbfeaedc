"""The SavedModel in this process, through TensorFlow alone."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from config import ModelError
from serving.backend import check_wanted, pad_batch
from serving.compiled import CompiledModel
from serving.local_stream import LocalStream
from speech.audio import Waveform
from speech.pipeline import Pipeline, read_pipeline


class LocalBackend:
    """A model's newest SavedModel version, loaded once; calls may come from several threads."""

    def __init__(self, folder: Path, *, compile_clips: bool = False) -> None:
        """Load `folder/saved_model/<highest version>`.

        Args:
            compile_clips: compile what computes one clip, in the background and for each length
                anew; worth it for a process that lives on. Models of earlier exports are not.

        Raises:
            ModelError: no pipeline, no version, or a broken one.
        """
        self._pipeline = read_pipeline(folder)
        path = newest_version(folder)
        self._version = path.name
        try:
            self._loaded = tf.saved_model.load(str(path))
            self._signature = self._loaded.signatures["serving_default"]
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            raise ModelError(f"cannot load the SavedModel {path}: {error}") from error
        self._weights: list[tf.Tensor] | None = None
        self.compiled: CompiledModel | None = None
        if hasattr(self._loaded, "arrange_weights"):
            self._weights = self._loaded.read_weights()
            if compile_clips:
                rate_hz = self._pipeline.audio.sample_rate_hz
                self.compiled = CompiledModel(self._loaded, self._weights, rate_hz)

    @property
    def pipeline(self) -> Pipeline:
        """What the model was trained with."""
        return self._pipeline

    @property
    def version(self) -> str:
        """The number of the folder that was loaded."""
        return self._version

    def check_ready(self) -> None:
        """Return at once: what is loaded answers."""

    def close(self) -> None:
        """Compile nothing more; the model goes with the object."""
        if self.compiled:
            self.compiled.close()

    def log_probs(
        self, waveforms: list[Waveform], given_up: threading.Event | None = None
    ) -> list[NDArray[np.float32]]:
        """Run the clips as one zero-padded batch; see `Backend.log_probs`."""
        check_wanted(given_up)
        if self.compiled and len(waveforms) == 1:
            compiled = self.compiled.log_probs(waveforms[0])
            if compiled is not None:
                return [compiled]
        batch, num_samples = pad_batch(waveforms)
        outputs = self._run(tf.constant(batch), tf.constant(num_samples))
        log_probs, num_frames = outputs["log_probs"].numpy(), outputs["num_frames"].numpy()
        return [clip[:count] for clip, count in zip(log_probs, num_frames, strict=True)]

    def open_stream(self) -> LocalStream | None:
        """Begin a clip that is computed while it is heard; see `StreamingBackend`."""
        if self._weights is None or not hasattr(self._loaded, "stream"):
            return None
        return LocalStream(self._loaded, self._weights)

    def _run(self, waveform: tf.Tensor, num_samples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Compute a batch, with weights that were read once where the export allows it."""
        if self._weights is None:
            return self._signature(waveform=waveform, num_samples=num_samples)
        return self._loaded.compute(waveform, num_samples, self._weights)


def newest_version(folder: Path) -> Path:
    """Return the highest numbered folder of `folder/saved_model`; `ModelError` if there is none."""
    root = folder / "saved_model"
    versions = [p for p in root.glob("*") if p.name.isdigit() and p.is_dir()]
    if not versions:
        raise ModelError(f"no version in {root}; needed: what `stt export` writes")
    return max(versions, key=lambda path: int(path.name))

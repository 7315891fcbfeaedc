"""Predictor: audio in, Transcript out; the one way that the API, the CLI and scoring share."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from config import AudioConfig, ServerConfig
from quiet_start import start_tensorflow
from serving.backend import Backend
from speech.audio import Waveform, decode_native
from speech.decoding import greedy_confidence, greedy_decode
from speech.pipeline import Pipeline
from speech.transcript import Transcript

logger = logging.getLogger("stt.predictor")

BATCH_SECONDS = 60.0
MAX_BATCH = 16


class Predictor:
    """Transcribes with a backend; safe to call from several threads."""

    def __init__(self, backend: Backend, *, max_duration_s: float | None = None) -> None:
        """Use `backend`; `max_duration_s` can lower the longest duration of the model's own."""
        self.backend = backend
        own = backend.pipeline.audio
        limit = min(own.max_duration_s, max_duration_s or own.max_duration_s)
        self.audio: AudioConfig = replace(own, max_duration_s=limit)

    @property
    def pipeline(self) -> Pipeline:
        """The model's."""
        return self.backend.pipeline

    def warm_up(self) -> None:
        """Run the model once, so that the first request is as fast as the others."""
        self.backend.log_probs([np.zeros(self.audio.sample_rate_hz, np.float32)])

    def transcribe(self, wav_bytes: bytes) -> Transcript:
        """Transcribe a native WAV file; `AudioError` says what else it is."""
        return self.transcribe_waveforms([decode_native(wav_bytes, self.audio)])[0]

    def transcribe_waveforms(self, waveforms: Sequence[Waveform]) -> list[Transcript]:
        """Transcribe clips in batches of like length.

        Args:
            waveforms: each float32 `[samples]` in [-1, 1] at the model's rate, at least one sample.

        Returns:
            One transcript a clip, in the order given.
        """
        for waveform in waveforms:
            if waveform.ndim != 1 or not len(waveform) or not np.isfinite(waveform).all():
                raise ValueError(
                    f"a waveform of shape {waveform.shape}; needed: [samples], all finite"
                )
        transcripts: dict[int, Transcript] = {}
        for batch in self._batches(waveforms):
            started = time.perf_counter()
            clips = [waveforms[i] for i in batch]
            for i, log_probs in zip(batch, self.backend.log_probs(clips), strict=True):
                transcripts[i] = self._decode(log_probs, len(waveforms[i]))
            logger.info(
                "%d clips, %.1f s of audio in %.3f s",
                len(batch),
                sum(map(len, clips)) / self.audio.sample_rate_hz,
                time.perf_counter() - started,
            )
        return [transcripts[i] for i in range(len(waveforms))]

    def _batches(self, waveforms: Sequence[Waveform]) -> Iterator[list[int]]:
        limit = BATCH_SECONDS * self.audio.sample_rate_hz
        batch: list[int] = []
        for i in sorted(range(len(waveforms)), key=lambda i: len(waveforms[i])):
            too_long = len(waveforms[i]) * (len(batch) + 1) > limit
            if batch and (too_long or len(batch) == MAX_BATCH):
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    def _decode(self, log_probs: np.ndarray, num_samples: int) -> Transcript:
        alphabet = self.pipeline.alphabet
        return Transcript(
            text=greedy_decode(log_probs, alphabet),
            confidence=round(greedy_confidence(log_probs, alphabet), 4),
            duration_s=round(num_samples / self.audio.sample_rate_hz, 3),
            model=self.pipeline.name,
        )


def load_predictor(config: ServerConfig) -> Predictor:
    """Return a predictor of the model that `config` names: in this process, or a remote one.

    Only a model in this process needs TensorFlow, and is run once. A remote one is not called yet.

    Raises:
        ModelError: no model there, or a broken one.
    """
    if config.remote:
        from serving.remote import RemoteBackend

        backend = RemoteBackend(config.model, config.remote)
        return Predictor(backend, max_duration_s=config.max_duration_s)
    start_tensorflow()
    from serving.local import LocalBackend

    predictor = Predictor(LocalBackend(config.model), max_duration_s=config.max_duration_s)
    predictor.warm_up()
    return predictor

"""16-bit PCM in pieces of any size to samples at the model's rate."""

from __future__ import annotations

import numpy as np
import soxr

from speech.audio import PCM_SCALE, Waveform

MIN_RATE_HZ, MAX_RATE_HZ = 8_000, 192_000
SAMPLE_BYTES = 2


class PcmStream:
    """Mono, little-endian, any rate; a sample may lie in two pieces.

    The resampler is the one that files go through; it holds some tens of milliseconds back.
    """

    def __init__(self, *, sample_rate_hz: int, model_rate_hz: int) -> None:
        """Begin a stream.

        Raises:
            ValueError: the rate is out of bounds.
        """
        if not MIN_RATE_HZ <= sample_rate_hz <= MAX_RATE_HZ:
            raise ValueError(
                f"got sample_rate_hz {sample_rate_hz}; needed: {MIN_RATE_HZ} to {MAX_RATE_HZ}"
            )
        self._odd_byte = b""
        self._resampler: soxr.ResampleStream | None = None
        if sample_rate_hz != model_rate_hz:
            self._resampler = soxr.ResampleStream(sample_rate_hz, model_rate_hz, 1)

    def push(self, pcm: bytes) -> Waveform:
        """Return float32 `[samples]` in [-1, 1]: what is ready with this piece."""
        pcm = self._odd_byte + pcm
        whole = len(pcm) // SAMPLE_BYTES * SAMPLE_BYTES
        self._odd_byte = pcm[whole:]
        samples = np.frombuffer(pcm[:whole], "<i2").astype(np.float32) / np.float32(PCM_SCALE)
        return self._resample(samples, last=False)

    def flush(self) -> Waveform:
        """Return what was held back; what comes later is resampled as if silence lay before it."""
        return self._resample(np.zeros(0, np.float32), last=True)

    def _resample(self, samples: Waveform, *, last: bool) -> Waveform:
        if self._resampler is None:
            return samples
        resampled: Waveform = self._resampler.resample_chunk(samples, last=last)
        if last:
            self._resampler.clear()
        return np.clip(resampled, -1.0, 1.0)

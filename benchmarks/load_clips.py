"""The clips that the clients of `benchmarks.load` send, in several forms."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from captions.sources import to_pcm
from config import AudioConfig
from speech.audio import Waveform, decode_native, encode_native

CLIP_SECONDS = (1.0, 3.0, 5.0, 8.0)
SAMPLES = Path("Data/samples")


@dataclass(frozen=True)
class Clip:
    """One clip as files, and as little-endian 16-bit PCM."""

    wav: bytes
    flac: bytes
    ogg: bytes
    mp3: bytes
    pcm: bytes
    rate_hz: int


def make_clips() -> list[Clip]:
    """Return the samples' speech, from other places and of several lengths."""
    audio = AudioConfig()
    clips = [decode_native(path.read_bytes(), audio) for path in sorted(SAMPLES.glob("*.wav"))]
    speech = np.concatenate(clips)
    counts = [int(seconds * audio.sample_rate_hz) for seconds in CLIP_SECONDS]
    return [_encode(np.resize(np.roll(speech, -n), n), audio) for n in counts]


def _encode(waveform: Waveform, audio: AudioConfig) -> Clip:
    def file(form: str, subtype: str) -> bytes:
        buffer = io.BytesIO()
        soundfile.write(buffer, waveform, audio.sample_rate_hz, subtype, format=form)
        return buffer.getvalue()

    return Clip(
        wav=encode_native(waveform, audio),
        flac=file("FLAC", "PCM_16"),
        ogg=file("OGG", "VORBIS"),
        mp3=file("MP3", "MPEG_LAYER_III"),
        pcm=to_pcm(waveform),
        rate_hz=audio.sample_rate_hz,
    )

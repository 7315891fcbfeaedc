"""Audio files of every kind, written by libsndfile and by FFmpeg from the same waveform."""

from __future__ import annotations

import io

import av
import numpy as np
import soundfile
import soxr

# kind: libsndfile's format and subtype, and whether it keeps the samples
WRITTEN_BY_LIBSNDFILE = {
    "wav-8": ("WAV", "PCM_U8"),
    "wav-16": ("WAV", "PCM_16"),
    "wav-24": ("WAV", "PCM_24"),
    "wav-32": ("WAV", "PCM_32"),
    "wav-float": ("WAV", "FLOAT"),
    "wav-double": ("WAV", "DOUBLE"),
    "wav-mulaw": ("WAV", "ULAW"),
    "wav-extensible": ("WAVEX", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "wave64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "flac-24": ("FLAC", "PCM_24"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
}
# kind: FFmpeg's format and codec
WRITTEN_BY_FFMPEG = {
    "m4a": ("ipod", "aac"),
    "mp4": ("mp4", "aac"),
    "m4a-lossless": ("ipod", "alac"),
    "mp4-fragmented": ("mp4", "aac"),
    "aac": ("adts", "aac"),
    "webm": ("webm", "libopus"),
    "matroska": ("matroska", "aac"),
    "wma": ("asf", "wmav2"),
}
OPUS_RATES_HZ = (8000, 12_000, 16_000, 24_000, 48_000)
KINDS = (*WRITTEN_BY_LIBSNDFILE, *WRITTEN_BY_FFMPEG)


def encode(kind: str, waveform: np.ndarray, rate_hz: int) -> bytes:
    """Return a file of `kind`; `waveform` is float32 `[samples]` or `[samples, channels]`.

    Opus knows few rates; what has another is resampled.
    """
    if kind in ("opus", "webm") and rate_hz not in OPUS_RATES_HZ:
        waveform, rate_hz = soxr.resample(waveform, rate_hz, 48_000), 48_000
    if kind in WRITTEN_BY_FFMPEG:
        return _encode_with_ffmpeg(kind, waveform, rate_hz)
    form, subtype = WRITTEN_BY_LIBSNDFILE[kind]
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, rate_hz, format=form, subtype=subtype)
    return buffer.getvalue()


def _encode_with_ffmpeg(kind: str, waveform: np.ndarray, rate_hz: int) -> bytes:
    form, codec = WRITTEN_BY_FFMPEG[kind]
    options = {"movflags": "frag_keyframe+empty_moov"} if kind == "mp4-fragmented" else {}
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format=form, options=options) as container:
        samples = np.atleast_2d(waveform.T).astype(np.float32)
        layout = "mono" if len(samples) == 1 else f"{len(samples)}c"
        track = container.add_stream(codec, rate=rate_hz, layout=layout)
        track.bit_rate = 64_000
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", layout)
        frame.sample_rate = rate_hz
        for packet in (*track.encode(frame), *track.encode(None)):
            container.mux(packet)
    return buffer.getvalue()

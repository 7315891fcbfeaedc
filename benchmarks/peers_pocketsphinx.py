"""PocketSphinx with its own English model: what a person could install instead."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pocketsphinx
import soxr

from config import AudioConfig
from predictor import Predictor
from speech.alphabet import normalise
from speech.audio import PCM_SCALE, decode_native
from speech.decoding.decoder import Decoder

RATE_HZ = 16_000


class PocketSphinx:
    """The recogniser as its wheel brings it."""

    def __init__(self, audio: AudioConfig) -> None:
        self._audio = audio
        self._decoder = pocketsphinx.Decoder(samprate=RATE_HZ, loglevel="FATAL")

    def transcribe(self, wav: bytes) -> str:
        """Return the text of a native WAV file, which is resampled for its model."""
        waveform = decode_native(wav, self._audio)
        samples = soxr.resample(waveform, self._audio.sample_rate_hz, RATE_HZ)
        pcm = np.clip(PCM_SCALE * samples, -PCM_SCALE, PCM_SCALE - 1).astype("<i2")
        self._decoder.start_utt()
        self._decoder.process_raw(pcm.tobytes(), full_utt=True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr if hypothesis else ""


def compare_sentences(ours: Predictor, folder: Path, samples: Path, rounds: int) -> dict[str, Any]:
    """Return seconds and word error rates of PocketSphinx and of us, as shipped, on sentences.

    Args:
        ours: greedy, of the model in `folder`; measured so, and with the folder's own decoder.
        samples: native WAV files and their texts in `metadata.csv`.
        rounds: of which the least counts.
    """
    with (samples / "metadata.csv").open(encoding="utf-8") as file:
        texts = {row[0]: row[2] for row in csv.reader(file, delimiter="|", quoting=csv.QUOTE_NONE)}
    wavs = [(samples / f"{name}.wav").read_bytes() for name in texts]
    alphabet = ours.pipeline.alphabet
    shipped = Predictor(ours.backend, decoder=Decoder.of_model(folder, alphabet))
    recogniser = PocketSphinx(ours.audio)
    ways: dict[str, Callable[[bytes], str]] = {
        "pocketsphinx": recogniser.transcribe,
        "ours_greedy": lambda wav: ours.transcribe(wav).text,
        "ours_shipped": lambda wav: shipped.transcribe(wav).text,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    heard: dict[str, list[str]] = {}
    for _ in range(rounds):
        for name, transcribe in ways.items():
            started = time.perf_counter()
            heard[name] = [normalise(transcribe(wav), alphabet) for wav in wavs]
            seconds[name].append(time.perf_counter() - started)
    references = [normalise(text, alphabet) for text in texts.values()]
    least = {name: min(values) for name, values in seconds.items()}
    return {
        "clips": len(wavs),
        "audio_s": sum(len(decode_native(wav, ours.audio)) for wav in wavs)
        / ours.audio.sample_rate_hz,
        "whole_way_s": least,
        "ours_shipped_over_pocketsphinx": least["ours_shipped"] / least["pocketsphinx"],
        "wer": {name: jiwer.wer(references, heard[name]) for name in ways},
    }

"""Predictor: audio in, Transcript out; the one way that the API, the CLI and scoring share."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from config import AudioConfig, BatchingConfig, DecodingConfig, ServerConfig
from quiet_start import start_tensorflow
from serving.backend import Backend
from serving.micro_batching import MicroBatcher
from speech.audio import Waveform, decode_native
from speech.decoding.beam import join_hypotheses
from speech.decoding.decoder import Decoded, DecodedWord, Decoder, DecodingOptions
from speech.pipeline import Pipeline
from speech.segmentation import SegmentationConfig, Span, cut
from speech.transcript import Alternative, Transcript, Word

logger = logging.getLogger("stt.predictor")

BATCH_SECONDS = 60.0
MAX_BATCH = 16


@dataclass(frozen=True)
class _Piece:
    """A part of a recording: whose it is, where it lies, and its samples."""

    recording: int
    span: Span
    samples: Waveform


class Predictor:
    """Transcribes with a backend; safe to call from several threads."""

    def __init__(
        self,
        backend: Backend,
        *,
        decoder: Decoder | None = None,
        max_duration_s: float | None = None,
    ) -> None:
        """Use `backend`, and for its log-probabilities `decoder`: the best path if None.

        Args:
            max_duration_s: of audio that is taken; the model's own limit if None. What is longer
                than a piece of `SegmentationConfig` is cut at silences.
        """
        self.backend = backend
        own = backend.pipeline.audio
        self.audio: AudioConfig = replace(own, max_duration_s=max_duration_s or own.max_duration_s)
        greedy = DecodingConfig(decoder="greedy", lm_weight=0.0)
        self.decoder = decoder or Decoder(backend.pipeline.alphabet, greedy)
        self._segmentation = SegmentationConfig()
        self._decoding = threading.Lock()

    @property
    def pipeline(self) -> Pipeline:
        """The model's."""
        return self.backend.pipeline

    def batching(self, config: BatchingConfig) -> Predictor:
        """Return this predictor with a backend that computes clips of several threads together."""
        other = copy(self)
        other.backend = MicroBatcher(self.backend, config)
        return other

    def warm_up(self) -> None:
        """Run the model once, so that the first request is as fast as the others."""
        self.backend.log_probs([np.zeros(self.audio.sample_rate_hz, np.float32)])

    def transcribe(
        self,
        wav_bytes: bytes,
        options: DecodingOptions | None = None,
        *,
        given_up: threading.Event | None = None,
    ) -> Transcript:
        """Transcribe a native WAV file; `AudioError` says what else it is."""
        waveform = decode_native(wav_bytes, self.audio)
        return self.transcribe_waveforms([waveform], options, given_up=given_up)[0]

    def transcribe_waveforms(
        self,
        waveforms: Sequence[Waveform],
        options: DecodingOptions | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
        given_up: threading.Event | None = None,
    ) -> list[Transcript]:
        """Transcribe recordings of any length: in pieces, pieces of like length in batches.

        Args:
            waveforms: each float32 `[samples]` in [-1, 1] at the model's rate, at least one sample.
            progress: called with how many pieces are done, and of how many.
            given_up: set once nobody waits for the transcripts.

        Returns:
            One transcript a recording, in the order given.

        Raises:
            GivenUpError: `given_up` was set before the last batch began.
        """
        for waveform in waveforms:
            if waveform.ndim != 1 or not len(waveform) or not np.isfinite(waveform).all():
                raise ValueError(
                    f"a waveform of shape {waveform.shape}; needed: [samples], all finite"
                )
        pieces = self._cut(waveforms)
        decoded: dict[int, Decoded] = {}
        for batch in self._batches([len(piece.samples) for piece in pieces]):
            started = time.perf_counter()
            clips = [pieces[i].samples for i in batch]
            for i, log_probs in zip(batch, self.backend.log_probs(clips, given_up), strict=True):
                with self._decoding:  # the search holds Python's lock: in turn, some are done early
                    decoded[i] = self.decoder.decode(log_probs, options)
            logger.info(
                "%d clips, %.1f s of audio in %.3f s",
                len(batch),
                sum(map(len, clips)) / self.audio.sample_rate_hz,
                time.perf_counter() - started,
            )
            if progress:
                progress(len(decoded), len(pieces))
        found: list[list[tuple[Span, Decoded]]] = [[] for _ in waveforms]
        for i, piece in enumerate(pieces):
            found[piece.recording].append((piece.span, decoded[i]))
        return [
            self._join(parts, len(waveform), n_best=options.n_best if options else 1)
            for parts, waveform in zip(found, waveforms, strict=True)
        ]

    def transcribe_clip(
        self,
        waveform: Waveform,
        options: DecodingOptions | None = None,
        *,
        given_up: threading.Event | None = None,
    ) -> Transcript:
        """Transcribe a clip that is known to have speech, as one piece; nothing is logged.

        Args:
            waveform: float32 `[samples]` in [-1, 1] at the model's rate, some seconds.

        Raises:
            GivenUpError: `given_up` was set before it began.
        """
        (log_probs,) = self.backend.log_probs([waveform], given_up)
        with self._decoding:
            decoded = self.decoder.decode(log_probs, options)
        n_best = options.n_best if options else 1
        return self._join([(Span(0, len(waveform)), decoded)], len(waveform), n_best=n_best)

    def _cut(self, waveforms: Sequence[Waveform]) -> list[_Piece]:
        rate, config = self.audio.sample_rate_hz, self._segmentation
        return [
            _Piece(i, span, waveform[span.start : span.end])
            for i, waveform in enumerate(waveforms)
            for span in cut(waveform, sample_rate_hz=rate, config=config)
        ]

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        limit = BATCH_SECONDS * self.audio.sample_rate_hz
        batch: list[int] = []
        for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
            too_long = lengths[i] * (len(batch) + 1) > limit
            if batch and (too_long or len(batch) == MAX_BATCH):
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    def _join(
        self, parts: Sequence[tuple[Span, Decoded]], num_samples: int, *, n_best: int
    ) -> Transcript:
        words = tuple(word for span, part in parts for word in self._words(part.words, span))
        hypotheses = join_hypotheses([part.hypotheses for _, part in parts], n_best=n_best)
        weights = [max(1, len(part.words)) for _, part in parts]
        sure = [part.confidence for _, part in parts]
        confidence = np.average(sure, weights=weights) if parts else 1.0
        return Transcript(
            text=hypotheses[0].text,
            confidence=round(float(confidence), 4),
            duration_s=round(num_samples / self.audio.sample_rate_hz, 3),
            model=self.pipeline.name,
            words=words,
            alternatives=tuple(
                Alternative(text=h.text, score=round(h.score, 4))
                for h in (hypotheses if n_best > 1 else ())
            ),
        )

    def _words(self, words: Sequence[DecodedWord], span: Span) -> Iterator[Word]:
        """Give words the times of the recording.

        A word's sound goes on for about a frame after its last letter's: measured on words joined
        with known silences, `tests/test_word_times.py`.
        """
        rate, frame_s = self.audio.sample_rate_hz, self.pipeline.output_frame_s
        offset_s, longest_s = span.start / rate, span.num_samples / rate
        followings = [word.start for word in words[1:]] + [word.end + 1 for word in words[-1:]]
        for word, following in zip(words, followings, strict=True):
            end = min(word.end + 1, max(following, word.end))
            yield Word(
                text=word.text,
                start_s=round(offset_s + min(word.start * frame_s, longest_s), 3),
                end_s=round(offset_s + min(end * frame_s, longest_s), 3),
                confidence=round(word.confidence, 4),
            )


def load_predictor(config: ServerConfig, *, tuned: bool = True) -> Predictor:
    """Return a predictor of the model that `config` names: in this process, or a remote one.

    Only a model in this process needs TensorFlow, and is run once. A remote one is not called yet.
    Both decode here, with the language model of the folder `config.model`.

    Args:
        tuned: decode as `stt lm tune` found it best.

    Raises:
        ModelError: no model there, or a broken one.
    """
    backend: Backend
    if config.remote:
        from serving.remote import RemoteBackend

        backend = RemoteBackend(config.model, config.remote)
    else:
        start_tensorflow()
        from serving.local import LocalBackend

        backend = LocalBackend(config.model, compile_clips=config.compile_clips)
    decoder = Decoder.of_model(config.model, backend.pipeline.alphabet, tuned=tuned)
    predictor = Predictor(backend, decoder=decoder, max_duration_s=config.max_duration_s)
    if not config.remote:
        predictor.warm_up()
    return predictor

"""Predictor: audio in, Transcript out; the one way that the API, the CLI and scoring share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from config import AudioConfig, DecodingConfig
from quiet_start import start_tensorflow
from recogniser import Observer, Recogniser
from service_config import ServerConfig
from serving.backend import Backend, ClipStream, check_wanted, open_stream
from serving.micro_batching import MicroBatcher
from serving_config import BatchingConfig
from speech.audio import Waveform, decode_native
from speech.batches import BATCH_SECONDS, groups_of
from speech.decoding.decoder import Decoded, Decoder, DecodingOptions
from speech.decoding.joining import join_pieces
from speech.loudness import SegmentationConfig
from speech.pipeline import Pipeline
from speech.segmentation import Span, cut
from speech.stream_cutting import Piece, cut_stream
from speech.transcript import Transcript

FIRST_SECONDS = 3.0  # to whoever listens: soon


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
        own = backend.pipeline.audio
        self.audio: AudioConfig = replace(own, max_duration_s=max_duration_s or own.max_duration_s)
        greedy = DecodingConfig(decoder="greedy", lm_weight=0.0)
        decoder = decoder or Decoder(backend.pipeline.alphabet, greedy)
        self._recogniser = Recogniser(backend=backend, decoder=decoder)
        self._segmentation = SegmentationConfig()

    @property
    def backend(self) -> Backend:
        """What computes log-probabilities."""
        return self._recogniser.backend

    @property
    def decoder(self) -> Decoder:
        """What finds the text in log-probabilities."""
        return self._recogniser.decoder

    @property
    def observer(self) -> Observer:
        """Who is told what is done."""
        return self._recogniser.observer

    @property
    def pipeline(self) -> Pipeline:
        """The model's."""
        return self.backend.pipeline

    def batching(
        self, config: BatchingConfig, *, on_batch: Callable[[int], object] | None = None
    ) -> Predictor:
        """Return this predictor with a backend that computes clips of several threads together.

        Args:
            on_batch: called with the number of clips of each batch.
        """
        batcher = MicroBatcher(self.backend, config, on_batch=on_batch)
        return self._with(replace(self._recogniser, backend=batcher))

    def observed(self, observer: Observer) -> Predictor:
        """Return this predictor, which tells `observer` what it does."""
        return self._with(replace(self._recogniser, observer=observer))

    def _with(self, recogniser: Recogniser) -> Predictor:
        other = copy(self)
        other._recogniser = recogniser
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
        with self.observer.step("audio"):
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
        begun = time.perf_counter()
        owners, pieces = self._cut(waveforms)
        found: list[list[tuple[Span, Decoded]]] = [[] for _ in waveforms]
        decoded = self._recogniser.recognise(pieces, options, given_up=given_up, progress=progress)
        for owner, piece, answer in zip(owners, pieces, decoded, strict=True):
            found[owner].append((piece.span, answer))
        transcripts = [
            self._join(parts, len(waveform), options)
            for parts, waveform in zip(found, waveforms, strict=True)
        ]
        self.observer.transcribed(transcripts, time.perf_counter() - begun)
        return transcripts

    def transcribe_blocks(
        self,
        blocks: Iterable[Waveform],
        options: DecodingOptions | None = None,
        *,
        heard: Callable[[Transcript], None] | None = None,
        given_up: threading.Event | None = None,
    ) -> Transcript:
        """Transcribe one recording while it is read; memory holds a minute or two of its samples.

        Args:
            blocks: about a second each, float32 `[samples]` in [-1, 1] at the model's rate, finite.
            heard: called with each piece's transcript, in order, soon after the piece was read;
                its words have the times of the recording. Joined by spaces, the texts that are not
                empty are the whole text.
            given_up: set once nobody waits for the transcript.

        Returns:
            What `transcribe_waveforms` returns for all of it.

        Raises:
            GivenUpError: `given_up` was set before the end.
        """
        parts: list[tuple[Span, Decoded]] = []
        num_samples, begun = 0, time.perf_counter()

        def counted() -> Iterator[Waveform]:
            nonlocal num_samples
            for block in blocks:
                check_wanted(given_up)
                num_samples += len(block)
                yield block

        rate = self.audio.sample_rate_hz
        pieces = cut_stream(counted(), sample_rate_hz=rate, config=self._segmentation)
        first_s = FIRST_SECONDS if heard else BATCH_SECONDS
        groups = groups_of(pieces, first_s=first_s, sample_rate_hz=rate)
        while group := self._read(groups):
            answers = self._recogniser.recognise(group, options, given_up=given_up)
            for piece, decoded in zip(group, answers, strict=True):
                parts.append((piece.span, decoded))
                if heard:
                    heard(self._join(parts[-1:], piece.span.num_samples))
        transcript = self._join(parts, num_samples, options)
        self.observer.transcribed([transcript], time.perf_counter() - begun)
        return transcript

    def _read(self, groups: Iterator[list[Piece]]) -> list[Piece]:
        """Return the next group, for which audio is read and cut; none at the end."""
        with self.observer.step("audio"):
            return next(groups, [])

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
        return self.transcript_of(log_probs, len(waveform), options)

    def open_stream(self) -> ClipStream | None:
        """Begin a clip that is computed while it is heard; None if the model cannot."""
        return open_stream(self.backend)

    def transcript_of(
        self,
        log_probs: NDArray[np.float32],
        num_samples: int,
        options: DecodingOptions | None = None,
    ) -> Transcript:
        """Decode what the network just gave for one clip of `num_samples`; nothing is logged.

        Args:
            log_probs: float32 `[frames, symbols]`, those of the clip's beginning at least.
        """
        self.observer.computed()
        decoded = self._recogniser.decode(log_probs, options)
        return self._join([(Span(0, num_samples), decoded)], num_samples, options)

    def _cut(self, waveforms: Sequence[Waveform]) -> tuple[list[int], list[Piece]]:
        """Return the recordings' pieces, and the number of the recording that each is of."""
        rate, config = self.audio.sample_rate_hz, self._segmentation
        found = [
            (i, Piece(span, waveform[span.start : span.end]))
            for i, waveform in enumerate(waveforms)
            for span in cut(waveform, sample_rate_hz=rate, config=config)
        ]
        return [i for i, _ in found], [piece for _, piece in found]

    def _join(
        self,
        parts: Sequence[tuple[Span, Decoded]],
        num_samples: int,
        options: DecodingOptions | None = None,
    ) -> Transcript:
        n_best = options.n_best if options else 1
        return join_pieces(parts, num_samples, pipeline=self.pipeline, n_best=n_best)


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

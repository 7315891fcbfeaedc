"""The ways from WAV bytes to text that are compared: ours, Keras, its export, and peers."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Event

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from benchmarks.plain_keras import PlainExport
from predictor import Predictor
from serving.backend import check_wanted, pad_batch
from serving.local import LocalBackend
from speech.audio import Waveform, decode_native
from speech.features import extract_features
from speech.pipeline import Pipeline
from training.networks.weights import read_weights

OURS, KERAS, PLAIN, TORCH, ONNX = "ours", "keras", "plain_export", "pytorch", "onnxruntime"
TOLERANCE = 1e-3

Array = NDArray[np.float32]
Network = Callable[[Array, NDArray[np.int32]], Array]


class Stopwatch:
    """Seconds by stage, added up until they are cleared."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add what the block takes."""
        started = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - started


class TimedBackend:
    """A `Backend` whose stages are timed."""

    version = "measured"

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline, self.watch = pipeline, Stopwatch()

    def log_probs(self, waveforms: list[Waveform], given_up: Event | None = None) -> list[Array]:
        """Do what `Backend.log_probs` says."""
        raise NotImplementedError

    def check_ready(self) -> None:
        """Return at once: what is loaded answers."""

    def close(self) -> None:
        """Do nothing: the model goes with the object."""


class OurBackend(TimedBackend):
    """The project's own export in this process: features and network are one stage.

    A clip alone is compiled before it is measured.
    """

    def __init__(self, folder: Path) -> None:
        self._local = LocalBackend(folder, compile_clips=True)
        super().__init__(self._local.pipeline)

    def log_probs(self, waveforms: list[Waveform], given_up: Event | None = None) -> list[Array]:
        """Run the SavedModel."""
        check_wanted(given_up)
        if self._local.compiled and len(waveforms) == 1:
            self._local.compiled.compile(len(waveforms[0]))
        with self.watch("graph"):
            return self._local.log_probs(waveforms)


class PeerBackend(TimedBackend):
    """Our features, then another's network."""

    def __init__(self, pipeline: Pipeline, network: Network) -> None:
        super().__init__(pipeline)
        self._network = network
        self._features = tf.function(
            lambda waveform, num_samples: extract_features(
                waveform,
                num_samples,
                pipeline.features,
                sample_rate_hz=pipeline.audio.sample_rate_hz,
            ),
            input_signature=[
                tf.TensorSpec([None, None], tf.float32),
                tf.TensorSpec([None], tf.int32),
            ],
        )

    def log_probs(self, waveforms: list[Waveform], given_up: Event | None = None) -> list[Array]:
        """Run both stages as one zero-padded batch."""
        check_wanted(given_up)
        with self.watch("features"):
            outputs = self._features(*map(tf.constant, pad_batch(waveforms)))
            features, num_frames = (output.numpy() for output in outputs)
        with self.watch("network"):
            log_probs = self._network(features, num_frames)
        counts = map(self.pipeline.network.num_output_frames, num_frames.tolist())
        return [clip[:count] for clip, count in zip(log_probs, counts, strict=True)]


def make_ways(
    folder: Path, plain: Path, network: keras.Model, *, threads: int
) -> tuple[dict[str, TimedBackend], list[str]]:
    """Return every way by name, and the packages of peers that are not installed.

    Args:
        folder: a model, exported.
        plain: what `benchmarks.plain_keras` exported of its weights.
        network: the model's own.
        threads: for the peers; TensorFlow's own must be set before.
    """
    ours, weights = OurBackend(folder), read_weights(network)
    networks: dict[str, Network] = {KERAS: keras_call(network), PLAIN: PlainExport(plain)}
    if not (missing := missing_packages("torch")):
        from benchmarks.peers_torch import TorchPeer

        networks[TORCH] = TorchPeer(weights, threads=threads)
    if not (also := missing_packages("onnx", "onnxruntime")):
        from benchmarks.peers_onnx import OnnxPeer

        networks[ONNX] = OnnxPeer(weights, threads=threads)
    ways = {name: PeerBackend(ours.pipeline, call) for name, call in networks.items()}
    return {OURS: ours, **ways}, [*missing, *also]


def missing_packages(*names: str) -> list[str]:
    """Return those that are not installed."""
    return [name for name in names if find_spec(name) is None]


def keras_call(network: keras.Model) -> Network:
    """Return the Keras model, called directly."""

    def call(features: Array, num_frames: NDArray[np.int32]) -> Array:
        logits, _ = network([features, num_frames], training=False)
        return np.asarray(tf.nn.log_softmax(logits).numpy())

    return call


def largest_differences(
    ways: dict[str, TimedBackend], batches: Sequence[list[Waveform]]
) -> dict[str, float]:
    """Return how far each way's log-probabilities are from ours at most.

    Raises:
        SystemExit: further than `TOLERANCE`, or of another shape: it is not the same function.
    """
    found = dict.fromkeys((name for name in ways if name != OURS), 0.0)
    for clips in batches:
        wanted = ways[OURS].log_probs(clips)
        for name in found:
            for got, ours in zip(ways[name].log_probs(clips), wanted, strict=True):
                same_shape = got.shape == ours.shape
                difference = float(np.abs(got - ours).max()) if same_shape else np.inf
                if not difference <= TOLERANCE:
                    raise SystemExit(
                        f"{name} differs from ours by {difference:.2g} (shapes {got.shape} and "
                        f"{ours.shape}); needed: {TOLERANCE} at most, or nothing is compared"
                    )
                found[name] = max(found[name], difference)
    return found


def time_whole_way(predictor: Predictor, wavs: list[bytes]) -> dict[str, float]:
    """Return seconds of each stage and of the whole, from WAV bytes to text.

    Args:
        predictor: of a `TimedBackend`.
        wavs: native WAV files.
    """
    if not isinstance(predictor.backend, TimedBackend):
        raise TypeError(f"got {predictor.backend!r}; needed: a predictor of a TimedBackend")
    watch = predictor.backend.watch
    watch.seconds.clear()
    started = time.perf_counter()
    with watch("check"):
        waveforms = [decode_native(wav, predictor.audio) for wav in wavs]
    predictor.transcribe_waveforms(waveforms)
    whole_s = time.perf_counter() - started
    stages = {f"{stage}_s": seconds for stage, seconds in watch.seconds.items()}
    return {**stages, "decoding_s": whole_s - sum(stages.values()), "whole_way_s": whole_s}

"""What is exported: features and network in one graph, the weights as small as is asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from speech.features import extract_features, normalise
from speech.pipeline import Pipeline
from speech.wav_graph import decode_wav_batch
from training.networks.inference import InferenceNetwork
from training.networks.inference_weights import (
    InferenceWeights,
    fold_weights,
    transpose_recurrent,
)
from training.networks.streaming import StreamingNetwork
from training.networks.weights import read_weights
from training.served_stream import ServedStream

Precision = Literal["float32", "float16", "bfloat16", "int8"]

_WAVEFORM = tf.TensorSpec([None, None], tf.float32, "waveform")
_NUM_SAMPLES = tf.TensorSpec([None], tf.int32, "num_samples")
_INT8_LARGEST = 127


class StoredArray(tf.Module):
    """An array of weights in a precision; only matrices and kernels are worth rounding.

    float16 and int8 are read as the float32 that they stand for. bfloat16 is read as it is: some
    processors (AVX-512 BF16, AMX) multiply it faster.
    """

    def __init__(self, array: NDArray[np.float32], precision: Precision) -> None:
        super().__init__()
        self.scale: tf.Variable | None = None
        if array.ndim < 2:
            precision = "float32"
        elif precision == "int8":
            largest = np.abs(array).max(axis=tuple(range(array.ndim - 1)))
            scale = np.maximum(largest, np.finfo(np.float32).tiny) / _INT8_LARGEST
            self.scale = tf.Variable(scale, trainable=False)
            array = np.rint(array / scale)
        self._read_as = tf.bfloat16 if precision == "bfloat16" else tf.float32
        self.values = tf.Variable(tf.cast(array, precision), trainable=False)

    def read(self) -> tf.Tensor:
        """Return the array for computing."""
        values = tf.cast(self.values, self._read_as)
        return values if self.scale is None else values * self.scale


class ServedModel(tf.Module):
    """The feature code and the network that were trained, in one graph.

    Any server runs the three signatures. A process that holds the model may read the weights once
    (`read_weights`) and hand them to `compute`, and, from `arrange_weights`, to `compute_compiled`.
    A streaming model also has `stream_start` and `stream`, of `training.served_stream`.
    """

    def __init__(
        self, network: keras.Model, pipeline: Pipeline, alphabet_file: Path, precision: Precision
    ) -> None:
        super().__init__()
        self.pipeline = pipeline
        weights = read_weights(network)
        self.network = InferenceNetwork(weights.convolutions)
        folded = fold_weights(weights)
        self.stored = [StoredArray(array, precision) for array in tf.nest.flatten(folded)]
        self._nest: Callable[[list[tf.Tensor]], InferenceWeights] = partial(
            tf.nest.pack_sequence_as, folded
        )
        self.alphabet_asset = tf.saved_model.Asset(str(alphabet_file))
        # Traced once for all that calls it.
        self._log_probs_of: Any = tf.function(self._compute_log_probs, reduce_retracing=True)
        specs = _specs_of(self.read_weights.get_concrete_function().outputs)
        self.arrange_weights = tf.function(self._arrange, input_signature=[specs])
        arranged = self.arrange_weights.get_concrete_function().outputs
        self.compute = self._with_weights(self._log_probs_of, specs)
        self.compute_compiled = self._with_weights(
            self._compute_compiled_log_probs, _specs_of(arranged), clips=1
        )
        if pipeline.is_streaming:
            served = ServedStream(
                StreamingNetwork(weights), pipeline, nest=self._nest, weight_specs=specs
            )
            self.stream_start, self.stream = served.start, served.stream

    @tf.function(input_signature=[])
    def read_weights(self) -> list[tf.Tensor]:
        """Return what `compute` takes as weights."""
        return [array.read() for array in self.stored]

    @tf.function(input_signature=[_WAVEFORM, _NUM_SAMPLES])
    def serving_default(self, waveform: tf.Tensor, num_samples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Waveforms in [-1, 1] to `log_probs` float32 `[batch, frames, symbols]`."""
        return self._log_probs(*self._features(waveform, num_samples))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "wav_bytes")])
    def transcribe(self, wav_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Whole WAV files to greedy text; a file that is not native gets an error of its own."""
        waveform, num_samples, error = decode_wav_batch(wav_bytes, self.pipeline.audio)
        outputs = self.serving_default(waveform, num_samples)
        text, confidence = self._decode(outputs["log_probs"], outputs["num_frames"])
        accepted = tf.equal(error, "")
        return {
            "text": tf.where(accepted, text, tf.zeros_like(text)),
            "confidence": tf.where(accepted, confidence, tf.zeros_like(confidence)),
            "error": error,
        }

    def spectrogram_function(self) -> tf.types.experimental.PolymorphicFunction:
        """Return the `spectrogram` signature; its number of bins is known only now."""
        num_bins = self.pipeline.features.num_bins

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, None, num_bins], tf.float32, "spectrogram"),
                tf.TensorSpec([None], tf.int32, "num_frames"),
            ]
        )
        def spectrogram(spectrogram: tf.Tensor, num_frames: tf.Tensor) -> dict[str, tf.Tensor]:
            missing = tf.maximum(0, 1 - tf.shape(spectrogram)[1])
            spectrogram = tf.pad(spectrogram, [[0, 0], [0, missing], [0, 0]])
            num_frames = tf.clip_by_value(num_frames, 1, tf.shape(spectrogram)[1])
            features = normalise(spectrogram, num_frames, self.pipeline.features)
            return self._log_probs(features, num_frames)

        return spectrogram

    def _arrange(self, weights: list[tf.Tensor]) -> list[tf.Tensor]:
        return list(tf.nest.flatten(transpose_recurrent(self._nest(weights))))

    def _with_weights(
        self, run: Any, specs: list[tf.TensorSpec], *, clips: int | None = None
    ) -> Any:
        """Return waveforms to log-probabilities with weights that are handed over."""

        def compute(
            waveform: tf.Tensor, num_samples: tf.Tensor, weights: list[tf.Tensor]
        ) -> dict[str, tf.Tensor]:
            features, num_frames = self._features(waveform, num_samples)
            return run(weights, features, num_frames)

        return tf.function(
            compute,
            input_signature=[
                tf.TensorSpec([clips, None], tf.float32, "waveform"),
                tf.TensorSpec([clips], tf.int32, "num_samples"),
                specs,
            ],
            autograph=False,
        )

    def _compute_log_probs(
        self, weights: list[tf.Tensor], features: tf.Tensor, num_frames: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        return _masked_log_probs(*self.network.compute(self._nest(weights), features, num_frames))

    def _compute_compiled_log_probs(
        self, weights: list[tf.Tensor], features: tf.Tensor, num_frames: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        compute = self.network.compute_compiled
        return _masked_log_probs(*compute(self._nest(weights), features, num_frames))

    def _features(self, waveform: tf.Tensor, num_samples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # A length that is wrong is cut: raising would fail the clips of other clients.
        return extract_features(
            waveform,
            tf.clip_by_value(num_samples, 0, tf.shape(waveform)[1]),
            self.pipeline.features,
            sample_rate_hz=self.pipeline.audio.sample_rate_hz,
        )

    def _log_probs(self, features: tf.Tensor, num_frames: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._log_probs_of([array.read() for array in self.stored], features, num_frames)

    def _decode(self, log_probs: tf.Tensor, num_frames: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Do what `speech.decoding` does: the best path's text, and its confidence."""
        path = tf.argmax(log_probs, axis=-1, output_type=tf.int32)
        inside = tf.sequence_mask(num_frames, tf.shape(path)[1])
        spoken = tf.logical_and(path != self.pipeline.alphabet.blank_index, inside)
        changed = path != tf.pad(path[:, :-1], [[0, 0], [1, 0]], constant_values=-1)
        symbols = tf.constant(["", *self.pipeline.alphabet.symbols[1:]])
        written = tf.where(tf.logical_and(spoken, changed), tf.gather(symbols, path), "")
        text = tf.strings.strip(
            tf.strings.regex_replace(tf.strings.reduce_join(written, axis=1), " +", " ")
        )
        counted = tf.where(tf.reduce_any(spoken, axis=1, keepdims=True), spoken, inside)
        weight = tf.cast(counted, log_probs.dtype)
        best = tf.reduce_max(log_probs, axis=-1)
        mean = tf.reduce_sum(best * weight, axis=1) / tf.reduce_sum(weight, axis=1)
        return text, tf.exp(mean)


def _output_specs(function: Any) -> list[tf.TensorSpec]:
    outputs = function.get_concrete_function().outputs
    return [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in outputs]


def _specs_of(tensors: list[tf.Tensor]) -> list[tf.TensorSpec]:
    return [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors]


def _masked_log_probs(logits: tf.Tensor, num_frames: tf.Tensor) -> dict[str, tf.Tensor]:
    inside = tf.sequence_mask(num_frames, tf.shape(logits)[1], dtype=logits.dtype)
    log_probs = tf.nn.log_softmax(logits) * inside[..., tf.newaxis]
    return {"log_probs": log_probs, "num_frames": num_frames}

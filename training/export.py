"""Export a trained network as one SavedModel of three signatures, ready for TensorFlow Serving."""

from __future__ import annotations

import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from config import ModelError
from speech.audio import encode_native, write_atomically
from speech.features import extract_features, normalise_features
from speech.pipeline import Pipeline, read_pipeline, write_pipeline
from speech.wav_graph import decode_wav_batch
from training.networks import layers  # noqa: F401  (registers the layers that a file names)

WARMUP_FILE = "tf_serving_warmup_requests"
_WARMUP_SECONDS = (1.0, 4.0)

Precision = Literal["float32", "float16"]


class ServedModel(tf.Module):
    """The feature code and the network that were trained, in one graph.

    Weights are kept as `precision`; float16 halves the files, and the graph computes in float32
    from the rounded values.
    """

    def __init__(
        self, network: keras.Model, pipeline: Pipeline, alphabet_file: Path, precision: Precision
    ) -> None:
        super().__init__()
        self.network_function = network.stateless_call
        self.pipeline = pipeline
        self.trainable = [_stored(v, precision) for v in network.trainable_variables]
        self.fixed = [_stored(v, "float32") for v in network.non_trainable_variables]
        self.alphabet_asset = tf.saved_model.Asset(str(alphabet_file))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.float32, "waveform"),
            tf.TensorSpec([None], tf.int32, "num_samples"),
        ]
    )
    def serving_default(self, waveform: tf.Tensor, num_samples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Waveforms in [-1, 1] to `log_probs` float32 `[batch, frames, symbols]`."""
        # A length that is wrong is cut: raising would fail the clips of other clients.
        num_samples = tf.clip_by_value(num_samples, 0, tf.shape(waveform)[1])
        features, num_frames = extract_features(
            waveform,
            num_samples,
            self.pipeline.features,
            sample_rate_hz=self.pipeline.audio.sample_rate_hz,
        )
        return self._log_probs(features, num_frames)

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

    def _log_probs(self, features: tf.Tensor, num_frames: tf.Tensor) -> dict[str, tf.Tensor]:
        weights = [tf.cast(weight, tf.float32) for weight in self.trainable]
        (logits, num_frames), _ = self.network_function(
            weights, list(self.fixed), [features, num_frames], training=False
        )
        inside = tf.sequence_mask(num_frames, tf.shape(logits)[1], dtype=logits.dtype)
        log_probs = tf.nn.log_softmax(logits) * inside[..., tf.newaxis]
        return {"log_probs": log_probs, "num_frames": num_frames}

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


def _stored(variable: Any, precision: str) -> tf.Variable:
    """Return a copy in `precision`; only matrices are worth rounding."""
    value = np.asarray(variable.numpy() if hasattr(variable, "numpy") else variable)
    dtype = precision if value.ndim >= 2 else value.dtype
    return tf.Variable(value.astype(dtype), trainable=False, name=variable.name)


def _rounded(value: np.ndarray, precision: str) -> np.ndarray:
    return value.astype(precision).astype(value.dtype) if value.ndim >= 2 else value


def _spectrogram_function(served: ServedModel) -> tf.types.experimental.PolymorphicFunction:
    """Return the `spectrogram` signature; its number of bins is known only now."""
    num_bins = served.pipeline.features.num_bins

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
        return served._log_probs(normalise_features(spectrogram, num_frames), num_frames)

    return spectrogram


def export(folder: Path, *, precision: Precision = "float32", to: Path | None = None) -> Path:
    """Write `folder/saved_model/<next version>/` from `folder/model.keras` and `pipeline.json`.

    With `to`, another folder, everything goes there instead: the version, `pipeline.json`, and
    `model.keras` as small as it can be, its weights rounded to `precision` and compressed. What is
    there is replaced, once the new version is complete; older versions stay.

    Returns:
        The new version's folder. It appears whole, by a rename, and older versions stay.

    Raises:
        ModelError: the model's files are missing or broken, or do not belong together.
    """
    pipeline = read_pipeline(folder)
    network = load_network(folder / "model.keras", pipeline)
    is_moved = to is not None and to.resolve() != folder.resolve()
    if to is not None and is_moved:
        if (to / "checkpoint.npz").exists():
            raise ModelError(f"{to} holds a training run; needed: another folder")
        folder, pipeline = to, replace(pipeline, name=to.resolve().name)
    root = folder / "saved_model"
    root.mkdir(parents=True, exist_ok=True)
    version = 1 + max((int(p.name) for p in root.iterdir() if p.name.isdecimal()), default=0)
    with tempfile.TemporaryDirectory(dir=root, prefix=".export-") as temporary:
        alphabet_file = Path(temporary) / "alphabet.txt"
        alphabet_file.write_text(pipeline.alphabet.to_lines(), encoding="utf-8")
        target = Path(temporary) / str(version)
        _save(ServedModel(network, pipeline, alphabet_file, precision), target)
        _write_warmup(target, pipeline)
        if is_moved:
            _write_compact(network, folder / "model.keras", precision)
            write_pipeline(folder, pipeline)
        target.rename(root / str(version))
    return root / str(version)


def _write_compact(network: keras.Model, path: Path, precision: Precision) -> None:
    """Save a network whose matrices are rounded, compressed: rounded float32 halves when packed."""
    for weight in network.trainable_weights:
        weight.assign(_rounded(weight.numpy(), precision))
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "plain.keras", Path(folder) / "packed.keras"
        network.save(plain)
        with (
            zipfile.ZipFile(plain) as source,
            zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target,
        ):
            for name in source.namelist():
                target.writestr(name, source.read(name))
        write_atomically(path, packed.read_bytes())


def load_network(path: Path, pipeline: Pipeline) -> keras.Model:
    """Load a trained network and check that it fits its pipeline."""
    try:
        network = keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"cannot load the network {path}: {error}") from error
    got = network.inputs[0].shape[-1], network.outputs[0].shape[-1]
    needed = pipeline.features.num_bins, len(pipeline.alphabet)
    if got != needed:
        raise ModelError(
            f"{path} takes {got[0]} bins and gives {got[1]} symbols; "
            f"its pipeline.json says {needed[0]} and {needed[1]}"
        )
    return network


def _save(served: ServedModel, target: Path) -> None:
    tf.saved_model.save(
        served,
        str(target),
        signatures={
            "serving_default": served.serving_default,
            "transcribe": served.transcribe,
            "spectrogram": _spectrogram_function(served),
        },
    )


def _write_warmup(target: Path, pipeline: Pipeline) -> None:
    """Write requests that a server replays before it says that it is ready."""
    extra = target / "assets.extra"
    extra.mkdir()
    rate = pipeline.audio.sample_rate_hz
    with tf.io.TFRecordWriter(str(extra / WARMUP_FILE)) as writer:
        for seconds in _WARMUP_SECONDS:
            time_s = np.arange(int(seconds * rate)) / rate
            tone = (0.1 * np.sin(2 * np.pi * 220 * time_s)).astype(np.float32)
            frames = np.zeros((1, int(100 * seconds), pipeline.features.num_bins), np.float32)
            for signature, inputs in {
                "serving_default": {
                    "waveform": tone[np.newaxis],
                    "num_samples": np.array([len(tone)], np.int32),
                },
                "transcribe": {"wav_bytes": np.array([encode_native(tone, pipeline.audio)])},
                "spectrogram": {
                    "spectrogram": frames,
                    "num_frames": np.array([frames.shape[1]], np.int32),
                },
            }.items():
                writer.write(_prediction_log(pipeline.name, signature, inputs))


def _prediction_log(name: str, signature: str, inputs: dict[str, np.ndarray]) -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for key, value in inputs.items():
        dtype = tf.string if value.dtype.kind == "S" else None
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value, dtype))
    log = prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )
    return log.SerializeToString()

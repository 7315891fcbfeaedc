"""Export a trained network as one SavedModel of three signatures, ready for TensorFlow Serving."""

from __future__ import annotations

import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from config import ModelError
from speech.audio import encode_native, write_atomically
from speech.pipeline import Pipeline, read_pipeline, write_pipeline
from training.served_model import Precision, ServedModel

WARMUP_FILE = "tf_serving_warmup_requests"
_WARMUP_SECONDS = (1.0, 4.0)


def _rounded(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float16).astype(value.dtype) if value.ndim >= 2 else value


def export(folder: Path, *, precision: Precision = "float32", to: Path | None = None) -> Path:
    """Write `folder/saved_model/<next version>/` from `folder/model.keras` and `pipeline.json`.

    With `to`, another folder, everything goes there instead: the version, `pipeline.json`, and
    `model.keras` compressed, its weights rounded to float16 if `precision` is not float32: it is
    what fine-tuning starts from. What is there is replaced, once the new version is complete; older
    versions stay.

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
    if precision != "float32":
        for weight in network.trainable_weights:
            weight.assign(_rounded(weight.numpy()))
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
            "spectrogram": served.spectrogram_function(),
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

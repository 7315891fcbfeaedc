"""The text of a WAV file from TensorFlow Serving, over gRPC.

Needs `pip install grpcio numpy tensorflow-serving-api`, and nothing else of this project: copy it.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import sys
import wave
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import numpy as np


def skip_tensorflow() -> None:
    """Let the messages be imported without TensorFlow's runtime: in 0.1 s instead of 3 s."""
    found = importlib.util.find_spec("tensorflow")
    package = ModuleType("tensorflow")
    package.__path__ = list(found.submodule_search_locations or ()) if found else []
    sys.modules["tensorflow"] = package


skip_tensorflow()
from tensorflow.core.framework.tensor_pb2 import TensorProto  # noqa: E402
from tensorflow.core.framework.types_pb2 import DT_FLOAT, DT_INT32, DT_STRING  # noqa: E402
from tensorflow_serving.apis.predict_pb2 import PredictRequest  # noqa: E402
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub  # noqa: E402

# gRPC's own limit is 4 MB a message; a minute of audio takes 5 MB.
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
NO_PROXY = [("grpc.enable_http_proxy", 0)]  # a proxy for web pages is none for this server
FIELDS = {DT_FLOAT: ("<f4", "float_val"), DT_INT32: ("<i4", "int_val")}


def main() -> None:
    """Print what the server makes of one file; an error is one line and exit code 1."""
    options = parse_options()
    try:
        show_log_probs(options) if options.log_probs else show_text(options)
    except grpc.RpcError as error:
        words = " ".join((error.details() or "").split())
        where = f"model {options.model} at {options.address}"
        sys.exit(f"error: {where}: {words} ({error.code().name})")
    except ValueError as error:
        sys.exit(f"error: {error}")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Print the text of a WAV file, from TensorFlow Serving over gRPC.",
        epilog="Example: grpc_client.py Data/samples/sample.wav --address 127.0.0.1:8500",
    )
    parser.add_argument("wav", type=Path, help="mono, 16-bit PCM, at the model's rate")
    parser.add_argument("--address", default="127.0.0.1:8500", help="default %(default)s")
    parser.add_argument("--model", default="english-small", help="default %(default)s")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, help="of the model; default: the newest")
    which.add_argument("--label", help="of the version, as stable")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds; default %(default)s")
    parser.add_argument(
        "--log-probs",
        type=Path,
        metavar="PIPELINE",
        help="ask for log-probabilities and decode them here, with this pipeline.json",
    )
    return parser.parse_args()


def show_text(options: argparse.Namespace) -> None:
    """Send the file as it is; the server checks it and decodes."""
    wav_bytes = TensorProto(dtype=DT_STRING, string_val=[read(options.wav)])
    wav_bytes.tensor_shape.dim.add(size=1)
    outputs = predict(options, "transcribe", {"wav_bytes": wav_bytes})
    if error := outputs["error"].string_val[0].decode():
        raise ValueError(f"{options.wav}: {error}")
    print(f"text:       {outputs['text'].string_val[0].decode()}")
    print(f"confidence: {to_array(outputs['confidence'])[0]:.2f}")


def show_log_probs(options: argparse.Namespace) -> None:
    """Send samples, and decode the answer here: greedy, CTC's best path."""
    pipeline = read_pipeline(options.log_probs)
    waveform = read_waveform(options.wav, pipeline["audio"]["sample_rate_hz"])
    inputs = {
        "waveform": to_proto(waveform[np.newaxis], DT_FLOAT),
        "num_samples": to_proto(np.array([len(waveform)]), DT_INT32),
    }
    outputs = predict(options, "serving_default", inputs)
    log_probs = to_array(outputs["log_probs"])[0, : to_array(outputs["num_frames"])[0]]
    frames, symbols = log_probs.shape
    if symbols != len(pipeline["alphabet"]):
        raise ValueError(
            f"{options.model} gives {symbols} symbols; "
            f"{options.log_probs} has {len(pipeline['alphabet'])}"
        )
    print(f"log_probs:  {frames} frames x {symbols} symbols")
    print(f"text:       {greedy_text(log_probs, pipeline['alphabet'], pipeline['blank_index'])}")


def predict(options: argparse.Namespace, signature: str, inputs: dict[str, Any]) -> Any:
    """Return the outputs of a signature by name, each a `TensorProto`."""
    request = PredictRequest(inputs=inputs)
    request.model_spec.name = options.model
    request.model_spec.signature_name = signature
    if options.version is not None:
        request.model_spec.version.value = options.version
    if options.label is not None:
        request.model_spec.version_label = options.label
    with grpc.insecure_channel(options.address, UNLIMITED + NO_PROXY) as channel:
        stub = PredictionServiceStub(channel)
        return stub.Predict(request, timeout=options.timeout).outputs


def to_proto(array: np.ndarray, dtype: int) -> Any:
    """Return numbers as a `TensorProto`, in its fast form."""
    kind, _ = FIELDS[dtype]
    tensor = TensorProto(dtype=dtype, tensor_content=array.astype(kind).tobytes())
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


def to_array(tensor: Any) -> np.ndarray:
    """Return a tensor's numbers: a server may answer as bytes, or in the field of their type."""
    kind, field = FIELDS[tensor.dtype]
    if tensor.tensor_content:
        values = np.frombuffer(tensor.tensor_content, kind)
    else:
        values = np.array(getattr(tensor, field), kind)
    return values.reshape([dim.size for dim in tensor.tensor_shape.dim])


def read(path: Path) -> bytes:
    """Return a file's bytes; `ValueError` says why it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error


def read_pipeline(path: Path) -> Any:
    """Return what the model was trained with: its alphabet, blank and sample rate."""
    content = read(path)
    try:
        pipeline = json.loads(content)
        pipeline["alphabet"], pipeline["blank_index"], pipeline["audio"]["sample_rate_hz"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a model's pipeline.json: {error!r}") from error
    return pipeline


def read_waveform(path: Path, sample_rate_hz: int) -> np.ndarray:
    """Return float32 `[samples]` in [-1, 1) of a mono, 16-bit WAV file."""
    try:
        with wave.open(io.BytesIO(read(path))) as file:
            got = (file.getnchannels(), 8 * file.getsampwidth(), file.getframerate())
            content = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(
            f"{path} is not a WAV file of PCM samples: {str(error) or 'cut off'}"
        ) from error
    if got != (1, 16, sample_rate_hz):
        raise ValueError(
            f"{path}: got {got[0]} channels, {got[1]} bits, {got[2]} Hz; "
            f"needed: 1 channel, 16 bits, {sample_rate_hz} Hz"
        )
    return np.frombuffer(content, "<i2", len(content) // 2).astype("float32") / 32768


def greedy_text(log_probs: np.ndarray, alphabet: list[str], blank_index: int) -> str:
    """Return the best path's text: the best symbol a frame, repeats merged, blanks dropped."""
    path = log_probs.argmax(axis=1)
    kept = path[(np.diff(path, prepend=-1) != 0) & (path != blank_index)]
    return " ".join("".join(alphabet[index] for index in kept).split())


if __name__ == "__main__":
    main()

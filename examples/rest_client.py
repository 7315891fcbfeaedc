"""The text of a WAV file from TensorFlow Serving, over REST.

Needs `pip install httpx`, and nothing else of this project: copy it.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import struct
import sys
import wave
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx


def main() -> None:
    """Print what the server makes of one file; an error is one line and exit code 1."""
    options = parse_options()
    try:
        show_log_probs(options) if options.log_probs else show_text(options)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        where = f"model {options.model} at {options.address}"
        sys.exit(f"error: {where}: {error} ({type(error).__name__})")
    except ValueError as error:
        sys.exit(f"error: {error}")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Print the text of a WAV file, from TensorFlow Serving over REST.",
        epilog="Example: rest_client.py Data/samples/sample.wav --address 127.0.0.1:8501",
    )
    parser.add_argument("wav", type=Path, help="mono, 16-bit PCM, at the model's rate")
    parser.add_argument("--address", default="127.0.0.1:8501", help="default %(default)s")
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
    """Send the file as it is, in a row; the server checks it and decodes."""
    wav_bytes = {"b64": base64.b64encode(read(options.wav)).decode()}
    body = {"signature_name": "transcribe", "instances": [{"wav_bytes": wav_bytes}]}
    (row,) = predict(options, body, "predictions")
    if row["error"]:
        raise ValueError(f"{options.wav}: {row['error']}")
    print(f"text:       {row['text']}")
    print(f"confidence: {row['confidence']:.2f}")


def show_log_probs(options: argparse.Namespace) -> None:
    """Send samples, in columns, and decode the answer here: greedy, CTC's best path."""
    pipeline = read_pipeline(options.log_probs)
    waveform = read_waveform(options.wav, pipeline["audio"]["sample_rate_hz"])
    inputs = {"waveform": [waveform], "num_samples": [len(waveform)]}
    body = {"signature_name": "serving_default", "inputs": inputs}
    outputs = predict(options, body, "outputs")
    log_probs = outputs["log_probs"][0][: outputs["num_frames"][0]]
    frames, symbols = len(log_probs), len(log_probs[0])
    if symbols != len(pipeline["alphabet"]):
        raise ValueError(
            f"{options.model} gives {symbols} symbols; "
            f"{options.log_probs} has {len(pipeline['alphabet'])}"
        )
    print(f"log_probs:  {frames} frames x {symbols} symbols")
    print(f"text:       {greedy_text(log_probs, pipeline['alphabet'], pipeline['blank_index'])}")


def predict(options: argparse.Namespace, body: dict[str, Any], wanted: str) -> Any:
    """Return what the answer has as `wanted`; `ValueError` has the server's words if it refuses."""
    model = f"models/{quote(options.model, safe='')}"
    if options.version is not None:
        model += f"/versions/{options.version}"
    if options.label is not None:
        model += f"/labels/{quote(options.label, safe='')}"
    url = f"http://{options.address}/v1/{model}:predict"
    response = httpx.post(url, json=body, timeout=options.timeout)
    try:
        answer = dict(response.json())
    except (ValueError, TypeError):
        answer = {}
    if wanted not in answer:
        words = answer.get("error", "no answer of TensorFlow Serving's REST port")
        where = f"model {options.model} at {options.address}"
        raise ValueError(f"{where}: {' '.join(words.split())} (HTTP {response.status_code})")
    return answer[wanted]


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


def read_waveform(path: Path, sample_rate_hz: int) -> list[float]:
    """Return the samples of a mono, 16-bit WAV file, in [-1, 1)."""
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
    samples = struct.unpack_from(f"<{len(content) // 2}h", content)
    return [sample / 32768 for sample in samples]


def greedy_text(log_probs: list[list[float]], alphabet: list[str], blank_index: int) -> str:
    """Return the best path's text: the best symbol a frame, repeats merged, blanks dropped."""
    path = [frame.index(max(frame)) for frame in log_probs]
    symbols = [alphabet[index] for index, _ in groupby(path) if index != blank_index]
    return " ".join("".join(symbols).split())


if __name__ == "__main__":
    main()

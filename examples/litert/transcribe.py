"""The text of a WAV file from a LiteRT model, on a phone or a small board.

Needs `pip install ai-edge-litert numpy`, and nothing else of this project: copy it, with the
`model.tflite` and the `alphabet.txt` that `stt export MODEL --format litert` writes.
"""

from __future__ import annotations

import argparse
import io
import sys
import wave
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def main() -> None:
    """Print the text of one file; an error is one line and exit code 1."""
    options = parse_options()
    try:
        waveform = read_waveform(options.wav, options.sample_rate)
        alphabet = read_alphabet(options.model.with_name("alphabet.txt"))
        log_probs = compute(options.model, waveform)
        if log_probs.shape[1] != len(alphabet):
            raise ValueError(
                f"{options.model} gives {log_probs.shape[1]} symbols; "
                f"the alphabet.txt beside it has {len(alphabet)}"
            )
    except ValueError as error:
        sys.exit(f"error: {error}")
    print(greedy_text(log_probs, alphabet))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Print the text of a WAV file, from a LiteRT model.",
        epilog="Example: transcribe.py Models/english-small/litert/model.tflite clip.wav",
    )
    parser.add_argument("model", type=Path, help="model.tflite, with alphabet.txt beside it")
    parser.add_argument("wav", type=Path, help="mono, 16-bit PCM, at the model's rate")
    parser.add_argument(
        "--sample-rate", type=int, default=22050, help="of the model, in Hz; default %(default)s"
    )
    return parser.parse_args()


def compute(model: Path, waveform: np.ndarray) -> np.ndarray:
    """Return log-probabilities float32 `[frames, symbols]` of samples in [-1, 1)."""
    content = read(model)
    try:
        run = Interpreter(model_content=content).get_signature_runner()
    except ValueError as error:
        words = " ".join(str(error).split())
        raise ValueError(f"{model} is not a LiteRT model: {words}") from error
    log_probs: np.ndarray = run(waveform=waveform[np.newaxis])["log_probs"][0]
    return log_probs


def read(path: Path) -> bytes:
    """Return a file's bytes; `ValueError` says why it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error


def read_alphabet(path: Path) -> list[str]:
    """Return the symbols of a file with one a line; the first is the blank."""
    return [line for line in read(path).decode().split("\n") if line]


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
    if len(content) < 2:
        raise ValueError(f"{path}: got no samples; needed: one at least")
    return np.frombuffer(content, "<i2", len(content) // 2).astype("float32") / 32768


def greedy_text(log_probs: np.ndarray, alphabet: list[str]) -> str:
    """Return the best path's text: the best symbol a frame, repeats merged, blanks dropped."""
    path = log_probs.argmax(axis=1)
    kept = path[(np.diff(path, prepend=-1) != 0) & (path != 0)]
    return " ".join("".join(alphabet[index] for index in kept).split())


if __name__ == "__main__":
    main()

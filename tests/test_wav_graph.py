"""The native check in TensorFlow's string ops, held against the one in Python."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from config import AudioConfig, AudioError
from speech.audio import decode_native
from speech.wav_graph import decode_wav_batch
from tests.wav_files import SAMPLES, chunk, extensible_chunk, format_chunk, native, riff

# 220 samples, so that short files can be too long.
CONFIG = AudioConfig(max_duration_s=0.01)
SIZES = (0, 1, 2, 15, 16, 25, 26, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)

Decoded = tuple[np.ndarray, np.ndarray, np.ndarray]
Decode = Callable[[list[bytes]], Decoded]


def decode_eagerly(files: list[bytes]) -> Decoded:
    """Return waveforms, numbers of samples and errors."""
    return _arrays(decode_wav_batch(tf.constant(files, tf.string, [len(files)]), CONFIG))


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def _graph(files: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    return decode_wav_batch(files, CONFIG)


def decode_in_a_graph(files: list[bytes]) -> Decoded:
    """Return what `decode_eagerly` does, from a graph for any batch."""
    return _arrays(_graph(tf.constant(files, tf.string, [len(files)])))


def _arrays(tensors: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> Decoded:
    waveform, num_samples, error = (tensor.numpy() for tensor in tensors)
    return waveform, num_samples, error


def in_python(wav: bytes) -> tuple[np.ndarray, str]:
    """Return samples and message of `decode_native`; one of them is empty."""
    try:
        return decode_native(wav, CONFIG), ""
    except AudioError as error:
        return np.zeros(0, np.float32), str(error)


def mutated_files(rng: np.random.Generator, count: int) -> list[bytes]:
    """Return WAV files of which about half are broken, each in one to three ways."""
    return [_mutate(_whole_file(rng), rng) for _ in range(count)]


def _whole_file(rng: np.random.Generator) -> bytes:
    formats = [
        format_chunk(),
        extensible_chunk(codec=int(rng.choice([1, 3, 85]))),
        format_chunk(codec=int(rng.integers(9)), bits=int(rng.choice([8, 16, 24]))),
        format_chunk(rate_hz=int(rng.choice([8000, 2**32 - 1])), channels=int(rng.integers(4))),
    ]
    extras = [chunk(b"LIST", rng.bytes(int(rng.integers(9)))) for _ in range(rng.integers(3))]
    data = chunk(b"data", rng.bytes(int(rng.choice([0, 1, 2, 3, 40, 441, 442, 600]))))
    chosen = formats[rng.choice(4, p=[0.7, 0.1, 0.1, 0.1])]
    return riff(*extras[:1], chosen, *extras[1:], data, *extras)


def _mutate(wav: bytes, rng: np.random.Generator) -> bytes:
    content = bytearray(wav)
    for _ in range(rng.integers(4)):
        position = int(rng.integers(len(content) or 1))
        match rng.integers(5):
            case 0:
                content = content[:position]
            case 1:
                content[position : position + 1] = rng.bytes(1)
            case 2 if len(content) > 20:
                struct.pack_into("<I", content, 4 * int(rng.integers(1, 5)), int(rng.choice(SIZES)))
            case 3 if b"data" in content:
                at = content.index(b"data") + 4
                content[at : at + 4] = struct.pack("<I", int(rng.choice(SIZES)))
            case 4:
                content[position:position] = rng.bytes(2)
    return bytes(content)


@pytest.mark.parametrize("decode", [decode_eagerly, decode_in_a_graph])
def test_mutated_files_give_what_python_gives(decode: Decode, rng: np.random.Generator) -> None:
    files = mutated_files(rng, 600)
    expected = [in_python(wav) for wav in files]
    waveform, num_samples, error = decode(files)
    assert waveform.dtype == np.float32
    assert num_samples.dtype == np.int32
    assert waveform.shape == (600, max(samples.size for samples, _ in expected))
    for i, (samples, message) in enumerate(expected):
        assert error[i].decode() == message, files[i]
        assert num_samples[i] == samples.size
        np.testing.assert_array_equal(waveform[i, : samples.size], samples)
        assert not waveform[i, samples.size :].any()
    # The comparison says something only if every kind of outcome is in it.
    kinds = Counter(message.split(";")[0].split(",")[0] for _, message in expected)
    assert kinds[""] >= 100
    assert len(kinds) >= 10


def test_a_file_truncated_at_any_byte_gives_what_python_gives() -> None:
    files = [native()[:size] for size in range(len(native()) + 1)]
    waveform, num_samples, error = decode_in_a_graph(files)
    for i, (samples, message) in enumerate(map(in_python, files)):
        assert error[i].decode() == message
        np.testing.assert_array_equal(waveform[i, : num_samples[i]], samples)


def test_a_sub_format_is_read_where_there_is_one_whole() -> None:
    data = chunk(b"data", SAMPLES)
    files = [
        riff(format_chunk(codec=0xFFFE, extra=(bytes(8) + b"\x01\0")[:size]), data)
        for size in (0, 2, 8, 9, 10)
    ]
    _, num_samples, error = decode_in_a_graph(files)
    assert [message.decode() for message in error] == [in_python(wav)[1] for wav in files]
    assert num_samples.tolist() == [0, 0, 0, 0, 6]


def test_chunks_are_walked_as_far_as_python_walks() -> None:
    files = [
        riff(format_chunk(), *[chunk(b"LIST", b"x")] * count, chunk(b"data", SAMPLES))
        for count in (61, 62, 63, 64)
    ]
    _, num_samples, error = decode_in_a_graph(files)
    assert [message.decode() for message in error] == [in_python(wav)[1] for wav in files]
    assert num_samples.tolist() == [6, 6, 0, 0]


@pytest.mark.parametrize("decode", [decode_eagerly, decode_in_a_graph])
def test_a_batch_of_bad_files_is_one_silent_sample_wide(decode: Decode) -> None:
    waveform, num_samples, error = decode([b"", b"RIFF", native(b""), b"\xff" * 100])
    np.testing.assert_array_equal(waveform, np.zeros((4, 1), np.float32))
    assert not num_samples.any()
    assert all(error)


@pytest.mark.parametrize("decode", [decode_eagerly, decode_in_a_graph])
def test_a_batch_of_no_files_gives_no_rows(decode: Decode) -> None:
    waveform, num_samples, error = decode([])
    assert (waveform.shape[0], num_samples.shape, error.shape) == (0, (0,), (0,))


def test_a_bad_file_does_not_touch_its_neighbours() -> None:
    alone = decode_in_a_graph([native()])[0][0]
    beside = decode_in_a_graph([native(bytes(800)), native(), b"junk"])
    np.testing.assert_array_equal(beside[0][1, :6], alone)
    assert beside[1].tolist() == [0, 6, 0]

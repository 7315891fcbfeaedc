"""The strict native check of `speech.audio` in TensorFlow's string ops, for a batch of files.

The served graph and the training pipeline both decode with it. It raises for no input: a file that
is not native gives no samples and the message that `speech.audio.decode_native` would raise.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from config import AudioConfig
from speech.audio import (
    CODEC_NAMES,
    EXTENSIBLE,
    MAX_CHUNKS,
    PCM_SCALE,
    max_num_samples,
    native_form,
)


@dataclass(frozen=True)
class _Headers:
    """Per file: int64 `[batch, 4]` codec, channels, rate, bits; extents; what was found."""

    fields: tf.Tensor
    has_format: tf.Tensor
    has_data: tf.Tensor
    data_start: tf.Tensor
    data_bytes: tf.Tensor


def decode_wav_batch(
    wav_bytes: tf.Tensor, config: AudioConfig
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decode whole WAV files.

    Args:
        wav_bytes: string `[batch]`.
        config: the native form.

    Returns:
        float32 `[batch, samples]` waveforms in [-1, 1), zero-padded to the longest and at least
        one sample wide; int32 `[batch]` numbers of samples, 0 for a refused file; string `[batch]`
        errors, empty for an accepted one.
    """
    headers = _walk_chunks(wav_bytes)
    error = _find_errors(wav_bytes, headers, config)
    accepted = tf.equal(error, "")
    num_samples = tf.where(accepted, headers.data_bytes // 2, tf.zeros_like(headers.data_bytes))
    start = tf.where(accepted, headers.data_start, tf.zeros_like(headers.data_start))
    pcm = tf.strings.substr(wav_bytes, start, 2 * num_samples)
    num_samples = tf.cast(num_samples, tf.int32)
    width_bytes = 2 * tf.maximum(1, tf.reduce_max(num_samples))
    samples = tf.io.decode_raw(pcm, tf.int16, fixed_length=width_bytes)
    return tf.cast(samples, tf.float32) / PCM_SCALE, num_samples, error


def _walk_chunks(wav_bytes: tf.Tensor) -> _Headers:
    zeros = tf.zeros_like(tf.strings.length(wav_bytes), tf.int64)
    size = tf.cast(tf.strings.length(wav_bytes), tf.int64)
    never = tf.zeros_like(zeros, tf.bool)

    def step(
        i: tf.Tensor,
        start: tf.Tensor,
        done: tf.Tensor,
        fields: tf.Tensor,
        has_format: tf.Tensor,
        has_data: tf.Tensor,
        data_size: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:
        done = done | (start + 8 > size)
        name, body = _substr(wav_bytes, start, 4), start + 8
        chunk_size = _read_int(wav_bytes, start + 4, 4)
        is_format = ~done & (name == b"fmt ") & (chunk_size >= 16) & (body + 16 <= size)
        is_data = ~done & (name == b"data")
        found = _read_format(wav_bytes, body, chunk_size, size)
        fields = tf.where(is_format[:, tf.newaxis], found, fields)
        has_format = has_format | is_format
        has_data = has_data | (is_data & has_format)
        data_size = tf.where(is_data, tf.minimum(chunk_size, size - body), data_size)
        done = done | is_data
        following = body + chunk_size + chunk_size % 2
        start = tf.where(done, start, following)
        return i + 1, start, done, fields, has_format, has_data, data_size

    fields = tf.tile(zeros[:, tf.newaxis], [1, 4])
    _, start, _, fields, has_format, has_data, data_size = tf.while_loop(
        lambda i, _, done, *__: (i < MAX_CHUNKS) & ~tf.reduce_all(done),
        step,
        (0, zeros + 12, never, fields, never, never, zeros),
        shape_invariants=(
            tf.TensorShape([]),
            *[tf.TensorShape([None])] * 2,
            tf.TensorShape([None, 4]),
            *[tf.TensorShape([None])] * 3,
        ),
    )
    return _Headers(fields, has_format, has_data, start + 8, data_size)


def _read_format(
    wav_bytes: tf.Tensor, body: tf.Tensor, chunk_size: tf.Tensor, size: tf.Tensor
) -> tf.Tensor:
    codec = _read_int(wav_bytes, body, 2)
    has_subformat = (codec == EXTENSIBLE) & (chunk_size >= 26) & (body + 26 <= size)
    codec = tf.where(has_subformat, _read_int(wav_bytes, body + 24, 2), codec)
    channels, rate = _read_int(wav_bytes, body + 2, 2), _read_int(wav_bytes, body + 4, 4)
    return tf.stack([codec, channels, rate, _read_int(wav_bytes, body + 14, 2)], axis=1)


def _find_errors(wav_bytes: tf.Tensor, headers: _Headers, config: AudioConfig) -> tf.Tensor:
    """Return the first message that applies to each file, in the order of `decode_native`."""
    riff = (_substr(wav_bytes, 0, 4) == b"RIFF") & (_substr(wav_bytes, 8, 4) == b"WAVE")
    native = tf.constant([1, 1, config.sample_rate_hz, 16], tf.int64)
    is_native = tf.reduce_all(headers.fields == native, axis=1)
    no_data = tf.strings.join(
        [
            "broken WAV file: no usable ",
            tf.where(headers.has_format, "data", "fmt"),
            " chunk",
        ]
    )
    limit = f"{config.max_duration_s:g} s"
    num_samples = headers.data_bytes // 2
    checks = [
        (tf.strings.length(wav_bytes) == 0, "got 0 bytes; needed: a WAV file"),
        (~riff, "not a WAV file: it does not start with RIFF and WAVE"),
        (~headers.has_data, no_data),
        (~is_native, _describe(headers.fields, config)),
        (num_samples < 1, "got 0 samples; needed: at least 1 sample"),
        (
            num_samples > max_num_samples(config),
            f"got over {limit} of audio; needed: at most {limit}",
        ),
    ]
    error = tf.fill(tf.shape(wav_bytes), "")
    for applies, message in reversed(checks):
        error = tf.where(applies, message, error)
    return error


def _describe(fields: tf.Tensor, config: AudioConfig) -> tf.Tensor:
    codec, channels, rate, bits = tf.unstack(fields, axis=1)
    name = tf.strings.join(["codec ", tf.strings.as_string(codec)])
    for number, known in CODEC_NAMES.items():
        name = tf.where(codec == number, known, name)
    return tf.strings.join(
        [
            "got ",
            tf.strings.as_string(channels),
            tf.where(channels == 1, " channel, ", " channels, "),
            tf.strings.as_string(bits),
            "-bit ",
            name,
            ", ",
            tf.strings.as_string(rate),
            f" Hz; {native_form(config)}",
        ]
    )


def _substr(wav_bytes: tf.Tensor, start: tf.Tensor | int, count: int) -> tf.Tensor:
    """Return up to `count` bytes; those beyond the end are missing, never an error."""
    size = tf.cast(tf.strings.length(wav_bytes), tf.int64)
    start = tf.minimum(tf.cast(start, tf.int64) + tf.zeros_like(size), size)
    return tf.strings.substr(
        wav_bytes, start, tf.fill(tf.shape(start), tf.constant(count, tf.int64))
    )


def _read_int(wav_bytes: tf.Tensor, start: tf.Tensor, count: int) -> tf.Tensor:
    """Read unsigned little-endian int64 `[batch]` of `count` bytes; bytes beyond the end are 0."""
    digits = tf.io.decode_raw(_substr(wav_bytes, start, count), tf.uint8, fixed_length=count)
    weights = tf.constant([256**i for i in range(count)], tf.int64)
    return tf.reduce_sum(tf.cast(digits, tf.int64) * weights, axis=1)

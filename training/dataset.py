"""Manifest to batches: parallel decoding and features, bucketed by length, the same for a seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from config import AudioConfig, FeatureConfig
from speech.alphabet import Alphabet
from speech.features import extract_features
from speech.wav_graph import decode_wav_batch
from training.manifest import Utterance

_LENGTH_JITTER = 0.1

Plan = list[NDArray[np.int64]]


def plan_batches(
    num_samples: Sequence[int], *, batch_samples: int, seed: int, epoch: int, shuffle: bool = True
) -> Plan:
    """Group clips of like length, so that little of a batch is padding.

    Clips are sorted by a length that is jittered anew each epoch, cut into batches of at most
    `batch_samples` with their padding (at least one clip), and the batches are shuffled. A pure
    function of its arguments: training resumes inside an epoch by skipping batches.

    Returns:
        Indices of clips, one array a batch; every clip occurs once.
    """
    lengths = np.asarray(num_samples, np.float64)
    draw = np.random.default_rng([seed, epoch])
    jitter = draw.uniform(1 - _LENGTH_JITTER, 1 + _LENGTH_JITTER, len(lengths)) if shuffle else 1.0
    plan: Plan = []
    batch: list[int] = []
    longest = 0.0
    for index in np.argsort(lengths * jitter, kind="stable"):
        longest = max(longest, lengths[index])
        if batch and longest * (len(batch) + 1) > batch_samples:
            plan.append(np.array(batch))
            batch, longest = [], lengths[index]
        batch.append(int(index))
    if batch:
        plan.append(np.array(batch))
    if shuffle:
        plan = [plan[i] for i in draw.permutation(len(plan))]
    return plan


def make_dataset(
    utterances: Sequence[Utterance],
    plan: Plan,
    *,
    audio: AudioConfig,
    features: FeatureConfig,
    alphabet: Alphabet,
    workers: int = 2,
) -> tf.data.Dataset:
    """Return the batches of `plan` in its order.

    Each element is `({"features", "num_frames"}, {"labels", "label_lengths", "index"})`: float32
    `[batch, frames, bins]` zero-padded, int32 `[batch]`, int32 `[batch, labels]` padded with the
    blank, int32 `[batch]`, and int64 `[batch]` positions in `utterances`.
    """
    paths = tf.constant([utterance.audio for utterance in utterances])
    labels = tf.ragged.constant(
        [alphabet.encode(utterance.text) for utterance in utterances], tf.int32, ragged_rank=1
    )

    def load(batch: tf.RaggedTensor) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        files = tf.map_fn(tf.io.read_file, tf.gather(paths, batch))
        waveform, num_samples, error = decode_wav_batch(files, audio)
        with tf.control_dependencies(
            [tf.debugging.assert_equal(error, "", tf.strings.reduce_join(error, separator=" "))]
        ):
            x, num_frames = extract_features(
                waveform, num_samples, features, sample_rate_hz=audio.sample_rate_hz
            )
        chosen = tf.gather(labels, batch)
        y = {
            "labels": chosen.to_tensor(default_value=alphabet.blank_index),
            "label_lengths": tf.cast(chosen.row_lengths(), tf.int32),
            "index": batch,
        }
        return {"features": x, "num_frames": num_frames}, y

    indices = tf.data.Dataset.from_tensor_slices(tf.ragged.constant(plan, tf.int64))
    return indices.map(load, num_parallel_calls=workers, deterministic=True).prefetch(4)

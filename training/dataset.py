"""Manifest to batches: parallel decoding and features, bucketed by length, the same for a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from config import AudioConfig, CorpusError, FeatureConfig
from speech.alphabet import Alphabet
from speech.features import extract_features
from speech.wav_graph import decode_wav_batch
from training.augmentation import AugmentationConfig, augment_features, augment_waveforms
from training.augmentation_random import change_some
from training.manifest import Utterance

if TYPE_CHECKING:
    from training.feature_cache import FeatureCache

_LENGTH_JITTER = 0.1

Plan = list[NDArray[np.int64]]
Inputs = dict[str, tf.Tensor]


@dataclass(frozen=True)
class Augmentation:
    """How clips are changed.

    Attributes:
        config: how likely and how far.
        least_samples: int32 `[utterances]`; a clip that would become shorter stays as it was.
    """

    config: AugmentationConfig
    least_samples: NDArray[np.int32]


def plan_seeds(plan: Plan, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return int64 `[batches, 2]`, what each batch of an epoch's plan draws its changes from."""
    return np.random.default_rng([seed, epoch, 1]).integers(2**31, size=(len(plan), 2))


def plan_batches(
    num_samples: Sequence[int],
    *,
    batch_samples: int,
    seed: int,
    epoch: int,
    shuffle: bool = True,
    by_length: bool = False,
) -> Plan:
    """Group clips of like length, so that little of a batch is padding.

    Clips are sorted by a length that is jittered anew each epoch, cut into batches of at most
    `batch_samples` with their padding (at least one clip), and the batches are shuffled. A pure
    function of its arguments: training resumes inside an epoch by skipping batches.

    Args:
        by_length: keep the shortest first instead of shuffling the batches.

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
    if shuffle and not by_length:
        plan = [plan[i] for i in draw.permutation(len(plan))]
    return plan


class Loader:
    """Reads, changes and extracts batches of `utterances`; traced once, whatever the plans."""

    def __init__(
        self,
        utterances: Sequence[Utterance],
        *,
        audio: AudioConfig,
        features: FeatureConfig,
        alphabet: Alphabet,
        augmentation: Augmentation | None = None,
        cache: FeatureCache | None = None,
        workers: int = 2,
    ) -> None:
        """Encode the texts.

        Args:
            cache: take features from it, and do not read the audio; then only features are
                augmented.
        """
        self._audio, self._config, self._alphabet = audio, features, alphabet
        self._augmentation, self._cache, self._workers = augmentation, cache, workers
        self._rows = tf.constant(cache.rows_of(utterances)) if cache else None
        self._paths = tf.constant([utterance.audio for utterance in utterances])
        self._labels = tf.ragged.constant(
            [alphabet.encode(utterance.text) for utterance in utterances], tf.int32, ragged_rank=1
        )
        self._load = tf.function(
            self._load_batch,
            input_signature=[tf.TensorSpec([None], tf.int64), tf.TensorSpec([2], tf.int64)],
            autograph=False,  # nothing in it needs converting, and that is slow
        )

    def batches(self, plan: Plan, seeds: NDArray[np.int64] | None = None) -> tf.data.Dataset:
        """Return the batches of `plan` in its order.

        Each element is `({"features", "num_frames"}, {"labels", "label_lengths", "index"})`:
        float32 `[batch, frames, bins]` zero-padded, int32 `[batch]`, int32 `[batch, labels]` padded
        with the blank, int32 `[batch]`, and int64 `[batch]` positions in `utterances`.

        Args:
            seeds: int64 `[batches, 2]`, what each batch's changes are drawn from.
        """
        if seeds is None:
            seeds = np.zeros((len(plan), 2), np.int64)
        rows = tf.data.Dataset.from_tensor_slices((tf.ragged.constant(plan, tf.int64), seeds))
        load = tf.autograph.experimental.do_not_convert(self._load)
        return rows.map(load, num_parallel_calls=self._workers, deterministic=True).prefetch(4)

    def _load_batch(self, batch: tf.Tensor, seed: tf.Tensor) -> tuple[Inputs, Inputs]:
        if self._cache:
            x, num_frames = self._cache.inputs(tf.gather(self._rows, batch))
        else:
            x, num_frames = _features_of(
                tf.gather(self._paths, batch),
                batch,
                seed,
                self._audio,
                self._config,
                self._augmentation,
            )
        if self._augmentation:
            x = augment_features(x, num_frames, seed, self._augmentation.config)
        chosen = tf.gather(self._labels, batch)
        y = {
            "labels": chosen.to_tensor(default_value=self._alphabet.blank_index),
            "label_lengths": tf.cast(chosen.row_lengths(), tf.int32),
            "index": batch,
        }
        return {"features": x, "num_frames": num_frames}, y


def _features_of(
    paths: tf.Tensor,
    batch: tf.Tensor,
    seed: tf.Tensor,
    audio: AudioConfig,
    config: FeatureConfig,
    augmentation: Augmentation | None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode the files of a batch, change their sound, and return features and lengths."""
    files = tf.map_fn(tf.io.read_file, paths)
    waveform, num_samples, error = decode_wav_batch(files, audio)
    with tf.control_dependencies(
        [tf.debugging.assert_equal(error, "", tf.strings.reduce_join(error, separator=" "))]
    ):
        waveform = tf.identity(waveform)
    rate = audio.sample_rate_hz
    if augmentation:
        least = tf.gather(augmentation.least_samples, batch)
        waveform, num_samples = _augment(
            waveform, num_samples, least, seed, augmentation.config, rate
        )
    return extract_features(waveform, num_samples, config, sample_rate_hz=rate)


def _augment(
    waveform: tf.Tensor,
    num_samples: tf.Tensor,
    least_samples: tf.Tensor,
    seed: tf.Tensor,
    config: AugmentationConfig,
    sample_rate_hz: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Change clips, but for those that would become shorter than their `least_samples`."""

    def unchanged(_: tf.Tensor, __: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(waveform, rows), tf.gather(num_samples, rows)

    changed, lengths = augment_waveforms(
        waveform, num_samples, seed, config, sample_rate_hz=sample_rate_hz
    )
    return change_some(lengths < least_samples, unchanged, changed, lengths)


@contextmanager
def data_errors() -> Iterator[None]:
    """Turn what TensorFlow raises for a clip into a `CorpusError`; let all else pass."""
    signs = ("assertion failed", "No such file", "Permission denied")
    try:
        yield
    except (
        tf.errors.NotFoundError,
        tf.errors.InvalidArgumentError,
        tf.errors.PermissionDeniedError,
    ) as error:
        lines = [line.strip() for line in str(error.message).splitlines()]
        reason = next((line for line in lines if any(sign in line for sign in signs)), None)
        if reason is None:
            raise
        raise CorpusError(f"{reason}; if a clip was moved or changed, prepare it again") from error

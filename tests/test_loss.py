"""CTC loss held against a sum over all paths in float64."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from training.loss import ctc_loss

Clip = tuple[np.ndarray, list[int]]


def enumerated_loss(logits: np.ndarray, labels: list[int], blank_index: int = 0) -> float:
    """Return -log of the summed probability of all paths that collapse to `labels`."""
    logits = logits.astype(np.float64)
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    total = 0.0
    for path in itertools.product(range(probs.shape[1]), repeat=len(probs)):
        merged = [symbol for symbol, _ in itertools.groupby(path)]
        if [symbol for symbol in merged if symbol != blank_index] == labels:
            total += float(np.prod(probs[np.arange(len(path)), path]))
    return float(-np.log(total)) if total else np.inf


def enumerated_gradient(logits: np.ndarray, labels: list[int]) -> np.ndarray:
    """Return the gradient of `enumerated_loss` by central differences."""
    gradient, step = np.zeros(logits.shape), 1e-5
    for index in np.ndindex(*logits.shape):
        ahead, behind = logits.astype(np.float64), logits.astype(np.float64)
        ahead[index] += step
        behind[index] -= step
        difference = enumerated_loss(ahead, labels) - enumerated_loss(behind, labels)
        gradient[index] = difference / (2 * step)
    return gradient


def batched(
    clips: list[Clip], *, extra_frames: int = 0, extra_labels: int = 0, garbage: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, label_lengths, logits, logit_lengths; padding is `garbage`."""
    frames = max(len(logits) for logits, _ in clips) + extra_frames
    num_labels = max(len(labels) for _, labels in clips) + extra_labels
    x = np.full((len(clips), frames, clips[0][0].shape[1]), 9.0 * garbage, np.float32)
    y = np.full((len(clips), num_labels), garbage, np.int32)
    for i, (logits, labels) in enumerate(clips):
        x[i, : len(logits)] = logits
        y[i, : len(labels)] = labels
    label_lengths = np.array([len(labels) for _, labels in clips], np.int32)
    return y, label_lengths, x, np.array([len(logits) for logits, _ in clips], np.int32)


def loss_and_gradient(
    clips: list[Clip], *, blank_index: int = 0, **padding: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return each clip's loss, and the gradient of their sum by logits."""
    labels, label_lengths, logits, logit_lengths = map(tf.constant, batched(clips, **padding))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = ctc_loss(labels, label_lengths, logits, logit_lengths, blank_index=blank_index)
        total = tf.reduce_sum(loss)
    assert loss.dtype == tf.float32
    return loss.numpy(), tape.gradient(total, logits).numpy()


def random_logits(rng: np.random.Generator, frames: int, symbols: int = 3) -> np.ndarray:
    """Return float32 logits over several nats."""
    return rng.normal(0, 2, (frames, symbols)).astype(np.float32)


POSSIBLE = [(1, []), (1, [2]), (3, [1, 2]), (4, [1, 1]), (5, [1, 2, 1]), (5, [2, 2, 2]), (6, [2])]
IMPOSSIBLE = [(1, [1, 2]), (2, [1, 1]), (3, [1, 1, 2]), (1, [1, 1, 1, 1])]


@pytest.mark.parametrize(("frames", "labels"), POSSIBLE)
def test_loss_and_gradient_equal_those_of_all_paths(
    frames: int, labels: list[int], rng: np.random.Generator
) -> None:
    logits = random_logits(rng, frames)
    loss, gradient = loss_and_gradient([(logits, labels)])
    np.testing.assert_allclose(loss, [enumerated_loss(logits, labels)], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient[0], enumerated_gradient(logits, labels), atol=1e-5)


@pytest.mark.parametrize("blank_index", [0, 1, 3])
def test_the_blank_may_be_any_symbol(blank_index: int, rng: np.random.Generator) -> None:
    logits = random_logits(rng, 5, symbols=4)
    labels = [symbol for symbol in (0, 1, 2, 3, 3) if symbol != blank_index][-3:]
    loss, _ = loss_and_gradient([(logits, labels)], blank_index=blank_index)
    expected = enumerated_loss(logits, labels, blank_index)
    np.testing.assert_allclose(loss, [expected], rtol=1e-5)


@pytest.mark.parametrize("garbage", [0, 1, 2])
def test_padding_changes_neither_loss_nor_gradient(garbage: int, rng: np.random.Generator) -> None:
    clips = [(random_logits(rng, frames), labels) for frames, labels in POSSIBLE]
    loss, gradient = loss_and_gradient(clips, extra_frames=4, extra_labels=3, garbage=garbage)
    for i, clip in enumerate(clips):
        alone, alone_gradient = loss_and_gradient([clip])
        own = len(clip[0])
        np.testing.assert_allclose(loss[i], alone[0], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(gradient[i, :own], alone_gradient[0], atol=1e-6)
        assert not gradient[i, own:].any()


def test_labels_that_need_more_frames_are_infinite_and_harm_no_other_clip(
    rng: np.random.Generator,
) -> None:
    good = [(random_logits(rng, frames), labels) for frames, labels in POSSIBLE]
    bad = [(random_logits(rng, frames), labels) for frames, labels in IMPOSSIBLE]
    assert all(np.isinf(enumerated_loss(logits, labels)) for logits, labels in bad)
    loss, gradient = loss_and_gradient([*bad[:2], *good, *bad[2:]])
    assert np.isinf(loss[[0, 1, -2, -1]]).all()
    expected, expected_gradient = loss_and_gradient(good)
    np.testing.assert_allclose(loss[2:-2], expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(gradient[2:-2], expected_gradient, atol=1e-6)
    assert not gradient[[0, 1, -2, -1]].any()


def test_a_batch_of_impossible_clips_is_infinite(rng: np.random.Generator) -> None:
    loss, gradient = loss_and_gradient(
        [(random_logits(rng, 1), labels) for _, labels in IMPOSSIBLE]
    )
    assert np.isposinf(loss).all()
    assert not gradient.any()


@pytest.mark.parametrize("frames_lacking", [0, 1])
def test_the_limit_is_exact(frames_lacking: int, rng: np.random.Generator) -> None:
    labels = [1, 1, 2, 2, 1]
    loss, _ = loss_and_gradient([(random_logits(rng, 7 - frames_lacking), labels)])
    assert np.isinf(loss[0]) == bool(frames_lacking)


def test_padding_with_the_blank_is_not_taken_for_labels_nor_labels_for_padding(
    rng: np.random.Generator,
) -> None:
    logits = random_logits(rng, 5)
    padded, _ = loss_and_gradient([(logits, [1])], extra_labels=2)
    np.testing.assert_allclose(padded, [enumerated_loss(logits, [1])], rtol=1e-5)
    shorter = ctc_loss(*map(tf.constant, ([[1, 2]], [1], logits[None], [5])), blank_index=0)
    np.testing.assert_allclose(shorter, padded, rtol=1e-6)


def test_a_traced_graph_takes_any_batch(rng: np.random.Generator) -> None:
    graph = tf.function(
        lambda *tensors: ctc_loss(*tensors, blank_index=0),
        input_signature=[
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None, None, 3], tf.float32),
            tf.TensorSpec([None], tf.int32),
        ],
    )
    clips = [(random_logits(rng, frames), labels) for frames, labels in POSSIBLE + IMPOSSIBLE]
    np.testing.assert_allclose(graph(*batched(clips)), loss_and_gradient(clips)[0], rtol=1e-6)


def test_larger_clips_equal_the_dense_losses_of_keras_and_tensorflow(
    rng: np.random.Generator,
) -> None:
    clips = []
    for frames, num_labels in [(60, 20), (80, 25), (31, 3)]:
        labels = rng.integers(1, 29, num_labels).tolist()
        clips.append((random_logits(rng, frames, symbols=29), labels))
    labels, label_lengths, logits, logit_lengths = batched(clips, extra_frames=5)
    ours, _ = loss_and_gradient(clips, extra_frames=5)
    of_keras = keras.ops.ctc_loss(labels, logits, label_lengths, logit_lengths, mask_index=0)
    np.testing.assert_allclose(ours, of_keras, rtol=1e-4)
    dense = tf.nn.ctc_loss(
        labels, logits, label_lengths, logit_lengths, logits_time_major=False, blank_index=0
    )
    np.testing.assert_allclose(ours, dense, rtol=1e-4)

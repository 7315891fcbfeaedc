"""The network for inference equals the one that was trained, in both of its ways."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from config import ConvolutionConfig, NetworkConfig
from tests.test_networks import FORWARD, NORMALISED, NUM_BINS, TINY, tiny_network
from training.networks.fast_convolution import convolve_fast
from training.networks.inference import InferenceNetwork
from training.networks.inference_weights import (
    InferenceWeights,
    fold_weights,
    transpose_recurrent,
)
from training.networks.weights import read_weights

STRIDE_1 = NetworkConfig(
    convolutions=(
        ConvolutionConfig(filters=3, kernel=(11, 5), stride=(2, 2)),
        ConvolutionConfig(filters=4, kernel=(7, 3), stride=(1, 2)),
        ConvolutionConfig(filters=2, kernel=(3, 3), stride=(1, 1)),
    ),
    gru_layers=1,
    gru_units=6,
    dense_units=7,
)
FORWARD_ONLY = replace(STRIDE_1, bidirectional=False)


def tensors_of(weights: InferenceWeights) -> InferenceWeights:
    """Return the same nest of tensors."""
    nest: InferenceWeights = tf.nest.map_structure(tf.constant, weights)
    return nest


@pytest.mark.parametrize("config", [TINY, NORMALISED, STRIDE_1, FORWARD, FORWARD_ONLY])
@pytest.mark.parametrize("lengths", [[1], [37], [41, 8, 1, 26]])
def test_both_ways_equal_the_network_that_was_trained(
    config: NetworkConfig, lengths: list[int], rng: np.random.Generator
) -> None:
    """Lengths of less than a block of the loop, of one, and of several."""
    network = tiny_network(config, rng)
    num_frames = np.array(lengths, np.int32)
    features = rng.standard_normal((len(lengths), max(lengths), NUM_BINS)).astype(np.float32)
    features *= (np.arange(max(lengths)) < num_frames[:, np.newaxis])[..., np.newaxis]
    wanted, wanted_lengths = network([features, num_frames], training=False)

    weights = read_weights(network)
    inference, folded = InferenceNetwork(weights.convolutions), tensors_of(fold_weights(weights))
    ways = [(inference.compute, folded)]
    if len(lengths) == 1:
        ways.append((inference.compute_compiled, transpose_recurrent(folded)))
    for run, given in ways:
        got, got_lengths = run(given, tf.constant(features), tf.constant(num_frames))
        np.testing.assert_array_equal(got_lengths, wanted_lengths)
        assert got.shape == wanted.shape
        for clip, (own, other) in enumerate(zip(got.numpy(), wanted.numpy(), strict=True)):
            length = int(wanted_lengths[clip])
            np.testing.assert_allclose(own[:length], other[:length], atol=1e-5)
        assert np.ptp(wanted.numpy()) > 0.1, "a constant output would pass any comparison"


@pytest.mark.parametrize("taps", [1, 3, 8, 11])
@pytest.mark.parametrize("num_frames", [1, 2, 7, 16, 30])
@pytest.mark.parametrize(("stride", "padding"), [(1, (0, 0)), (2, (5, 2))])
def test_the_fast_convolution_is_the_convolution(
    taps: int, num_frames: int, stride: int, padding: tuple[int, int], rng: np.random.Generator
) -> None:
    if num_frames + 2 * padding[0] < taps:
        padding = (taps // 2, padding[1])
    x = rng.standard_normal((2, num_frames, 9, 3)).astype(np.float32)
    kernel = rng.standard_normal((taps, 5, 3, 4)).astype(np.float32)
    explicit = [[0, 0], [padding[0]] * 2, [padding[1]] * 2, [0, 0]]
    wanted = tf.nn.conv2d(x, kernel, [1, stride], explicit)
    got = convolve_fast(tf.constant(x), tf.constant(kernel), stride, padding)
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, atol=1e-4)

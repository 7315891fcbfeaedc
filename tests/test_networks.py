"""Networks: the recurrence and masked layers held against Keras' own, clip by clip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
import pytest
import tensorflow as tf

from config import ConvolutionConfig, NetworkConfig
from training.networks import recurrence, recurrence_tensorflow
from training.networks.deepspeech2 import build_deepspeech2
from training.networks.forward_layers import MaskedGRU, RowConvolution
from training.networks.layers import (
    MaskedBatchNormalization,
    MaskedBidirectionalGRU,
    MaskedConv2D,
    frame_mask,
)
from training.presets import PRESETS

NUM_BINS, NUM_SYMBOLS = 9, 5
CONVOLUTIONS = (
    ConvolutionConfig(filters=3, kernel=(5, 3), stride=(2, 2)),
    ConvolutionConfig(filters=4, kernel=(3, 5), stride=(3, 1)),
)
TINY = NetworkConfig(convolutions=CONVOLUTIONS, gru_layers=2, gru_units=6, dense_units=7)
NORMALISED = NetworkConfig(
    convolutions=CONVOLUTIONS[:1],
    gru_layers=3,
    gru_units=5,
    normalise_gru_inputs=True,
    dense_units=0,
    dropout=0.1,
)
FORWARD = replace(NORMALISED, bidirectional=False, lookahead=3)


def randomise(layer: keras.Layer, rng: np.random.Generator) -> None:
    """Give every weight another value, the statistics of batch norm included."""
    for weight in layer.weights:
        low = 0.5 if "variance" in weight.path else -0.5
        weight.assign(rng.uniform(low, 0.6 if low < 0 else 2.0, weight.shape))


def tiny_network(config: NetworkConfig, rng: np.random.Generator) -> keras.Model:
    """Return a network of `config` with random weights."""
    network = build_deepspeech2(config, num_bins=NUM_BINS, num_symbols=NUM_SYMBOLS)
    randomise(network, rng)
    return network


def moving_statistics(network: keras.Model) -> list[np.ndarray]:
    """Return the means and variances that batch norm has learned."""
    return [weight.numpy() for weight in network.weights if "moving" in weight.path]


def random_clips(
    rng: np.random.Generator, *lengths: int, num_bins: int = NUM_BINS
) -> list[np.ndarray]:
    """Return float32 `[frames, bins]` features of each of `lengths` frames."""
    return [rng.normal(0, 1, (length, num_bins)).astype(np.float32) for length in lengths]


def batched(clips: list[np.ndarray], *, extra: int = 0) -> list[np.ndarray]:
    """Return zero-padded clips and their lengths."""
    lengths = np.array([len(clip) for clip in clips], np.int32)
    padded = np.zeros((len(clips), lengths.max() + extra, *clips[0].shape[1:]), np.float32)
    for row, clip in zip(padded, clips, strict=True):
        row[: len(clip)] = clip
    return [padded, lengths]


def keras_gru(
    units: int, size: int, weights: list[np.ndarray], **options: bool
) -> keras.layers.GRU:
    """Return Keras' GRU with `weights`."""
    layer = keras.layers.GRU(units, return_sequences=True, reset_after=True, **options)
    layer.build((None, None, size))
    layer.set_weights(weights)
    return layer


def gru_weights(rng: np.random.Generator, units: int, size: int) -> list[np.ndarray]:
    """Return kernel, recurrent kernel and bias in the layout of `keras.layers.GRU`."""
    shapes = [(size, 3 * units), (units, 3 * units), (2, 3 * units)]
    return [rng.normal(0, 0.7, shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("module", [recurrence, recurrence_tensorflow])
@pytest.mark.parametrize("frames", [1, 2, 13])
def test_the_recurrence_equals_keras_gru_in_values_and_gradients(
    module: ModuleType, frames: int, rng: np.random.Generator
) -> None:
    units, size, batch = 4, 3, 2
    layer = keras_gru(units, size, gru_weights(rng, units, size))
    x = tf.constant(rng.normal(size=(batch, frames, size)), tf.float32)
    towards = tf.constant(rng.normal(size=(batch, frames, units)), tf.float32)
    variables = [x, *(weight.value for weight in layer.trainable_weights)]

    def ours(x: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        added = tf.concat([bias[0, : 2 * units] + bias[1, : 2 * units], bias[0, 2 * units :]], 0)
        projected = tf.transpose(x, [1, 0, 2]) @ kernel + added
        states = module.gru_sequence(projected, recurrent, bias[1, 2 * units :])
        return tf.transpose(states, [1, 0, 2])

    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        expected, states = layer(x), ours(*map(tf.convert_to_tensor, variables))
        expected_loss, loss = (tf.reduce_sum(y * towards) for y in (expected, states))
    np.testing.assert_allclose(states, expected, rtol=0, atol=1e-6)
    expected_gradients = tape.gradient(expected_loss, variables)
    for gradient, reference in zip(tape.gradient(loss, variables), expected_gradients, strict=True):
        # Only the first state, which is zero, meets the recurrent kernel in a clip of one frame.
        assert frames == 1 or np.abs(reference).max() > 1e-3
        np.testing.assert_allclose(gradient, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("module", [recurrence, recurrence_tensorflow])
def test_each_clip_is_reversed_within_its_own_frames(module: ModuleType) -> None:
    x = np.arange(10, dtype=np.float32).reshape(5, 2, 1)
    reversed_x = module.reverse_by_length(tf.constant(x), tf.constant([5, 3]))
    expected = [[8, 5], [6, 3], [4, 1], [2, 7], [0, 9]]
    np.testing.assert_array_equal(np.array(reversed_x)[..., 0], expected)


def test_the_bidirectional_gru_equals_two_keras_grus_at_each_clips_own_length(
    rng: np.random.Generator,
) -> None:
    units, size = 5, 4
    ahead, behind = gru_weights(rng, units, size), gru_weights(rng, units, size)
    clips = random_clips(rng, 1, 7, 12, num_bins=size)
    layer = MaskedBidirectionalGRU(units)
    layer.build([(None, None, size), (None,)])
    layer.set_weights([*ahead, *behind])
    states = np.array(layer(batched(clips, extra=3)))
    forward = keras_gru(units, size, ahead)
    backward = keras_gru(units, size, behind, go_backwards=True)
    for clip, ours in zip(clips, states, strict=True):
        expected = np.concatenate(
            [forward(clip[None])[0], np.array(backward(clip[None]))[0, ::-1]], axis=-1
        )
        np.testing.assert_allclose(ours[: len(clip)], expected, rtol=0, atol=1e-5)
        assert not ours[len(clip) :].any()


def test_the_forward_gru_equals_keras_gru(rng: np.random.Generator) -> None:
    units, size = 5, 4
    weights, clips = gru_weights(rng, units, size), random_clips(rng, 1, 7, 12, num_bins=size)
    layer = MaskedGRU(units)
    layer.build([(None, None, size), (None,)])
    layer.set_weights(weights)
    states, reference = np.array(layer(batched(clips, extra=3))), keras_gru(units, size, weights)
    for clip, ours in zip(clips, states, strict=True):
        np.testing.assert_allclose(ours[: len(clip)], reference(clip[None])[0], rtol=0, atol=1e-5)
        assert not ours[len(clip) :].any()


@pytest.mark.parametrize("lookahead", [0, 1, 4, 30])
def test_the_row_convolution_equals_its_definition(
    lookahead: int, rng: np.random.Generator
) -> None:
    layer, x = RowConvolution(lookahead), rng.normal(size=(2, 9, 3)).astype(np.float32)
    outputs = layer(x)
    kernel, expected = layer.kernel.numpy(), np.zeros_like(x)
    assert kernel.shape == (lookahead + 1, 3)
    for t, i in np.ndindex(9, lookahead + 1):
        if t + i < 9:
            expected[:, t] += kernel[i] * x[:, t + i]
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5)


def test_a_forward_network_waits_for_no_frame_beyond_its_lookahead(
    rng: np.random.Generator,
) -> None:
    network, clip = tiny_network(FORWARD, rng), random_clips(rng, 60)[0]
    ahead, stride = FORWARD.num_frames_ahead(), FORWARD.time_stride
    whole = network(batched([clip]), training=False)[0].numpy()[0]
    for frame in (0, 7, 15):
        needed = stride * frame + ahead
        later, sooner = clip.copy(), clip.copy()
        later[needed + 1 :] += 1
        sooner[needed] += 50
        got = [network(batched([x]), training=False)[0].numpy()[0] for x in (later, sooner)]
        np.testing.assert_allclose(got[0][: frame + 1], whole[: frame + 1], rtol=0, atol=1e-5)
        np.testing.assert_allclose(got[1][:frame], whole[:frame], rtol=0, atol=1e-5)
        assert np.abs(got[1][frame] - whole[frame]).max() > 1e-5


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize("length", [1, 2, 3, 8, 9, 10])
def test_a_convolution_of_a_clip_does_not_depend_on_its_padding(
    length: int, stride: tuple[int, int], rng: np.random.Generator
) -> None:
    layer = MaskedConv2D(3, (5, 3), stride)
    layer.build([(None, None, NUM_BINS, 1), (None,)])
    randomise(layer, rng)
    clip = rng.normal(size=(length, NUM_BINS, 1)).astype(np.float32)
    other = rng.normal(size=(14, NUM_BINS, 1)).astype(np.float32)
    alone, own = layer(batched([clip]))
    together, lengths = layer(batched([clip, other], extra=1))
    own = int(own[0])
    assert own == alone.shape[1] == -(-length // stride[0])
    assert np.array(lengths).tolist() == [own, -(-14 // stride[0])]
    assert together.shape[2] == -(-NUM_BINS // stride[1])
    np.testing.assert_allclose(np.array(together)[0, :own], alone[0], rtol=0, atol=1e-5)
    assert not np.array(together)[0, own:].any()


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("taps", "stride", "bins"), [(5, 2, 7), (5, 2, 8), (5, 3, 7), (3, 3, 9), (3, 4, 6)]
)
def test_a_convolution_equals_its_definition(
    channels: int, taps: int, stride: int, bins: int, rng: np.random.Generator
) -> None:
    layer = MaskedConv2D(2, (3, taps), (2, stride))
    layer.build([(None, None, bins, channels), (None,)])
    randomise(layer, rng)
    clip = rng.normal(size=(6, bins, channels)).astype(np.float32)
    kernel = layer.convolution.kernel.numpy()
    norm = layer.normalisation
    scale = norm.gamma.numpy() / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
    padded = np.pad(clip, [(1, 1), (taps // 2, taps // 2), (0, 0)])
    bins_out = 1 + (padded.shape[1] - taps) // stride
    expected = np.zeros((3, bins_out, 2))
    for t, f in np.ndindex(3, bins_out):
        window = padded[2 * t : 2 * t + 3, stride * f : stride * f + taps, :, None]
        value = (window * kernel).sum(axis=(0, 1, 2))
        value = (value - norm.moving_mean.numpy()) * scale + norm.beta.numpy()
        expected[t, f] = np.maximum(value, 0)
    outputs, _ = layer(batched([clip]))
    np.testing.assert_allclose(outputs[0], expected, rtol=0, atol=1e-5)


def test_batch_norm_learns_from_valid_frames_only(rng: np.random.Generator) -> None:
    layer = MaskedBatchNormalization()
    layer.build([(None, None, 4), (None,)])
    clips = [3 + 2 * clip for clip in random_clips(rng, 3, 50, 20, num_bins=4)]
    frames = np.concatenate(clips)
    x, lengths = batched(clips, extra=30)
    x[frame_mask(lengths, x.shape[1]).numpy() == 0] = 1000
    outputs = np.array(layer([x, lengths], training=True))
    share = 1 - layer.normalisation.momentum
    mean, variance = layer.normalisation.moving_mean, layer.normalisation.moving_variance
    np.testing.assert_allclose(mean, share * frames.mean(axis=0), rtol=1e-3)
    np.testing.assert_allclose(variance, 1 - share + share * frames.var(axis=0), rtol=1e-3)
    expected = (frames - frames.mean(axis=0)) / np.sqrt(frames.var(axis=0) + 1e-3)
    valid = np.concatenate([row[: len(clip)] for row, clip in zip(outputs, clips, strict=True)])
    np.testing.assert_allclose(valid, expected, rtol=0, atol=1e-3)
    assert not outputs[0, 3:].any()


@pytest.mark.parametrize("config", [TINY, NORMALISED, FORWARD])
def test_a_clip_alone_equals_the_clip_in_a_padded_batch(
    config: NetworkConfig, rng: np.random.Generator
) -> None:
    network = tiny_network(config, rng)
    clips = random_clips(rng, 1, 2, 17, 30, 60)
    together, lengths = network(batched(clips, extra=9), training=False)
    for i, clip in enumerate(clips):
        alone, own = network(batched([clip]), training=False)
        assert (
            alone.shape[1] == int(own[0]) == int(lengths[i]) == config.num_output_frames(len(clip))
        )
        assert np.ptp(alone) > 1e-2
        valid = np.array(together)[i, : int(own[0])]
        np.testing.assert_allclose(valid, alone[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("config", [TINY, NORMALISED, FORWARD])
def test_padding_changes_no_statistic_in_training(
    config: NetworkConfig, rng: np.random.Generator
) -> None:
    values = {**vars(config), "dropout": 0.0}
    network = tiny_network(NetworkConfig(**values), rng)
    start = [weight.numpy() for weight in network.weights]
    before = moving_statistics(network)
    clips = random_clips(rng, 10, 25)
    outcomes = []
    for extra in (0, 23):
        network.set_weights(start)
        logits, lengths = network(batched(clips, extra=extra), training=True)
        valid = [np.array(row)[:own] for row, own in zip(logits, np.array(lengths), strict=True)]
        outcomes.append(valid + moving_statistics(network))
    learned = outcomes[0][2:]
    assert len(learned) == 2 * (len(config.convolutions) + 3 * config.normalise_gru_inputs)
    for unpadded, padded in zip(*outcomes, strict=True):
        np.testing.assert_allclose(padded, unpadded, rtol=0, atol=1e-5)
    assert all(np.abs(a - b).max() > 1e-4 for a, b in zip(before, learned, strict=True))


@pytest.mark.parametrize("config", [TINY, NORMALISED, FORWARD])
def test_the_lengths_promised_are_those_that_come_out(
    config: NetworkConfig, rng: np.random.Generator
) -> None:
    clips = random_clips(rng, *range(1, 51))
    logits, lengths = tiny_network(config, rng)(batched(clips), training=False)
    expected = [config.num_output_frames(frames) for frames in range(1, 51)]
    assert np.array(lengths).tolist() == expected
    assert logits.shape == (50, expected[-1], NUM_SYMBOLS)


def test_the_published_network_has_its_published_size() -> None:
    preset = PRESETS["deepspeech2"]
    network = build_deepspeech2(preset.network, num_bins=preset.features.num_bins, num_symbols=29)
    # 193 bins, halved twice with ceiling, are 49; batch norm has four numbers a filter.
    convolutions = 11 * 41 * 32 + 11 * 21 * 32 * 32 + 2 * 4 * 32
    inputs = [49 * 32, *[1024] * 4]
    grus = sum(2 * 3 * 512 * (size + 512 + 2) for size in inputs)
    dense = 1024 * 1024 + 1024 + 1024 * 29 + 29
    assert network.count_params() == convolutions + grus + dense
    assert network.count_params() == pytest.approx(26.6e6, rel=0.005)


def test_the_streaming_network_is_as_large_as_the_small_one() -> None:
    sizes = [
        build_deepspeech2(
            PRESETS[name].network, num_bins=PRESETS[name].features.num_bins, num_symbols=29
        ).count_params()
        for name in ("small", "deepspeech2-streaming")
    ]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)


@pytest.mark.parametrize("config", [TINY, NORMALISED, FORWARD])
def test_a_saved_network_gives_the_same_outputs(
    config: NetworkConfig, rng: np.random.Generator, tmp_path: Path
) -> None:
    network = tiny_network(config, rng)
    inputs = batched(random_clips(rng, 4, 21))
    expected, expected_lengths = network(inputs, training=False)
    network.save(tmp_path / "model.keras")
    logits, lengths = keras.models.load_model(tmp_path / "model.keras")(inputs, training=False)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(lengths, expected_lengths)

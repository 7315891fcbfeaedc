"""A clip in pieces gives what the whole clip gives, through the exported model."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.local import LocalBackend
from speech.features import extract_features
from speech.pipeline import read_pipeline
from tests.models import TINY_FORWARD, TinyModel, make_model
from tests.test_networks import TINY, tiny_network
from training.networks.streaming import StreamingNetwork
from training.networks.weights import read_weights
from training.presets import PRESETS

RATE_HZ = 22_050


def noise(num_samples: int, *, seed: int = 1) -> np.ndarray:
    """Return noise whose loudness changes, so that frames differ."""
    draw = np.random.default_rng(seed)
    envelope = 0.2 * (1 + np.sin(np.arange(num_samples) / 3000))
    return (envelope * draw.uniform(-1, 1, num_samples)).astype(np.float32)


class Loaded:
    """The exported functions, as a process that holds the model calls them."""

    def __init__(self, model: TinyModel) -> None:
        self.model = tf.saved_model.load(str(model.folder / "saved_model/1"))
        self.weights = self.model.read_weights()
        self.backend = LocalBackend(model.folder)
        self.largest_bytes = 0

    def in_pieces(self, clip: np.ndarray, cuts: list[int]) -> np.ndarray:
        """Return all log-probabilities of a clip that is heard up to each of `cuts`."""
        state, found = self.model.stream_start(), []
        for start, end in pairwise([0, *cuts, len(clip)]):
            piece, is_last = tf.constant(clip[start:end]), tf.constant(False)
            outputs = self.model.stream(piece, is_last, state, self.weights)
            state = outputs["state"]
            found.append(outputs["log_probs"].numpy())
            held = sum(int(tf.size(tensor)) * tensor.dtype.size for tensor in state)
            self.largest_bytes = max(self.largest_bytes, held)
        nothing = tf.zeros([0])
        found.append(self.model.stream(nothing, True, state, self.weights)["log_probs"].numpy())
        return np.concatenate(found)

    def check(self, clip: np.ndarray, cuts: list[int]) -> None:
        """Compare a clip in pieces with the whole clip."""
        (whole,) = self.backend.log_probs([clip])
        pieces = self.in_pieces(clip, cuts)
        assert pieces.shape == whole.shape
        np.testing.assert_allclose(pieces, whole, rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def loaded(streaming_model: TinyModel) -> Loaded:
    return Loaded(streaming_model)


def test_the_graph_computes_what_the_network_was_trained_to(streaming_model: TinyModel) -> None:
    waveform = noise(40_000)
    x, num_frames = extract_features(
        waveform[np.newaxis],
        np.array([len(waveform)]),
        streaming_model.pipeline.features,
        sample_rate_hz=RATE_HZ,
    )
    logits, _ = streaming_model.network([x, num_frames], training=False)
    expected = tf.nn.log_softmax(logits)[0].numpy()
    backend = LocalBackend(streaming_model.folder)
    alone = backend.log_probs([waveform])[0]
    np.testing.assert_allclose(alone, expected, rtol=0, atol=1e-4)
    assert np.ptp(alone) > 0.1, "a constant output would pass any comparison"
    together = backend.log_probs([noise(3000, seed=2), waveform, noise(90_000, seed=3)])[1]
    np.testing.assert_allclose(together, expected, rtol=0, atol=1e-4)


@settings(max_examples=25)
@given(data=st.data())
def test_any_pieces_give_the_whole(loaded: Loaded, data: st.DataObject) -> None:
    num_samples = data.draw(st.integers(1, 60_000))
    cuts = data.draw(st.lists(st.integers(0, num_samples), max_size=12))
    loaded.check(noise(num_samples), sorted(cuts))


@pytest.mark.parametrize("num_samples", [0, 1, 550, 551, 552, 770, 771, 1431, 5000])
def test_short_clips(loaded: Loaded, num_samples: int) -> None:
    loaded.check(noise(num_samples), [num_samples // 2])


def test_one_sample_at_a_time(loaded: Loaded) -> None:
    loaded.check(noise(900), list(range(900)))


@pytest.mark.parametrize("chunk_s", [0.01, 0.04, 0.4, 5.0])
def test_the_usual_chunks_of_a_longer_clip(loaded: Loaded, chunk_s: float) -> None:
    clip = noise(20 * RATE_HZ if chunk_s > 0.1 else 4 * RATE_HZ)
    loaded.check(clip, list(range(0, len(clip), round(chunk_s * RATE_HZ))))


def test_what_has_come_out_is_as_much_as_the_lookahead_allows(
    loaded: Loaded, streaming_model: TinyModel
) -> None:
    pipeline, clip = streaming_model.pipeline, noise(2 * RATE_HZ)
    state, count = loaded.model.stream_start(), 0
    for start in range(0, len(clip), 500):
        piece = tf.constant(clip[start : start + 500])
        outputs = loaded.model.stream(piece, tf.constant(False), state, loaded.weights)
        state, count = outputs["state"], count + len(outputs["log_probs"])
        heard_s = min(start + 500, len(clip)) / RATE_HZ
        waited_s = heard_s - pipeline.lookahead_s
        due = int(np.floor(waited_s / pipeline.output_frame_s + 1e-9)) + 1
        assert count == max(0, due)


def test_a_state_is_bounded(loaded: Loaded, streaming_model: TinyModel) -> None:
    clip = noise(6 * RATE_HZ)
    loaded.largest_bytes = 0
    loaded.in_pieces(clip, sorted(np.random.default_rng(0).integers(0, len(clip), 60).tolist()))
    kernels = [convolution.kernel[0] for convolution in TINY_FORWARD.convolutions]
    most = (
        4 * 550
        + 8 * (1 + 2 * 80)
        + 4 * (kernels[0] - 1) * 80
        + 4 * (kernels[1] - 1) * 40 * 3
        + 4 * (2 + TINY_FORWARD.lookahead) * TINY_FORWARD.gru_units
    )
    assert 0 < loaded.largest_bytes <= most


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_small_weights_stream_too(tmp_path_factory, precision: str) -> None:
    features = PRESETS["deepspeech2-streaming"].features
    folder = tmp_path_factory.mktemp(precision) / "tiny"
    model = make_model(folder, features, precision=precision, config=TINY_FORWARD)
    small, clip = Loaded(model), noise(30_000)
    (whole,) = small.backend.log_probs([clip])
    # bfloat16 rounds what it multiplies: sums of another order differ by more.
    tolerance = 5e-2 if precision == "bfloat16" else 1e-4
    pieces = small.in_pieces(clip, [1000, 20_000])
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=tolerance)


def test_models_that_hear_both_ways_have_no_stream(model_folder: Path, rng) -> None:
    loaded = tf.saved_model.load(str(model_folder / "saved_model/1"))
    assert not hasattr(loaded, "stream")
    assert not read_pipeline(model_folder).is_streaming
    with pytest.raises(ValueError, match="needs the whole clip"):
        StreamingNetwork(read_weights(tiny_network(TINY, rng)))

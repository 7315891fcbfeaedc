"""What a streaming model exports besides: a clip in pieces, its state handed back and forth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from speech.feature_stream import FeatureState, continue_features, start_features
from speech.pipeline import Pipeline
from training.networks.inference_weights import InferenceWeights
from training.networks.streaming import NetworkState, StreamingNetwork


class StreamState(NamedTuple):
    """All that is kept of a clip so far; how much is bounded, however long the clip."""

    features: FeatureState
    network: NetworkState


class ServedStream:
    """The two functions of one clip in pieces; states and weights are flat lists of tensors."""

    def __init__(
        self,
        network: StreamingNetwork,
        pipeline: Pipeline,
        *,
        nest: Callable[[list[tf.Tensor]], InferenceWeights],
        weight_specs: list[tf.TensorSpec],
    ) -> None:
        """Make the functions.

        Args:
            nest: weights from the list in which they are handed over, and `weight_specs` of that.
        """
        self._network, self._pipeline, self._nest = network, pipeline, nest
        self.start: Any = tf.function(self._start, input_signature=[], autograph=False)
        signature = [
            tf.TensorSpec([None], tf.float32, "waveform"),
            tf.TensorSpec([], tf.bool, "is_last"),
            _flat(_specs_of(self._start_state())),
            weight_specs,
        ]
        self.stream: Any = tf.function(self._stream, input_signature=signature, autograph=False)

    def _start_state(self) -> StreamState:
        return StreamState(start_features(self._pipeline.features), self._network.start())

    def _start(self) -> list[tf.Tensor]:
        """Return the state before a clip's first sample."""
        return _flat(self._start_state())

    def _stream(
        self,
        waveform: tf.Tensor,
        is_last: tf.Tensor,
        state: list[tf.Tensor],
        weights: list[tf.Tensor],
    ) -> dict[str, Any]:
        """Return `log_probs` float32 `[frames, symbols]` that are ready, and the next `state`.

        Args:
            waveform: float32 `[samples]` in [-1, 1], what follows; there may be none.
            is_last: whether the clip ends here; then all its frames are ready.
        """
        known = tf.nest.pack_sequence_as(self._start_state(), state)
        features, of_features = continue_features(
            known.features,
            waveform[tf.newaxis],
            is_last,
            self._pipeline.features,
            sample_rate_hz=self._pipeline.audio.sample_rate_hz,
        )
        logits, of_network = self._network.compute(
            self._nest(weights), known.network, features, is_last
        )
        after = StreamState(of_features, of_network)
        return {"log_probs": tf.nn.log_softmax(logits[0]), "state": _flat(after)}


def _flat(nest: Any) -> list[Any]:
    return list(tf.nest.flatten(nest))


def _specs_of(state: StreamState) -> StreamState:
    """Return specs of which those axes are open whose size changes as a clip goes on."""

    def spec(tensor: tf.Tensor, open_axis: int | None = None) -> tf.TensorSpec:
        shape = [None if axis == open_axis else size for axis, size in enumerate(tensor.shape)]
        return tf.TensorSpec(shape, tensor.dtype)

    features, network = state
    return StreamState(
        FeatureState(spec(features.samples, 1), tf.nest.map_structure(spec, features.sums)),
        NetworkState(
            convolutions=[spec(frames, 1) for frames in network.convolutions],
            recurrent=[spec(units) for units in network.recurrent],
            ahead=spec(network.ahead, 0),
        ),
    )

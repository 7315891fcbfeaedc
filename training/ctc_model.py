"""The network with its loss, as Keras trains it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from training.loss import ctc_loss


class CTCModel(keras.Model):
    """Trains `network` on `({"features", "num_frames"}, {"labels", "label_lengths", "index"})`.

    The loss is the mean over the batch of each clip's CTC loss per label. A clip with too
    few frames for its labels adds nothing to the gradient; the metric `broken` holds the
    index of a clip whose loss is not finite, -1 if there is none; `latest` the batch's own loss.
    """

    def __init__(self, network: keras.Model, *, blank_index: int) -> None:
        super().__init__()
        self.network, self.blank_index = network, blank_index
        self.broken, self.latest = BrokenLoss(name="broken"), LatestLoss(name="latest")

    def call(self, inputs: dict[str, Any], training: bool = False) -> tuple[Any, Any]:
        """Return logits float32 `[batch, frames, symbols]` and int32 `[batch]` lengths."""
        return self.network([inputs["features"], inputs["num_frames"]], training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the scalar that is minimised."""
        per_label, broken = self.clip_losses(y, y_pred)
        self.broken.update_state(broken)
        loss = ops.mean(per_label)
        self.latest.update_state(loss)
        return loss

    def clip_losses(self, y: Any, y_pred: Any) -> tuple[Any, Any]:
        """Return each clip's loss per label, float32 `[batch]`, and what is wrong with it.

        That is int32 `[batch]`: its index, and its loss 0, if that is not finite; else -1.
        """
        logits, logit_lengths = y_pred
        losses = ctc_loss(
            y["labels"], y["label_lengths"], logits, logit_lengths, blank_index=self.blank_index
        )
        finite = ops.isfinite(losses)
        broken = ops.where(finite, -1, ops.cast(y["index"], "int32"))
        return ops.where(finite, losses, 0.0) / ops.cast(y["label_lengths"], "float32"), broken


def inference_function(model: CTCModel, *, num_bins: int) -> Callable[[Any], Any]:
    """Return `model` without dropout, compiled once for batches of every shape."""
    if keras.backend.backend() != "tensorflow":
        return model.predict_on_batch
    import tensorflow as tf

    signature = {
        "features": tf.TensorSpec([None, None, num_bins], tf.float32),
        "num_frames": tf.TensorSpec([None], tf.int32),
    }
    compiled: Callable[[Any], Any] = tf.function(
        lambda x: model(x, training=False), input_signature=[signature]
    )
    return compiled


class BrokenLoss(keras.metrics.Metric):
    """The largest index seen; utterances with a finite loss count as -1."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.index = self.add_variable(
            (), lambda shape, dtype: -ops.ones(shape, dtype), name="index"
        )

    def update_state(self, indices: Any) -> None:
        """Take int `[batch]`."""
        highest = ops.cast(ops.max(indices), self.index.dtype)
        self.index.assign(ops.maximum(self.index, highest))

    def result(self) -> Any:
        """Return the index as a number."""
        return ops.convert_to_tensor(self.index)

    def reset_state(self) -> None:
        """Forget all."""
        self.index.assign(-1)


class LatestLoss(keras.metrics.Metric):
    """The loss of the latest batch, where Keras' own metric is a mean over those of one call."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.value = self.add_variable((), "zeros", name="value")

    def update_state(self, loss: Any) -> None:
        """Take a scalar."""
        self.value.assign(ops.cast(loss, self.value.dtype))

    def result(self) -> Any:
        """Return the loss."""
        return ops.convert_to_tensor(self.value)

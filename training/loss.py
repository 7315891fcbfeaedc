"""CTC loss from logits with true lengths."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def ctc_loss(
    labels: Any, label_lengths: Any, logits: Any, logit_lengths: Any, *, blank_index: int
) -> Any:
    """Return the negative log-likelihood of each clip's labels.

    Args:
        labels: int32 `[batch, max_labels]`; what lies beyond `label_lengths` is ignored.
        label_lengths: int32 `[batch]`.
        logits: float `[batch, frames, symbols]`, before any softmax.
        logit_lengths: int32 `[batch]`; frames beyond are ignored.
        blank_index: the blank's symbol.

    Returns:
        float32 `[batch]`, in nats; infinite where the labels need more frames than there are.
    Source: Graves et al. 2006, section 4.1.
    """
    logits = ops.cast(logits, "float32")
    if keras.backend.backend() != "tensorflow":
        return ops.ctc_loss(labels, logits, label_lengths, logit_lengths, mask_index=blank_index)
    return _native_ctc_loss(labels, label_lengths, logits, logit_lengths, blank_index)


def _native_ctc_loss(
    labels: Any, label_lengths: Any, logits: Any, logit_lengths: Any, blank_index: int
) -> Any:
    """TensorFlow's compiled CTC, which takes sparse labels; many times faster than the dense one.

    It raises for a clip with too few frames, so such a clip is computed as an empty one and its
    loss replaced.
    """
    import tensorflow as tf

    labels = tf.convert_to_tensor(labels)
    inside = tf.sequence_mask(label_lengths, tf.shape(labels)[1])
    repeats = tf.logical_and(labels[:, 1:] == labels[:, :-1], inside[:, 1:])
    needed = label_lengths + tf.reduce_sum(tf.cast(repeats, label_lengths.dtype), axis=1)
    possible = needed <= tf.cast(logit_lengths, needed.dtype)
    inside = tf.logical_and(inside, possible[:, tf.newaxis])
    where = tf.where(inside)
    sparse = tf.SparseTensor(
        where, tf.cast(tf.gather_nd(labels, where), tf.int32), tf.shape(labels, tf.int64)
    )
    loss = tf.nn.ctc_loss(
        sparse, logits, None, logit_lengths, logits_time_major=False, blank_index=blank_index
    )
    return tf.where(possible, loss, float("inf"))

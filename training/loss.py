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
    """Use TensorFlow's compiled CTC, many times faster than the one for dense labels.

    It raises for a clip without labels and for one with too few frames. Such a clip is given one
    label, and its loss is replaced.
    """
    import tensorflow as tf

    labels = tf.pad(tf.convert_to_tensor(labels), [[0, 0], [0, 1]], constant_values=-1)
    label_lengths = tf.cast(label_lengths, tf.int32)
    inside = tf.sequence_mask(label_lengths, tf.shape(labels)[1])
    labels = tf.where(inside, labels, -1)
    repeats = tf.logical_and(labels[:, 1:] == labels[:, :-1], inside[:, 1:])
    needed = label_lengths + tf.reduce_sum(tf.cast(repeats, tf.int32), axis=1)
    is_empty, is_possible = label_lengths == 0, needed <= tf.cast(logit_lengths, tf.int32)
    usable = tf.where(is_empty | ~is_possible, 1, label_lengths)
    where = tf.where(tf.sequence_mask(usable, tf.shape(labels)[1]))
    another = tf.cast(tf.equal(blank_index, 0), tf.int32)
    values = tf.cast(tf.gather_nd(labels, where), tf.int32)
    values = tf.where(values < 0, another, values)
    sparse = tf.SparseTensor(where, values, tf.shape(labels, tf.int64))
    loss = tf.nn.ctc_loss(
        sparse, logits, None, logit_lengths, logits_time_major=False, blank_index=blank_index
    )
    frames = tf.sequence_mask(logit_lengths, tf.shape(logits)[1], dtype=logits.dtype)
    all_blank = -tf.reduce_sum(tf.nn.log_softmax(logits)[..., blank_index] * frames, axis=1)
    return tf.where(is_empty, all_blank, tf.where(is_possible, loss, float("inf")))

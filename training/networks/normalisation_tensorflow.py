"""Batch normalisation over the batches of all replicas of `tf.distribute`."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' own, whose statistics are those of the valid frames of all replicas together.

    Keras synchronises only without a mask. With one replica this is Keras' layer to the last bit.
    """

    def _moments(self, inputs: tf.Tensor, mask: tf.Tensor | None) -> tuple[Any, Any]:
        context = tf.distribute.get_replica_context()
        if mask is None or context is None or context.num_replicas_in_sync == 1:
            return super()._moments(inputs, mask)

        def total(values: tf.Tensor) -> Any:
            valid = tf.where(mask[..., None], values, 0)
            return tf.reduce_sum(valid, range(inputs.shape.rank - 1))

        sums = [total(inputs), total(tf.ones_like(inputs))]
        sum_of_inputs, count = context.all_reduce(tf.distribute.ReduceOp.SUM, sums)
        count += keras.config.epsilon()
        mean = sum_of_inputs / count
        squares = context.all_reduce(tf.distribute.ReduceOp.SUM, total((inputs - mean) ** 2))
        return mean, squares / count

"""The recurrence of a GRU in TensorFlow, with a gradient that leaves little inside the loop.

Automatic differentiation of `tf.while_loop` stores every intermediate tensor of every step and
adds the full weight gradient once a step. Here the forward loop keeps only the states; the
backward pass recomputes all gates in one matrix product, walks back with one product a step, and
obtains the gradient of the weights from one product over all frames.
"""

import tensorflow as tf


@tf.custom_gradient
def gru_sequence(
    inputs: tf.Tensor, recurrent_kernel: tf.Tensor, candidate_bias: tf.Tensor
) -> tf.Tensor:
    """Return the states of a GRU whose reset gate acts after the product ("reset_after").

    Args:
        inputs: float `[frames, batch, 3 * units]`, the projected inputs of the update gate, the
            reset gate and the candidate, with every bias but `candidate_bias` added.
        recurrent_kernel: float `[units, 3 * units]`, in the same order.
        candidate_bias: float `[units]`, added to the recurrent part of the candidate.

    Returns:
        float `[frames, batch, units]`.
    Source: Cho et al. 2014, equations 5 to 8, in the variant of cuDNN.
    """
    states = _run(inputs, recurrent_kernel, candidate_bias)

    def gradient(d_states: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return _run_back(inputs, recurrent_kernel, candidate_bias, states, d_states)

    return states, gradient


def _run(inputs: tf.Tensor, recurrent_kernel: tf.Tensor, candidate_bias: tf.Tensor) -> tf.Tensor:
    num_frames, batch = tf.shape(inputs)[0], tf.shape(inputs)[1]
    units = recurrent_kernel.shape[0]
    read = tf.TensorArray(inputs.dtype, num_frames, element_shape=[None, 3 * units])
    read = read.unstack(inputs)
    written = tf.TensorArray(inputs.dtype, num_frames, element_shape=[None, units])

    def step(
        t: tf.Tensor, state: tf.Tensor, written: tf.TensorArray
    ) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        x, u = read.read(t), tf.matmul(state, recurrent_kernel)
        gates = tf.sigmoid(x[:, : 2 * units] + u[:, : 2 * units])
        update, reset = gates[:, :units], gates[:, units:]
        candidate = tf.tanh(x[:, 2 * units :] + reset * (u[:, 2 * units :] + candidate_bias))
        state = candidate + update * (state - candidate)
        return t + 1, state, written.write(t, state)

    start = tf.zeros([batch, units], inputs.dtype)
    _, _, written = tf.while_loop(
        lambda t, *_: t < num_frames, step, (0, start, written), maximum_iterations=num_frames
    )
    return written.stack()


def _run_back(
    inputs: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    candidate_bias: tf.Tensor,
    states: tf.Tensor,
    d_states: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    num_frames, batch = tf.shape(inputs)[0], tf.shape(inputs)[1]
    units = recurrent_kernel.shape[0]
    before = tf.concat([tf.zeros_like(states[:1]), states[:-1]], axis=0)
    u = tf.reshape(tf.reshape(before, [-1, units]) @ recurrent_kernel, tf.shape(inputs))
    gates = tf.sigmoid(inputs[..., : 2 * units] + u[..., : 2 * units])
    update, reset = gates[..., :units], gates[..., units:]
    u_candidate = u[..., 2 * units :] + candidate_bias
    candidate = tf.tanh(inputs[..., 2 * units :] + reset * u_candidate)
    # What the gradient of a state is multiplied by to give the gradient of each pre-activation.
    to_candidate = (1 - update) * (1 - candidate**2)
    to_update = (before - candidate) * update * (1 - update)
    to_reset = to_candidate * u_candidate * reset * (1 - reset)
    to_u = tf.stack([to_update, to_reset, to_candidate * reset], axis=2)

    read_d = tf.TensorArray(inputs.dtype, num_frames).unstack(d_states)
    read_update = tf.TensorArray(inputs.dtype, num_frames).unstack(update)
    read_to_u = tf.TensorArray(inputs.dtype, num_frames).unstack(to_u)
    written = tf.TensorArray(inputs.dtype, num_frames, element_shape=[None, units])
    transposed = tf.transpose(recurrent_kernel)

    def step(
        t: tf.Tensor, carried: tf.Tensor, written: tf.TensorArray
    ) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        d_state = carried + read_d.read(t)
        d_u = tf.reshape(d_state[:, tf.newaxis] * read_to_u.read(t), [batch, 3 * units])
        carried = d_state * read_update.read(t) + tf.matmul(d_u, transposed)
        return t - 1, carried, written.write(t, d_state)

    start = tf.zeros([batch, units], inputs.dtype)
    _, _, written = tf.while_loop(
        lambda t, *_: t >= 0, step, (num_frames - 1, start, written), maximum_iterations=num_frames
    )
    d_state = written.stack()[:, :, tf.newaxis]
    d_u = tf.reshape(d_state * to_u, [-1, 3 * units])
    to_x = tf.stack([to_update, to_reset, to_candidate], axis=2)
    d_inputs = tf.reshape(d_state * to_x, tf.shape(inputs))
    d_kernel = tf.matmul(tf.reshape(before, [-1, units]), d_u, transpose_a=True)
    return d_inputs, d_kernel, tf.reduce_sum(d_u[:, 2 * units :], axis=0)


def reverse_by_length(x: tf.Tensor, num_frames: tf.Tensor) -> tf.Tensor:
    """Reverse each clip's own frames of `[frames, batch, channels]`; those beyond stay."""
    return tf.reverse_sequence(x, num_frames, seq_axis=0, batch_axis=1)

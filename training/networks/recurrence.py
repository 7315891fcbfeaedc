"""The recurrence of a GRU in backend-neutral Keras; `recurrence_tensorflow` is its faster twin."""

from __future__ import annotations

from typing import Any

from keras import ops


def gru_sequence(inputs: Any, recurrent_kernel: Any, candidate_bias: Any) -> Any:
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
    units = recurrent_kernel.shape[0]

    def step(state: Any, x: Any) -> tuple[Any, Any]:
        u = ops.matmul(state, recurrent_kernel)
        gates = ops.sigmoid(x[:, : 2 * units] + u[:, : 2 * units])
        update, reset = gates[:, :units], gates[:, units:]
        candidate = ops.tanh(x[:, 2 * units :] + reset * (u[:, 2 * units :] + candidate_bias))
        state = candidate + update * (state - candidate)
        return state, state

    start = ops.zeros((ops.shape(inputs)[1], units), inputs.dtype)
    return ops.scan(step, start, inputs)[1]


def reverse_by_length(x: Any, num_frames: Any) -> Any:
    """Reverse each clip's own frames of `[frames, batch, channels]`; those beyond stay."""
    frames = ops.arange(ops.shape(x)[0])[:, None]
    source = ops.where(frames < num_frames, num_frames - 1 - frames, frames)
    return ops.take_along_axis(x, source[..., None], axis=0)

"""When a text was said: the likeliest path of CTC through exactly its symbols (Viterbi).

Source: the CTC lattice of Graves et al. 2006, section 4.1, with maxima in the place of sums.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from config import DecodingError
from speech.alphabet import num_ctc_frames

# Instead of minus infinity, so that of impossible paths the one with the fewest such frames wins.
_FLOOR = -1e6


def align(
    log_probs: NDArray[np.float32], labels: Sequence[int], *, blank_index: int = 0
) -> NDArray[np.int64]:
    """Return which frames each label is said in.

    Args:
        log_probs: float32 `[frames, symbols]`, only the clip's valid frames.
        labels: the text's, without blanks.

    Returns:
        int64 `[labels, 2]`: the first frame and the one after the last; in order, not overlapping.

    Raises:
        DecodingError: there are fewer frames than CTC needs for the labels.
    """
    needed = num_ctc_frames(labels)
    if needed > len(log_probs):
        raise DecodingError(
            f"{len(labels)} labels do not fit into {len(log_probs)} frames; needed: {needed}"
        )
    if not len(labels):
        return np.zeros((0, 2), np.int64)
    states = states_of(labels, blank_index)
    emissions = np.maximum(log_probs[:, states].astype(np.float64), _FLOOR)
    path = _best_path(emissions, _may_skip(states, blank_index))
    own = np.arange(1, len(states), 2)
    return np.searchsorted(path, np.stack([own, own + 1], axis=1))


def states_of(labels: Sequence[int], blank_index: int = 0) -> NDArray[np.int64]:
    """Return blank, label, blank, label, …, blank."""
    states = np.full(2 * len(labels) + 1, blank_index, np.int64)
    states[1::2] = labels
    return states


def _may_skip(states: NDArray[np.int64], blank_index: int) -> NDArray[np.bool_]:
    """Return where a path may come from two states before: a label that is not the last one's."""
    before = np.concatenate([[-1, -1], states[:-2]])
    return (states != blank_index) & (states != before) & (np.arange(len(states)) >= 2)


def _best_path(emissions: NDArray[np.float64], may_skip: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the state of each frame; `emissions` float64 `[frames, states]`."""
    num_frames, num_states = emissions.shape
    penalty = np.where(may_skip, 0.0, -np.inf)
    # Two more places in front, so that what comes from before the first state is impossible.
    scores = np.full(num_states + 2, -np.inf)
    scores[2:4] = emissions[0, :2]
    steps = np.zeros((num_frames, num_states), np.int8)
    candidates = np.empty((3, num_states))
    places = np.arange(num_states)
    for frame in range(1, num_frames):
        candidates[0], candidates[1] = scores[2:], scores[1:-1]
        np.add(scores[:-2], penalty, out=candidates[2])
        best = steps[frame] = candidates.argmax(axis=0)
        scores[2:] = candidates[best, places] + emissions[frame]
    path = np.empty(num_frames, np.int64)
    path[-1] = num_states - 1 if scores[-1] > scores[-2] else num_states - 2
    for frame in range(num_frames - 1, 0, -1):
        path[frame - 1] = path[frame] - steps[frame, path[frame]]
    return path

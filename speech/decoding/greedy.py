"""Log-probabilities to text. Greedy: the best path of CTC (Graves et al. 2006, section 3.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from config import DecodingError
from speech.alphabet import Alphabet


def greedy_decode(log_probs: NDArray[np.float32], alphabet: Alphabet) -> str:
    """Return the best path's text: argmax, merge repeats, drop blanks, single spaces.

    Args:
        log_probs: float32 `[frames, symbols]`, only the clip's valid frames.

    Raises:
        DecodingError: the symbols are not those of `alphabet`.
    """
    path = _best_path(log_probs, alphabet)
    return " ".join(alphabet.decode(path[_is_emitted(path, alphabet)]).split())


def greedy_confidence(log_probs: NDArray[np.float32], alphabet: Alphabet) -> float:
    """Return the geometric mean of the best path's probability, in [0, 1].

    The mean is over the frames that are not blank, or over all frames if all are blank: blanks are
    most frames and nearly always certain, so that they would hide an unsure letter.
    """
    path = _best_path(log_probs, alphabet)
    best = log_probs.max(axis=-1)
    spoken = path != alphabet.blank_index
    return float(np.exp(best[spoken].mean() if spoken.any() else best.mean()))


def greedy_score(log_probs: NDArray[np.float32], alphabet: Alphabet) -> float:
    """Return the best path's log-probability, 0 at most: the sum of its frames', in float64."""
    check_log_probs(log_probs, alphabet)
    return float(log_probs.max(axis=-1).sum(dtype=np.float64))


def check_log_probs(log_probs: NDArray[np.float32], alphabet: Alphabet) -> None:
    """Raise `DecodingError` unless it is `[frames, symbols]` of the alphabet, with a frame."""
    if log_probs.ndim != 2 or log_probs.shape[1] != len(alphabet) or not len(log_probs):
        raise DecodingError(
            f"log-probabilities of shape {log_probs.shape}; needed: at least one frame by "
            f"{len(alphabet)} symbols of the alphabet"
        )


def _best_path(log_probs: NDArray[np.float32], alphabet: Alphabet) -> NDArray[np.intp]:
    check_log_probs(log_probs, alphabet)
    return log_probs.argmax(axis=-1)


def _is_emitted(path: NDArray[np.intp], alphabet: Alphabet) -> NDArray[np.bool_]:
    changed = np.diff(path, prepend=-1) != 0
    return changed & (path != alphabet.blank_index)

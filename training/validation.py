"""Error rates of a network in training: greedy text over a whole split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jiwer
import numpy as np

from speech.alphabet import Alphabet
from speech.decoding.greedy import greedy_decode
from training.manifest import Utterance


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Rates as ratios; `samples` are (id, reference, hypothesis); `warning` names trouble."""

    wer: float
    cer: float
    samples: list[tuple[str, str, str]]
    warning: str

    @property
    def rank(self) -> tuple[float, float]:
        """Order of models: WER first, CER where it ties."""
        return self.wer, self.cer


def validate(
    infer: Callable[[Any], Any],
    utterances: list[Utterance],
    dataset: Any,
    alphabet: Alphabet,
    *,
    num_samples_shown: int,
) -> Validation:
    """Decode every batch of `dataset` greedily and score it against the utterances' texts.

    `infer` gives logits `[batch, frames, symbols]` and lengths `[batch]` for a batch's inputs.
    """
    hypotheses: dict[int, str] = {}
    num_labels = num_frames = 0
    for x, y in dataset:
        logits, lengths = (np.asarray(value) for value in infer(x))
        for index, clip, length in zip(np.asarray(y["index"]), logits, lengths, strict=True):
            hypotheses[int(index)] = greedy_decode(clip[:length], alphabet)
        num_labels += int(np.sum(y["label_lengths"]))
        num_frames += int(np.sum(lengths))
    order = sorted(hypotheses)
    references = [utterances[i].text for i in order]
    texts = [hypotheses[i] for i in order]
    shown = order[:: max(1, len(order) // max(1, num_samples_shown))][:num_samples_shown]
    return Validation(
        wer=float(jiwer.wer(references, texts)),
        cer=float(jiwer.cer(references, texts)),
        samples=[(utterances[i].id, utterances[i].text, hypotheses[i]) for i in shown],
        warning=_blank_warning(texts, num_labels, num_frames),
    )


def _blank_warning(texts: list[str], num_labels: int, num_frames: int) -> str:
    silent = sum(not text for text in texts)
    if silent < 0.9 * len(texts):
        return ""
    rate = num_labels / max(1, num_frames)
    return (
        f"{silent} of {len(texts)} clips came out as nothing but blanks. Normal in the first "
        f"epochs; if it lasts, check that audio and texts belong together. There are {rate:.2f} "
        "labels for each frame of output"
        + (", too many for CTC: use a smaller time stride." if rate > 0.6 else ".")
    )

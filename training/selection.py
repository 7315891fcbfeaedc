"""Which utterances of a manifest a run can learn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from config import CorpusError, FeatureConfig, NetworkConfig
from speech.alphabet import Alphabet
from training.corpus import find_problem
from training.manifest import Split, Utterance


def select_utterances(
    utterances: list[Utterance],
    split: Split,
    *,
    features: FeatureConfig,
    network: NetworkConfig,
    alphabet: Alphabet,
    max_samples: float,
    repeat: dict[str, int],
    on_note: Callable[[str], None] | None,
) -> list[Utterance]:
    """Return a split's utterances that CTC can learn with this network.

    Args:
        max_samples: longer clips are left out of training, not of the other splits.
        repeat: how many times an epoch the clips of a corpus occur, in training.
        on_note: told how many are left out, and why.

    Raises:
        CorpusError: none is usable, a file is missing, a text has symbols outside the alphabet, or
            `repeat` names a corpus that is not there.
    """

    def find(u: Utterance) -> str:
        if split is Split.train and u.num_samples > max_samples:
            return "too long"
        labels = alphabet.encode(u.text)
        return find_problem(labels, u.num_samples, features, network).partition(":")[0]

    own = [u for u in utterances if u.split is split]
    problems = {u.id: find(u) for u in own}
    if (left_out := Counter(filter(None, problems.values()))) and on_note:
        reasons = "; ".join(f"{reason}: {count}" for reason, count in left_out.most_common())
        on_note(f"left out of {split}, of {len(problems)} utterances: {reasons}")
    chosen = [u for u in own if not problems[u.id]]
    if not chosen:
        raise CorpusError(
            f"the {split} split has no usable utterance; needed: at least one "
            "(a splits.csv beside the corpus puts clips there)"
        )
    if missing := [u.audio for u in chosen if not Path(u.audio).is_file()]:
        raise CorpusError(f"{len(missing)} files of the manifest are missing, first {missing[0]}")
    return _repeat(chosen, repeat) if split is Split.train else chosen


def _repeat(utterances: list[Utterance], times: dict[str, int]) -> list[Utterance]:
    if unknown := sorted(times.keys() - {u.corpus for u in utterances}):
        raise CorpusError(f"repeat names {unknown}; needed: corpora of the training split")
    return [u for u in utterances for _ in range(times.get(u.corpus, 1))]

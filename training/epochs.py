"""What a recipe reads in an epoch: which clips, in which batches, changed how."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.corpus import num_samples_needed
from training.dataset import Augmentation, Loader, Plan, plan_batches
from training.feature_cache import FeatureCache
from training.manifest import Utterance
from training.recipe import Recipe


def make_loader(
    utterances: Sequence[Utterance],
    recipe: Recipe,
    *,
    augmented: bool,
    cache: FeatureCache | None = None,
) -> Loader:
    """Return what reads batches of `utterances` with a recipe's features, and its augmentation."""
    augmentation = None
    if augmented:
        least = [
            num_samples_needed(recipe.alphabet.encode(u.text), recipe.features, recipe.network)
            for u in utterances
        ]
        augmentation = Augmentation(recipe.augmentation, np.array(least, np.int32))
    return Loader(
        utterances,
        audio=recipe.audio,
        features=recipe.features,
        alphabet=recipe.alphabet,
        augmentation=augmentation,
        cache=cache,
    )


def plan_epoch(utterances: Sequence[Utterance], recipe: Recipe, epoch: int) -> Plan:
    """Return the batches of a training epoch, counted from 0."""
    training = recipe.training
    return plan_batches(
        [utterance.num_samples for utterance in utterances],
        batch_samples=int(training.batch_seconds * recipe.audio.sample_rate_hz),
        seed=training.seed,
        epoch=epoch,
        by_length=epoch == 0 and training.sort_first_epoch,
    )


def plan_validation(utterances: Sequence[Utterance], recipe: Recipe) -> Plan:
    """Return the batches of a validation."""
    return plan_batches(
        [utterance.num_samples for utterance in utterances],
        batch_samples=int(recipe.training.batch_seconds * recipe.audio.sample_rate_hz),
        seed=0,
        epoch=0,
        shuffle=False,
    )

"""All that decides what a run computes, and the network that it means."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from config import AudioConfig, FeatureConfig, NetworkConfig
from speech.alphabet import Alphabet
from training.augmentation import STRENGTHS, AugmentationConfig
from training.initialise import read_source
from training.networks.deepspeech2 import build_deepspeech2
from training.presets import PRESETS, TrainingConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides what a run computes, apart from its data."""

    audio: AudioConfig
    features: FeatureConfig
    network: NetworkConfig
    alphabet: Alphabet
    training: TrainingConfig
    augmentation: AugmentationConfig


def recipe_of(
    preset: str,
    alphabet: Alphabet,
    *,
    augment: str = "none",
    noises: Path | None = None,
    dropout: float | None = None,
    **training: Any,
) -> Recipe:
    """Return a preset with what was asked for besides; of the model to start from, if there is one.

    Args:
        augment: one of `STRENGTHS`.
        noises: folder of recordings that are added as noise.
        training: fields of `TrainingConfig`; those that are None are left as they are.

    Raises:
        ModelError: there is no model in the folder `init_from`.
        ValueError: a setting is out of its range.
    """
    chosen = PRESETS[preset]
    settings = {name: value for name, value in training.items() if value is not None}
    if init_from := settings.get("init_from"):
        source = read_source(Path(init_from))
        chosen = replace(chosen, features=source.features, network=source.network)
    network = chosen.network if dropout is None else replace(chosen.network, dropout=dropout)
    lowest = chosen.training.final_learning_rate
    peak = settings.get("learning_rate", chosen.training.learning_rate)
    return Recipe(
        audio=AudioConfig(),
        features=chosen.features,
        network=network,
        alphabet=alphabet,
        training=replace(chosen.training, final_learning_rate=min(lowest, peak), **settings),
        augmentation=replace(
            STRENGTHS[augment], recorded_noise_folder=str(noises) if noises else ""
        ),
    )


def build_network(recipe: Recipe) -> keras.Model:
    """Return the network of a recipe with random weights."""
    return build_deepspeech2(
        recipe.network, num_bins=recipe.features.num_bins, num_symbols=len(recipe.alphabet)
    )


@contextmanager
def dtype_policy(precision: str) -> Iterator[None]:
    """Build layers with Keras' policy for a precision: mixed, if it is not float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)

"""All that decides what a run computes, and the network that it means."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import keras

from config import AudioConfig, FeatureConfig, NetworkConfig, TrainingConfig
from speech.alphabet import Alphabet
from training.augmentation import AugmentationConfig
from training.networks.deepspeech2 import build_deepspeech2


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides what a run computes, apart from its data."""

    audio: AudioConfig
    features: FeatureConfig
    network: NetworkConfig
    alphabet: Alphabet
    training: TrainingConfig
    augmentation: AugmentationConfig


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

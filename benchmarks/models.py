"""The models under test: presets with random weights, as folders that `training.export` wrote."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from config import AudioConfig
from speech.alphabet import Alphabet
from speech.pipeline import Pipeline, write_pipeline
from training.export import export
from training.networks.deepspeech2 import build_deepspeech2
from training.presets import Preset

SEED = 7


def shake_weights(network: keras.Model) -> None:
    """Make what is 0 or 1 in a new network random: biases, and all of batch norm."""
    draw = np.random.default_rng(SEED)
    for weight in network.weights:
        if "moving_variance" in weight.path:
            weight.assign(draw.uniform(0.5, 2.0, weight.shape))
        elif "kernel" not in weight.path:
            weight.assign(weight.numpy() + 0.1 * draw.standard_normal(weight.shape))


def make_random_model(folder: Path, preset: Preset) -> Path:
    """Build, save and export a preset under the folder's name; return the folder.

    Weights are random, and so are biases and the statistics of batch norm, so that whoever takes
    them wrongly gets other outputs.
    """
    keras.utils.set_random_seed(SEED)
    alphabet = Alphabet()
    network = build_deepspeech2(
        preset.network, num_bins=preset.features.num_bins, num_symbols=len(alphabet)
    )
    shake_weights(network)
    logits = network.get_layer("logits").kernel
    logits.assign(20 * logits.numpy())  # as sure of itself as a trained network
    pipeline = Pipeline(
        name=folder.name,
        audio=AudioConfig(),
        features=preset.features,
        network=preset.network,
        alphabet=alphabet,
    )
    folder.mkdir(parents=True)
    network.save(folder / "model.keras")
    write_pipeline(folder, pipeline)
    export(folder)
    return folder

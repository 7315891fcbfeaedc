"""Start a network with another model's weights: fine-tuning, also with another alphabet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from config import ModelError
from speech.alphabet import Alphabet
from speech.pipeline import Pipeline, read_pipeline
from training.export import load_network

OUTPUT = "logits"


def read_source(folder: Path) -> Pipeline:
    """Return the pipeline of the model in `folder`; `ModelError` if there is none to start from."""
    if not (folder / "model.keras").exists():
        raise ModelError(f"{folder} holds no model.keras; needed: the folder of a trained model")
    return read_pipeline(folder)


def initialise(network: Any, folder: Path, alphabet: Alphabet) -> int:
    """Copy the weights of the model in `folder` into `network`.

    Of the output layer, those of symbols that both alphabets have (and of the blank) are copied;
    the others keep their random start.

    Returns:
        How many symbols of `alphabet` are new to the model.

    Raises:
        ModelError: there is no model, or its network has other sizes.
    """
    source = read_source(folder)
    trained = load_network(folder / "model.keras", source)
    if len(trained.layers) != len(network.layers):
        raise ModelError(
            f"{folder} has {len(trained.layers)} layers; needed: the {len(network.layers)} of "
            "this network"
        )
    for own, other in zip(network.layers, trained.layers, strict=True):
        if own.name != OUTPUT:
            _copy(own, other, folder)
    return _copy_symbols(
        network.get_layer(OUTPUT), trained.get_layer(OUTPUT), source.alphabet, alphabet
    )


def _copy(own: Any, other: Any, folder: Path) -> None:
    shapes, found = ([tuple(w.shape) for w in layer.weights] for layer in (own, other))
    if shapes != found:
        raise ModelError(f"{folder}: layer {own.name} has {found}; needed: {shapes}")
    for weight, value in zip(own.weights, other.weights, strict=True):
        weight.assign(value)


def _copy_symbols(own: Any, other: Any, known: Alphabet, wanted: Alphabet) -> int:
    """Copy the columns of `[units, symbols]` and the places of `[symbols]` that both know."""
    shared = [symbol for symbol in wanted.symbols if symbol in known.symbols]
    to, source = ([alphabet.symbols.index(s) for s in shared] for alphabet in (wanted, known))
    for weight, values in zip(own.weights, other.weights, strict=True):
        merged = np.array(weight)
        merged[..., to] = np.array(values)[..., source]
        weight.assign(merged)
    return len(wanted.symbols) - len(shared)

"""Fine-tuning starts with all that the model knows, and only that."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from config import ModelError
from speech.alphabet import BLANK, Alphabet
from speech.pipeline import read_pipeline
from tests.models import LOG_MEL_FEATURES, TINY_NETWORK
from training.export import load_network
from training.initialise import initialise
from training.networks.deepspeech2 import build_deepspeech2


def network(alphabet: Alphabet, units: int = 12) -> keras.Model:
    return build_deepspeech2(
        replace(TINY_NETWORK, gru_units=units),
        num_bins=LOG_MEL_FEATURES.num_bins,
        num_symbols=len(alphabet),
    )


def test_the_same_alphabet_gives_the_same_network(model_folder: Path) -> None:
    own = network(Alphabet())
    assert initialise(own, model_folder, Alphabet()) == 0
    trained = load_network(model_folder / "model.keras", read_pipeline(model_folder))
    for weight, value in zip(own.weights, trained.weights, strict=True):
        np.testing.assert_array_equal(weight, value, err_msg=weight.path)


def test_a_new_alphabet_leaves_the_output_of_new_symbols_alone(model_folder: Path) -> None:
    """Known symbols keep their columns, in another order too; all other layers are copied."""
    alphabet = Alphabet((BLANK, "ü", "b", "a", " ", "ß"))
    own = network(alphabet)
    before = own.get_layer("logits").kernel.numpy().copy()
    assert initialise(own, model_folder, alphabet) == 2
    trained = load_network(model_folder / "model.keras", read_pipeline(model_folder))
    kernel, known = (
        own.get_layer("logits").kernel.numpy(),
        trained.get_layer("logits").kernel.numpy(),
    )
    for place, symbol in enumerate(alphabet.symbols):
        if symbol in Alphabet().symbols:
            np.testing.assert_array_equal(
                kernel[:, place], known[:, Alphabet().symbols.index(symbol)], err_msg=symbol
            )
        else:
            np.testing.assert_array_equal(kernel[:, place], before[:, place], err_msg=symbol)
    for layer, other in zip(own.layers[:-1], trained.layers[:-1], strict=True):
        for weight, value in zip(layer.weights, other.weights, strict=True):
            np.testing.assert_array_equal(weight, value)


def test_another_network_is_refused(model_folder: Path) -> None:
    with pytest.raises(ModelError, match=r"layer bigru_0 has \[\(.*needed: \[\("):
        initialise(network(Alphabet(), units=13), model_folder, Alphabet())


def test_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no model.keras; needed: the folder of a trained"):
        initialise(network(Alphabet()), tmp_path, Alphabet())

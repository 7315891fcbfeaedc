"""Steps, their rates, and the mean of weights, against what is computed by hand."""

import keras
import numpy as np
import pytest

from tests.models import TINY_NETWORK
from training.ctc_model import CTCModel
from training.networks.deepspeech2 import build_deepspeech2
from training.optimizer import averaged, make_optimizer
from training.presets import TrainingConfig


def settings(**values: object) -> TrainingConfig:
    return TrainingConfig(**{"learning_rate": 1e-2, "warmup_share": 0.0, **values})


def test_the_rate_rises_and_falls() -> None:
    optimizer = make_optimizer(settings(warmup_share=0.1, final_learning_rate=1e-5), 1000)
    rates = [float(optimizer._learning_rate(step)) for step in (0, 50, 100, 550, 1000)]
    np.testing.assert_allclose(rates, [1e-4, 5.05e-3, 1e-2, 5.005e-3, 1e-5], rtol=1e-3)


def test_accumulated_batches_make_fewer_steps_of_rates() -> None:
    """The schedule counts steps, the run counts batches."""
    optimizer = make_optimizer(settings(accumulate=4), 1000)
    np.testing.assert_allclose(float(optimizer._learning_rate(250)), 1e-6, rtol=1e-3)
    weight = keras.Variable(np.zeros(3, "float32"))
    optimizer.build([weight])
    for batch in range(3):
        optimizer.apply([keras.ops.ones(3)], [weight])
        assert not weight.numpy().any(), f"moved after {batch + 1} batches"
    optimizer.apply([keras.ops.ones(3)], [weight])
    assert weight.numpy().all()


@pytest.fixture
def model() -> CTCModel:
    model = CTCModel(build_deepspeech2(TINY_NETWORK, num_bins=80, num_symbols=29), blank_index=0)
    model.compile(optimizer=make_optimizer(settings(average_decay=0.9), 10), jit_compile=False)
    model.optimizer.build(model.network.trainable_variables)
    return model


def test_the_mean_of_weights_is_lent_and_given_back(model: CTCModel) -> None:
    weights = model.network.trainable_variables
    wanted = None
    for step in range(3):
        gradients = [keras.ops.full(w.shape, float(step + 1)) for w in weights]
        model.optimizer.apply(gradients)
        latest = weights[0].numpy()
        wanted = latest if wanted is None else 0.9 * wanted + 0.1 * latest
    with averaged(model):
        np.testing.assert_allclose(weights[0].numpy(), wanted, rtol=1e-5)
        assert np.abs(weights[0].numpy() - latest).max() > 1e-4
    np.testing.assert_array_equal(weights[0].numpy(), latest)


def test_the_mean_keeps_its_share_of_each_step_also_when_batches_are_accumulated() -> None:
    """Keras moves the mean with every batch."""
    optimizer = make_optimizer(settings(average_decay=0.9, accumulate=2), 100)
    assert optimizer.ema_momentum**2 == pytest.approx(0.9)


def test_the_weights_come_back_after_an_error(model: CTCModel) -> None:
    weights = model.network.trainable_variables
    model.optimizer.apply([keras.ops.ones(w.shape) for w in weights])
    model.optimizer.apply([keras.ops.ones(w.shape) for w in weights])
    latest = weights[0].numpy()
    with pytest.raises(KeyError), averaged(model):
        raise KeyError("a full disk, say")
    np.testing.assert_array_equal(weights[0].numpy(), latest)

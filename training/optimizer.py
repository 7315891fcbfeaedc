"""How weights move: AdamW on a warm-up and a cosine, and the running mean of where they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from training.presets import TrainingConfig


def make_optimizer(training: TrainingConfig, steps: int) -> keras.optimizers.Optimizer:
    """Return AdamW (Loshchilov and Hutter 2019) for a run of so many batches.

    The rate of learning rises linearly, then falls as a cosine; steps are taken every
    `training.accumulate` batches.
    """
    steps = max(1, steps // training.accumulate)
    warmup = max(1, round(training.warmup_share * steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=training.learning_rate / warmup,
        decay_steps=max(1, steps - warmup),
        alpha=training.final_learning_rate / training.learning_rate,
        warmup_target=training.learning_rate,
        warmup_steps=warmup,
    )
    return keras.optimizers.AdamW(
        schedule,
        weight_decay=training.weight_decay,
        global_clipnorm=training.gradient_clip_norm,
        use_ema=training.average_decay > 0,
        # Keras moves the mean with every batch, also with those that take no step.
        ema_momentum=training.average_decay ** (1 / training.accumulate),
        gradient_accumulation_steps=training.accumulate if training.accumulate > 1 else None,
    )


def inner(optimizer: Any) -> Any:
    """Return the optimizer that moves weights, within one that scales the loss for float16."""
    return getattr(optimizer, "inner_optimizer", optimizer)


@contextmanager
def averaged(model: Any) -> Iterator[None]:
    """Give `model`'s network the mean of its weights, if its optimizer keeps one, for a while."""
    weights = model.network.trainable_variables
    latest = [weight.numpy() for weight in weights] if inner(model.optimizer).use_ema else []
    if latest:
        model.optimizer.finalize_variable_values(weights)
    try:
        yield
    finally:
        for weight, value in zip(weights, latest, strict=False):
            weight.assign(value)

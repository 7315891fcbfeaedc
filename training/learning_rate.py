"""Find a learning rate: raise it step by step and watch the loss fall, then break."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from speech.audio import write_atomically
from training.ctc_model import CTCModel
from training.dataset import plan_seeds
from training.epochs import make_loader, plan_epoch
from training.initialise import initialise
from training.manifest import Split, Utterance
from training.recipe import Recipe, build_network
from training.selection import select_utterances

_SMOOTHING = 0.9
_BROKEN = 2.0


@dataclass(frozen=True, kw_only=True)
class RateRange:
    """Rates that were tried and what came of them.

    Attributes:
        rates: float64 `[steps]`, rising by the same factor.
        losses: float64 `[steps]`, in nats a label, smoothed over about ten steps.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]

    @property
    def suggestion(self) -> float:
        """A tenth of the rate at which the loss was lowest, a good peak for a schedule."""
        return float(self.rates[int(np.argmin(self.losses))]) / 10


def find_learning_rate(
    train_step: Callable[[Any, float], float],
    batches: Iterator[Any],
    *,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> RateRange:
    """Take `steps` steps with rates from `lowest` to `highest`; stop once the loss has doubled.

    Args:
        train_step: takes one step on a batch with a rate; returns the batch's loss.

    Raises:
        ValueError: fewer than two rates, or they do not rise.

    Source: Smith 2017, "Cyclical learning rates for training neural networks", section 3.3.
    """
    if steps < 2 or not 0 < lowest < highest:
        raise ValueError(
            f"{steps} steps from {lowest} to {highest}; needed: two, rising from over 0"
        )
    rates, losses, mean = [], [], 0.0
    for i, rate in enumerate(np.geomspace(lowest, highest, steps)):
        loss = train_step(next(batches), float(rate))
        if not np.isfinite(loss):
            break
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * loss
        rates.append(rate)
        losses.append(mean / (1 - _SMOOTHING ** (i + 1)))  # as if it had begun with this mean
        if progress:
            progress(i + 1, steps)
        if losses[-1] > _BROKEN * min(losses):
            break
    if not rates:
        raise ValueError(f"the loss is not finite at the lowest rate, {lowest}")
    return RateRange(rates=np.array(rates), losses=np.array(losses))


def steps_of(
    utterances: list[Utterance], recipe: Recipe
) -> tuple[Callable[[Any, float], float], Iterator[Any]]:
    """Return what takes a step of a recipe's network, and its batches without end.

    Raises:
        CorpusError: the training split is empty.
        ModelError: the model to start from does not fit.
    """
    training, rate_hz = recipe.training, recipe.audio.sample_rate_hz
    chosen = select_utterances(
        utterances,
        Split.train,
        features=recipe.features,
        network=recipe.network,
        alphabet=recipe.alphabet,
        max_samples=training.max_clip_s * rate_hz,
        repeat=dict(training.repeat),
        on_note=None,
    )
    keras.utils.set_random_seed(training.seed)
    network = build_network(recipe)
    if training.init_from:
        initialise(network, Path(training.init_from), recipe.alphabet)
    model = CTCModel(network, blank_index=recipe.alphabet.blank_index)
    optimizer = keras.optimizers.AdamW(
        1e-6, weight_decay=training.weight_decay, global_clipnorm=training.gradient_clip_norm
    )
    model.compile(optimizer=optimizer, jit_compile=False)

    def train_step(batch: Any, rate: float) -> float:
        optimizer.learning_rate.assign(rate)
        logs = model.train_on_batch(*batch, return_dict=True)
        return float("nan") if int(logs["broken"]) >= 0 else float(logs["latest"])

    def batches() -> Iterator[Any]:
        loader = make_loader(chosen, recipe, augmented=True)
        for epoch in count():
            plan = plan_epoch(chosen, recipe, epoch)
            yield from loader.batches(plan, plan_seeds(plan, seed=training.seed, epoch=epoch))

    return train_step, batches()


def plot_rates(found: RateRange, path: Path) -> None:
    """Write a PNG of the loss over the rate, the suggestion marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.semilogx(found.rates, found.losses)
    axes.axvline(found.suggestion, linestyle="--", color="tab:green")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss, nats a label, smoothed")
    axes.set_title(f"suggested peak: {found.suggestion:.1e}")
    axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(path, buffer.getvalue())

"""Seconds of audio a second while training: the input alone, the step alone, and the whole.

Run it with `make bench-training MANIFEST=Data/english`; training augments mildly. Rates are of the
clips' own seconds, without padding, and the best of the rounds. The first epoch builds, traces and
compiles; what that adds is measured on a small epoch, and set against one of all training clips.
Files are in the system's cache by the time they are measured: a slow disk comes on top.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine
from speech.alphabet import Alphabet
from speech.audio import write_atomically
from terminal import exit_codes
from training.augmentation import STRENGTHS
from training.dataset import plan_seeds
from training.epochs import make_loader
from training.manifest import Split, Utterance, read_manifest
from training.recipe import Recipe, recipe_of
from training.run import Run
from training.selection import select_utterances
from training.watcher import Hooks

ROUNDS = 3  # of the input and the step; also the epochs of the whole, the first not counted
BATCHES = {"small": 12, "deepspeech2": 5}  # an epoch; a step of the larger network takes seconds
VALIDATION_CLIPS = 8
ALPHABET_FILE = "alphabet.txt"
RESULTS = Path("benchmarks/results/training.json")


class StepClock(keras.callbacks.Callback):
    """Seconds from the end of a step to the end of the next."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_train_batch_end(self, _batch: int, logs: dict[str, Any] | None = None) -> None:
        """Wait for the loss, so that an accelerator has done the step."""
        float((logs or {})["latest"])
        self.ends.append(time.perf_counter())

    @property
    def least_s(self) -> float:
        """The first step is left out: it traces."""
        return float(np.diff(self.ends).min())


def make_recipe(preset: str, alphabet: Alphabet, precision: str) -> Recipe:
    """Return a preset as `stt train --augment mild` runs it, for `ROUNDS` epochs."""
    return recipe_of(preset, alphabet, augment="mild", epochs=ROUNDS, precision=precision)


def draw_clips(utterances: list[Utterance], seconds: float, recipe: Recipe) -> list[Utterance]:
    """Return training clips drawn at random, of so many seconds together or all there are."""
    rate_hz = recipe.audio.sample_rate_hz
    usable = select_utterances(
        utterances,
        Split.train,
        features=recipe.features,
        network=recipe.network,
        alphabet=recipe.alphabet,
        max_samples=recipe.training.max_clip_s * rate_hz,
        repeat={},
        on_note=None,
    )
    order = np.random.default_rng(0).permutation(len(usable))
    ends = np.cumsum([usable[i].num_samples for i in order])
    count = 1 + int(np.searchsorted(ends, seconds * rate_hz))
    return [usable[i] for i in order[:count]]


def seconds_of(clips: list[Utterance], recipe: Recipe) -> float:
    """Return how long the clips are together."""
    return sum(clip.num_samples for clip in clips) / recipe.audio.sample_rate_hz


def measure_epochs(run: Run, started: float) -> dict[str, float]:
    """Do the run; `started` is when building it began.

    Returns:
        `whole` in seconds of audio a second, from the first step of a later epoch to its last; and
        seconds: `first_epoch_s` from `started`, `later_epoch_s`, both with the validation, and
        `epoch_start_s` until the first step of a later epoch is done.
    """
    epochs: list[float] = [started]
    steps: list[list[float]] = [[]]

    def after_step(_: Any) -> None:
        steps[-1].append(time.perf_counter())

    def after_epoch(*_: Any) -> None:
        epochs.append(time.perf_counter())
        steps.append([])

    run.go(Hooks(on_step=after_step, on_epoch=after_epoch, should_stop=lambda: False))
    later = range(1, len(epochs) - 1)
    lengths = np.diff(epochs)
    return {
        "whole": max(audio_s(run, i, 1) / (steps[i][-1] - steps[i][0]) for i in later),
        "first_epoch_s": float(lengths[0]),
        "later_epoch_s": float(lengths[1:].min()),
        "epoch_start_s": min(steps[i][0] - epochs[i] for i in later),
    }


def audio_s(run: Run, epoch: int, skipped: int) -> float:
    """Return how long the clips of an epoch's batches are, but for the first ones."""
    batches = run.plans[epoch][skipped:]
    return seconds_of([run.train_split[i] for batch in batches for i in batch], run.recipe)


def make_input(run: Run, strength: str) -> tf.data.Dataset:
    """Return the batches of a run's first epoch, changed by another strength."""
    recipe, plan = replace(run.recipe, augmentation=STRENGTHS[strength]), run.plans[0]
    loader = make_loader(run.train_split, recipe, augmented=True)
    return loader.batches(plan, plan_seeds(plan, seed=0, epoch=0))


def measure_input(run: Run) -> dict[str, float]:
    """Return seconds of audio a second, for each strength; rounds go through them in turn.

    Counted from the second batch on: two workers give the first two at once, after a start.
    """
    datasets = {strength: make_input(run, strength) for strength in ("none", "mild")}
    least = dict.fromkeys(datasets, float("inf"))
    for _ in range(ROUNDS):
        for strength, dataset in datasets.items():
            ends = [time.perf_counter() for _ in dataset]
            least[strength] = min(least[strength], ends[-1] - ends[1])
    return {f"input_{name}": audio_s(run, 0, 2) / value for name, value in least.items()}


def measure_step(run: Run) -> float:
    """Return seconds of audio a second of the step on one batch that is held in memory."""
    batch = [run.train_split[i] for i in run.plans[0][0]]
    held = make_input(run, "none").take(1).cache().repeat()
    clock = StepClock()
    run.model.fit(held, steps_per_epoch=ROUNDS + 1, shuffle=False, verbose=0, callbacks=[clock])
    return seconds_of(batch, run.recipe) / clock.least_s


def measure(preset: str, utterances: list[Utterance], alphabet: Alphabet) -> dict[str, Any]:
    """Return a preset's figures; rates are in seconds of audio a second."""
    recipe = make_recipe(preset, alphabet, "float32")
    all_s = seconds_of(draw_clips(utterances, float("inf"), recipe), recipe)
    clips = draw_clips(utterances, BATCHES[preset] * recipe.training.batch_seconds, recipe)
    spare = [u for u in utterances if u.split == Split.validation][:VALIDATION_CLIPS]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run = Run(clips, spare, Path(folder) / "float32", recipe)
        result: dict[str, Any] = {"preset": preset, "steps_an_epoch": run.steps_of(0)}
        result.update(measure_epochs(run, started))
        result.update(measure_input(run))
        result["step_float32"] = measure_step(run)
        halved = make_recipe(preset, alphabet, "bfloat16")
        result["step_bfloat16"] = measure_step(Run(clips, spare, Path(folder) / "half", halved))
    full_s, extra_s = all_s / result["whole"], result["first_epoch_s"] - result["later_epoch_s"]
    return {
        **result,
        "input_over_step": result["input_mild"] / result["step_float32"],
        "first_epoch_extra_s": extra_s,
        "full_epoch_s": full_s,
        "full_first_over_later": 1 + extra_s / full_s,
    }


def table_of(rows: list[dict[str, Any]]) -> Table:
    """Return the figures for people, a preset a column."""
    table = Table(title=f"seconds of audio a second, best of {ROUNDS} rounds")
    table.add_column("")
    for row in rows:
        table.add_column(row["preset"], justify="right")
    lines = {
        "input: decode, features": "{input_none:.0f}",
        "input, mild augmentation": "{input_mild:.0f}",
        "step, float32": "{step_float32:.1f}",
        "step, bfloat16": "{step_bfloat16:.1f}",
        "the whole, float32, mild": "{whole:.1f}",
        "input over step": "{input_over_step:.1f}",
        "small epochs: first, later": "{first_epoch_s:.1f} s, {later_epoch_s:.1f} s",
        "steps in each": "{steps_an_epoch}",
        "later epoch's first step after": "{epoch_start_s:.1f} s",
        "an epoch of all clips": "{full_epoch_s:.0f} s",
        "its first over later ones": "{full_first_over_later:.3f}",
    }
    for name, form in lines.items():
        table.add_row(name, *(form.format(**row) for row in rows))
    return table


def main(manifest: Path) -> None:
    """Measure, print, write."""
    utterances, machine, console = read_manifest(manifest), describe_machine(), Console()
    machine["gpus"] = str(len(tf.config.list_physical_devices("GPU")))
    file = (manifest if manifest.is_dir() else manifest.parent) / ALPHABET_FILE
    alphabet = Alphabet.read(file) if file.exists() else Alphabet()
    rows = [measure(preset, utterances, alphabet) for preset in BATCHES]
    console.print(machine)
    console.print(table_of(rows))
    result = {"command": "make bench-training", "machine": machine, "presets": rows}
    write_atomically(RESULTS, json.dumps(result, indent=2) + "\n")
    console.print(f"wrote {RESULTS}")


if __name__ == "__main__":
    with exit_codes():
        main(Path(sys.argv[1] if len(sys.argv) > 1 else "Data/english"))

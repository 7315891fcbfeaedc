"""One optimisation step of training: ours in float32 and bfloat16, and PyTorch's in float32.

Run it with `make bench-training-step`. Ours is the step that `stt train` runs. Each preset's three
ways get the same batch of noise and random letters, clips of different lengths; they take turns,
and the least of the rounds counts. Before that, with dropout 0 and a smaller batch, loss and
gradients in PyTorch must be ours. PyTorch's threads wait for each other thousands of times a step:
anything else that runs meanwhile holds it up far more than us, so the load is written, too.
`--quick` is a smoke run; `--profile` measures the parts of our step instead.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.inference import installed
from benchmarks.machine import describe_machine
from benchmarks.models import shake_weights
from benchmarks.training import make_input, seconds_of
from benchmarks.training_parts import measure_parts, report_parts
from benchmarks.ways import TORCH, missing_packages
from speech.alphabet import Alphabet
from speech.audio import encode_native, write_atomically
from training.manifest import Split, Utterance
from training.recipe import Recipe, recipe_of
from training.run import Run

FLOAT32, BFLOAT16 = "ours_float32", "ours_bfloat16"
THREADS = os.cpu_count() or 1
COMPARED = ("loss", "gradient_of_first_convolution", "gradient_of_logits")
TOLERANCE = 1e-3
SETTLE_S = 0.02  # threads of the way before spin for a while
LETTERS = "abcdefghijklmnopqrstuvwxyz   "
LETTERS_PER_S = 14  # of speech that is read
SPREAD = 0.1  # lengths of clips are so far from their mean at most
RESULTS = Path("benchmarks/results/training_step.json")

Array = NDArray[Any]
Step = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured: a batch's clips, their mean length, and rounds after the first step."""

    clips: int
    mean_s: float
    rounds: dict[str, int] = field(default_factory=dict)


CHECK = Plan(clips=4, mean_s=1.0)
FULL = Plan(clips=8, mean_s=5.0, rounds={"small": 7, "deepspeech2": 3})
QUICK = Plan(clips=3, mean_s=0.5, rounds={"small": 1, "deepspeech2": 1})


def make_recipe(preset: str, precision: str = "float32", dropout: float | None = None) -> Recipe:
    """Return a preset as `stt train` runs it."""
    return recipe_of(preset, Alphabet(), precision=precision, dropout=dropout)


def write_clips(folder: Path, recipe: Recipe, plan: Plan) -> list[Utterance]:
    """Write clips of noise, each with random letters for its text."""
    draw, clips = np.random.default_rng(0), []
    for i, share in enumerate(np.linspace(1 - SPREAD, 1 + SPREAD, plan.clips)):
        num_samples = int(share * plan.mean_s * recipe.audio.sample_rate_hz)
        path = folder / f"{i}.wav"
        noise = draw.uniform(-0.5, 0.5, num_samples).astype(np.float32)
        path.write_bytes(encode_native(noise, recipe.audio))
        letters = draw.choice(list(LETTERS), int(share * plan.mean_s * LETTERS_PER_S))
        clips.append(
            Utterance(
                id=f"noise/{i}",
                corpus="noise",
                speaker="noise",
                audio=str(path),
                text=" ".join("".join(letters).split()),
                num_samples=num_samples,
                split=Split.train,
            )
        )
    return clips


def first_batch(run: Run) -> dict[str, Array]:
    """Return the inputs and the labels of a run's first batch."""
    x, y = next(iter(make_input(run, "none")))
    return {name: tensor.numpy() for name, tensor in {**x, **y}.items()}


def our_step(run: Run) -> Step:
    """Return the step that Keras' `fit` takes, on the first batch, held in memory."""
    held = iter(make_input(run, "none").take(1).cache().repeat())
    run.model.make_train_function()
    return lambda: float(run.model.train_function(held)["latest"])


def our_loss(run: Run) -> tuple[float, list[Array]]:
    """Return the loss of the first batch, and its gradients as `TorchStep.gradients` has them."""
    model, network = run.model, run.model.network
    kernels = [network.get_layer("convolution_0").convolution.kernel]
    kernels.append(network.get_layer("logits").kernel)

    @tf.function
    def compute(x: Any, y: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x, training=True))
        return loss, tape.gradient(loss, [kernel.value for kernel in kernels])

    loss, gradients = compute(*next(iter(make_input(run, "none"))))
    return float(loss), [gradient.numpy() for gradient in gradients]


def check_equal(run: Run) -> dict[str, float]:
    """Return how far PyTorch's loss and gradients are from those of a run without dropout.

    Raises:
        SystemExit: further than `TOLERANCE`, in relation to ours: it is not the same step.
    """
    from benchmarks.training_torch import TorchStep

    shake_weights(run.model.network)
    peer = TorchStep(run, first_batch(run), threads=THREADS)
    loss, ours = our_loss(run)
    theirs = [np.asarray(peer.backward()), *peer.gradients()]
    pairs = zip(COMPARED, theirs, [np.asarray(loss), *ours], strict=True)
    named = {
        name: float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))
        for name, got, wanted in pairs
    }
    if not all(difference <= TOLERANCE for difference in named.values()):
        raise SystemExit(
            f"PyTorch differs from ours, in relation to it, by {named}; "
            f"needed: {TOLERANCE} at most, or nothing is compared"
        )
    return named


def take_turns(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Return seconds of each way's steps, but for the first, which traces and warms up.

    Raises:
        SystemExit: a loss is not finite.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            time.sleep(SETTLE_S)
            started = time.perf_counter()
            loss = step()
            seconds[name].append(time.perf_counter() - started)
            if not np.isfinite(loss):
                raise SystemExit(f"{name}: got a loss of {loss}; needed: a finite one")
    return {name: values[1:] for name, values in seconds.items()}


def measure(preset: str, plan: Plan) -> dict[str, Any]:
    """Check one preset, then measure it."""
    from benchmarks.training_torch import TorchStep

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clips = write_clips(folder, make_recipe(preset), CHECK)
        differences = check_equal(Run(clips, clips[:1], folder, make_recipe(preset, dropout=0.0)))
        clips = write_clips(folder, make_recipe(preset), plan)
        run = Run(clips, clips[:1], folder, make_recipe(preset))
        halved = Run(clips, clips[:1], folder, make_recipe(preset, "bfloat16"))
        peer = TorchStep(run, first_batch(run), threads=THREADS)
        steps: dict[str, Step] = {FLOAT32: our_step(run), BFLOAT16: our_step(halved), TORCH: peer}
        seconds = take_turns(steps, plan.rounds[preset])
    least = {name: min(values) for name, values in seconds.items()}
    return {
        "preset": preset,
        "clips": len(clips),
        "audio_s": seconds_of(clips, run.recipe),
        "rounds": plan.rounds[preset],
        "relative_difference": differences,
        "least_s": least,
        "median_s": {name: statistics.median(values) for name, values in seconds.items()},
        "ours_over_pytorch": {name: least[name] / least[TORCH] for name in (FLOAT32, BFLOAT16)},
    }


def table_of(rows: list[dict[str, Any]]) -> Table:
    """Return the figures for people."""
    table = Table(title="one optimisation step")
    for column in ("preset", "audio", "way", "least ms", "median ms", "audio a second", "ratio"):
        table.add_column(column, justify="right")
    for row in rows:
        for name, least in row["least_s"].items():
            ratio = row["ours_over_pytorch"].get(name)
            table.add_row(
                row["preset"],
                f"{row['clips']} clips, {row['audio_s']:.0f} s",
                name.replace("_", " "),
                f"{1000 * least:.0f}",
                f"{1000 * row['median_s'][name]:.0f}",
                f"{row['audio_s'] / least:.1f} s",
                "" if ratio is None else f"{ratio:.2f}",
            )
    return table


def run_all(presets: Iterable[str], plan: Plan, output: Path, command: str) -> None:
    """Measure, print, write.

    Raises:
        SystemExit: PyTorch is not installed, or gives other losses or gradients.
    """
    if missing_packages("torch"):
        raise SystemExit("torch is not installed; needed: `make bench-training-step` installs it")
    machine = {**describe_machine(), **installed(["torch"]), "threads": str(THREADS)}
    machine["load_before"] = f"{os.getloadavg()[0]:.1f}"
    rows = [measure(preset, plan) for preset in presets]
    console = Console(width=120)
    console.print(machine, table_of(rows))
    for row in rows:
        found = {name: f"{value:.1g}" for name, value in row["relative_difference"].items()}
        console.print(f"{row['preset']}: PyTorch's relative differences from ours: {found}")
    content = {"command": command, "machine": machine, "presets": rows}
    write_atomically(output, json.dumps(content, indent=2) + "\n")
    console.print(f"wrote {output}")


def print_parts(presets: Iterable[str], plan: Plan) -> None:
    """Measure and print the parts of our step."""
    console = Console(width=120)
    console.print(describe_machine())
    for preset in presets:
        with tempfile.TemporaryDirectory() as temporary:
            recipe = make_recipe(preset)
            clips = write_clips(Path(temporary), recipe, plan)
            run = Run(clips, clips[:1], Path(temporary), recipe)
            whole_s = min(take_turns({FLOAT32: our_step(run)}, plan.rounds[preset])[FLOAT32])
            parts = measure_parts(run.model, *next(iter(make_input(run, "none"))))
        title = f"{preset}, float32, {plan.clips} clips of {plan.mean_s:g} s: the step's parts"
        for line in report_parts(title, parts, whole_s):
            console.print(line)


def main(arguments: list[str]) -> None:
    """Measure both presets; a smoke run writes nothing that is kept."""
    is_quick = "--quick" in arguments
    plan = QUICK if is_quick else FULL
    if "--profile" in arguments:
        print_parts(plan.rounds, plan)
        return
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary, RESULTS.name) if is_quick else RESULTS
        run_all(plan.rounds, plan, output, "make bench-training-step")


if __name__ == "__main__":
    main(sys.argv[1:])

"""What a training run will cost in time: from steps of the real pipeline, timed on this machine."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from config import CorpusError
from training.dataset import plan_batches
from training.manifest import Split, Utterance
from training.recipe import Recipe
from training.selection import select_utterances
from training.train import train
from training.watcher import Progress

LJSPEECH_HOURS = 23.92
_WARM_UP_STEPS = 6  # compiling, and what the input had ready meanwhile
_STEPS = 12
_LEAST_STEPS = 4  # with the warm-up, once time is up
_CPU_BATCH_S = 20.0
_FEW_STEPS = 8
_SESSION_HOURS = 12.0


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """Timed steps of a training run.

    Attributes:
        device: what they ran on.
        seconds: each step's time, input and all.
        audio_s: each step's clips, without padding.
    """

    device: str
    seconds: tuple[float, ...]
    audio_s: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.seconds) != len(self.audio_s) or not self.seconds:
            raise ValueError(f"{len(self.seconds)} times, {len(self.audio_s)} steps; needed: some")

    @property
    def ratios(self) -> tuple[float, ...]:
        """Seconds of work a second of audio, step by step."""
        return tuple(t / a for t, a in zip(self.seconds, self.audio_s, strict=True))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Hours of a run; `low_hours` to `high_hours` if all steps were as the fast or slow ones.

    `audio_hours` are those of one epoch, validation in it.
    """

    device: str
    step_s: float
    num_timed: int
    audio_hours: float
    epochs: int
    hours: float
    low_hours: float
    high_hours: float


def device_name() -> str:
    """Return the first GPU's name, or how many CPU cores there are."""
    if not (devices := tf.config.list_physical_devices("GPU")):
        return f"{os.cpu_count()} CPU cores, no GPU"
    details = tf.config.experimental.get_device_details(devices[0])
    return str(details.get("device_name", "a GPU"))


def measure_steps(
    utterances: Sequence[Utterance],
    recipe: Recipe,
    *,
    steps: int = _STEPS,
    limit_s: float = 90.0,
) -> StepTimes:
    """Train a few steps by `recipe` in a temporary folder and time them.

    The clips of the training split are taken at random, and again where there are few. The first
    steps are not counted. `limit_s` after the first step the next ones are left out, but for a few.
    On a CPU batches are small: there the time goes with the audio, whatever it is batched in.

    Raises:
        CorpusError: no usable clip.
    """
    training = replace(recipe.training, epochs=1, sort_first_epoch=False, repeat=())
    if not tf.config.list_physical_devices("GPU"):
        seconds = min(_CPU_BATCH_S, training.batch_seconds)
        training = replace(training, batch_seconds=seconds)
    recipe = replace(recipe, training=training)
    clips = _enough_clips(utterances, recipe, num_batches=_WARM_UP_STEPS + steps)
    held_out = [replace(clips[0], split=Split.validation)]
    clock = _Clock(steps=steps, limit_s=limit_s)
    with tempfile.TemporaryDirectory() as folder:
        train(
            [*clips, *held_out],
            Path(folder),
            recipe,
            on_step=clock.on_step,
            should_stop=clock.should_stop,
        )
    rate = recipe.audio.sample_rate_hz
    plan = plan_batches(
        [u.num_samples for u in clips],
        batch_samples=int(training.batch_seconds * rate),
        seed=training.seed,
        epoch=0,
    )
    audio_s = [sum(clips[i].num_samples for i in batch) / rate for batch in plan]
    first = min(_WARM_UP_STEPS, len(clock.seconds) // 3)
    timed = slice(first, len(clock.seconds))
    return StepTimes(
        device=device_name(),
        seconds=tuple(clock.seconds[timed]),
        audio_s=tuple(audio_s[1:][timed]),
    )


class _Clock:
    """Times steps after the first one; `seconds[i]` is that of step `i + 2`."""

    def __init__(self, *, steps: int, limit_s: float) -> None:
        self.wanted = _WARM_UP_STEPS + steps
        self.seconds: list[float] = []
        self.limit_s = limit_s
        self.started: float | None = None
        self.last = 0.0

    def on_step(self, _: Progress) -> None:
        now = time.monotonic()
        if self.started is None:
            self.started = now
        else:
            self.seconds.append(now - self.last)
        self.last = now

    def should_stop(self) -> bool:
        if self.started is None or len(self.seconds) < _LEAST_STEPS:
            return False
        is_late = self.last - self.started > self.limit_s
        return is_late or len(self.seconds) >= self.wanted


def _enough_clips(
    utterances: Sequence[Utterance], recipe: Recipe, *, num_batches: int
) -> list[Utterance]:
    """Return clips for at least `num_batches` full batches and a few more, at random."""
    training, rate = recipe.training, recipe.audio.sample_rate_hz
    usable = select_utterances(
        list(utterances),
        Split.train,
        features=recipe.features,
        network=recipe.network,
        alphabet=recipe.alphabet,
        max_samples=training.max_clip_s * rate,
        repeat={},
        on_note=None,
    )
    draw = np.random.default_rng(training.seed)
    wanted = (num_batches + 4) * training.batch_seconds * rate
    clips: list[Utterance] = []
    while wanted > 0 or len(clips) < num_batches:
        clip = usable[draw.integers(len(usable))]
        clips.append(clip)
        wanted -= clip.num_samples
    return clips


def estimate(times: StepTimes, *, audio_hours: float, epochs: int) -> Cost:
    """Return what `epochs` over `audio_hours` take; validation counts as training does.

    The median step counts, so that a moment in which the machine did something else does not.

    Raises:
        CorpusError: there is no audio.
    """
    if audio_hours <= 0:
        raise CorpusError(f"got {audio_hours} hours of audio; needed: more than none")
    low, middle, high = (float(ratio) for ratio in np.percentile(times.ratios, [10, 50, 90]))
    return Cost(
        device=times.device,
        step_s=float(np.median(times.seconds)),
        num_timed=len(times.seconds),
        audio_hours=audio_hours,
        epochs=epochs,
        hours=audio_hours * epochs * middle,
        low_hours=audio_hours * epochs * low,
        high_hours=audio_hours * epochs * high,
    )


def describe(cost: Cost) -> str:
    """Return the estimate in words, with what it rests on."""
    low, high = _duration(cost.low_hours), _duration(cost.high_hours)
    lines = [
        f"On {cost.device}: about {_duration(cost.hours)} for {cost.epochs} epochs over "
        f"{cost.audio_hours:.1f} hours of speech ({_duration(cost.hours / cost.epochs)} an epoch).",
        f"Likely {low} to {high}: as if all steps were like the fastest or slowest tenth of the "
        f"{cost.num_timed} that were timed; the middle one took {cost.step_s:.2f} s.",
        "Other users of the machine and Drive's speed are not in it. For its price multiply by "
        "what your provider asks for an hour.",
    ]
    if cost.num_timed < _FEW_STEPS:
        lines.append("So few steps are a rough guess: this machine is slow for such a network.")
    if cost.hours > _SESSION_HOURS:
        lines.append(
            f"That is {math.ceil(cost.hours / _SESSION_HOURS)} sessions of {_SESSION_HOURS:g} "
            "hours, the longest that Colab gives for free: each continues where the last one ended."
        )
    return "\n".join(lines)


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{hours * 60:.0f} min" if hours * 60 >= 2 else f"{hours * 3600:.0f} s"

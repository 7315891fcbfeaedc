"""What a run will cost: by hand for known steps, and from real steps of a tiny network."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from config import CorpusError
from tests.runs import recipe
from training import cost
from training.cost import StepTimes, describe, estimate, measure_steps
from training.manifest import Utterance


def test_hours_are_the_middle_ratio_times_the_audio() -> None:
    times = StepTimes(
        device="a card", seconds=(1.0, 2.0, 3.0, 2.0, 100.0), audio_s=(100.0, 100.0, 100.0, 50.0, 1)
    )
    found = estimate(times, audio_hours=10.0, epochs=4)
    assert found.hours == pytest.approx(10 * 4 * 0.03)
    assert found.low_hours == pytest.approx(10 * 4 * 0.014)
    assert found.low_hours < found.hours < found.high_hours
    assert found.step_s == 2.0


def test_the_words_name_device_hours_spread_and_sessions() -> None:
    times = StepTimes(device="a card", seconds=(1.0,) * 9 + (2.0,), audio_s=(100.0,) * 10)
    long = describe(estimate(times, audio_hours=24.0, epochs=60))
    assert "On a card: about 14.4 h for 60 epochs over 24.0 hours" in long
    assert "(14 min an epoch)" in long
    assert "14.4 h to 15.8 h" in long
    assert "2 sessions of 12 hours" in long
    assert "rough guess" not in long
    short = describe(estimate(times, audio_hours=0.5, epochs=2))
    assert "about 36 s for 2 epochs" in short
    assert "sessions" not in short
    few = StepTimes(device="a card", seconds=(1.0, 1.0), audio_s=(9.0, 9.0))
    assert "rough guess" in describe(estimate(few, audio_hours=1.0, epochs=1))


def test_no_audio_and_no_steps_are_refused() -> None:
    times = StepTimes(device="x", seconds=(1.0,), audio_s=(1.0,))
    with pytest.raises(CorpusError, match="0 hours of audio; needed"):
        estimate(times, audio_hours=0, epochs=1)
    with pytest.raises(ValueError, match="0 times, 0 steps"):
        StepTimes(device="x", seconds=(), audio_s=())


def test_steps_are_those_of_the_real_pipeline(
    corpus: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step is made to take 50 ms more; that much must be found."""
    monkeypatch.setattr(cost, "_WARM_UP_STEPS", 2)
    plain = cost._Clock.on_step

    def slow(clock: object, progress: object) -> None:
        time.sleep(0.05)
        plain(clock, progress)

    monkeypatch.setattr(cost._Clock, "on_step", slow)
    times = measure_steps(corpus, recipe(epochs=7, sort_first_epoch=True), steps=4)
    assert len(times.seconds) == 4
    assert min(times.seconds) >= 0.05
    assert all(0.5 <= seconds <= 2.0 for seconds in times.audio_s)
    assert times.device == cost.device_name()
    found = estimate(times, audio_hours=1.0, epochs=7)
    assert found.hours >= 7 * 0.05 / 2


def test_time_that_is_up_leaves_a_few_steps(corpus: list[Utterance]) -> None:
    few = [replace(u, text="a") for u in corpus if u.split == "train"][:1]
    times = measure_steps(few, recipe(), limit_s=0.0)
    assert len(times.seconds) == 3

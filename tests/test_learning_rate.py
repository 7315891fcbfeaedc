"""The search for a learning rate, on losses that are known and on a tiny network."""

import math
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import cli
from tests.runs import recipe
from training.learning_rate import find_learning_rate, plot_rates, steps_of
from training.manifest import Utterance, write_manifest


def test_the_suggestion_is_a_tenth_of_where_the_loss_is_lowest() -> None:
    """A loss that depends on the rate alone, lowest at 1e-2."""
    found = find_learning_rate(
        lambda _, rate: 1 + abs(math.log10(rate) + 2), count(), highest=1.0, steps=600
    )
    assert 1e-3 < found.suggestion < 1.5e-3, "the smoothed loss comes a few steps later"
    ratios = found.rates[1:] / found.rates[:-1]
    np.testing.assert_allclose(ratios, ratios[0])


def test_a_loss_that_breaks_ends_the_search() -> None:
    seen: list[float] = []

    def step(_: object, rate: float) -> float:
        seen.append(rate)
        return math.nan if rate > 1e-3 else 1.0

    found = find_learning_rate(step, count(), steps=100)
    assert len(found.rates) == len(seen) - 1
    assert found.rates[-1] <= 1e-3
    doubling = find_learning_rate(lambda _, rate: 1 + 1e3 * rate, count(), steps=200)
    assert doubling.rates[-1] < 0.1
    with pytest.raises(ValueError, match="not finite at the lowest rate"):
        find_learning_rate(lambda *_: math.inf, count())
    with pytest.raises(ValueError, match="needed: two, rising"):
        find_learning_rate(step, count(), steps=1)


def test_a_broken_network_is_no_loss_of_nothing(corpus: list[Utterance]) -> None:
    train_step, batches = steps_of(corpus, recipe())
    assert math.isfinite(train_step(next(batches), 1e-6))
    train_step(next(batches), 1e30)
    assert math.isnan(train_step(next(batches), 1e-6))


def test_the_command_suggests_and_plots(corpus: list[Utterance], tmp_path: Path) -> None:
    write_manifest(tmp_path / "data" / "manifest.jsonl", corpus)
    words = [str(tmp_path / "data"), "--output", str(tmp_path), "--steps", "10"]
    words += ["--init-from", "Models/english-small", "--batch-seconds", "2"]
    result = CliRunner().invoke(cli.app, ["find-learning-rate", *words])
    assert result.exit_code == 0, result.output
    assert "suggested: --learning-rate" in result.stdout
    assert (tmp_path / "learning_rate.png").is_file()


def test_a_network_is_tried_and_plotted(corpus: list[Utterance], tmp_path: Path) -> None:
    train_step, batches = steps_of(corpus, recipe())
    found = find_learning_rate(train_step, batches, lowest=1e-5, highest=1.0, steps=12)
    assert np.isfinite(found.losses).all()
    assert found.losses.min() < found.losses[0], "it learns on the way"
    plot_rates(found, tmp_path / "rates.png")
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")

"""Short training runs of a tiny network on clips of noise."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from config import AudioConfig
from speech.alphabet import Alphabet
from speech.audio import encode_native
from tests.models import LOG_MEL_FEATURES, TINY_NETWORK
from training.augmentation import STRENGTHS
from training.manifest import Split, Utterance
from training.presets import TrainingConfig
from training.recipe import Recipe

TEXTS = ("one", "two words", "and three", "a b c", "dog", "cat sat", "hello", "it's")


def recipe(**training: object) -> Recipe:
    settings = {
        "epochs": 3,
        "batch_seconds": 2.0,
        "learning_rate": 1e-3,
        "checkpoint_minutes": 60.0,
    }
    return Recipe(
        audio=AudioConfig(),
        features=LOG_MEL_FEATURES,
        network=TINY_NETWORK,
        alphabet=Alphabet(),
        training=TrainingConfig(**{**settings, **training}),
        augmentation=STRENGTHS["none"],
    )


@pytest.fixture
def corpus(tmp_path: Path) -> list[Utterance]:
    """Eight clips of noise for training, two of them for validation as well."""
    draw = np.random.default_rng(3)
    utterances = []
    for i, text in enumerate(TEXTS):
        path = tmp_path / f"clip{i}.wav"
        count = int(draw.integers(12_000, 24_000))
        path.write_bytes(
            encode_native(draw.uniform(-0.5, 0.5, count).astype(np.float32), AudioConfig())
        )
        utterance = Utterance(
            id=f"noise/{i}",
            corpus="noise",
            speaker="noise/x",
            audio=str(path),
            text=text,
            num_samples=count,
            split=Split.train,
        )
        utterances.append(utterance)
        if i < 2:
            utterances.append(replace(utterance, split=Split.validation))
    return utterances


def stop_after(count: int) -> Callable[[], bool]:
    """Return a `should_stop` that lets `count` steps be done."""
    asked = iter(range(1, 1000))
    return lambda: next(asked) >= count

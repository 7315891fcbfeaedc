"""Batches: planned by length, decoded, and the same as each clip by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from config import AudioConfig, CorpusError, FeatureConfig
from speech.alphabet import Alphabet
from speech.audio import decode_native, write_native
from speech.features import extract_features
from training.dataset import Loader, Plan, plan_batches
from training.manifest import Split, Utterance

AUDIO = AudioConfig()
ALPHABET = Alphabet()
STFT = FeatureConfig(frame_length=64, frame_step=40, fft_length=64)
LOG_MEL = FeatureConfig(
    kind="log_mel", frame_length=200, frame_step=80, fft_length=256, num_mel_bands=8
)
LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=60)
SEEDS = st.integers(0, 2**32)


def as_lists(plan: Plan) -> list[list[int]]:
    """Return a plan as plain values."""
    return [batch.tolist() for batch in plan]


@given(LENGTHS, SEEDS, st.integers(1, 3000), st.booleans())
def test_every_clip_occurs_once_in_batches_of_bounded_size(
    lengths: list[int], seed: int, batch_samples: int, shuffle: bool
) -> None:
    plan = plan_batches(lengths, batch_samples=batch_samples, seed=seed, epoch=1, shuffle=shuffle)
    assert sorted(index for batch in plan for index in batch) == list(range(len(lengths)))
    for batch in plan:
        padded = max(lengths[index] for index in batch) * len(batch)
        assert padded <= batch_samples or len(batch) == 1


@given(LENGTHS, SEEDS, st.integers(0, 9))
def test_a_plan_is_a_function_of_its_arguments(lengths: list[int], seed: int, epoch: int) -> None:
    plans = [plan_batches(lengths, batch_samples=900, seed=seed, epoch=epoch) for _ in range(2)]
    assert as_lists(plans[0]) == as_lists(plans[1])


def test_seed_and_epoch_change_order_and_company(rng: np.random.Generator) -> None:
    lengths = rng.integers(100, 1000, 200).tolist()
    plans = [
        as_lists(plan_batches(lengths, batch_samples=5000, seed=seed, epoch=epoch))
        for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1)]
    ]
    companies = [{frozenset(batch) for batch in plan} for plan in plans]
    for i in range(1, 4):
        assert plans[i] != plans[0]
        assert len(companies[i] & companies[0]) < len(companies[0]) / 2


def test_clips_of_like_length_go_together(rng: np.random.Generator) -> None:
    lengths = rng.integers(100, 10_000, 500)
    plan = plan_batches(lengths.tolist(), batch_samples=100_000, seed=0, epoch=0)
    padded = sum(lengths[batch].max() * len(batch) for batch in plan)
    assert padded < 1.2 * lengths.sum()
    # In an order by chance the same batches would be mostly padding, so the bound says something.
    chance = np.split(rng.permutation(500), range(10, 500, 10))
    assert sum(lengths[batch].max() * len(batch) for batch in chance) > 1.5 * lengths.sum()


def test_batches_are_full_and_their_order_is_not_by_length(rng: np.random.Generator) -> None:
    lengths = rng.integers(400, 600, 300)
    plan = plan_batches(lengths.tolist(), batch_samples=6000, seed=0, epoch=0)
    assert np.median([len(batch) for batch in plan]) >= 9
    assert max(lengths[batch].max() * len(batch) for batch in plan) <= 6000
    longest = [int(lengths[batch].max()) for batch in plan]
    assert longest != sorted(longest)


def test_without_shuffling_clips_go_from_short_to_long() -> None:
    plan = plan_batches([30, 10, 20, 10], batch_samples=40, seed=5, epoch=7, shuffle=False)
    assert as_lists(plan) == [[1, 3], [2], [0]]


def make_utterances(
    folder: Path, rng: np.random.Generator, clips: list[tuple[int, str]]
) -> list[Utterance]:
    """Write noise of each number of samples and return its utterances."""
    utterances = []
    for i, (num_samples, text) in enumerate(clips):
        path = folder / f"{i}.wav"
        write_native(path, rng.uniform(-0.5, 0.5, num_samples).astype(np.float32), AUDIO)
        utterances.append(
            Utterance(
                id=f"noise/{i}",
                corpus="noise",
                speaker="nobody",
                audio=str(path),
                text=text,
                num_samples=num_samples,
                split=Split.train,
            )
        )
    return utterances


CLIPS = [(700, "a b"), (1, "it's"), (2300, "a longer text"), (1500, ""), (640, "zz"), (64, "x")]
PLAN = [np.array([4, 0]), np.array([3]), np.array([1, 2, 5])]


@pytest.mark.parametrize("features", [STFT, LOG_MEL])
def test_batches_hold_each_clips_own_features_and_labels(
    features: FeatureConfig, tmp_path: Path, rng: np.random.Generator
) -> None:
    utterances = make_utterances(tmp_path, rng, CLIPS)
    loader = Loader(utterances, audio=AUDIO, features=features, alphabet=ALPHABET)
    batches = list(loader.batches(PLAN).as_numpy_iterator())
    assert [y["index"].tolist() for _, y in batches] == as_lists(PLAN)
    for x, y in batches:
        assert x["features"].dtype == np.float32
        assert {x["num_frames"].dtype, y["labels"].dtype, y["label_lengths"].dtype} == {
            np.dtype("i4")
        }
        assert x["features"].shape[1] == x["num_frames"].max()
        assert y["labels"].shape[1] == y["label_lengths"].max()
        for i, index in enumerate(y["index"]):
            clip = decode_native(Path(utterances[index].audio).read_bytes(), AUDIO)
            expected, count = extract_features(
                tf.constant(clip[np.newaxis]),
                tf.constant([len(clip)]),
                features,
                sample_rate_hz=AUDIO.sample_rate_hz,
            )
            own = int(count[0])
            assert x["num_frames"][i] == own
            np.testing.assert_allclose(x["features"][i, :own], expected[0], rtol=0, atol=1e-4)
            assert not x["features"][i, own:].any()
            text = utterances[index].text
            assert y["label_lengths"][i] == len(text)
            assert ALPHABET.decode(y["labels"][i, : len(text)]) == text
            assert (y["labels"][i, len(text) :] == ALPHABET.blank_index).all()


def test_two_passes_and_more_workers_give_the_same(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    utterances = make_utterances(tmp_path, rng, CLIPS)
    passes = []
    for workers in (1, 1, 3):
        loader = Loader(utterances, audio=AUDIO, features=STFT, alphabet=ALPHABET, workers=workers)
        dataset = loader.batches(PLAN)
        passes.append([tf.nest.flatten(batch) for batch in dataset.as_numpy_iterator()])
    for other in passes[1:]:
        for batch, reference in zip(other, passes[0], strict=True):
            for array, expected in zip(batch, reference, strict=True):
                np.testing.assert_array_equal(array, expected)


def test_a_file_that_is_not_native_stops_training_with_its_message(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    utterances = make_utterances(tmp_path, rng, CLIPS[:2])
    write_native(tmp_path / "1.wav", np.zeros(9, np.float32), AudioConfig(sample_rate_hz=8000))
    loader = Loader(utterances, audio=AUDIO, features=STFT, alphabet=ALPHABET)
    dataset = loader.batches([np.array([0, 1])])
    with pytest.raises(tf.errors.InvalidArgumentError, match="8000 Hz; needed: 1 channel"):
        list(dataset)


def test_a_text_outside_the_alphabet_is_refused_at_once(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    utterances = make_utterances(tmp_path, rng, [(100, "Room 9")])
    with pytest.raises(CorpusError, match="'9' 'R'"):
        Loader(utterances, audio=AUDIO, features=STFT, alphabet=ALPHABET)

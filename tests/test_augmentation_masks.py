"""SpecAugment: how many masks, how wide, and where."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.test_augmentation import only
from training.augmentation import AugmentationConfig, augment_features


def masked(config: AugmentationConfig, num_frames: list[int], seed: int = 0) -> np.ndarray:
    """Return bool `[batch, frames, bins]`, true where ones became zeros."""
    ones = np.ones((len(num_frames), max(num_frames), 193), np.float32)
    new = augment_features(tf.constant(ones), tf.constant(num_frames), [seed, 1], config)
    assert set(np.unique(new)) <= {0.0, 1.0}
    return new.numpy() == 0


def runs(hits: np.ndarray) -> list[int]:
    """Return the lengths of the runs of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], hits.astype(int), [0]])))
    return (edges[1::2] - edges[::2]).tolist()


def test_frequency_masks_are_as_many_and_as_wide_as_said() -> None:
    config = only("frequency_mask_probability", max_frequency_mask_share=0.15)
    hits = masked(config, [40] * 300)
    assert (hits == hits[:, :1]).all()
    widths = [runs(clip[0]) for clip in hits]
    assert max(len(clip) for clip in widths) == 2
    assert max(sum(clip) for clip in widths) <= 2 * 28
    single = dataclasses.replace(config, frequency_masks=1)
    widest = [sum(runs(clip[0])) for clip in masked(single, [40] * 300)]
    assert max(widest) == int(0.15 * 193)
    assert np.mean(widest) == pytest.approx(14, abs=1.5)
    assert hits[:, 0, 0].any()
    assert hits[:, 0, -1].any()


def test_time_masks_grow_with_length_and_stay_in_the_clip() -> None:
    config = only(
        "time_mask_probability", frames_per_time_mask=100, max_time_mask_frames=14,
        max_time_mask_share=1.0,
    )  # fmt: skip
    for frames, most in ((50, 1), (199, 1), (1000, 10)):
        hits = masked(config, [frames] * 200)[:, :, 0]
        assert hits.any(axis=1).mean() > 0.9
        assert hits.sum(axis=1).max() <= 14 * most
        assert max(len(runs(clip)) for clip in hits) <= most
        assert max(max(runs(clip), default=0) for clip in hits) >= 14
        assert hits.sum() == pytest.approx(200 * most * 7, rel=0.2)


@pytest.mark.parametrize("seed", range(5))
def test_masks_do_not_depend_on_padding(seed: int) -> None:
    config = only("time_mask_probability", "frequency_mask_probability")
    alone = masked(config, [150, 450], seed)
    padded = np.ones((2, 900, 193), np.float32)
    lengths = tf.constant([150, 450])
    wide = augment_features(tf.constant(padded), lengths, [seed, 1], config).numpy() == 0
    np.testing.assert_array_equal(wide[:, :450], alone)


def test_a_short_clip_loses_no_more_than_its_share() -> None:
    config = only("time_mask_probability", max_time_mask_share=0.2)
    lost = [masked(config, [10, 60], seed)[0, :, 0].sum() for seed in range(30)]
    assert max(lost) == 2
    assert min(lost) == 0


def test_every_clip_has_masks_of_its_own() -> None:
    config = only("time_mask_probability", "frequency_mask_probability")
    assert (masked(config, [500], 1) != masked(config, [500], 2)).any()
    two = masked(config, [500, 500], 1)
    assert (two[0] != two[1]).any()

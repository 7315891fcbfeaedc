"""Features kept in files: the same batches, nothing stale, nothing half-written."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from config import CorpusError
from tests.runs import recipe, stop_after
from training import feature_cache
from training.augmentation import STRENGTHS
from training.dataset import Augmentation, Loader, plan_batches, plan_seeds
from training.feature_cache import FeatureCache, open_cache
from training.manifest import Utterance
from training.run import CHECKPOINT
from training.train import train

RECIPE = recipe()


def batches(corpus: list[Utterance], cache: FeatureCache | None, strength: str) -> tf.data.Dataset:
    lengths = [u.num_samples for u in corpus]
    plan = plan_batches(lengths, batch_samples=50_000, seed=1, epoch=0)
    seeds = plan_seeds(plan, seed=1, epoch=0)
    least = np.zeros(len(corpus), np.int32)
    loader = Loader(
        corpus,
        audio=RECIPE.audio,
        features=RECIPE.features,
        alphabet=RECIPE.alphabet,
        augmentation=Augmentation(STRENGTHS[strength], least),
        cache=cache,
    )
    return loader.batches(plan, seeds)


@pytest.mark.parametrize("strength", ["none", "masks"])
def test_batches_are_those_without_it_to_the_rounding_of_float16(
    corpus: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strength: str
) -> None:
    """In shards of a clip or two, read again by another process' worth of objects."""
    monkeypatch.setattr(feature_cache, "SHARD_BYTES", 20_000)
    done: list[tuple[int, int]] = []
    open_cache(tmp_path / "cache", corpus, RECIPE, lambda *at: done.append(at))
    assert done[-1] == (8, 8), "each clip once, though two are in both splits"
    shards = list((tmp_path / "cache").glob("*.npy"))
    assert len(shards) > 1
    assert all(np.load(shard).nbytes <= 20_000 for shard in shards)
    cache = open_cache(tmp_path / "cache", corpus, RECIPE, lambda *at: done.append(at))
    assert done.count((8, 8)) == 1, "made once"
    without, with_it = batches(corpus, None, strength), batches(corpus, cache, strength)
    assert with_it.element_spec == without.element_spec
    for (x, y), (cached_x, cached_y) in zip(without, with_it, strict=True):
        np.testing.assert_allclose(cached_x["features"], x["features"], rtol=2**-11, atol=1e-7)
        np.testing.assert_array_equal(cached_x["num_frames"], x["num_frames"])
        for name in y:
            np.testing.assert_array_equal(cached_y[name], y[name])


def test_training_is_near_that_without_it_and_resumes_exactly(
    corpus: list[Utterance], tmp_path: Path
) -> None:
    cache = open_cache(tmp_path / "cache", corpus, RECIPE)
    losses: dict[str, list[float]] = {"without": [], "whole": []}
    for name, used in (("without", None), ("whole", cache)):
        note = losses[name].append
        train(corpus, tmp_path / name, RECIPE, cache=used, on_step=lambda p, n=note: n(p.loss))
    np.testing.assert_allclose(losses["whole"], losses["without"], rtol=1e-3)
    train(corpus, tmp_path / "parts", RECIPE, cache=cache, should_stop=stop_after(4))
    train(corpus, tmp_path / "parts", RECIPE, cache=open_cache(tmp_path / "cache", corpus, RECIPE))
    with (
        np.load(tmp_path / "whole" / CHECKPOINT) as a,
        np.load(tmp_path / "parts" / CHECKPOINT) as b,
    ):
        for key in set(a.files) - {"about"}:
            np.testing.assert_array_equal(b[key], a[key], err_msg=key)


def test_a_cache_of_other_clips_or_settings_is_refused(
    corpus: list[Utterance], tmp_path: Path
) -> None:
    folder = tmp_path / "cache"
    open_cache(folder, corpus, RECIPE)
    with pytest.raises(CorpusError, match="other clips or settings"):
        open_cache(folder, corpus[:-1], RECIPE)
    with pytest.raises(CorpusError, match="other clips or settings"):
        open_cache(
            folder, corpus, replace(RECIPE, features=replace(RECIPE.features, frame_step=221))
        )
    open_cache(folder, corpus, RECIPE)
    os.utime(corpus[0].audio, ns=(1, 1))
    with pytest.raises(CorpusError, match="changed since; needed: remove it"):
        open_cache(folder, corpus, RECIPE)


def test_a_clip_that_is_not_in_it_is_named(corpus: list[Utterance], tmp_path: Path) -> None:
    cache = open_cache(tmp_path / "cache", corpus, RECIPE)
    with pytest.raises(CorpusError, match="no noise/new"):
        cache.rows_of([replace(corpus[0], id="noise/new")])


def test_no_clips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="needed: a training split"):
        open_cache(tmp_path / "cache", [], RECIPE)


def test_a_broken_clip_leaves_nothing(corpus: list[Utterance], tmp_path: Path) -> None:
    Path(corpus[3].audio).write_bytes(b"RIFF")
    with pytest.raises(CorpusError, match="if a clip was moved or changed"):
        open_cache(tmp_path / "here" / "cache", corpus, RECIPE)
    assert list((tmp_path / "here").iterdir()) == []


def test_an_interrupted_one_leaves_nothing(corpus: list[Utterance], tmp_path: Path) -> None:
    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_cache(tmp_path / "here" / "cache", corpus, RECIPE, interrupt)
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize("damage", ["no index", "cut shard", "no shard", "index is none"])
def test_a_broken_folder_is_refused(corpus: list[Utterance], tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "cache"
    open_cache(folder, corpus, RECIPE)
    shard, index = folder / "features-00000.npy", folder / feature_cache.INDEX
    if damage == "no index":
        index.unlink()
    elif damage == "index is none":
        index.write_text("[]")
    elif damage == "no shard":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(CorpusError, match=r"cannot use .*cache as a cache of features"):
        open_cache(folder, corpus, RECIPE)


@pytest.mark.parametrize("strength", ["mild", "strong"])
def test_changes_of_the_sound_are_refused(
    corpus: list[Utterance], tmp_path: Path, strength: str
) -> None:
    changed = replace(RECIPE, augmentation=STRENGTHS[strength])
    cache = open_cache(tmp_path / "cache", corpus, RECIPE)
    with pytest.raises(ValueError, match="needed: --augment none or masks"):
        open_cache(tmp_path / "cache", corpus, changed)
    with pytest.raises(ValueError, match="needed: --augment none or masks"):
        train(corpus, tmp_path / "run", changed, cache=cache)
    assert not (tmp_path / "run").exists()

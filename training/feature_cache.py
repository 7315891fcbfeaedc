"""Features that are computed once and kept in files, for machines that are slow to compute them.

A folder with `index.json` and shards `features-00000.npy`, float16 `[frames, bins]` of many clips
one after the other. Float16 rounds a feature by up to 1/2048 of itself; a second of audio takes
16 kB with the features of `small` and 53 kB with those of `deepspeech2`, as WAV it takes 44 kB.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from config import CorpusError
from speech.config_json import to_json
from training.augmentation import AugmentationConfig
from training.augmentation_changes import changes_of
from training.dataset import Loader, data_errors, plan_batches
from training.manifest import Split, Utterance
from training.recipe import Recipe

SHARD_BYTES = 256 * 2**20
INDEX = "index.json"

_BATCH_SECONDS = 120
_VERSION = 1

Progress = Callable[[int, int], None]


class FeatureCache:
    """The features of clips, read from a folder that `open_cache` made."""

    def __init__(self, folder: Path, index: dict[str, Any]) -> None:
        self._clips = {name: i for i, name in enumerate(index["clips"])}
        self._places = np.array(list(index["clips"].values()), np.int64).reshape(-1, 3)
        self._shards = [np.load(folder / name, mmap_mode="r") for name in index["shards"]]

    def rows_of(self, utterances: Sequence[Utterance]) -> NDArray[np.int64]:
        """Return where each clip is, int64 `[utterances]`.

        Raises:
            CorpusError: a clip is not in it.
        """
        if missing := [u.id for u in utterances if u.id not in self._clips]:
            raise CorpusError(
                f"the cache of features has no {missing[0]} (and {len(missing) - 1} more); "
                "needed: a cache of these clips, in another folder"
            )
        return np.array([self._clips[u.id] for u in utterances], np.int64)

    def inputs(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return float32 `[batch, frames, bins]`, zero beyond each clip's end, and int32 `[batch]`.

        Args:
            rows: int64 `[batch]`, of `rows_of`.
        """
        x, num_frames = tf.numpy_function(self._read, [rows], (tf.float32, tf.int32))
        x.set_shape([None, None, self._shards[0].shape[1]])
        num_frames.set_shape([None])
        return x, num_frames

    def _read(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        places = self._places[rows]
        num_frames = places[:, 2].astype(np.int32)
        x = np.zeros((len(rows), num_frames.max(), self._shards[0].shape[1]), np.float32)
        for clip, (shard, start, count) in zip(x, places, strict=True):
            clip[:count] = self._shards[shard][start : start + count]
        return x, num_frames


def check_augmentation(config: AugmentationConfig) -> None:
    """Raise `ValueError` if `config` changes waveforms, which a cache does not have."""
    if any(probability for probability, _ in changes_of(config)):
        raise ValueError(
            "got an augmentation that changes the sound, and a cache, which holds features; "
            "needed: --augment none or masks, or no --cache"
        )


def open_cache(
    folder: Path, utterances: list[Utterance], recipe: Recipe, progress: Progress | None = None
) -> FeatureCache:
    """Return the cache in `folder`; make it first if there is no such folder.

    It is made beside `folder` and renamed when it is whole.

    Args:
        utterances: of a manifest; those to test with, and those too long to train on, are left out.
        recipe: of the run that will use it.
        progress: called with clips done and the total.

    Raises:
        ValueError: the recipe's augmentation changes the sound.
        CorpusError: the folder holds something else, or features of other clips, of clips that
            were changed, or of other settings; or it cannot be written; or a clip cannot be read.
    """
    check_augmentation(recipe.augmentation)
    longest = recipe.training.max_clip_s * recipe.audio.sample_rate_hz
    heard = (u for u in utterances if u.split != Split.test and u.num_samples <= longest)
    clips = list({u.id: u for u in heard}.values())
    if not clips:
        raise CorpusError("got no clip to keep features of; needed: a training split")
    try:
        key = _key(clips, recipe)
        if not folder.exists():
            _make(folder, clips, recipe, key, progress)
    except OSError as error:
        raise CorpusError(f"cannot make a cache of features in {folder}: {error}") from error
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if index["key"] == key:
            return FeatureCache(folder, index)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorpusError(
            f"cannot use {folder} as a cache of features ({error}); needed: a folder that a "
            "former run made with --cache, or a new one"
        ) from error
    raise CorpusError(
        f"{folder} holds features of other clips or settings, or clips were changed since; "
        "needed: remove it, or another folder"
    )


def _make(
    folder: Path, clips: list[Utterance], recipe: Recipe, key: str, progress: Progress | None
) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as beside:
        shards = _Shards(Path(beside) / "new", clips)
        with data_errors():
            shards.fill(recipe, progress)
        shards.write_index(key)
        shards.folder.rename(folder)


class _Shards:
    """Writes features to files of bounded size."""

    def __init__(self, folder: Path, utterances: list[Utterance]) -> None:
        folder.mkdir()
        self.folder, self.utterances = folder, utterances
        self.places: dict[str, tuple[int, int, int]] = {}
        self.names: list[str] = []
        self.waiting: list[NDArray[np.float16]] = []
        self.num_frames = 0

    def fill(self, recipe: Recipe, progress: Progress | None) -> None:
        """Extract all clips, the shortest first."""
        audio, features = recipe.audio, recipe.features
        plan = plan_batches(
            [u.num_samples for u in self.utterances],
            batch_samples=_BATCH_SECONDS * audio.sample_rate_hz,
            seed=0,
            epoch=0,
            shuffle=False,
        )
        loader = Loader(self.utterances, audio=audio, features=features, alphabet=recipe.alphabet)
        most = SHARD_BYTES // (2 * features.num_bins)
        for x, y in loader.batches(plan).as_numpy_iterator():
            for clip, count, index in zip(x["features"], x["num_frames"], y["index"], strict=True):
                if self.num_frames + count > most:
                    self._write()
                place = len(self.names), self.num_frames, int(count)
                self.places[self.utterances[index].id] = place
                self.waiting.append(clip[:count].astype(np.float16))
                self.num_frames += int(count)
            if progress:
                progress(len(self.places), len(self.utterances))
        self._write()

    def _write(self) -> None:
        if self.waiting:
            self.names.append(f"features-{len(self.names):05d}.npy")
            np.save(self.folder / self.names[-1], np.concatenate(self.waiting))
            self.waiting, self.num_frames = [], 0

    def write_index(self, key: str) -> None:
        """Say which clip is where: its shard, its first frame there, its number of frames."""
        index = {"key": key, "shards": self.names, "clips": self.places}
        (self.folder / INDEX).write_text(json.dumps(index), encoding="utf-8")


def _key(clips: list[Utterance], recipe: Recipe) -> str:
    """Return a SHA-256 of what decides the features; of a file, its length and time of change."""
    about = [_VERSION, to_json(recipe.audio), to_json(recipe.features)]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for u in sorted(clips, key=lambda u: u.id):
        changed_ns = Path(u.audio).stat().st_mtime_ns
        digest.update(f"{u.id}\0{u.num_samples}\0{changed_ns}\n".encode())
    return digest.hexdigest()

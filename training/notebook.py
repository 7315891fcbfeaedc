"""What the notebook does, apart from what it shows: choices, folders, corpora, training."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from shutil import make_archive
from typing import Any

import numpy as np
import tensorflow as tf

from config import BUNDLED_MODEL, AudioConfig, SpeechToTextError
from speech.alphabet import Alphabet
from speech.audio import Waveform, decode_native
from speech.pipeline import FILE_NAME
from training.checkpoint import read_state
from training.corpus import PrepareConfig, prepare
from training.corpus_report import to_markdown, write_report
from training.cost import device_name
from training.download import LJSPEECH_FOLDER, download_ljspeech
from training.manifest import Split, Utterance
from training.notebook_views import Line, show_markdown
from training.presets import PRESETS
from training.recipe import Recipe, recipe_of
from training.run import BEST, CHECKPOINT
from training.sample_download import download_sample
from training.train import is_finished
from training.train import train as run_training
from training.validation import Validation
from training.watcher import Progress

FIVE_MINUTES_CLIPS = 100
_FIVE_MINUTES_SHARES = {Split.train: 0.8, Split.validation: 0.1, Split.test: 0.1}
_DRIVE = "/content/drive"  # where Colab mounts it


class TrainingStoppedError(SpeechToTextError):
    """Training was interrupted: the cells below must not take a part of it for the whole."""

    def _render_traceback_(self) -> list[str]:
        """Let a notebook show the message alone."""
        return [f"STOPPED\n\n{self}"]


def describe_device() -> str:
    """Return what training will run on, and without a GPU what to do."""
    if tf.config.list_physical_devices("GPU"):
        return f"Training will run on {device_name()}."
    return (
        f"No GPU: training will run on {device_name()}. FIVE_MINUTES works without one; what a "
        "full run would take is measured below. In Colab: Runtime > Change runtime type > T4 GPU, "
        "then run all cells again. On your own machine: an NVIDIA card with its driver."
    )


def mount_drive() -> Path | None:
    """Mount Google Drive in Colab and return its folder; None where there is none."""
    if (drive := _colab("drive")) is None:
        return None
    try:
        drive.mount(_DRIVE)
    except Exception as error:  # whatever Colab raises if its user declines
        print(
            f"WARNING: Drive is not mounted ({error}). Checkpoints stay on this machine's disk and "
            "are lost with the runtime."
        )
        return None
    return Path(_DRIVE) / "MyDrive"


def choose_run_folder(
    checkpoint_dir: str, *, base: Path, five_minutes: bool, load_checkpoint: bool
) -> Path:
    """Return the folder of a run below `base`, and say what is there.

    A run of five minutes has a folder of its own. Without `load_checkpoint` what is there is moved
    aside, not overwritten.
    """
    folder = base / checkpoint_dir
    if five_minutes:
        folder = folder.with_name(f"{folder.name}-five-minutes")
    is_there = any((folder / name).exists() for name in (CHECKPOINT, BEST))
    if is_there and not load_checkpoint:  # whatever its state: it may be broken
        aside = folder.with_name(f"{folder.name}-until-{time.strftime('%Y%m%d-%H%M%S')}")
        folder.rename(aside)
        print(f"LOAD_CHECKPOINT is off: the earlier run is now in {aside}")
    if state := read_state(folder / CHECKPOINT):
        print(
            f"{folder}: goes on in epoch {state.epoch + 1} after {state.batch} of its steps; "
            f"the best WER so far is {state.best_wer:.3f}"
        )
    else:
        print(f"{folder}: a new run")
    return folder


def make_recipe(
    preset: str, *, epochs: int, augment: str = "none", init_from: Path | None = None
) -> Recipe:
    """Return what `stt train` would use for these options; a checkpoint every five minutes."""
    return recipe_of(
        preset,
        Alphabet(),
        augment=augment,
        epochs=epochs,
        init_from=str(init_from) if init_from else None,
        checkpoint_minutes=5.0,
    )


def five_minutes_recipe() -> Recipe:
    """Return a recipe that goes on from the bundled model: from nothing only blanks would come."""
    recipe = make_recipe("small", epochs=3, init_from=BUNDLED_MODEL)
    training = replace(recipe.training, learning_rate=3e-4, batch_seconds=80.0)
    return replace(recipe, training=training)


def recipe_to_time(full: Recipe, *, five_minutes: bool) -> Recipe:
    """Return the recipe whose steps are timed: `full`, or a smaller one where that has no time."""
    if not five_minutes or tf.config.list_physical_devices("GPU"):
        return full
    print("FIVE_MINUTES and no GPU: the preset small is timed; deepspeech2 takes far longer.")
    small = PRESETS["small"]
    return replace(full, features=small.features, network=small.network)


def get_corpus(corpus: str, data: Path, *, five_minutes: bool) -> Path:
    """Return the folder of `corpus`; if it is empty of LJSpeech, which is downloaded to `data`.

    For five minutes without the whole corpus only its first clips are downloaded.
    """
    if corpus:
        return Path(corpus)
    if five_minutes and not (data / LJSPEECH_FOLDER / "metadata.csv").is_file():
        return download_sample(data, num_clips=FIVE_MINUTES_CLIPS, progress=Line("clips"))
    return download_ljspeech(data, progress=Line("downloading LJSpeech", scale=1e-6, unit="MB"))


def prepare_corpus(
    corpus: Path, output: Path, recipe: Recipe, *, five_minutes: bool
) -> list[Utterance]:
    """Check and split a corpus as `stt prepare` does, show the report, return the utterances."""
    share = 0.1 if five_minutes else 0.02
    config = PrepareConfig(
        audio=recipe.audio,
        alphabet=recipe.alphabet,
        features=recipe.features,
        network=recipe.network,
        validation_share=share,
        test_share=share,
    )
    prepared = prepare([corpus], output, config, Line("clips checked"))
    show_markdown(to_markdown(write_report(output, prepared, recipe.audio)))
    if not five_minutes:
        return prepared.utterances
    return take(prepared.utterances, FIVE_MINUTES_CLIPS)


def take(utterances: Sequence[Utterance], count: int) -> list[Utterance]:
    """Return about `count` utterances at most, the first ones of each split."""
    if len(utterances) <= count:
        return list(utterances)
    return [
        utterance
        for split, share in _FIVE_MINUTES_SHARES.items()
        for utterance in of_split(utterances, split)[: max(1, round(share * count))]
    ]


def of_split(utterances: Sequence[Utterance], split: str) -> list[Utterance]:
    """Return the utterances of one split."""
    return [u for u in utterances if u.split == split]


def hours_to_train(utterances: Sequence[Utterance], audio: AudioConfig) -> float:
    """Return the hours of the training and validation splits."""
    counted = [u.num_samples for u in utterances if u.split is not Split.test]
    return sum(counted) / audio.sample_rate_hz / 3600


def load_clip(utterance: Utterance, audio: AudioConfig) -> Waveform:
    """Return float32 `[samples]` of an utterance."""
    return decode_native(Path(utterance.audio).read_bytes(), audio)


def train(
    utterances: Sequence[Utterance],
    folder: Path,
    recipe: Recipe,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train in `folder`, or go on there, to the end; show where the run is.

    Raises:
        TrainingStoppedError: `should_stop` said so before the end; all is saved.
    """
    line, started = Line(""), time.monotonic()
    first: list[int] = []

    def on_step(p: Progress) -> None:
        first[:] = first or [p.step - 1]
        step_s = (time.monotonic() - started) / (p.step - first[0])
        left_min = step_s * (p.steps - p.step) / 60
        line.write(
            f"epoch {p.epoch} of {p.epochs}, step {p.step} of {p.steps}, loss {p.loss:.3f}, "
            f"{step_s:.2f} s a step, {left_min:.0f} min left"
        )

    run_training(
        list(utterances),
        folder,
        recipe,
        on_step=on_step,
        on_epoch=_print_epoch,
        on_note=print,
        should_stop=should_stop,
    )
    line.finish()
    if not is_finished(folder, recipe):
        raise TrainingStoppedError(
            "Training is not finished, and saved: run this cell again to go on. The cells below "
            "were not run; by hand they use the best weights so far, once an epoch is done."
        )
    print("all epochs are done")


def _print_epoch(epoch: int, loss: float, result: Validation) -> None:
    print(f"epoch {epoch}: loss {loss:.3f}, WER {result.wer:.3f}, CER {result.cer:.3f}")
    for _, reference, hypothesis in result.samples[:1]:
        print(f"   ref {reference}\n   hyp {hypothesis}")
    if result.warning:
        print(f"   {result.warning}")


def transcribe_exported(version: Path, wav_bytes: bytes) -> str:
    """Return what a client of TensorFlow Serving would get: WAV in, text out, nothing between."""
    signature = tf.saved_model.load(str(version)).signatures["transcribe"]
    answer = signature(wav_bytes=tf.constant(np.array([wav_bytes])))
    text, error = (answer[name].numpy()[0].decode() for name in ("text", "error"))
    return f"refused: {error}" if error else text


def pack(model: Path, version: Path, target: Path) -> Path:
    """Write `target.zip` with all that using a model takes; in Colab offer it for download."""
    path = Path(make_archive(str(target), "zip", model, str(version.relative_to(model))))
    with zipfile.ZipFile(path, "a") as archive:
        for name in (BEST, FILE_NAME):
            archive.write(model / name, name)
    if (files := _colab("files")) is not None:
        files.download(str(path))
    return path


def _colab(name: str) -> Any | None:
    """Return a module of Colab's; None elsewhere."""
    try:
        return import_module(f"google.colab.{name}")
    except ImportError:
        return None

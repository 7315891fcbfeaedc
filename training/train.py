"""Train a network: resumable to the step, the best weights kept by validation error rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from config import ModelError
from training.checkpoint import read_state
from training.dataset import data_errors
from training.feature_cache import FeatureCache, check_augmentation
from training.manifest import Split, Utterance
from training.recipe import Recipe
from training.run import BEST, CHECKPOINT, Run
from training.selection import select_utterances
from training.tracking import Tracker, parameters_of, tracking
from training.validation import Validation
from training.watcher import Hooks, Progress


def train(
    utterances: list[Utterance],
    output: Path,
    recipe: Recipe,
    *,
    on_step: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[int, float, Validation], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    trackers: Sequence[Tracker] = (),
    cache: FeatureCache | None = None,
) -> Path:
    """Train on the training split, or go on where an earlier run in `output` stopped.

    `output` gets `checkpoint.npz` (the whole state), `model.keras` with its `pipeline.json` (the
    weights of the lowest validation WER, CER where that ties), each written beside and renamed;
    and `log.csv`, `samples.jsonl` and `tensorboard/`, which grow. On a CPU a run that was stopped
    and continued equals one that was not, to the last bit.

    Args:
        utterances: of a manifest; needs a training and a validation split.
        on_note: told what is left out of the splits, and why, and of a tracker that fails.
        should_stop: asked after each step; the state is saved before this call returns.
        trackers: get parameters, metrics, sample transcripts and the best model; a run that goes
            on goes on in them too.
        cache: features of the clips, which are then not computed from the audio.

    Returns:
        The path of the best model.

    Raises:
        ValueError: with `cache`, an augmentation that changes the sound.
        CorpusError: a split is empty, a file is missing or was changed, or the loss of an
            utterance is not finite.
        ModelError: `output` holds a run with other settings or data, or a model without its run.
    """
    if cache:
        check_augmentation(recipe.augmentation)
    if (output / BEST).exists() and not (output / CHECKPOINT).exists():
        raise ModelError(
            f"{output} holds a model without the checkpoint that would continue it; "
            "needed: another folder"
        )
    train_split, validation_split = (
        select_utterances(
            utterances,
            split,
            features=recipe.features,
            network=recipe.network,
            alphabet=recipe.alphabet,
            max_samples=recipe.training.max_clip_s * recipe.audio.sample_rate_hz,
            repeat=dict(recipe.training.repeat),
            on_note=on_note,
        )
        for split in (Split.train, Split.validation)
    )
    run = Run(train_split, validation_split, output, recipe, cache)
    if run.num_new_symbols and on_note:
        on_note(f"symbols new to {recipe.training.init_from}: {run.num_new_symbols}")
    tracked = tracking(
        trackers if run.replicas.is_chief else (),
        output,
        parameters=parameters_of(recipe, train_split, validation_split),
        clips={utterance.id: Path(utterance.audio) for utterance in validation_split},
        is_finished=lambda: is_finished(output, recipe),
        on_note=on_note,
    )
    with data_errors(), tracked as follow:

        def after_epoch(epoch: int, loss: float, result: Validation) -> None:
            if on_epoch:
                on_epoch(epoch, loss, result)
            follow()

        return run.go(Hooks(on_step=on_step, on_epoch=after_epoch, should_stop=should_stop))


def is_finished(output: Path, recipe: Recipe) -> bool:
    """Return whether the run in `output` has done all its epochs, or has run out of patience."""
    state = read_state(output / CHECKPOINT)
    return state is not None and (
        state.epoch >= recipe.training.epochs or state.is_out_of(recipe.training.patience)
    )

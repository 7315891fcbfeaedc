"""`stt find-learning-rate`: which peak suits a network and its data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli_choices import PresetName, PresetOption, Strength
from cli_training import read_alphabet
from quiet_start import start_tensorflow
from terminal import bar, exit_codes, say

PLOT = "learning_rate.png"


def find_learning_rate(
    manifest: Annotated[Path, typer.Argument(help="What `stt prepare` wrote.")],
    output: Annotated[Path, typer.Option(help="Folder of the plot.")],
    preset: PresetOption = PresetName.small,
    init_from: Annotated[
        Path | None, typer.Option(help="Folder of the model to start from; it sets the network.")
    ] = None,
    augment: Annotated[Strength, typer.Option(help="As in training.")] = Strength.none,
    alphabet: Annotated[
        Path | None, typer.Option(help="If not the one that prepare wrote beside MANIFEST.")
    ] = None,
    batch_seconds: Annotated[
        float | None, typer.Option(help="Audio a batch, padding in it.")
    ] = None,
    dropout: Annotated[float | None, typer.Option(help="If not the network's own.")] = None,
    steps: Annotated[int, typer.Option(min=10, help="How many rates are tried.")] = 100,
    lowest: Annotated[float, typer.Option(help="The first rate.")] = 1e-6,
    highest: Annotated[float, typer.Option(help="The last rate, unless the loss breaks.")] = 0.1,
) -> None:
    """Raise the learning rate step by step until the loss breaks; suggest a peak, plot the rest.

    Example: `stt find-learning-rate Data/mine --output Models/mine`
    """
    with exit_codes():
        start_tensorflow()
        from training.learning_rate import find_learning_rate as find
        from training.learning_rate import plot_rates, steps_of
        from training.manifest import read_manifest
        from training.recipe import recipe_of

        recipe = recipe_of(
            preset,
            read_alphabet(alphabet, manifest),
            augment=augment,
            dropout=dropout,
            init_from=str(init_from) if init_from else None,
            batch_seconds=batch_seconds,
        )
        train_step, batches = steps_of(read_manifest(manifest), recipe)
        with bar("raising the rate") as progress:
            found = find(
                train_step, batches, lowest=lowest, highest=highest, steps=steps, progress=progress
            )
        plot_rates(found, output / PLOT)
        say(f"suggested: --learning-rate {found.suggestion:.1e}; {output / PLOT} shows why")

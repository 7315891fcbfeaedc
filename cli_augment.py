"""`stt augment-preview`: what training may do to a clip, to be seen and heard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quiet_start import start_tensorflow
from terminal import bar, exit_codes, say


def augment_preview(
    clip: Annotated[Path, typer.Argument(help="Any audio that libsndfile opens.")],
    output: Annotated[Path, typer.Option(help="Folder of the pictures and WAV files.")] = Path(
        "augment-preview"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Other seeds, other changes.")] = 0,
    noises: Annotated[
        Path | None, typer.Option(help="Folder of recordings, added as noise too.")
    ] = None,
) -> None:
    """Show what training does to CLIP with `--augment strong`: a picture and a WAV of each change.

    Example: `stt augment-preview Data/samples/sample.wav --output preview`
    """
    with exit_codes():
        start_tensorflow()
        from config import AudioConfig
        from speech.audio import decode_any
        from training.augmentation_preview import write_preview

        waveform = decode_any(clip, AudioConfig())
        with bar("augmenting") as progress:
            overview = write_preview(
                waveform, output, seed=seed, noises=noises, audio=AudioConfig(), progress=progress
            )
        say(f"{overview}: an overview; beside it a picture and a WAV of each change")

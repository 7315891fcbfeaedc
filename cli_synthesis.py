"""The commands of `stt` that make speech to train on: synthesise, recombine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli_training import CONTINUES
from config import BUNDLED_MODEL
from quiet_start import start_tensorflow
from terminal import bar, errors, exit_codes, say

Tables = Annotated[
    list[Path], typer.Argument(help="id|text, id|raw|normalised, or a .tsv: id TAB text.")
]


def synthesise(
    tables: Tables,
    output: Annotated[Path, typer.Option(help="Folder of the new corpus.")] = Path(
        "Data/synthetic"
    ),
    clips: Annotated[int, typer.Option(min=1, help="How many clips.")] = 6000,
    share: Annotated[
        list[float] | None, typer.Option(help="Of the clips, once a table; equal if not given.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Chooses texts, voices, speed and pitch.")] = 0,
) -> None:
    """Make speech from transcripts with flite, espeak-ng, and festival's voices if installed.

    Example: `stt synthesise Data/LJSpeech-1.1/metadata.csv --clips 6000`
    """
    from training.synthesis import SynthesisConfig, draw_texts, notes_on_missing, read_texts
    from training.synthesis import synthesise as synthesise_corpus

    with exit_codes(interrupted=CONTINUES):
        config = SynthesisConfig(num_clips=clips, seed=seed)
        texts = draw_texts([read_texts(table) for table in tables], config, share or ())
        for note in notes_on_missing():
            errors.print(note, soft_wrap=True)
        with bar("speaking") as progress:
            made = synthesise_corpus(texts, output, config, progress)
        say(f"{output}: {made} clips")


def recombine(
    manifest: Annotated[Path, typer.Argument(help="What `stt prepare` wrote.")],
    tables: Tables,
    output: Annotated[Path, typer.Option(help="Folder of the new corpus.")] = Path(
        "Data/recombined"
    ),
    model: Annotated[
        Path, typer.Option(help="Folder of the model that finds the words.")
    ] = BUNDLED_MODEL,
    clips: Annotated[int, typer.Option(min=1, help="How many clips.")] = 8000,
    leave_out: Annotated[
        list[str] | None, typer.Option(help="A corpus whose clips are not used.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Chooses speakers, texts and pieces.")] = 0,
) -> None:
    """Let the speakers of MANIFEST say the texts of TABLES, with words cut out of their clips.

    Example: `stt recombine Data/real Data/LJSpeech-1.1/metadata.csv --clips 8000`
    """
    with exit_codes():
        start_tensorflow()
        from serving.local import LocalBackend
        from speech.alphabet import normalise
        from training.manifest import Split, read_manifest
        from training.recombination import RecombinationConfig, find_words
        from training.recombination import recombine as recombine_corpus
        from training.synthesis import read_texts

        backend = LocalBackend(model)
        audio, alphabet = backend.pipeline.audio, backend.pipeline.alphabet
        utterances = read_manifest(manifest)
        held_out = {u.text for u in utterances if u.split != Split.train}
        used = [
            u for u in utterances if u.split == Split.train and u.corpus not in (leave_out or ())
        ]
        read = [text for table in tables for text in read_texts(table).values()]
        texts = [text for text in (normalise(raw, alphabet) for raw in read) if text]
        with bar("finding words") as progress:
            speakers = find_words(used, backend.log_probs, alphabet, audio, progress)
        with bar("joining words") as progress:
            made = recombine_corpus(
                speakers,
                [text for text in texts if text not in held_out],
                output,
                audio,
                RecombinationConfig(num_clips=clips, seed=seed),
                progress,
            )
        say(f"{output}: {made} clips")

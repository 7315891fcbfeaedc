"""The commands of `stt` that make a model: prepare, train, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli_choices import (
    ExportFormat,
    ExportPrecision,
    PresetName,
    PresetOption,
    Strategy,
    Strength,
    TrackerName,
    TrainingPrecision,
)
from config import CorpusError
from quiet_start import start_tensorflow
from terminal import INTERRUPTED, bar, console, errors, exit_codes, say, stop_signals, training_bar

CONTINUES = "interrupted; the same command continues"
ALPHABET_FILE = "alphabet.txt"

app = typer.Typer(
    help="Speech to text that you own: train, measure and serve DeepSpeech2.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.command()
def prepare(
    corpora: Annotated[list[Path] | None, typer.Argument(help="Folders or tables.")] = None,
    output: Annotated[Path, typer.Option(help="Folder of the manifest.")] = Path("Data/prepared"),
    preset: PresetOption = PresetName.small,
    alphabet: Annotated[
        Path | None, typer.Option(help="A symbol a line; English if not given.")
    ] = None,
    validation_share: Annotated[float, typer.Option(help="Of texts, by hash.")] = 0.02,
    test_share: Annotated[float, typer.Option(help="Of texts, by hash.")] = 0.02,
    download: Annotated[bool, typer.Option(help="Fetch LJSpeech (2.7 GB) to Data/ first.")] = False,
) -> None:
    """Import CORPORA into one manifest: convert, check, split and report.

    Example: `stt prepare Data/LJSpeech-1.1 --output Data/ljspeech`
    """
    from speech.alphabet import Alphabet
    from speech.audio import write_atomically
    from training.corpus import PrepareConfig
    from training.corpus import prepare as prepare_corpora
    from training.corpus_report import report_table, write_report
    from training.presets import PRESETS

    with exit_codes(interrupted=CONTINUES):
        folders = list(corpora or [])
        if download:
            folders.append(_download_ljspeech())
        if not folders:
            raise CorpusError("got no corpus; needed: a folder, a table, or --download")
        config = PrepareConfig(
            alphabet=Alphabet.read(alphabet) if alphabet else Alphabet(),
            features=PRESETS[preset].features,
            network=PRESETS[preset].network,
            validation_share=validation_share,
            test_share=test_share,
        )
        with bar("preparing") as progress:
            prepared = prepare_corpora(folders, output, config, progress)
        write_atomically(output / ALPHABET_FILE, config.alphabet.to_lines())
        console.print(report_table(write_report(output, prepared, config.audio)))
        say(f"{output / 'manifest.jsonl'}: {len(prepared.utterances)} utterances")


def _download_ljspeech() -> Path:
    from training.download import download_ljspeech

    with bar("downloading LJSpeech, then unpacking it", of_bytes=True) as progress:
        return download_ljspeech(Path("Data"), progress=progress)


@app.command()
def train(
    manifest: Annotated[Path, typer.Argument(help="What `stt prepare` wrote.")],
    output: Annotated[Path, typer.Option(help="Folder of the model; continues what is there.")],
    preset: PresetOption = PresetName.small,
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The peak.")] = None,
    batch_seconds: Annotated[
        float | None, typer.Option(help="Audio a batch, padding in it.")
    ] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    repeat: Annotated[
        list[str] | None, typer.Option(help="`corpus=N`: its clips N times an epoch.")
    ] = None,
    alphabet: Annotated[
        Path | None, typer.Option(help="If not the one that prepare wrote beside MANIFEST.")
    ] = None,
    init_from: Annotated[
        Path | None, typer.Option(help="Folder of the model to start from; it sets the network.")
    ] = None,
    augment: Annotated[
        Strength, typer.Option(help="How far clips are changed, anew each time.")
    ] = Strength.none,
    noises: Annotated[
        Path | None, typer.Option(help="Folder of recordings that --augment adds as noise.")
    ] = None,
    dropout: Annotated[float | None, typer.Option(help="If not the network's own.")] = None,
    average: Annotated[
        float | None, typer.Option(help="Keep a running mean of the weights, as with 0.999.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many epochs without a better one.")
    ] = None,
    sort_first_epoch: Annotated[
        bool | None, typer.Option("--sort-first-epoch", help="Shortest clips first.")
    ] = None,
    accumulate: Annotated[
        int | None, typer.Option(help="Batches a step, for a small memory.")
    ] = None,
    precision: Annotated[
        TrainingPrecision | None, typer.Option(help="Of what is computed, not of what is kept.")
    ] = None,
    xla: Annotated[bool | None, typer.Option("--xla", help="Compile the step.")] = None,
    strategy: Annotated[
        Strategy | None, typer.Option(help="Share the work: mirrored, GPUs; multi-worker, hosts.")
    ] = None,
    track: Annotated[
        list[TrackerName] | None,
        typer.Option(help="Follow the run there; may be given twice. TensorBoard always does."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Keep features in this folder; not with changes of sound.")
    ] = None,
) -> None:
    """Train on MANIFEST; run the same line again to continue after any stop.

    Example: `stt train Data/ljspeech --output Models/mine --epochs 50`
    """
    with exit_codes(interrupted=CONTINUES):
        start_tensorflow()
        from training.manifest import read_manifest
        from training.recipe import recipe_of
        from training.tracking import make_tracker
        from training.train import is_finished
        from training.train import train as run_training

        recipe = recipe_of(
            preset,
            read_alphabet(alphabet, manifest),
            augment=augment,
            noises=noises,
            dropout=dropout,
            epochs=epochs,
            learning_rate=learning_rate,
            batch_seconds=batch_seconds,
            seed=seed,
            repeat=_parse_repeat(repeat) if repeat else None,
            init_from=str(init_from) if init_from else None,
            average_decay=average,
            patience=patience,
            sort_first_epoch=sort_first_epoch,
            accumulate=accumulate,
            precision=precision.value if precision else None,
            jit_compile=xla,
            strategy=strategy.value if strategy else None,
        )
        trackers = [make_tracker(name, output) for name in dict.fromkeys(track or ())]
        utterances = read_manifest(manifest)
        features = _open_cache(cache, utterances, recipe) if cache else None
        with training_bar() as (on_step, on_epoch), stop_signals() as should_stop:
            best = run_training(
                utterances,
                output,
                recipe,
                on_step=on_step,
                on_epoch=on_epoch,
                on_note=say,
                should_stop=should_stop,
                trackers=trackers,
                cache=features,
            )
        if not is_finished(output, recipe):
            errors.print("stopped and saved; the same command continues")
            raise typer.Exit(INTERRUPTED)
        say(f"{best}: next, `stt export {output}`")
        if init_from and (init_from / "language_model").exists():
            say(f"the language model of {init_from} is not carried over: docs/training.md says how")


def _open_cache(folder: Path, utterances: list[Any], recipe: Any) -> Any:
    from training.feature_cache import open_cache

    with bar("extracting features") as progress:
        return open_cache(folder, utterances, recipe, progress)


def read_alphabet(alphabet: Path | None, manifest: Path) -> Any:
    """Return the alphabet in a file; if none is given, of the manifest, or English."""
    from speech.alphabet import Alphabet

    prepared = folder_of(manifest) / ALPHABET_FILE
    file = alphabet or (prepared if prepared.exists() else None)
    return Alphabet.read(file) if file else Alphabet()


def _parse_repeat(values: list[str]) -> tuple[tuple[str, int], ...]:
    pairs = [value.rpartition("=") for value in values]
    if not all(name and count.isdecimal() for name, _, count in pairs):
        raise ValueError(f"--repeat got {values}; needed: corpus=N")
    return tuple((name, int(count)) for name, _, count in pairs)


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="Folder that `stt train` wrote.")],
    precision: Annotated[
        ExportPrecision,
        typer.Option(
            help="Of the weights. float16 and bfloat16 halve the files, int8 quarters them; "
            "bfloat16 also computes batches faster where the processor has it."
        ),
    ] = ExportPrecision.float32,
    to: Annotated[
        Path | None, typer.Option(help="Write into this folder, with all that a model needs.")
    ] = None,
    form: Annotated[
        ExportFormat, typer.Option("--format", help="LiteRT is for phones and small boards.")
    ] = ExportFormat.saved_model,
) -> None:
    """Write the next SavedModel version of MODEL, or a LiteRT model into its folder `litert`.

    Example: `stt export Models/mine`, `stt export Models/mine --format litert --precision int8`
    """
    with exit_codes(), errors.status("exporting"):
        if form is ExportFormat.litert and to:
            raise ValueError(
                f"got --format litert and --to {to}; needed: no --to, it goes to MODEL/litert"
            )
        start_tensorflow()
        if form is ExportFormat.litert:
            from training.litert import export_litert

            print(export_litert(model, precision=precision.value))
            return
        from training.export import export as export_model

        print(export_model(model, precision=precision.value, to=to))


def folder_of(manifest: Path) -> Path:
    """Return the folder that a manifest argument names."""
    return manifest if manifest.is_dir() else manifest.parent

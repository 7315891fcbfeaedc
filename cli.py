"""The `stt` command: prepare, synthesise, train, evaluate, export, transcribe, serve."""

from __future__ import annotations

import glob
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from config import PRESETS, AudioError, CorpusError, ModelError, ServerConfig, SpeechToTextError
from quiet_start import start_tensorflow
from training.manifest import Split

app = typer.Typer(
    help="Speech to text that you own: train, measure and serve DeepSpeech2.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
console = Console()
errors = Console(stderr=True)

EXIT_CODES: list[tuple[type[Exception], int]] = [
    (AudioError, 3),
    (CorpusError, 4),
    (ModelError, 5),
    (SpeechToTextError, 1),
    (ValueError, 2),
]


class TextFormat(StrEnum):
    """How `transcribe` prints."""

    text = "text"
    json = "json"


class PresetName(StrEnum):
    """Features and network that belong together."""

    small = "small"
    deepspeech2 = "deepspeech2"


class Precision(StrEnum):
    """How exported weights are kept."""

    float32 = "float32"
    float16 = "float16"


ModelOption = Annotated[
    Path, typer.Option("--model", "-m", help="Folder of a model.", envvar="STT_MODEL")
]
PresetOption = Annotated[PresetName, typer.Option(help="Features and network.")]
DEFAULT_MODEL = ServerConfig().model


@contextmanager
def exit_codes() -> Iterator[None]:
    """Print an error as one line and exit with its code; nobody reads a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        errors.print("interrupted; running it again continues")
        raise typer.Exit(130) from None
    except tuple(kind for kind, _ in EXIT_CODES) as error:
        errors.print(f"[bold red]error:[/] {_escape(str(error))}", soft_wrap=True)
        code = next(code for kind, code in EXIT_CODES if isinstance(error, kind))
        raise typer.Exit(code) from error


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with the time left; call what it yields with done and total."""
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@app.command()
def prepare(
    corpora: Annotated[list[Path] | None, typer.Argument(help="Folders or tables.")] = None,
    output: Annotated[Path, typer.Option(help="Folder of the manifest.")] = Path("Data/prepared"),
    preset: PresetOption = PresetName.small,
    alphabet: Annotated[
        Path | None, typer.Option(help="A symbol a line; English if not given.")
    ] = None,
    download: Annotated[bool, typer.Option(help="Fetch LJSpeech (2.7 GB) to Data/ first.")] = False,
) -> None:
    """Import CORPORA into one manifest: convert, check, split and report.

    Example: `stt prepare Data/LJSpeech-1.1 --output Data/ljspeech`
    """
    from speech.alphabet import Alphabet
    from training.corpus import PrepareConfig
    from training.corpus import prepare as prepare_corpora
    from training.corpus_report import report_table, write_report

    with exit_codes():
        folders = list(corpora or [])
        if download:
            folders.append(_download_ljspeech())
        if not folders:
            raise CorpusError("got no corpus; needed: a folder, a table, or --download")
        config = PrepareConfig(
            alphabet=Alphabet.read(alphabet) if alphabet else Alphabet(),
            features=PRESETS[preset].features,
            network=PRESETS[preset].network,
        )
        with bar("preparing") as progress:
            prepared = prepare_corpora(folders, output, config, progress)
        console.print(report_table(write_report(output, prepared, config.audio)))
        console.print(f"{output / 'manifest.jsonl'}: {len(prepared.utterances)} utterances")


def _download_ljspeech() -> Path:
    from training.download import download_ljspeech

    with bar("downloading LJSpeech") as progress:
        return download_ljspeech(Path("Data"), progress=progress)


@app.command()
def synthesise(
    corpus: Annotated[Path, typer.Argument(help="A metadata.csv: id|text or id|raw|normalised.")],
    output: Annotated[Path, typer.Option(help="Folder of the new corpus.")] = Path(
        "Data/synthetic"
    ),
    clips: Annotated[int, typer.Option(min=1, help="How many clips.")] = 6000,
    seed: Annotated[int, typer.Option(help="Chooses texts, voices, speed and pitch.")] = 0,
) -> None:
    """Make speech from transcripts with flite and espeak-ng (Debian packages).

    Example: `stt synthesise Data/LJSpeech-1.1/metadata.csv --clips 6000`
    """
    from training.importer_tables import piped_lines
    from training.synthesis import SynthesisConfig
    from training.synthesis import synthesise as synthesise_corpus

    with exit_codes():
        texts = {name: text for _, name, text in piped_lines(corpus)}
        config = SynthesisConfig(num_clips=clips, seed=seed)
        with bar("speaking") as progress:
            made = synthesise_corpus(texts, output, config, progress)
        console.print(f"{output}: {made} clips")


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
    alphabet: Annotated[Path | None, typer.Option(help="As given to prepare.")] = None,
) -> None:
    """Train on MANIFEST; run the same line again to continue after any stop.

    Example: `stt train Data/ljspeech --output Models/mine --epochs 50`
    """
    start_tensorflow()
    from config import AudioConfig
    from speech.alphabet import Alphabet
    from training.manifest import read_manifest
    from training.train import Recipe
    from training.train import train as run_training

    with exit_codes():
        chosen = PRESETS[preset]
        given: dict[str, Any] = {
            "epochs": epochs,
            "learning_rate": learning_rate,
            "batch_seconds": batch_seconds,
            "seed": seed,
            "repeat": _parse_repeat(repeat) if repeat else None,
        }
        settings = {key: value for key, value in given.items() if value is not None}
        recipe = Recipe(
            audio=AudioConfig(),
            features=chosen.features,
            network=chosen.network,
            alphabet=Alphabet.read(alphabet) if alphabet else Alphabet(),
            training=replace(chosen.training, **settings),
        )
        with training_bar() as (on_step, on_epoch):
            best = run_training(
                read_manifest(manifest), output, recipe, on_step=on_step, on_epoch=on_epoch
            )
        console.print(f"{best}: next, `stt export {output}`")


def _parse_repeat(values: list[str]) -> tuple[tuple[str, int], ...]:
    pairs = [value.rpartition("=") for value in values]
    if not all(name and count.isdigit() for name, _, count in pairs):
        raise ValueError(f"--repeat got {values}; needed: corpus=N")
    return tuple((name, int(count)) for name, _, count in pairs)


@contextmanager
def training_bar() -> Iterator[tuple[Callable[..., None], Callable[..., None]]]:
    """Show steps, loss and time left; print each epoch's error rates and sample transcripts."""
    columns = [
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=console, speed_estimate_period=300) as progress:
        task = progress.add_task("", total=None, epoch="", loss=float("nan"))

        def on_step(p: Any) -> None:
            epoch = f"{p.epoch}/{p.epochs}"
            progress.update(task, completed=p.step, total=p.steps, epoch=epoch, loss=p.loss)

        def on_epoch(epoch: int, loss: float, result: Any) -> None:
            console.print(
                f"epoch {epoch}: loss {loss:.3f}, WER {result.wer:.3f}, CER {result.cer:.3f}"
            )
            for name, reference, text in result.samples:
                console.print(f"  [dim]{name}[/]\n  ref {reference}\n  hyp {_escape(text)}")
            if result.warning:
                console.print(f"[yellow]{result.warning}[/]")

        yield on_step, on_epoch


@app.command()
def evaluate(
    manifest: Annotated[Path, typer.Argument(help="What `stt prepare` wrote.")],
    model: ModelOption = DEFAULT_MODEL,
    split: Annotated[Split, typer.Option()] = Split.test,
    corpus: Annotated[str | None, typer.Option(help="Only this corpus of the manifest.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the report.")] = None,
) -> None:
    """Measure MODEL on a split: word and character error rates, the worst clips, the speed.

    Example: `stt evaluate Data/ljspeech --split validation`
    """
    from training.evaluate import evaluate as run_evaluation
    from training.evaluate import to_markdown, write_evaluation
    from training.manifest import read_manifest

    with exit_codes():
        utterances = [
            u for u in read_manifest(manifest, split) if corpus is None or u.corpus == corpus
        ]
        if not utterances:
            raise CorpusError(f"{manifest} has no {split} utterance of {corpus or 'any corpus'}")
        predictor = load_predictor(model)
        with bar("evaluating") as progress:
            evaluation = run_evaluation(predictor, utterances, progress)
        console.print(to_markdown(evaluation), markup=False, highlight=False, soft_wrap=True)
        name = f"evaluation-{split}" + (f"-{corpus}" if corpus else "")
        for path in write_evaluation(output or manifest_folder(manifest), name, evaluation):
            errors.print(f"wrote {path}")


def manifest_folder(manifest: Path) -> Path:
    """Return the folder that a manifest argument names."""
    return manifest if manifest.is_dir() else manifest.parent


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="Folder that `stt train` wrote.")],
    precision: Annotated[
        Precision, typer.Option(help="float16 halves the files.")
    ] = Precision.float32,
) -> None:
    """Write the next SavedModel version of MODEL, for `stt serve` and TensorFlow Serving.

    Example: `stt export Models/mine`
    """
    with exit_codes(), errors.status("exporting"):
        start_tensorflow()
        from training.export import export as export_model

        console.print(str(export_model(model, precision=precision.value)))


@app.command()
def transcribe(
    audio: Annotated[list[str], typer.Argument(help="Files, folders, globs, or - for stdin.")],
    model: ModelOption = DEFAULT_MODEL,
    output_format: Annotated[TextFormat, typer.Option("--format", "-f")] = TextFormat.text,
) -> None:
    """Print the text of any audio that libsndfile opens; several files in batches.

    Example: `stt transcribe Data/samples --format json`

    A file that cannot be read is reported on standard error, and the exit code is then 3.
    """
    from transcription import transcribe_files

    with exit_codes():
        sources = [source for name in audio for source in _expand(name)]
        predictor = load_predictor(model)
        failed = 0
        with bar("transcribing") as progress:
            results = transcribe_files(predictor, sources)
            for done, (name, result) in enumerate(results, start=1):
                if isinstance(result, AudioError):
                    failed += 1
                    errors.print(f"[bold red]error:[/] {_escape(name)}: {_escape(str(result))}")
                elif output_format is TextFormat.json:
                    print(json.dumps({"file": name, **result.to_json()}, ensure_ascii=False))
                else:
                    print(result.text if len(sources) == 1 else f"{name}\t{result.text}")
                progress(done, len(sources))
    if failed:
        raise typer.Exit(3)


def _expand(name: str) -> list[tuple[str, bytes | Path]]:
    """Return (name, source) of each file that an argument means."""
    from training.importer_tables import AUDIO_SUFFIXES

    if name == "-":
        return [("-", sys.stdin.buffer.read())]
    path = Path(name)
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
    elif path.exists():
        found = [path]
    else:
        found = [Path(p) for p in sorted(glob.glob(name, recursive=True)) if Path(p).is_file()]
    if not found:
        raise AudioError(f"no audio file in {name!r}; needed: a file, a folder, a glob or -")
    return [(str(p), p) for p in found]


@app.command()
def serve(
    model: Annotated[Path | None, typer.Option("--model", "-m", help="Folder of a model.")] = None,
    host: Annotated[str | None, typer.Option()] = None,
    port: Annotated[int | None, typer.Option()] = None,
) -> None:
    """Serve MODEL over HTTP; settings not given come from STT_… variables.

    Example: `stt serve --port 8000`, then
    `curl -F file=@Data/samples/sample.wav 127.0.0.1:8000/upload/`
    """
    import api

    with exit_codes():
        given: dict[str, Any] = {"model": model, "host": host, "port": port}
        settings = api.Settings(**{key: v for key, v in given.items() if v is not None})
        config = settings.to_config()
        console.print(f"Serving {config.model.name} on http://{config.host}:{config.port}")
        api.serve(config)


def load_predictor(model: Path) -> Any:
    """Load the SavedModel of the folder `model`."""
    with errors.status("loading the model"):
        start_tensorflow()
        from predictor import Predictor
        from serving.local import LocalBackend

        return Predictor(LocalBackend(model))


def _escape(text: str) -> str:
    return text.replace("[", "\\[")


if __name__ == "__main__":
    app()

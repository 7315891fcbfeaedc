"""`stt analyze`: where a model fails, as one page that a person reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape

from cli_choices import BeamWidthOption
from quiet_start import start_tensorflow
from terminal import bar, errors, exit_codes, say
from training.manifest import Split

if TYPE_CHECKING:
    from predictor import Predictor
    from service_config import ServerConfig
    from speech.decoding.decoder import DecodingOptions
    from training.analysis import Analysis
    from training.analysis_noise import NoiseConfig
    from training.analysis_report import Origin
    from training.analysis_worst import WorstConfig
    from training.corpus import Prepared
    from training.folder import Source

LONGEST_S = 86_400.0
DEFAULT_SNRS_DB = [30.0, 20.0, 15.0, 10.0, 5.0, 0.0]


def analyze(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="What `stt prepare` wrote; or a corpus.")
    ],
    model: Annotated[Path | None, typer.Option("--model", "-m", help="Folder of a model.")] = None,
    split: Annotated[
        Split | None, typer.Option(help="Of what `stt prepare` wrote.", show_default="test")
    ] = None,
    corpus: Annotated[str | None, typer.Option(help="Only this corpus of the manifest.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The page; if not given, beside the manifest, or here."
        ),
    ] = None,
    snr: Annotated[
        list[float] | None,
        typer.Option(help="Noise to add, in dB below the speech.", show_default="30 … 0"),
    ] = None,
    noise: Annotated[bool, typer.Option(help="Transcribe clips with noise added, too.")] = True,
    noise_clips: Annotated[int, typer.Option(min=1, help="At most so many of them.")] = 100,
    worst: Annotated[int, typer.Option(min=0, max=200, help="Clips to show and play.")] = 20,
    decoder: Annotated[
        Literal["greedy", "beam"] | None, typer.Option(help="The model's own if not given.")
    ] = None,
    beam_width: BeamWidthOption = None,
    tf_serving: Annotated[
        str | None, typer.Option("--tf-serving", help="host:port of a TensorFlow Serving's gRPC.")
    ] = None,
) -> None:
    """Show where MODEL fails: one HTML page, and its figures as JSON beside it.

    Error rates with intervals by duration, speaker, speaking rate and noise; frequent errors,
    confused characters, unknown words, confidence; the worst clips to listen to.

    Example: `stt analyze Data/mine --model Models/mine --split validation --output report.html`

    Example: `stt analyze Data/samples --no-noise`
    """
    with exit_codes(), TemporaryDirectory(prefix="stt-analyze-") as work:
        start_tensorflow()
        from speech.decoding.decoder import DecodingOptions
        from training.analysis_noise import NoiseConfig
        from training.analysis_worst import WorstConfig
        from training.folder import find_source

        _check_output(output)
        added = NoiseConfig(snrs_db=tuple(snr or DEFAULT_SNRS_DB), max_clips=noise_clips)
        folder = output.parent if output else None
        found = find_source(source, split=split, corpus=corpus, output=folder)
        settings = _settings(model=model, tf_serving=tf_serving)
        task = _Task(
            found=found,
            model=settings.model,
            predictor=_load(settings),
            options=DecodingOptions(decoder=decoder, beam_width=beam_width),
            noise=added if noise else None,
            worst=WorstConfig(clips=worst),
        )
        for path in _run(task, output, Path(work)):
            errors.print(f"wrote {escape(str(path))}", soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class _Task:
    """What is analysed, with what, and how."""

    found: Source
    model: Path
    predictor: Predictor
    options: DecodingOptions
    noise: NoiseConfig | None
    worst: WorstConfig


def _run(task: _Task, output: Path | None, work: Path) -> list[Path]:
    """Analyse, print what stands out, and write the page; return what was written."""
    from training.analysis_report import figures_of, write_report
    from training.analysis_run import read_known_words, reader, run_analysis

    path = output or task.found.folder / _file_name(task)
    figures_of(path)  # before hours of work
    clips = _clips_of(task, work)
    analysis = run_analysis(
        task.predictor,
        clips.utterances,
        bars=bar,
        noise=task.noise,
        known_words=read_known_words(task.model),
        options=task.options,
    )
    _say_findings(analysis)
    return write_report(
        path,
        analysis,
        _origin(task, not_scored=len(clips.rejected)),
        read=reader(task.predictor, clips.utterances),
        sample_rate_hz=task.predictor.audio.sample_rate_hz,
        config=task.worst,
    )


def _settings(**given: Any) -> ServerConfig:
    from settings import read_settings

    named = {name: value for name, value in given.items() if value is not None}
    return read_settings(**named, max_duration_s=LONGEST_S, compile_clips=False)


def _load(settings: ServerConfig) -> Predictor:
    from predictor import load_predictor

    with errors.status("loading the model"):
        return load_predictor(settings)


def _file_name(task: _Task) -> str:
    parts = ["analysis", task.predictor.pipeline.name, *task.found.parts]
    return "-".join([*parts, *filter(None, [task.options.decoder])]) + ".html"


def _check_output(output: Path | None) -> None:
    if output and (output.suffix.lower() not in (".html", ".htm") or output.is_dir()):
        raise ValueError(f"got --output {output}; needed: a file that ends in .html")


def _clips_of(task: _Task, work: Path) -> Prepared:
    """Return the clips of a manifest as they are, those of a corpus converted below `work`."""
    from training.corpus import Prepared
    from training.folder import read_corpus

    found, predictor = task.found, task.predictor
    if found.utterances is not None:
        return Prepared(utterances=found.utterances, rejected=[])
    with bar("reading") as progress:
        return read_corpus(found.path, work, predictor.pipeline, predictor.audio, progress)


def _origin(task: _Task, *, not_scored: int) -> Origin:
    from training.analysis_report import Origin
    from training.analysis_run import describe_decoder

    found = task.found
    is_manifest = found.utterances is not None
    return Origin(
        model=task.predictor.pipeline.name,
        source=", ".join([*([found.path.resolve().name] if is_manifest else []), *found.parts]),
        decoder=describe_decoder(task.predictor, task.model, task.options),
        date=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        not_scored=not_scored,
    )


def _say_findings(analysis: Analysis) -> None:
    from training.analysis_findings import counted, find, interval, percent

    total = analysis.total
    say(
        f"WER {percent(total.wer.value)} ({interval(total.wer)}) on "
        f"{counted(total.clips, 'clip')} with {counted(total.wer.count, 'word')}."
    )
    for finding in find(analysis):
        say(f"- {finding.text}")

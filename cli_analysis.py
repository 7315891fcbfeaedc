"""`stt analyze`: where a model fails, as one page that a person reads."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from terminal import bar, errors, exit_codes, say
from training.manifest import Split

if TYPE_CHECKING:
    from predictor import Predictor
    from speech.decoding.decoder import DecodingOptions
    from training.analysis import Analysis
    from training.analysis_report import Origin
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
    beam_width: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Texts kept a frame.")
    ] = None,
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
        from predictor import load_predictor
        from settings import read_settings
        from speech.decoding.decoder import DecodingOptions
        from training.analysis_noise import NoiseConfig
        from training.analysis_report import write_report
        from training.analysis_run import read_known_words, reader, run_analysis
        from training.analysis_worst import WorstConfig
        from training.folder import find_source

        _check_output(output)
        added = NoiseConfig(snrs_db=tuple(snr or DEFAULT_SNRS_DB), max_clips=noise_clips)
        options = DecodingOptions(decoder=decoder, beam_width=beam_width)
        folder = output.parent if output else None
        found = find_source(source, split=split, corpus=corpus, output=folder)
        given = {"model": model, "tf_serving": tf_serving}
        settings = read_settings(
            **{name: value for name, value in given.items() if value is not None},
            max_duration_s=LONGEST_S,
            compile_clips=False,
        )
        with errors.status("loading the model"):
            predictor = load_predictor(settings)
        clips = _clips_of(found, Path(work), predictor)
        analysis = run_analysis(
            predictor,
            clips.utterances,
            bars=bar,
            noise=added if noise else None,
            known_words=read_known_words(settings.model),
            options=options,
        )
        origin = _origin(found, predictor, settings.model, options, len(clips.rejected))
        parts = ["analysis", origin.model, *found.parts, *([decoder] if decoder else [])]
        written = write_report(
            output or found.folder / f"{'-'.join(parts)}.html",
            analysis,
            origin,
            read=reader(predictor, clips.utterances),
            sample_rate_hz=predictor.audio.sample_rate_hz,
            config=WorstConfig(clips=worst),
        )
        _say_findings(analysis)
        for path in written:
            errors.print(f"wrote {escape(str(path))}", soft_wrap=True)


def _check_output(output: Path | None) -> None:
    if output and (output.suffix.lower() not in (".html", ".htm") or output.is_dir()):
        raise ValueError(f"got --output {output}; needed: a file that ends in .html")


def _clips_of(found: Source, work: Path, predictor: Predictor) -> Prepared:
    """Return the clips of a manifest as they are, those of a corpus converted below `work`."""
    from training.corpus import Prepared
    from training.folder import read_corpus

    if found.utterances is not None:
        return Prepared(utterances=found.utterances, rejected=[])
    with bar("reading") as progress:
        return read_corpus(found.path, work, predictor.pipeline, predictor.audio, progress)


def _origin(
    found: Source, predictor: Predictor, model: Path, options: DecodingOptions, not_scored: int
) -> Origin:
    from training.analysis_report import Origin
    from training.analysis_run import describe_decoder

    parts = found.parts if found.utterances is None else (found.path.resolve().name, *found.parts)
    return Origin(
        model=predictor.pipeline.name,
        source=", ".join(parts),
        decoder=describe_decoder(predictor, model, options),
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

"""The `stt` command."""

from __future__ import annotations

import json
import signal
import sys
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.markup import escape

import cli_analysis
import cli_augment
import cli_language_model
import cli_learning_rate
import cli_listen
import cli_synthesis
from cli_choices import BeamWidthOption
from cli_training import app
from cli_tuning import tune
from config import AudioError
from quiet_start import start_tensorflow
from terminal import bar, errors, exit_codes, say
from training.manifest import Split

cli_language_model.app.command()(tune)
app.add_typer(cli_language_model.app, name="lm")
app.command()(cli_analysis.analyze)
app.command()(cli_synthesis.synthesise)
app.command()(cli_synthesis.recombine)
app.command("find-learning-rate")(cli_learning_rate.find_learning_rate)
app.command()(cli_listen.listen)
app.command("augment-preview")(cli_augment.augment_preview)


class TextFormat(StrEnum):
    """How `transcribe` prints."""

    text = "text"
    json = "json"
    srt = "srt"
    vtt = "vtt"


class DecoderName(StrEnum):
    """The best path, or the best text."""

    greedy = "greedy"
    beam = "beam"


LONGEST_S = 86_400.0  # of one recording: a day
DecoderOption = Annotated[DecoderName | None, typer.Option(help="The model's own if not given.")]
ModelOption = Annotated[Path | None, typer.Option("--model", "-m", help="Folder of a model.")]
RemoteOption = Annotated[
    str | None, typer.Option("--tf-serving", help="host:port of a TensorFlow Serving's gRPC.")
]


@app.command()
def evaluate(
    source: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="What `stt prepare` wrote; or a corpus.")
    ],
    model: ModelOption = None,
    split: Annotated[
        Split | None, typer.Option(help="Of what `stt prepare` wrote.", show_default="test")
    ] = None,
    corpus: Annotated[str | None, typer.Option(help="Only this corpus of the manifest.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder of the report; if not given, the manifest's, or the current."),
    ] = None,
    decoder: DecoderOption = None,
    beam_width: BeamWidthOption = None,
    tf_serving: RemoteOption = None,
) -> None:
    """Measure MODEL on a split: error rates, worst clips, speed, and how far to trust confidence.

    A corpus, in any form that `stt prepare` reads, is measured whole; nothing is written into it.

    Example: `stt evaluate Data/ljspeech --split validation`

    Example: `stt evaluate Data/samples --model Models/english-small`
    """
    from training.evaluate import evaluate as run_evaluation
    from training.evaluate import to_markdown, write_evaluation
    from training.folder import find_source, unusable_to_markdown, write_unusable

    with exit_codes(), TemporaryDirectory(prefix="stt-evaluate-") as work:
        found = find_source(source, split=split, corpus=corpus, output=output)
        predictor = _load_predictor(model=model, tf_serving=tf_serving, max_duration_s=LONGEST_S)
        options = _decoding_options(predictor, decoder, beam_width)
        clips = _clips_of(found, Path(work), predictor)
        with bar("evaluating") as progress:
            evaluation = run_evaluation(predictor, clips.utterances, progress, options)
        say(to_markdown(evaluation) + unusable_to_markdown(clips, predictor.audio))
        parts = ["evaluation", evaluation.model, *found.parts, *([decoder] if decoder else [])]
        written = write_evaluation(found.folder, "-".join(parts), evaluation)
        if found.utterances is None:
            written += write_unusable(found.folder, "-".join(parts), clips, predictor.audio)
        for path in written:
            errors.print(f"wrote {escape(str(path))}", soft_wrap=True)


def _clips_of(found: Any, work: Path, predictor: Any) -> Any:
    """Return the clips of a manifest as they are, those of a corpus converted below `work`."""
    from training.corpus import Prepared
    from training.folder import read_corpus

    if found.utterances is not None:
        return Prepared(utterances=found.utterances, rejected=[])
    with bar("reading") as progress:
        return read_corpus(found.path, work, predictor.pipeline, predictor.audio, progress)


@app.command()
def transcribe(
    audio: Annotated[list[str], typer.Argument(help="Files, folders, globs, or - for stdin.")],
    model: ModelOption = None,
    output_format: Annotated[TextFormat, typer.Option("--format", "-f")] = TextFormat.text,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file a source, here.")
    ] = None,
    words: Annotated[bool, typer.Option(help="Times and confidence of words (json).")] = False,
    n_best: Annotated[int, typer.Option(min=1, help="Likeliest texts (json).")] = 1,
    decoder: DecoderOption = None,
    beam_width: BeamWidthOption = None,
    hotword: Annotated[list[str] | None, typer.Option(help="`phrase` or `phrase:8`.")] = None,
    tf_serving: RemoteOption = None,
) -> None:
    """Print the text of audio of any kind and length; several files in batches.

    Example: `stt transcribe Data/samples --format json --words`

    Example: `stt transcribe lecture.flac --format srt --output subtitles --hotword "Philip Steels"`

    A file that cannot be read is reported on standard error, and the exit code is then 3.
    """
    from speech.audio import write_atomically
    from transcription import find_sources, target_paths, transcribe_files

    failed = 0
    with exit_codes():
        sources = [source for name in audio for source in find_sources(name)]
        form, alone = output_format.value, len(sources) == 1
        if form in ("srt", "vtt") and not (alone or output):
            raise ValueError(f"got {len(sources)} sources for one {form}; needed: --output FOLDER")
        targets = target_paths(output, [name for name, _ in sources], form) if output else {}
        predictor = _load_predictor(model=model, tf_serving=tf_serving, max_duration_s=LONGEST_S)
        options = _decoding_options(predictor, decoder, beam_width, n_best, hotword or [])
        with bar("transcribing", as_share=True) as progress:
            for name, result in transcribe_files(predictor, sources, options, progress):
                if isinstance(result, AudioError):
                    failed += 1
                    line = escape(f"{name}: {result}")
                    errors.print(f"[bold red]error:[/] {line}", soft_wrap=True)
                    continue
                unnamed = alone or output is not None
                text = _formatted(name, result, output_format, words=words, alone=unnamed)
                if output:
                    write_atomically(targets[name], text)
                    say(str(targets[name]))
                else:
                    print(text, end="")
    if failed:
        raise typer.Exit(3)


def _formatted(name: str, result: Any, form: TextFormat, *, words: bool, alone: bool) -> str:
    from speech.subtitles import to_text

    if form is TextFormat.json:
        values = {"file": name, **result.to_json(words=words)}
        return json.dumps(values, ensure_ascii=False) + "\n"
    if form is TextFormat.text and not alone:
        return f"{name}\t{result.text}\n"
    return to_text(result, form.value)


def _decoding_options(
    predictor: Any,
    decoder: DecoderName | None,
    beam_width: int | None,
    n_best: int = 1,
    hotwords: list[str] | None = None,
) -> Any:
    from speech.decoding.decoder import DecodingOptions
    from speech.decoding.hotwords import parse_hotword

    alphabet = predictor.pipeline.alphabet
    return DecodingOptions(
        decoder=decoder.value if decoder else None,
        beam_width=beam_width,
        n_best=n_best,
        hotwords=tuple(parse_hotword(text, alphabet) for text in hotwords or []),
    )


@app.command()
def serve(
    model: ModelOption = None,
    host: Annotated[str | None, typer.Option()] = None,
    port: Annotated[int | None, typer.Option()] = None,
    tf_serving: RemoteOption = None,
) -> None:
    """Serve MODEL over HTTP; settings not given come from STT_… variables.

    Example: `stt serve --port 8000`, then
    `curl -F file=@Data/samples/sample.wav 127.0.0.1:8000/upload/`
    """
    import api
    from settings import read_settings

    given = _given(model=model, host=host, port=port, tf_serving=tf_serving)
    with exit_codes():
        api.serve(read_settings(**given))


@app.command(
    "model-server",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def model_server(context: typer.Context) -> None:
    """Serve SavedModels as TensorFlow Serving does, for development and tests.

    Example: `stt model-server --model_base_path=Models/mine/saved_model --model_name=mine`
    """
    from server_flags import parse_server_flags

    with exit_codes():
        config = parse_server_flags(context.args, program="stt model-server")
        start_tensorflow()
        from serving.model_server import serve as serve_models

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that it ends as by Ctrl-C
        serve_models(config, say=say)


def _load_predictor(**given: Any) -> Any:
    """Load the model that the options and `STT_…` variables name; nothing lives long here."""
    from predictor import load_predictor
    from settings import read_settings

    with errors.status("loading the model"):
        return load_predictor(read_settings(**_given(**given), compile_clips=False))


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


if __name__ == "__main__":
    app()

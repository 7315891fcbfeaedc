"""The `stt` command."""

from __future__ import annotations

import json
import signal
import sys
from enum import StrEnum
from math import inf
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from cli_training import app, folder_of
from config import AudioError, CorpusError
from quiet_start import start_tensorflow
from terminal import bar, errors, exit_codes, say
from training.manifest import Split


class TextFormat(StrEnum):
    """How `transcribe` prints."""

    text = "text"
    json = "json"


ModelOption = Annotated[Path | None, typer.Option("--model", "-m", help="Folder of a model.")]
RemoteOption = Annotated[
    str | None, typer.Option("--tf-serving", help="host:port of a TensorFlow Serving's gRPC.")
]


@app.command()
def evaluate(
    manifest: Annotated[Path, typer.Argument(help="What `stt prepare` wrote.")],
    model: ModelOption = None,
    split: Annotated[Split, typer.Option()] = Split.test,
    corpus: Annotated[str | None, typer.Option(help="Only this corpus of the manifest.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the report.")] = None,
    tf_serving: RemoteOption = None,
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
        predictor = _load_predictor(model=model, tf_serving=tf_serving, max_duration_s=inf)
        with bar("evaluating") as progress:
            evaluation = run_evaluation(predictor, utterances, progress)
        say(to_markdown(evaluation))
        parts = ["evaluation", evaluation.model, split, *([corpus] if corpus else [])]
        for path in write_evaluation(output or folder_of(manifest), "-".join(parts), evaluation):
            errors.print(f"wrote {escape(str(path))}", soft_wrap=True)


@app.command()
def transcribe(
    audio: Annotated[list[str], typer.Argument(help="Files, folders, globs, or - for stdin.")],
    model: ModelOption = None,
    output_format: Annotated[TextFormat, typer.Option("--format", "-f")] = TextFormat.text,
    tf_serving: RemoteOption = None,
) -> None:
    """Print the text of any audio that libsndfile opens; several files in batches.

    Example: `stt transcribe Data/samples --format json`

    A file that cannot be read is reported on standard error, and the exit code is then 3.
    """
    from transcription import find_sources, transcribe_files

    failed = 0
    with exit_codes():
        sources = [source for name in audio for source in find_sources(name)]
        predictor = _load_predictor(model=model, tf_serving=tf_serving, max_duration_s=inf)
        with bar("transcribing") as progress:
            results = transcribe_files(predictor, sources)
            for done, (name, result) in enumerate(results, start=1):
                if isinstance(result, AudioError):
                    failed += 1
                    line = escape(f"{name}: {result}")
                    errors.print(f"[bold red]error:[/] {line}", soft_wrap=True)
                elif output_format is TextFormat.json:
                    print(json.dumps({"file": name, **result.to_json()}, ensure_ascii=False))
                else:
                    print(result.text if len(sources) == 1 else f"{name}\t{result.text}")
                progress(done, len(sources))
    if failed:
        raise typer.Exit(3)


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
    """Load the model that the options and `STT_…` variables name."""
    from predictor import load_predictor
    from settings import read_settings

    with errors.status("loading the model"):
        return load_predictor(read_settings(**_given(**given)))


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


if __name__ == "__main__":
    app()

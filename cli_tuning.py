"""`stt lm tune`: a model's decoder set by its validation split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from config import CorpusError, ModelError, ServerConfig
from terminal import bar, console, exit_codes, say

if TYPE_CHECKING:
    from training.tuning import Surface

BUNDLED = ServerConfig().model
LONGEST_S = 3600.0


def tune(
    manifest: Annotated[
        Path, typer.Argument(help="What `stt prepare` wrote; its validation split.")
    ],
    model: Annotated[Path, typer.Option("--model", "-m", help="Folder of a model.")] = BUNDLED,
) -> None:
    """Find the weights of MODEL's beam search on a validation split, then fit its confidence.

    Writes `language_model/decoding.json` and `confidence.json` into MODEL, and prints the word
    error rate of every pair of weights.

    Example: `stt lm tune Data/mine --model Models/mine`
    """
    with exit_codes():
        from predictor import load_predictor
        from speech.decoding.confidence import FILE_NAME as CONFIDENCE_FILE
        from speech.decoding.decoder import LANGUAGE_MODEL, SETTINGS, Decoder
        from training.manifest import Split, read_manifest
        from training.tuning import fit_confidence, hear
        from training.tuning import tune as search

        if not (model / LANGUAGE_MODEL).exists():
            raise ModelError(f"no {model / LANGUAGE_MODEL}; needed: what `stt lm build` writes")
        utterances = read_manifest(manifest, Split.validation)
        predictor = load_predictor(ServerConfig(model=model, max_duration_s=LONGEST_S))
        with bar("listening") as progress:
            heard = hear(predictor, utterances, progress)
        with bar("searching") as progress:
            surface = search(model, predictor, heard, progress)
        decoder = Decoder.of_model(model, predictor.pipeline.alphabet)
        console.print(_surface_table(surface))
        best = surface.best
        say(
            f"lm_weight {best.lm_weight}, word_score {best.word_score}: WER {surface.wer.min():.3f}"
        )
        say(f"wrote {model / SETTINGS}")
        try:
            fit_confidence(model, decoder, heard)
            say(f"wrote {model / CONFIDENCE_FILE}")
        except CorpusError as error:  # a split too small, or a network that knows nothing yet
            say(f"confidence is not fitted: {error}")


def _surface_table(surface: Surface) -> Table:
    """Show word error rates: a row a weight, a column a score, the lowest in bold."""
    table = Table(title="word error rate: lm_weight down, word_score across")
    table.add_column("", justify="right")
    for score in surface.word_scores:
        table.add_column(f"{score:g}", justify="right")
    lowest = surface.wer.min()
    for weight, row in zip(surface.lm_weights, surface.wer, strict=True):
        cells = [f"[bold]{wer:.3f}[/]" if wer == lowest else f"{wer:.3f}" for wer in row]
        table.add_row(f"{weight:g}", *cells)
    return table

"""`stt lm tune`: a model's decoder set by its validation split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from config import BUNDLED_MODEL, CorpusError, DecodingConfig, ModelError
from service_config import ServerConfig
from terminal import bar, console, exit_codes, say

if TYPE_CHECKING:
    from predictor import Predictor
    from speech.decoding.decoder import Decoder
    from training.manifest import Utterance
    from training.tuning import Fitted, Heard, Surface

LONGEST_S = 3600.0


def tune(
    manifest: Annotated[
        Path, typer.Argument(help="What `stt prepare` wrote; its validation split.")
    ],
    model: Annotated[
        Path, typer.Option("--model", "-m", help="Folder of a model.")
    ] = BUNDLED_MODEL,
) -> None:
    """Find the weights of MODEL's beam search on a validation split, then fit its confidence.

    Writes `language_model/decoding.json` and `confidence.json` into MODEL, and prints the word
    error rate of every pair of weights; then those of a language model of words, if there is one.
    Clips longer than a piece of a recording are left out.

    Example: `stt lm tune Data/mine --model Models/mine`
    """
    with exit_codes():
        from predictor import load_predictor
        from speech.decoding.decoder import LANGUAGE_MODEL, WORD_MODEL, Decoder
        from speech.decoding.rescoring import WordModel
        from training.manifest import Split, read_manifest
        from training.tuning import search, search_words

        language_model = model / LANGUAGE_MODEL
        if not language_model.exists():
            raise ModelError(f"no {language_model}; needed: what `stt lm build` writes")
        utterances = read_manifest(manifest, Split.validation)
        config = _settings(model)
        listening = ServerConfig(model=model, max_duration_s=LONGEST_S, compile_clips=False)
        predictor = load_predictor(listening, tuned=False)
        alphabet = predictor.pipeline.alphabet
        heard = _hear(predictor, utterances)
        with bar("searching") as progress:
            surface = search(language_model, alphabet, config, heard, progress)
        _say_best(surface)
        words = WordModel(model / WORD_MODEL) if (model / WORD_MODEL).exists() else None
        if words:
            with bar("searching, with words") as progress:
                surface = search_words(
                    language_model, words, alphabet, surface.best, heard, progress
                )
            _say_best(surface)
        best = surface.best
        decoder = Decoder(alphabet, best, language_model=language_model, words=words)
        _write(model, best, _fit_confidence(decoder, heard))


def _settings(model: Path) -> DecodingConfig:
    """Return the settings to start from: those that are there, or the usual ones if broken."""
    from speech.decoding.decoder import read_decoding

    try:
        return read_decoding(model)
    except ModelError as error:
        say(f"{error}; the usual settings are taken")
        return DecodingConfig()


def _hear(predictor: Predictor, utterances: Sequence[Utterance]) -> list[Heard]:
    from training.tuning import LONGEST_CLIP_S, hear

    with bar("listening") as progress:
        heard = hear(predictor, utterances, progress)
    if num_left_out := len(utterances) - len(heard):
        reasons = f"over {LONGEST_CLIP_S:g} s long or without words"
        say(f"left out: {num_left_out} of {len(utterances)} clips, {reasons}")
    return heard


def _say_best(surface: Surface) -> None:
    best = surface.best
    # Whole even where the terminal is narrower: a cut number says nothing.
    width = max(console.width, 6 * len(surface.columns) + 12)
    console.print(_surface_table(surface), width=width, crop=False, soft_wrap=True)
    chosen = ", ".join(f"{name} {getattr(best, name)}" for name in surface.names)
    say(f"{chosen}: WER {surface.wer.min():.3f}")
    for name in surface.at_edge:
        say(f"the best {name}, {getattr(best, name)}, is at the edge of what was searched")


def _fit_confidence(decoder: Decoder, heard: Sequence[Heard]) -> Fitted | None:
    from training.tuning import fit_confidence

    try:
        return fit_confidence(decoder, heard)
    except CorpusError as error:  # a split too small, or a network that knows nothing yet
        say(f"confidence is not fitted: {error}")
        return None


def _write(model: Path, best: DecodingConfig, fitted: Fitted | None) -> None:
    from speech.decoding.confidence import FILE_NAME as CONFIDENCE_FILE
    from speech.decoding.decoder import SETTINGS
    from training.tuning import write_tuned

    had_one = (model / CONFIDENCE_FILE).exists()
    write_tuned(model, best, fitted)
    say(f"wrote {model / SETTINGS}")
    if fitted:
        say(f"wrote {model / CONFIDENCE_FILE}")
    elif had_one:
        say(f"removed {model / CONFIDENCE_FILE}, which was fitted to other settings")


def _surface_table(surface: Surface) -> Table:
    """Show word error rates: a row a weight, a column a score, the lowest in bold."""
    down, across = surface.names
    table = Table(title=f"word error rate: {down} down, {across} across", box=SIMPLE_HEAD)
    table.padding = (0, 1, 0, 0)
    for score in ("", *(f"{score:g}" for score in surface.columns)):
        table.add_column(score, justify="right", no_wrap=True, min_width=4)
    lowest = surface.wer.min()
    for weight, row in zip(surface.rows, surface.wer, strict=True):
        cells = [f"{wer:.3f}".removeprefix("0") for wer in row]
        bold = [f"[bold]{c}[/]" if r == lowest else c for c, r in zip(cells, row, strict=True)]
        table.add_row(f"{weight:g}", *bold)
    return table

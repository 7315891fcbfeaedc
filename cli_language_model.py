"""The commands of `stt lm`, which make language models."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from cli_training import ALPHABET_FILE, folder_of
from config import CorpusError
from terminal import bar, exit_codes, say

if TYPE_CHECKING:
    from speech.alphabet import Alphabet
    from training.language_model import LanguageModel
    from training.language_model_text import TextCounts
    from training.manifest import Utterance

_CHARACTER_ORDER, _WORD_ORDER = 6, 3
_MAX_ORDER = 6  # of the KenLM that decodes

app = typer.Typer(
    help="Make the language model of a beam search.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.command()
def build(
    texts: Annotated[
        list[Path] | None,
        typer.Argument(help="Text files, a sentence a line; tables `id|text` (.csv, .psv)."),
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Learn from its training split too; holds out the others.")
    ] = None,
    exclude_manifest: Annotated[
        list[Path] | None, typer.Option(help="Holds out its validation and test texts.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="An .arpa or .arpa.gz file; MODEL/language_model/… if not given."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="Folder of the model that it is for.")
    ] = None,
    alphabet: Annotated[
        Path | None, typer.Option(help="If not that of MODEL or of the manifest.")
    ] = None,
    order: Annotated[
        int | None,
        typer.Option(
            min=2, max=_MAX_ORDER, help=f"{_CHARACTER_ORDER} if not given; {_WORD_ORDER} of words."
        ),
    ] = None,
    prune: Annotated[
        str, typer.Option(help="Leave out n-grams that occur at most so often, from length 1 on.")
    ] = "0",
    words: Annotated[
        bool, typer.Option("--words/--characters", help="What the n-grams are made of.")
    ] = False,
) -> None:
    """Estimate an n-gram model from TEXTS, a manifest's training split, or both; write it as ARPA.

    Example: `stt lm build sentences.txt --manifest Data/ljspeech --model Models/mine`

    No text of a validation or test split is learnt from, and the perplexity is measured on the
    validation texts: per character and per word, the end of a sentence being one of each.
    """
    from training.language_model import write_arpa

    started = monotonic()
    with exit_codes():
        target = _target(output, model, words=words)
        limits = _parse_prune(prune)
        order = order or (_WORD_ORDER if words else _CHARACTER_ORDER)
        symbols = _alphabet(alphabet, model, manifest)
        learnt, others = _read_manifests(manifest, exclude_manifest or [])
        counts, language_model = _estimate(
            texts or [], learnt, others, symbols, order=order, prune=limits, words=words
        )
        write_arpa(target, language_model)
        _say_what_became(counts, language_model)
        _say_perplexity([*learnt, *others], symbols, language_model, words=words)
        say(
            f"{target}: {target.stat().st_size / 1e6:.2f} MB, {monotonic() - started:.1f} s, "
            f"peak memory {_peak_memory_bytes() / 1e6:.0f} MB"
        )


def _target(output: Path | None, model: Path | None, *, words: bool) -> Path:
    if output is None and model is None:
        raise ValueError("got neither --output nor --model; needed: where to write")
    if output is None and model is not None:
        return model / "language_model" / f"{'words' if words else 'characters'}.arpa.gz"
    if output is None or not output.name.endswith((".arpa", ".arpa.gz")):
        raise ValueError(f"got --output {output}; needed: a name that ends in .arpa or .arpa.gz")
    return output


def _parse_prune(value: str) -> list[int]:
    parts = value.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise ValueError(f"got --prune {value!r}; needed: whole numbers, as in 0,0,1")
    return [int(part) for part in parts]


def _alphabet(file: Path | None, model: Path | None, manifest: Path | None) -> Alphabet:
    from speech.alphabet import Alphabet
    from speech.pipeline import read_pipeline

    if file is not None and model is not None:
        raise ValueError("got --alphabet and --model; needed: one, as a model has its alphabet")
    if file is not None:
        return Alphabet.read(file)
    if model is not None:
        return read_pipeline(model).alphabet
    prepared = folder_of(manifest) / ALPHABET_FILE if manifest else None
    return Alphabet.read(prepared) if prepared and prepared.exists() else Alphabet()


def _read_manifests(
    manifest: Path | None, excluded: list[Path]
) -> tuple[list[Utterance], list[Utterance]]:
    """Return what is learnt from but for its held-out splits, and what is only held out."""
    from training.manifest import Split, read_manifest

    held_out = (Split.validation, Split.test)
    learnt = read_manifest(manifest) if manifest else []
    return learnt, [u for path in excluded for u in read_manifest(path, *held_out)]


def _estimate(
    texts: list[Path],
    learnt: list[Utterance],
    others: list[Utterance],
    alphabet: Alphabet,
    *,
    order: int,
    prune: list[int],
    words: bool,
) -> tuple[TextCounts, LanguageModel]:
    """Normalise all text once, into a temporary file, and estimate from that."""
    from training.language_model import estimate
    from training.language_model_text import (
        TextCounts,
        as_characters,
        as_words,
        texts_of,
        training_sentences,
    )
    from training.manifest import Split

    if not texts and not learnt:
        raise CorpusError("got no text; needed: text files, a manifest, or both")
    held_out = texts_of([*learnt, *others], alphabet, [Split.validation, Split.test])
    counts, units = TextCounts(), as_words if words else as_characters
    with bar("estimating") as progress, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sentences.txt"
        with file.open("w", encoding="utf-8") as lines:
            sentences = training_sentences(
                texts, learnt, alphabet, counts, held_out=frozenset(held_out)
            )
            lines.writelines(f"{sentence}\n" for sentence in sentences)
        language_model = estimate(
            lambda: map(units, _lines_of(file)), order=order, prune=prune, progress=progress
        )
    return counts, language_model


def _lines_of(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8", newline="\n") as lines:
        yield from (line.removesuffix("\n") for line in lines)


def _say_what_became(counts: TextCounts, language_model: LanguageModel) -> None:
    say(
        f"{counts.kept} sentences; left out: {counts.held_out} held out, "
        f"{counts.foreign} with characters that the alphabet lacks"
    )
    sizes = [f"{len(level.key)}" for level in language_model.ngrams]
    say(f"{' + '.join(sizes)} n-grams of length 1 to {language_model.order}")


def _say_perplexity(
    utterances: Iterable[Utterance],
    alphabet: Alphabet,
    language_model: LanguageModel,
    *,
    words: bool,
) -> None:
    from training.language_model import log10_probabilities
    from training.language_model_text import as_characters, as_words, texts_of
    from training.manifest import Split

    texts = texts_of(utterances, alphabet, [Split.validation])
    if not texts:
        return
    units = as_words if words else as_characters
    total = log10_probabilities(language_model, map(units, texts)).sum()
    per_character = 10 ** (-total / sum(len(text) + 1 for text in texts))
    per_word = 10 ** (-total / sum(len(text.split()) + 1 for text in texts))
    known = set(language_model.vocabulary)
    unknown = sum(unit not in known for text in texts for unit in units(text))
    say(
        f"perplexity of {len(texts)} validation texts: {per_character:.3f} per character, "
        f"{per_word:.1f} per word; {unknown} unknown {'words' if words else 'characters'}"
    )


def _peak_memory_bytes() -> int:
    """Return what this process held at most; Linux counts in KiB."""
    import resource  # Windows has none: the other commands must start there

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

"""The commands of `stt lm`, which make language models."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from cli_training import ALPHABET_FILE, folder_of
from config import CorpusError, DecodingConfig, ModelError
from terminal import bar, exit_codes, say

if TYPE_CHECKING:
    from speech.alphabet import Alphabet
    from training.language_model import LanguageModel
    from training.language_model_text import TextCounts
    from training.manifest import Utterance

_CHARACTER_ORDER, _WORD_ORDER = 6, 3
_MAX_ORDER = 6  # of the KenLM that decodes


@dataclass(frozen=True, kw_only=True)
class _Request:
    """What `stt lm build` was asked for: text, and what is made of it.

    Attributes:
        learnt: utterances of which the training split is learnt from.
        excluded: utterances that are only held out.
        prune: for lengths from 1 on, n-grams that occur at most so often are left out.
    """

    texts: list[Path]
    learnt: list[Utterance]
    excluded: list[Utterance]
    alphabet: Alphabet
    order: int
    prune: list[int]
    words: bool

    @property
    def kind(self) -> str:
        """What the n-grams are made of."""
        return "words" if self.words else "characters"

    def units(self, sentence: str) -> list[str]:
        """Return a sentence as the model sees it."""
        from training.language_model_text import as_characters, as_words

        return as_words(sentence) if self.words else as_characters(sentence)


app = typer.Typer(
    help="Make the language model of a beam search.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.command()
def build(
    texts: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Files, a sentence a line; tables `id|text` (.csv, .psv) or `id TAB text` (.tsv)."
        ),
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Learn from its training split too; holds out the others.")
    ] = None,
    exclude_manifest: Annotated[
        list[Path] | None, typer.Option(help="Holds out its validation and test texts.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="An .arpa or .arpa.gz file; that of MODEL's decoder if not given."),
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
        bool,
        typer.Option(
            "--words/--characters",
            help="What the n-grams are made of: characters search, words choose among their texts.",
        ),
    ] = False,
) -> None:
    """Estimate an n-gram model from TEXTS, a manifest's training split, or both; write it as ARPA.

    Example: `stt lm build sentences.txt --manifest Data/ljspeech --model Models/mine`

    No text of a validation or test split is learnt from, and the perplexity is measured on the
    validation texts: per character and per word, the end of a sentence being one of each.
    """
    started = monotonic()
    with exit_codes():
        target = _target(output, model, words=words)
        limits = _parse_prune(prune)
        learnt, excluded = _read_manifests(manifest, exclude_manifest or [])
        asked = _Request(
            texts=texts or [],
            learnt=learnt,
            excluded=excluded,
            alphabet=_alphabet(alphabet, model, manifest),
            order=order or (_WORD_ORDER if words else _CHARACTER_ORDER),
            prune=limits,
            words=words,
        )
        _build(asked, target)
        say(
            f"{target}: {target.stat().st_size / 1e6:.2f} MB, {monotonic() - started:.1f} s, "
            f"peak memory {_peak_memory_bytes() / 1e6:.0f} MB"
        )
        if model is not None and target.is_relative_to(model):
            say(f"weights and confidence do not fit yet; next, `stt lm tune … --model {model}`")


def _build(asked: _Request, target: Path) -> None:
    counts, language_model = _estimate(asked)
    _say_what_became(counts, language_model)
    _check(language_model, asked)
    _write(target, language_model, asked)
    _say_perplexity(language_model, asked)


def _target(output: Path | None, model: Path | None, *, words: bool) -> Path:
    if output is None and model is None:
        raise ValueError("got neither --output nor --model; needed: where to write")
    if output is None and model is not None:
        from speech.decoding.decoder import LANGUAGE_MODEL, WORD_MODEL

        return model / (WORD_MODEL if words else LANGUAGE_MODEL)
    if output is None or not output.name.endswith((".arpa", ".arpa.gz")) or output.is_dir():
        raise ValueError(
            f"got --output {output}; needed: a file whose name ends in .arpa or .arpa.gz"
        )
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


def _estimate(asked: _Request) -> tuple[TextCounts, LanguageModel]:
    """Normalise all text once, into a temporary file, and estimate from that."""
    from training.language_model import estimate
    from training.language_model_text import TextCounts, texts_of, training_sentences
    from training.manifest import Split

    if not asked.texts and not asked.learnt:
        raise CorpusError("got no text; needed: text files, a manifest, or both")
    utterances, splits = [*asked.learnt, *asked.excluded], [Split.validation, Split.test]
    held_out = frozenset(texts_of(utterances, asked.alphabet, splits))
    counts = TextCounts()
    with bar("estimating") as progress, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sentences.txt"
        with file.open("w", encoding="utf-8") as lines:
            sentences = training_sentences(
                asked.texts, asked.learnt, asked.alphabet, counts, held_out=held_out
            )
            lines.writelines(f"{sentence}\n" for sentence in sentences)
        language_model = estimate(
            lambda: map(asked.units, _lines_of(file)),
            order=asked.order,
            prune=asked.prune,
            progress=progress,
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


def _check(language_model: LanguageModel, asked: _Request) -> None:
    """Refuse a model that no decoder can use, or that is shorter than was asked for."""
    from speech.decoding.beam import SPACE, symbol_names

    needs_space = not asked.words and SPACE in symbol_names(asked.alphabet)
    if needs_space and SPACE not in language_model.vocabulary:
        raise CorpusError(
            "got no sentence of several words, but an alphabet with a space; needed: a space in "
            "the texts, or none in the alphabet"
        )
    for length, level in enumerate(language_model.ngrams, 1):
        if not len(level.key):
            raise CorpusError(
                f"no n-grams of length {length} are left; needed: a lower --prune, a lower "
                "--order, or more text"
            )


def _write(target: Path, language_model: LanguageModel, asked: _Request) -> None:
    """Write the model beside `target`, load it as a decoder would, and only then rename it.

    Raises:
        ModelError: it does not load; `target` stays as it was.
    """
    from speech.decoding.beam import BeamDecoder
    from speech.decoding.rescoring import WordModel
    from training.language_model import write_arpa

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".made-") as folder:
        made = Path(folder) / target.name
        write_arpa(made, language_model)
        try:
            if asked.words:
                WordModel(made)
            else:
                BeamDecoder(asked.alphabet, DecodingConfig(), made)
        except ModelError as error:
            reason = str(error).replace(str(made), "that was made")
            raise ModelError(f"{target} is not written: {reason}") from error
        made.replace(target)


def _say_perplexity(language_model: LanguageModel, asked: _Request) -> None:
    from training.language_model import log10_probabilities
    from training.language_model_text import texts_of
    from training.manifest import Split

    texts = texts_of([*asked.learnt, *asked.excluded], asked.alphabet, [Split.validation])
    if not texts:
        return
    total = log10_probabilities(language_model, map(asked.units, texts)).sum()
    per_character = 10 ** (-total / sum(len(text) + 1 for text in texts))
    per_word = 10 ** (-total / sum(len(text.split()) + 1 for text in texts))
    known = set(language_model.vocabulary)
    unknown = sum(unit not in known for text in texts for unit in asked.units(text))
    say(
        f"perplexity of {len(texts)} validation texts: {per_character:.3f} per character, "
        f"{per_word:.1f} per word; {unknown} unknown {asked.kind}"
    )


def _peak_memory_bytes() -> int:
    """Return what this process held at most; Linux counts in KiB."""
    import resource  # Windows has none: the other commands must start there

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

"""Language models of words and of characters, with the same network and beam: errors and times.

Run it with `make bench-language-models MANIFEST=Data/english TEXTS=sentences.csv`: text as
`stt lm build` takes it, less every text of a validation or test split. Each model gets the weights
of one grid that suit it best on the validation clips, so look at the test clips too. Times are of
the search alone, the least of the rounds.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from math import inf
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
from flashlight.lib.text import decoder as flashlight
from flashlight.lib.text.decoder.kenlm import KenLM
from flashlight.lib.text.dictionary import Dictionary
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.decoding import ROUNDS, Clips
from benchmarks.machine import describe_machine
from config import DecodingConfig
from predictor import load_predictor
from quiet_start import standard_error_unheard
from service_config import ServerConfig
from speech.alphabet import Alphabet
from speech.audio import decode_native, write_atomically
from speech.decoding.beam import BeamDecoder, kept_frames
from speech.decoding.greedy import greedy_decode
from terminal import exit_codes
from training.language_model import UNKNOWN, estimate, write_arpa
from training.language_model_text import (
    TextCounts,
    as_characters,
    as_words,
    texts_of,
    training_sentences,
)
from training.manifest import Split, read_manifest

RESULTS = Path("benchmarks/results/language_models.json")
WEIGHTS = product((1.0, 1.5, 2.0, 2.5, 3.0, 4.0), (-5.0, -4.0, -3.0, -2.0, -1.0, -0.5, 0.0, 1.0))
GRID = [DecodingConfig(lm_weight=weight, word_score=score) for weight, score in WEIGHTS]

Frames = NDArray[np.float32]
Decode = Callable[[DecodingConfig], str]
Search = Callable[[Frames], Decode]  # what a clip's lexicon needs is made before the clock runs


def character_search(alphabet: Alphabet, arpa: Path) -> Search:
    """Return the beam search that ships."""
    beam = BeamDecoder(alphabet, GRID[0], arpa)

    return lambda log_probs: lambda config: beam.with_config(config).decode(log_probs)[0].text


class WordSearch:
    """A beam search over a lexicon, to which a clip may add its own spellings as unknown words."""

    def __init__(
        self, alphabet: Alphabet, arpa: Path, words: list[str], spellings: Iterable[str] = ()
    ) -> None:
        """Load a model of `words`; `spellings` are all that any clip may add."""
        self._alphabet, self._words, self._spellings = alphabet, words, set(spellings)
        self._dictionary = Dictionary([UNKNOWN, *words, *(self._spellings - set(words))])
        self._space = alphabet.encode(" ")[0]
        with standard_error_unheard():
            self._model = KenLM(str(arpa), self._dictionary)

    def __call__(self, log_probs: Frames) -> Decode:
        """Return what decodes the clip."""
        trie = self._trie(
            self._spellings.intersection(greedy_decode(log_probs, self._alphabet).split())
        )
        kept = kept_frames(log_probs, self._alphabet.blank_index, GRID[0].blank_share)
        frames = np.full((kept.sum() + 1, log_probs.shape[1]), -100.0, np.float32)
        frames[:-1], frames[-1, self._space] = log_probs[kept], 0.0  # the last word ends with it

        def decode(config: DecodingConfig) -> str:
            beam = self._decoder(trie, config)
            best = beam.decode(frames.ctypes.data, *frames.shape)[0]
            return " ".join(self._dictionary.get_entry(i) for i in best.words if i >= 0)

        return decode

    def _trie(self, more: set[str]) -> flashlight.Trie:
        start, trie = self._model.start(False), flashlight.Trie(len(self._alphabet), self._space)
        for word in {*self._words, *more}:
            index = self._dictionary.get_index(word)
            letters = [int(i) for i in self._alphabet.encode(word)]
            trie.insert([*letters, self._space], index, self._model.score(start, index)[1])
        trie.smear(flashlight.SmearingMode.MAX)
        return trie

    def _decoder(self, trie: flashlight.Trie, config: DecodingConfig) -> flashlight.LexiconDecoder:
        options = flashlight.LexiconDecoderOptions(
            beam_size=config.beam_width,
            beam_size_token=config.max_symbols,
            beam_threshold=config.beam_threshold,
            lm_weight=config.lm_weight,
            word_score=config.word_score,
            unk_score=-inf,
            sil_score=0.0,
            log_add=True,
            criterion_type=flashlight.CriterionType.CTC,
        )
        ends = self._space, self._alphabet.blank_index, self._dictionary.get_index(UNKNOWN)
        return flashlight.LexiconDecoder(options, trie, self._model, *ends, [], False)


def searches(
    alphabet: Alphabet, sentences: list[str], spellings: set[str], folder: Path
) -> Iterator[tuple[str, Search]]:
    """Yield what is compared, by name; `spellings` are the words of the clips' best paths."""

    def arpa(order: int, units: Callable[[str], list[str]]) -> Path:
        write_arpa(
            path := folder / f"{order}.arpa", estimate(lambda: map(units, sentences), order=order)
        )
        return path

    words = sorted({word for sentence in sentences for word in sentence.split()})
    of_words = arpa(3, as_words)
    yield f"words, 3-gram, lexicon of {len(words)}", WordSearch(alphabet, of_words, words)
    yield "words, and own spellings", WordSearch(alphabet, of_words, words, spellings)
    for order in (5, 6):
        yield f"characters, {order}-gram", character_search(alphabet, arpa(order, as_characters))


def least_s(decode: Decode, config: DecodingConfig) -> float:
    """Return the seconds of the fastest round."""
    times_s = [time.perf_counter()]
    for _ in range(ROUNDS):
        decode(config)
        times_s.append(time.perf_counter())
    return float(np.diff(times_s).min())


def evaluate(
    search: Search, heard: dict[Split, list[Frames]], clips: dict[Split, Clips]
) -> dict[str, Any]:
    """Return the error rates with the weights that suit the validation split best, and times."""
    validation, test = clips[Split.validation], clips[Split.test]
    texts: dict[DecodingConfig, list[str]] = {config: [] for config in GRID}
    for decode in map(search, heard[Split.validation]):
        for config, found in texts.items():
            found.append(decode(config))
    wers = {config: jiwer.wer(validation.references, found) for config, found in texts.items()}
    best = min(GRID, key=wers.__getitem__)
    total_s = sum(least_s(search(clip), best) for clip in heard[Split.validation])
    return {
        "lm_weight": best.lm_weight,
        "word_score": best.word_score,
        "validation_wer": wers[best],
        "test_wer": jiwer.wer(test.references, [search(c)(best) for c in heard[Split.test]]),
        "ms_per_10_s": 10_000 * total_s / validation.audio_s,
    }


def main(manifest: Path, files: list[Path]) -> None:
    """Measure, print, write."""
    predictor, console, counts = (
        load_predictor(ServerConfig(compile_clips=False)),
        Console(),
        TextCounts(),
    )
    alphabet, machine = predictor.pipeline.alphabet, describe_machine()
    clips = {s: Clips.read(manifest, s, predictor.pipeline) for s in (Split.validation, Split.test)}
    heard = {
        split: predictor.backend.log_probs([decode_native(w, predictor.audio) for w in own.wavs])
        for split, own in clips.items()
    }
    held_out = frozenset(texts_of(read_manifest(manifest), alphabet, list(clips)))
    sentences = list(training_sentences(files, [], alphabet, counts, held_out=held_out))
    spellings = {
        w for own in heard.values() for c in own for w in greedy_decode(c, alphabet).split()
    }
    console.print(machine)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, search in searches(alphabet, sentences, spellings, Path(folder)):
            rows.append({"model": name, **evaluate(search, heard, clips)})
            console.print(rows[-1])
    result = {"machine": machine, "sentences": len(sentences), "models": rows}
    write_atomically(RESULTS, json.dumps(result, indent=2) + "\n")
    console.print(f"wrote {RESULTS}")


if __name__ == "__main__":
    with exit_codes():
        main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])

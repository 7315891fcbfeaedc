"""From utterances to an analysis: evaluate, estimate noise, add noise, count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from config import CorpusError
from predictor import Predictor
from speech.alphabet import normalise
from speech.audio import Waveform
from speech.decoding.arpa import read_vocabulary
from speech.decoding.decoder import LANGUAGE_MODEL, WORD_MODEL, DecodingOptions
from training.analysis import Analysis, analyse
from training.analysis_clip import Clip, clip_of
from training.analysis_noise import NoiseConfig, estimate_snr_db, measure_noise
from training.evaluate import evaluate, read_clip
from training.manifest import Utterance

Bars = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
_NAMED = 3


def run_analysis(
    predictor: Predictor,
    utterances: Sequence[Utterance],
    *,
    bars: Bars,
    noise: NoiseConfig | None,
    known_words: frozenset[str] | None = None,
    options: DecodingOptions | None = None,
) -> Analysis:
    """Evaluate utterances with what ships, and return all figures.

    Args:
        bars: shows a bar with a title; yields what is called with done and total.
        noise: to add; None adds none.
        known_words: by the model's language model of words; None if it has none.

    Raises:
        CorpusError: a reference is empty, or a file is missing or is not native audio.
    """
    _check_references(predictor, utterances)
    with bars("evaluating") as progress:
        scored = evaluate(predictor, utterances, progress, options).clips
    clips = []
    with bars("estimating noise") as progress:
        for clip, utterance in zip(scored, utterances, strict=True):
            waveform = read_clip(utterance, predictor)
            rate_hz = predictor.audio.sample_rate_hz
            clips.append(
                clip_of(clip, utterance, estimate_snr_db(waveform, sample_rate_hz=rate_hz))
            )
            progress(len(clips), len(utterances))
    curve = None
    if noise:
        with bars("adding noise") as progress:
            curve = measure_noise(
                predictor, utterances, scored, noise, options=options, progress=progress
            )
    return analyse(clips, known_words=known_words, noise=curve)


def _check_references(predictor: Predictor, utterances: Sequence[Utterance]) -> None:
    """Refuse, before anything is computed, references that no error rate can be measured on."""
    alphabet = predictor.pipeline.alphabet
    empty = [utterance.id for utterance in utterances if not normalise(utterance.text, alphabet)]
    if empty:
        more = f" and {len(empty) - _NAMED} more" if len(empty) > _NAMED else ""
        raise CorpusError(
            f"{', '.join(empty[:_NAMED])}{more}: the reference is empty; needed: at least one word"
        )


def reader(predictor: Predictor, utterances: Sequence[Utterance]) -> Callable[[Clip], Waveform]:
    """Return a function that reads a clip's samples."""
    by_id = {utterance.id: utterance for utterance in utterances}
    return lambda clip: read_clip(by_id[clip.id], predictor)


def read_known_words(model: Path) -> frozenset[str] | None:
    """Return the words of a model's language model of words; None if it has none."""
    path = model / WORD_MODEL
    return frozenset(read_vocabulary(path)) if path.exists() else None


def describe_decoder(predictor: Predictor, model: Path, options: DecodingOptions) -> str:
    """Say in words how texts are found."""
    settings = predictor.decoder.config
    if (options.decoder or settings.decoder) == "greedy":
        return "best path"
    text = f"beam search of width {options.beam_width or settings.beam_width}"
    if not (model / LANGUAGE_MODEL).exists():
        return text
    words = " and one of words" if (model / WORD_MODEL).exists() else ""
    return f"{text} with a language model of characters{words}"

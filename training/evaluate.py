"""Error rates of what ships: a whole split through the predictor."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import jiwer
import numpy as np

from config import AudioError, CorpusError
from predictor import Predictor
from speech.alphabet import normalise
from speech.audio import Waveform, decode_native, write_atomically
from speech.decoding.decoder import DecodingOptions
from training.manifest import Utterance
from training.reliability import (
    Reliability,
    measure_reliability,
    plot_reliability,
    right_words,
)

_DURATION_EDGES_S = (0.0, 2.0, 5.0, 10.0, 20.0, float("inf"))
_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Error rates of a group of clips; `wer` and `cer` are ratios, the counts are of words."""

    clips: int
    words: int
    wer: float
    cer: float
    substitutions: int
    deletions: int
    insertions: int


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One clip with what was said and what was understood."""

    id: str
    speaker: str
    duration_s: float
    reference: str
    hypothesis: str
    confidence: float
    wer: float
    word_confidences: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A split's error rates, whole and in parts, and how fast it was.

    `real_time_factor` is seconds of work a second of audio, from file to text. `reliability` is of
    the words' confidence; None where no word was written.
    """

    model: str
    total: Rates
    by_duration: dict[str, Rates]
    by_corpus: dict[str, Rates]
    by_speaker: dict[str, Rates]
    real_time_factor: float
    audio_s: float
    reliability: Reliability | None
    clips: list[Scored]


def evaluate(
    predictor: Predictor,
    utterances: Sequence[Utterance],
    progress: Callable[[int, int], None] | None = None,
    options: DecodingOptions | None = None,
) -> Evaluation:
    """Transcribe `utterances` and score the text against theirs, both normalised alike.

    Raises:
        CorpusError: a file is missing or is not native audio.
    """
    if not utterances:
        raise ValueError("no utterance to evaluate")
    predictor.warm_up()
    started, clips = time.perf_counter(), []
    for start in range(0, len(utterances), _BATCH):
        clips += _score_batch(predictor, utterances[start : start + _BATCH], options)
        if progress:
            progress(len(clips), len(utterances))
    elapsed_s = time.perf_counter() - started
    audio_s = sum(clip.duration_s for clip in clips)
    edges = pairwise(_DURATION_EDGES_S)
    corpora = {u.id: u.corpus for u in utterances}
    return Evaluation(
        model=predictor.pipeline.name,
        total=rates(clips),
        by_duration={
            f"{low:g}-{high:g} s": rates(group)
            for low, high in edges
            if (group := [clip for clip in clips if low <= clip.duration_s < high])
        },
        by_corpus=_grouped(clips, [corpora[clip.id] for clip in clips]),
        by_speaker=_grouped(clips, [clip.speaker for clip in clips]),
        real_time_factor=elapsed_s / audio_s,
        audio_s=audio_s,
        reliability=_reliability(clips),
        clips=clips,
    )


def _reliability(clips: Sequence[Scored]) -> Reliability | None:
    sure = [value for clip in clips for value in clip.word_confidences]
    right = [bool(r) for clip in clips for r in right_words(clip.reference, clip.hypothesis)]
    return measure_reliability(sure, right) if sure else None


def _score_batch(
    predictor: Predictor, batch: Sequence[Utterance], options: DecodingOptions | None
) -> list[Scored]:
    waveforms = [read_clip(u, predictor) for u in batch]
    scored = []
    transcripts = predictor.transcribe_waveforms(waveforms, options)
    for u, transcript in zip(batch, transcripts, strict=True):
        reference = normalise(u.text, predictor.pipeline.alphabet)
        scored.append(
            Scored(
                id=u.id,
                speaker=u.speaker,
                duration_s=transcript.duration_s,
                reference=reference,
                hypothesis=transcript.text,
                confidence=transcript.confidence,
                wer=jiwer.wer(reference, transcript.text),
                word_confidences=tuple(word.confidence for word in transcript.words),
            )
        )
    return scored


def read_clip(utterance: Utterance, predictor: Predictor) -> Waveform:
    """Return an utterance's samples; `CorpusError` if its file is missing or not native audio."""
    try:
        return decode_native(Path(utterance.audio).read_bytes(), predictor.audio)
    except (OSError, AudioError) as error:
        raise CorpusError(f"{utterance.id}: {error}") from error


def rates(clips: Sequence[Scored]) -> Rates:
    """Return the rates of all words and characters together (jiwer)."""
    references = [clip.reference for clip in clips]
    hypotheses = [clip.hypothesis for clip in clips]
    words = jiwer.process_words(references, hypotheses)
    return Rates(
        clips=len(clips),
        words=words.hits + words.substitutions + words.deletions,
        wer=words.wer,
        cer=jiwer.cer(references, hypotheses),
        substitutions=words.substitutions,
        deletions=words.deletions,
        insertions=words.insertions,
    )


def _grouped(clips: Sequence[Scored], keys: Sequence[str]) -> dict[str, Rates]:
    return {
        key: rates([clip for clip, own in zip(clips, keys, strict=True) if own == key])
        for key in sorted(set(keys))
    }


def worst(clips: Sequence[Scored], count: int = 10) -> list[Scored]:
    """Return the clips with the most word errors a word."""
    return sorted(clips, key=lambda clip: -clip.wer)[:count]


def align(clip: Scored) -> str:
    """Show reference over hypothesis, word under word, with S, D and I beneath."""
    result = jiwer.process_words([clip.reference], [clip.hypothesis])
    text: str = jiwer.visualize_alignment(result, show_measures=False, skip_correct=False)
    return "\n".join(line for line in text.splitlines() if line and not line.startswith("==="))


def write_evaluation(folder: Path, name: str, evaluation: Evaluation) -> list[Path]:
    """Write `name.json`, `name.md` and the plot `name-reliability.png`; return their paths."""
    values = asdict(evaluation)
    paths = [folder / f"{name}.json", folder / f"{name}.md"]
    write_atomically(paths[0], json.dumps(values, indent=2, ensure_ascii=False) + "\n")
    write_atomically(paths[1], to_markdown(evaluation))
    if evaluation.reliability:
        paths.append(folder / f"{name}-reliability.png")
        plot_reliability(paths[-1], evaluation.reliability, title=name)
    return paths


def to_markdown(evaluation: Evaluation) -> str:
    """Return tables of the rates and the worst clips, aligned."""
    confidence = float(np.mean([clip.confidence for clip in evaluation.clips]))
    parts = [
        f"# {evaluation.model}\n",
        f"{evaluation.total.clips} clips, {evaluation.audio_s:.1f} s of audio, real-time factor "
        f"{evaluation.real_time_factor:.3f}, mean confidence {confidence:.3f}.\n",
        _table({"all": evaluation.total}),
    ]
    if evaluation.reliability:
        r = evaluation.reliability
        parts.append(
            f"\nConfidence of {sum(r.counts)} words: AUROC {r.auroc:.3f} (chance that a right word "
            f"is surer than a wrong one), expected calibration error {r.ece:.3f}.\n"
        )
    for title, groups in (
        ("duration", evaluation.by_duration),
        ("corpus", evaluation.by_corpus),
        ("speaker", evaluation.by_speaker),
    ):
        parts += [f"\n## By {title}\n", _table(groups)]
    parts.append("\n## Worst\n")
    for clip in worst(evaluation.clips):
        parts.append(f"\n`{clip.id}` WER {clip.wer:.2f}\n\n```\n{align(clip).strip()}\n```\n")
    return "".join(part if part.endswith("\n") else part + "\n" for part in parts)


def _table(groups: dict[str, Rates]) -> str:
    lines = [
        "",
        "| | clips | words | WER | CER | substitutions | deletions | insertions |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {r.clips} | {r.words} | {r.wer:.3f} | {r.cer:.3f} "
        f"| {r.substitutions} | {r.deletions} | {r.insertions} |"
        for name, r in groups.items()
    ]
    return "\n".join(lines) + "\n"

"""Decoders of the bundled model on real speech: error rates, and time from WAV bytes to text.

Run it with `make bench-decoding MANIFEST=Data/english`. It takes one corpus of the manifest: of its
validation split all decoders, of its test split, by which nothing was chosen, greedy and the
model's own. Each round goes through the decoders in turn; times are the least of the rounds, ratios
compare what ran in this process.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiwer
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine
from predictor import Predictor, load_predictor
from service_config import ServerConfig
from speech.alphabet import normalise
from speech.audio import write_atomically
from speech.decoding.decoder import DecodingOptions
from speech.pipeline import Pipeline
from terminal import exit_codes
from training.manifest import Split, read_manifest

ROUNDS = 5
CORPUS = "ljspeech"
BEAM_WIDTHS = (1, 8, 32, 128)
RESULTS = Path("benchmarks/results/decoding.json")


@dataclass(frozen=True, kw_only=True)
class Clips:
    """A split: its clips in native form, and what is said in them."""

    wavs: list[bytes]
    references: list[str]
    audio_s: float

    @classmethod
    def read(cls, manifest: Path, split: Split, pipeline: Pipeline) -> Clips:
        """Read those of `CORPUS`."""
        utterances = [u for u in read_manifest(manifest, split) if u.corpus == CORPUS]
        if not utterances:
            raise SystemExit(f"{manifest} has no {split} split of {CORPUS}; needed: clips of it")
        return cls(
            wavs=[Path(u.audio).read_bytes() for u in utterances],
            references=[normalise(u.text, pipeline.alphabet) for u in utterances],
            audio_s=sum(u.num_samples for u in utterances) / pipeline.audio.sample_rate_hz,
        )


def decoders_of(split: Split, own_width: int) -> dict[str, DecodingOptions]:
    """Return what is measured on a split, by name."""
    widths = (own_width,) if split is Split.test else sorted({*BEAM_WIDTHS, own_width})
    beams = {f"beam {n}": DecodingOptions(decoder="beam", beam_width=n) for n in widths}
    return {"greedy": DecodingOptions(decoder="greedy"), **beams}


def measure(
    predictor: Predictor, clips: Clips, decoders: dict[str, DecodingOptions]
) -> list[dict[str, Any]]:
    """Return error rates, seconds a round and their ratio to greedy's, for each decoder."""
    seconds: dict[str, list[float]] = {name: [] for name in decoders}
    texts: dict[str, list[str]] = {}
    for _ in range(ROUNDS):
        for name, options in decoders.items():
            started = time.perf_counter()
            texts[name] = [predictor.transcribe(wav, options).text for wav in clips.wavs]
            seconds[name].append(time.perf_counter() - started)
    least = {name: min(values) for name, values in seconds.items()}
    wers = {name: jiwer.wer(clips.references, texts[name]) for name in decoders}
    return [
        {
            "decoder": name,
            "wer": wers[name],
            "cer": jiwer.cer(clips.references, texts[name]),
            "wer_less_than_greedy": 1 - wers[name] / wers["greedy"],
            "total_s": least[name],
            "time_over_greedy": least[name] / least["greedy"],
        }
        for name in decoders
    ]


def measure_split(predictor: Predictor, manifest: Path, split: Split) -> list[dict[str, Any]]:
    """Return the rows of a split; each says which it is, and what it is made of."""
    clips = Clips.read(manifest, split, predictor.pipeline)
    decoders = decoders_of(split, predictor.decoder.config.beam_width)
    about = {
        "split": split.value,
        "clips": len(clips.wavs),
        "words": sum(len(text.split()) for text in clips.references),
        "audio_s": clips.audio_s,
    }
    return [{**about, **row} for row in measure(predictor, clips, decoders)]


def table_of(rows: list[dict[str, Any]]) -> Table:
    """Return the rows for people."""
    sizes = dict.fromkeys(f"{row['split']} {row['words']} words" for row in rows)
    table = Table(title=f"{CORPUS}: {', '.join(sizes)}; least of {ROUNDS} rounds")
    for column in ("split", "decoder", "WER", "CER", "less WER", "ms per 10 s", "over greedy"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row["split"],
            row["decoder"],
            f"{row['wer']:.3f}",
            f"{row['cer']:.3f}",
            f"{row['wer_less_than_greedy']:.0%}",
            f"{10_000 * row['total_s'] / row['audio_s']:.1f}",
            f"{row['time_over_greedy']:.3f}",
        )
    return table


def main(manifest: Path) -> None:
    """Measure, print, write."""
    predictor, machine, console = (
        load_predictor(ServerConfig(compile_clips=False)),
        describe_machine(),
        Console(),
    )
    splits = (Split.validation, Split.test)
    rows = [row for split in splits for row in measure_split(predictor, manifest, split)]
    console.print(machine)
    console.print(table_of(rows))
    result = {
        "command": "make bench-decoding",
        "machine": machine,
        "model": predictor.pipeline.name,
        "corpus": CORPUS,
        "decoders": rows,
    }
    write_atomically(RESULTS, json.dumps(result, indent=2) + "\n")
    console.print(f"wrote {RESULTS}")


if __name__ == "__main__":
    with exit_codes():
        main(Path(sys.argv[1] if len(sys.argv) > 1 else "Data/english"))

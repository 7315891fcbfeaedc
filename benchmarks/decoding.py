"""Decoders of the bundled model on real speech: error rates, and time from WAV bytes to text.

Run it with `make bench-decoding MANIFEST=Data/english`: it takes the manifest's validation split,
or that of one corpus. Each round goes through all decoders in turn; times are the least of the
rounds, ratios compare what ran in this process.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import jiwer
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine
from config import ServerConfig
from predictor import Predictor, load_predictor
from speech.alphabet import normalise
from speech.audio import write_atomically
from speech.decoding.decoder import DecodingOptions
from training.manifest import Split, read_manifest

ROUNDS = 5
CORPUS = "ljspeech"
BEAM_WIDTHS = (1, 8, 32, 128)
RESULTS = Path("benchmarks/results/decoding.json")
GREEDY = DecodingOptions(decoder="greedy")
DECODERS = {
    "greedy": GREEDY,
    **{f"beam {n}": DecodingOptions(decoder="beam", beam_width=n) for n in BEAM_WIDTHS},
}


def measure(predictor: Predictor, wavs: list[bytes], references: list[str]) -> list[dict[str, Any]]:
    """Return error rates, seconds a round and their ratio to greedy's, for each decoder."""
    seconds: dict[str, list[float]] = {name: [] for name in DECODERS}
    texts: dict[str, list[str]] = {}
    for _ in range(ROUNDS):
        for name, options in DECODERS.items():
            started = time.perf_counter()
            texts[name] = [predictor.transcribe(wav, options).text for wav in wavs]
            seconds[name].append(time.perf_counter() - started)
    least = {name: min(values) for name, values in seconds.items()}
    greedy_wer = jiwer.wer(references, texts["greedy"])
    return [
        {
            "decoder": name,
            "wer": jiwer.wer(references, texts[name]),
            "cer": jiwer.cer(references, texts[name]),
            "wer_less_than_greedy": 1 - jiwer.wer(references, texts[name]) / greedy_wer,
            "total_s": least[name],
            "time_over_greedy": least[name] / least["greedy"],
        }
        for name in DECODERS
    ]


def main(manifest: Path) -> None:
    """Measure, print, write."""
    predictor = load_predictor(ServerConfig())
    utterances = [u for u in read_manifest(manifest, Split.validation) if u.corpus == CORPUS]
    wavs = [Path(u.audio).read_bytes() for u in utterances]
    references = [normalise(u.text, predictor.pipeline.alphabet) for u in utterances]
    rows, machine, console = measure(predictor, wavs, references), describe_machine(), Console()
    audio_s = sum(u.num_samples for u in utterances) / predictor.audio.sample_rate_hz
    table = Table(title=f"{len(wavs)} clips of {CORPUS}, {audio_s:.0f} s; least of {ROUNDS} rounds")
    for column in ("decoder", "WER", "CER", "WER less", "ms per 10 s", "time / greedy"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row["decoder"],
            f"{row['wer']:.3f}",
            f"{row['cer']:.3f}",
            f"{row['wer_less_than_greedy']:.0%}",
            f"{10_000 * row['total_s'] / audio_s:.1f}",
            f"{row['time_over_greedy']:.3f}",
        )
    console.print(machine)
    console.print(table)
    result = {
        "command": "make bench-decoding",
        "machine": machine,
        "model": predictor.pipeline.name,
        "corpus": CORPUS,
        "audio_s": audio_s,
        "decoders": rows,
    }
    write_atomically(RESULTS, json.dumps(result, indent=2) + "\n")
    console.print(f"wrote {RESULTS}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "Data/english"))

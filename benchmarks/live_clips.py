"""Speech for the benchmark of live captions, and what is counted in captions of it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from config import AudioConfig
from speech.alphabet import Alphabet, normalise
from speech.audio import Waveform, decode_native
from training.manifest import Split, read_manifest

FRAME_S = 0.01
SPEECH_DB = 35.0  # below a clip's loudest frame nothing is speech
PAUSE_LEVEL = 0.0005
_CORPUS = "ljspeech"


@dataclass(frozen=True)
class Clip:
    """A clip from its first to its last sound, and what is said in it, if that is known."""

    waveform: Waveform
    text: str


@dataclass(frozen=True)
class Talk:
    """Clips with pauses: float32 `[samples]`, and the sample behind each clip's last sound."""

    waveform: Waveform
    ends: tuple[int, ...]


def read_clips(source: Path, audio: AudioConfig, alphabet: Alphabet) -> list[Clip]:
    """Return the validation split of a manifest, or the native WAV files of a folder.

    A folder's texts are those of a `metadata.csv` in LJSpeech's form, if there is one.
    """
    if source.suffix == ".jsonl" or (source / "manifest.jsonl").exists():
        utterances = read_manifest(source, Split.validation)
        chosen = [u for u in utterances if u.corpus == _CORPUS] or utterances
        named = [(Path(u.audio), u.text) for u in chosen]
    else:
        texts = _texts(source / "metadata.csv")
        named = [(path, texts.get(path.stem, "")) for path in sorted(source.glob("**/*.wav"))]
    if not named:
        raise SystemExit(f"{source} has no clips; needed: a manifest, or a folder of WAV files")
    rate_hz = audio.sample_rate_hz
    return [
        Clip(trimmed(decode_native(path.read_bytes(), audio), rate_hz), normalise(text, alphabet))
        for path, text in named
    ]


def _texts(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row[0]: row[-1] for row in csv.reader(file, delimiter="|", quoting=csv.QUOTE_NONE)}


def trimmed(waveform: Waveform, sample_rate_hz: int) -> Waveform:
    """Return a clip from its first to its last frame within `SPEECH_DB` of its loudest."""
    length = round(FRAME_S * sample_rate_hz)
    frames = waveform[: len(waveform) // length * length].reshape(-1, length)
    power = np.square(frames).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (-SPEECH_DB / 10))
    return waveform[loud[0] * length : (loud[-1] + 1) * length]


def make_talk(clips: Sequence[Clip], *, pause_s: float, sample_rate_hz: int) -> Talk:
    """Return the clips one after another, with faint noise before each and after the last."""
    draw, parts, ends, heard = np.random.default_rng(0), [], [], 0
    for clip in [*clips, None]:
        noise = draw.standard_normal(round(pause_s * sample_rate_hz))
        parts.append((PAUSE_LEVEL * noise).astype(np.float32))
        heard += len(parts[-1])
        if clip is not None:
            parts.append(clip.waveform)
            heard += len(clip.waveform)
            ends.append(heard)
    return Talk(np.concatenate(parts), tuple(ends))


def count_words(captions: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many words were shown in partials, and how many of them were changed later.

    A word is changed if the next caption of its utterance does not have it: it is replaced or
    gone. One that is changed twice was shown twice.

    Args:
        captions: partials and finals as they came, with `id`, `type` and `text`.
    """
    shown = changed = final = 0
    before: dict[int, list[str]] = {}
    for caption in captions:
        words, earlier = caption["text"].split(), before.get(caption["id"], [])
        matcher = SequenceMatcher(None, earlier, words, autojunk=False)
        kept = sum(block.size for block in matcher.get_matching_blocks())
        changed += len(earlier) - kept
        shown += (len(words) - kept) if caption["type"] == "partial" else 0
        final += len(words) if caption["type"] == "final" else 0
        before[caption["id"]] = words
    return {"shown": shown, "changed": changed, "final": final}


def show(console: Console, title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows as a table."""
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        cells = (f"{v:.3g}" if isinstance(v, float) and v < 100 else v for v in row.values())
        table.add_row(*(f"{v:.0f}" if isinstance(v, float) else str(v) for v in cells))
    console.print(table)

"""Many files to transcripts, a bounded number in memory at a time."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from config import AudioError
from predictor import MAX_BATCH, Predictor
from speech.audio import AUDIO_SUFFIXES, Waveform, decode_any
from speech.transcript import Transcript


def find_sources(name: str) -> list[tuple[str, bytes | Path | AudioError]]:
    """Return (name, source) of each file that `name` means, or an error in their place.

    Args:
        name: a file, a folder, a glob, or "-" for standard input.
    """
    if name == "-":
        return [("-", sys.stdin.buffer.read())]
    path = Path(name)
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
    elif path.exists():
        found = [path]
    else:
        found = [Path(p) for p in sorted(glob.glob(name, recursive=True)) if Path(p).is_file()]
    if not found:
        return [(name, AudioError("no audio file; needed: a file, a folder, a glob or -"))]
    return [(str(p), p) for p in found]


def transcribe_files(
    predictor: Predictor, sources: Iterable[tuple[str, bytes | Path | AudioError]]
) -> Iterator[tuple[str, Transcript | AudioError]]:
    """Yield each source's name with its transcript, or with why it has none, in order.

    A source may be an error already: it is passed on in its place.
    """
    remaining = iter(sources)
    while group := list(islice(remaining, MAX_BATCH)):
        decoded = [(name, _decode(predictor, source)) for name, source in group]
        waveforms = [d for _, d in decoded if not isinstance(d, AudioError)]
        transcripts = iter(predictor.transcribe_waveforms(waveforms))
        for name, result in decoded:
            yield name, result if isinstance(result, AudioError) else next(transcripts)


def _decode(predictor: Predictor, source: bytes | Path | AudioError) -> Waveform | AudioError:
    if isinstance(source, AudioError):
        return source
    try:
        return decode_any(source, predictor.audio)
    except AudioError as error:
        return error

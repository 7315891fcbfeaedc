"""Many files to transcripts, a bounded number in memory at a time."""

from __future__ import annotations

import glob
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from config import AudioError
from predictor import Predictor
from speech.audio import AUDIO_SUFFIXES, Waveform
from speech.batches import MAX_BATCH
from speech.decoding.decoder import DecodingOptions
from speech.media import MEDIA_SUFFIXES
from speech.recordings import read_recording
from speech.transcript import Transcript

GROUP_S = 120.0
_SUFFIXES = AUDIO_SUFFIXES | MEDIA_SUFFIXES


def find_sources(name: str) -> list[tuple[str, bytes | Path | AudioError]]:
    """Return (name, source) of each file that `name` means, or an error in their place.

    Args:
        name: a file, a folder, a glob, or "-" for standard input.
    """
    if name == "-":
        return [("-", sys.stdin.buffer.read())]
    path = Path(name)
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in _SUFFIXES)
    elif path.exists():
        found = [path]
    else:
        found = [Path(p) for p in sorted(glob.glob(name, recursive=True)) if Path(p).is_file()]
    if not found:
        return [(name, AudioError("no audio file; needed: a file, a folder, a glob or -"))]
    return [(str(p), p) for p in found]


def transcribe_files(
    predictor: Predictor,
    sources: Sequence[tuple[str, bytes | Path | AudioError]],
    options: DecodingOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[str, Transcript | AudioError]]:
    """Yield each source's name with its transcript, or with why it has none, in order.

    Files are decoded one after another, and transcribed in groups of `MAX_BATCH` files, or of more
    than `GROUP_S` of audio: memory holds at most that and one file's waveform.

    Args:
        sources: names with files; an error is passed on in its place.
        progress: called with thousandths of the work done, and 1000.
    """

    def report(done: int, total: int) -> None:
        if progress:
            share = (finished + len(group) * done / max(1, total)) / len(sources)
            progress(round(1000 * share), 1000)

    finished, group_samples = 0, 0
    group: list[tuple[str, Waveform | AudioError]] = []
    for index, (name, source) in enumerate(sources, 1):
        group.append((name, _decode(predictor, source)))
        group_samples += _num_samples(group[-1][1])
        is_full = group_samples > GROUP_S * predictor.audio.sample_rate_hz
        if is_full or len(group) == MAX_BATCH or index == len(sources):
            results = _transcribe_group(predictor, group, options, report)
            report(1, 1)
            finished, group, group_samples = index, [], 0  # no waveform is held from here on
            yield from results


def _transcribe_group(
    predictor: Predictor,
    group: Sequence[tuple[str, Waveform | AudioError]],
    options: DecodingOptions | None,
    report: Callable[[int, int], None],
) -> list[tuple[str, Transcript | AudioError]]:
    waveforms = [decoded for _, decoded in group if not isinstance(decoded, AudioError)]
    found = iter(predictor.transcribe_waveforms(waveforms, options, progress=report))
    return [
        (name, decoded if isinstance(decoded, AudioError) else next(found))
        for name, decoded in group
    ]


def _num_samples(decoded: Waveform | AudioError) -> int:
    return 0 if isinstance(decoded, AudioError) else len(decoded)


def target_paths(folder: Path, names: Sequence[str], form: str) -> dict[str, Path]:
    """Return where each source's transcript goes: `folder/NAME.FORM`, `txt` for text.

    Raises:
        ValueError: two sources would go to one file.
    """
    suffix = "txt" if form == "text" else form
    paths = {
        name: folder / f"{'stdin' if name == '-' else Path(name).stem}.{suffix}" for name in names
    }
    if len(set(paths.values())) < len(names):
        raise ValueError("got sources of the same name; needed: a folder of output for each")
    return paths


def _decode(predictor: Predictor, source: bytes | Path | AudioError) -> Waveform | AudioError:
    if isinstance(source, AudioError):
        return source
    try:
        return read_recording(source, predictor.audio)
    except AudioError as error:
        return error

"""One clip's audio: converted to native form where it is not, with a journal to resume from."""

from __future__ import annotations

import hashlib
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from config import AudioConfig, AudioError
from speech import audio
from training.importer_tables import Clip

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_HEADER_BYTES = 65_536

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class CheckedAudio:
    """A clip's audio after its check.

    Attributes:
        id: `corpus/name`.
        source: what the result depends on, so that changed audio is checked anew.
        audio: path of a native WAV file, absolute; the original if that is one.
        num_samples: at the native sample rate; 0 with a problem.
        problem: why it cannot be used, or empty.
    """

    id: str
    source: str
    audio: str
    num_samples: int
    problem: str

    def still_holds(self, source: str) -> bool:
        """Whether the audio is as it was, and the native file there as a whole."""
        if self.source != source:
            return False
        return bool(self.problem) or _size_bytes(Path(self.audio)) >= 2 * self.num_samples


def source_of(clip: Clip, config: AudioConfig) -> str:
    """Return what `check_audio` depends on: the file, its size and time, and the native form."""
    try:
        status = clip.audio.stat()
        state = f"{status.st_size} bytes, {status.st_mtime_ns} ns"
    except (OSError, ValueError):
        state = "missing"
    return f"{clip.audio}, {state}, {config.sample_rate_hz} Hz, {config.max_duration_s} s"


def check_audio(clip: Clip, corpus: str, folder: Path, config: AudioConfig) -> CheckedAudio:
    """Return where the clip's native WAV is, writing it below `folder` if the original is not one.

    Raises:
        OSError: a native file cannot be written.
    """
    source, path, num_samples, problem = source_of(clip, config), clip.audio, 0, ""
    try:
        native = _read_native(clip.audio, config)
        waveform = audio.decode_any(clip.audio, config) if native is None else native
    except AudioError as error:
        problem = str(error)
    else:
        num_samples = len(waveform)
        if native is None:
            path = folder / f"{safe_name(clip.name)}.wav"
            audio.write_native(path, waveform, config)
    return CheckedAudio(
        id=f"{corpus}/{clip.name}",
        source=source,
        audio=str(path.absolute() if problem else path.resolve()),
        num_samples=num_samples,
        problem=problem,
    )


def _read_native(path: Path, config: AudioConfig) -> audio.Waveform | None:
    """Return the waveform of a native file, None for another; `AudioError` if unreadable."""
    try:
        if not path.is_file():
            raise AudioError(f"no audio file: {path.name}")
        if path.stat().st_size > 2 * audio.max_num_samples(config) + _HEADER_BYTES:
            return None
        content = path.read_bytes()
    except OSError as error:
        raise AudioError(f"cannot read the audio: {error}") from error
    try:
        return audio.decode_native(content, config)
    except AudioError:
        return None


def _size_bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def safe_name(name: str) -> str:
    """Return a file's name for any id, so that no id leads out of a folder or to two files."""
    if _PLAIN_NAME.fullmatch(name):
        return name
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[-60:]
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{readable}~{digest[:16]}"


def read_journal(path: Path) -> dict[str, CheckedAudio]:
    """Return what was checked before, by id, and leave the file fit to be appended to.

    A line that a kill has torn counts as not checked. Such lines, and those that a later line
    replaces, are removed, so that no new line is glued to half of an old one.
    """
    content = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    done: dict[str, CheckedAudio] = {}
    for line in content.split("\n"):
        try:
            entry = CheckedAudio(**json.loads(line))
        except (ValueError, TypeError):
            continue
        done[entry.id] = entry
    if content != (clean := "".join(map(journal_line, done.values()))):
        audio.write_atomically(path, clean)
    return done


def journal_line(entry: CheckedAudio) -> str:
    """Return the entry as one line of ASCII JSON."""
    return json.dumps(asdict(entry)) + "\n"


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """Yield results in order from threads that are at most a few items ahead.

    Unlike `Executor.map` it neither queues all items at once nor, when its user stops early,
    works through the rest.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

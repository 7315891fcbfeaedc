"""Synthetic speech from transcripts, read by the voices of several Debian packages."""

from __future__ import annotations

import csv
import io
import json
import random
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from config import AudioConfig, AudioError, CorpusError
from speech import audio
from training.clip_check import safe_name
from training.importer_tables import piped_lines, tabbed_lines
from training.synthesis_programs import Manner, speak
from training.synthesis_voices import (
    PACKAGES,
    REQUIRED,
    Voice,
    installed_voices,
    missing_programs,
)

TEXTS = "texts.json"  # what each clip was made from, also before `metadata.csv` is there

Texts = Mapping[str, str]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class SynthesisConfig:
    """How many clips, the programs' shares, and how far a voice varies (as factors).

    Shares are relative; those of programs that are not installed go to the others.
    """

    num_clips: int = 6000
    seed: int = 0
    hts_engine_share: float = 0.45
    festival_share: float = 0.06
    flite_share: float = 0.25
    espeak_share: float = 0.24
    stretch: tuple[float, float] = (0.8, 1.2)
    pitch: tuple[float, float] = (0.9, 1.15)
    melody: tuple[float, float] = (0.8, 1.6)
    max_characters: int = 180
    workers: int = 2

    def __post_init__(self) -> None:
        """Refuse what nothing could be drawn from."""
        shares = self.shares()
        if min(shares.values()) < 0 or not any(shares.values()):
            raise ValueError(f"shares {shares}; needed: none negative, one over 0")

    def shares(self) -> dict[str, float]:
        """Return the share of each program."""
        return {
            "hts_engine": self.hts_engine_share,
            "festival": self.festival_share,
            "flite": self.flite_share,
            "espeak-ng": self.espeak_share,
        }


def read_texts(path: Path) -> dict[str, str]:
    """Return texts by id, of a `.tsv` of `id TAB text` or of lines `id|text` or `id|raw|text`.

    Raises:
        CorpusError: unreadable, or a line of another form.
    """
    lines = tabbed_lines if path.suffix.lower() == ".tsv" else piped_lines
    return {name: text for _, name, text in lines(path)}


def draw_texts(
    tables: Sequence[Texts], config: SynthesisConfig, shares: Sequence[float] = ()
) -> dict[str, str]:
    """Return `config.num_clips` texts, or all there are, by ids that name a file.

    A `|`, which would end a column of the corpus's table, becomes a space.

    Args:
        shares: of the clips, one a table; equal if empty. A table too small gives all it has.

    Raises:
        CorpusError: shares do not fit, two tables share an id, or no text is short enough.
    """
    shares = shares or [1.0] * len(tables)
    if len(shares) != len(tables) or min(shares, default=0) < 0 or sum(shares) <= 0:
        raise CorpusError(f"shares {list(shares)}; needed: one a table, {len(tables)} in all")
    drawn: dict[str, str] = {}
    for table, share in zip(tables, shares, strict=True):
        texts = {safe_name(name): _one_column(text) for name, text in table.items()}
        short = sorted(n for n, text in texts.items() if 0 < len(text) <= config.max_characters)
        number = min(round(config.num_clips * share / sum(shares)), len(short))
        names = random.Random(config.seed).sample(short, number)
        if twice := sorted(drawn.keys() & set(names)):
            raise CorpusError(f"two tables have a clip {twice[0]}; needed: ids of one table")
        drawn.update((name, texts[name]) for name in names)
    if not drawn:
        raise CorpusError(f"no text of at most {config.max_characters} characters")
    return dict(sorted(drawn.items()))


def _one_column(text: str) -> str:
    return " ".join(text.replace("|", " ").split())


def notes_on_missing() -> list[str]:
    """Say which programs, whose voices are left out, are not installed."""
    return [
        f"{program} is not installed, so its voices are left out; "
        f"for them: apt-get install {PACKAGES[program]}"
        for program in missing_programs()
        if program not in REQUIRED
    ]


def synthesise(
    texts: Texts, output: Path, config: SynthesisConfig, progress: Progress | None = None
) -> int:
    """Write a corpus in LJSpeech's form of `texts`; return the clips made.

    A clip's voice and manner depend on its id, the seed and the voices installed. Clips that are
    already there are kept if their texts are the same, so a second run continues. Every clip is put
    into the training split; what another corpus holds out wins when `stt prepare` joins them.

    Args:
        texts: from `draw_texts`.

    Raises:
        CorpusError: flite or espeak-ng is not installed, or `output` was made with other settings.
    """
    for program in missing_programs():
        if program in REQUIRED:
            needed = f"apt-get install {PACKAGES[program]}"
            raise CorpusError(f"{program} is not installed; needed: {needed}")
    voices = installed_voices()
    _check_settings(output, config, voices)
    _remove_outdated(output, texts)
    made: list[tuple[str, str]] = []

    def make(name: str) -> tuple[str, str | None]:
        voice, manner = draw_voice(name, voices, config)
        done = _make_clip(output / "wavs" / f"{name}.wav", texts[name], voice, manner)
        return name, voice.name if done else None

    with ThreadPoolExecutor(config.workers) as pool:
        for done, (name, speaker) in enumerate(pool.map(make, texts), start=1):
            if speaker:
                made.append((name, speaker))
            if progress:
                progress(done, len(texts))
    write_corpus(output, [(name, speaker, texts[name]) for name, speaker in made])
    return len(made)


def draw_voice(name: str, voices: Sequence[Voice], config: SynthesisConfig) -> tuple[Voice, Manner]:
    """Return who speaks the clip `name`, and how; the same every time."""
    draw = random.Random(f"{config.seed} {name}")
    shares = {p: share for p, share in config.shares().items() if _of(p, voices)}
    program = draw.choices(list(shares), list(shares.values()))[0]
    candidates = _of(program, voices)
    voice = draw.choices(candidates, [candidate.weight for candidate in candidates])[0]
    stretch, pitch = draw.uniform(*config.stretch), draw.uniform(*config.pitch)
    return voice, Manner(stretch=stretch, pitch=pitch, melody=draw.uniform(*config.melody))


def _of(program: str, voices: Sequence[Voice]) -> list[Voice]:
    return [voice for voice in voices if voice.program == program]


def _check_settings(output: Path, config: SynthesisConfig, voices: Sequence[Voice]) -> None:
    """Refuse to mix the voices of two runs: the lists would name the wrong ones."""
    path = output / "synthesis.json"
    drawn = {key: v for key, v in asdict(config).items() if key not in ("num_clips", "workers")}
    settings = json.dumps({**drawn, "voices": [asdict(voice) for voice in voices]}, indent=1)
    if (output / "wavs").exists() and not path.exists():
        raise CorpusError(f"{output} was made in another way; needed: another folder")
    if path.exists() and path.read_text(encoding="utf-8") != settings:
        raise CorpusError(
            f"{output} was made with other settings or voices; needed: another folder"
        )
    audio.write_atomically(path, settings)


def _remove_outdated(output: Path, texts: Texts) -> None:
    """Remove the clips whose texts are others now, or unknown; note the new texts."""
    path = output / TEXTS
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise CorpusError(f"{path} is broken: {error}; needed: another folder") from error
    for name, text in texts.items():
        if known.get(name) != text:
            (output / "wavs" / f"{name}.wav").unlink(missing_ok=True)
    audio.write_atomically(path, json.dumps({**known, **texts}, ensure_ascii=False, indent=1))


def _make_clip(path: Path, text: str, voice: Voice, manner: Manner) -> bool:
    """Write a clip in native form unless it is there; False if the program gave none."""
    if path.exists():
        return True
    native = AudioConfig()
    shortened = AudioConfig(sample_rate_hz=round(native.sample_rate_hz / voice.tract))
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "speech.wav"
        try:
            speak(voice, text, wav, manner)
            audio.write_native(path, audio.decode_any(wav, shortened), native)
        except (subprocess.SubprocessError, AudioError):
            return False
    return True


def write_corpus(output: Path, clips: list[tuple[str, str, str]]) -> None:
    """Write the lists of a corpus in LJSpeech's form of clips for training: id, speaker, text."""
    speakers = [("id", "speaker"), *((name, speaker) for name, speaker, _ in clips)]
    audio.write_atomically(output / "speakers.csv", _to_csv(speakers))
    splits = [("id", "split"), *((name, "train") for name, _, _ in clips)]
    audio.write_atomically(output / "splits.csv", _to_csv(splits))
    rows = "".join(f"{name}|{text}|{text}\n" for name, _, text in clips)
    audio.write_atomically(output / "metadata.csv", rows)


def _to_csv(rows: list[tuple[str, str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()

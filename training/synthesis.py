"""Synthetic speech from transcripts, read by flite and espeak-ng (both Debian packages)."""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from config import AudioConfig, AudioError, CorpusError
from speech import audio
from training.clip_check import safe_name

FLITE_VOICES = {"slt": 185.0, "rms": 105.0, "awb": 125.0, "kal16": 105.0}
ESPEAK_VOICES = ("en-us", "en-us+f2", "en-us+f4", "en-us+m3", "en-gb+f3", "en-us+Annie")


@dataclass(frozen=True, kw_only=True)
class SynthesisConfig:
    """How many clips, the voices' shares, and how far speed and pitch vary (as factors)."""

    num_clips: int = 5000
    seed: int = 0
    slt_share: float = 0.45
    other_flite_share: float = 0.35
    stretch: tuple[float, float] = (0.8, 1.2)
    pitch: tuple[float, float] = (0.9, 1.15)
    max_characters: int = 180
    workers: int = 2


def synthesise(
    texts: dict[str, str],
    output: Path,
    config: SynthesisConfig,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write a corpus in LJSpeech's form of `config.num_clips` of `texts`; return the clips made.

    Clips that are already there are kept, so a second run continues. Every clip is put into the
    training split; what another corpus holds out wins when `stt prepare` joins them.

    Args:
        texts: normalised or plain English by id.

    Raises:
        CorpusError: flite or espeak-ng is not installed, there is no text, or `output` was made
            with other settings.
    """
    for program in ("flite", "espeak-ng"):
        if not shutil.which(program):
            raise CorpusError(f"{program} is not installed; needed: apt-get install {program}")
    texts = {safe_name(name): text for name, text in texts.items()}
    names = sorted(name for name, text in texts.items() if 0 < len(text) <= config.max_characters)
    if not names:
        raise CorpusError(f"no text of at most {config.max_characters} characters")
    names = sorted(random.Random(config.seed).sample(names, min(config.num_clips, len(names))))
    _check_settings(output, config)
    made: list[tuple[str, str]] = []
    with ThreadPoolExecutor(config.workers) as pool:
        jobs = pool.map(lambda name: _synthesise_one(name, texts[name], output, config), names)
        for done, (name, speaker) in enumerate(jobs, start=1):
            if speaker:
                made.append((name, speaker))
            if progress:
                progress(done, len(names))
    _write_lists(output, made, texts)
    return len(made)


def _write_lists(output: Path, made: list[tuple[str, str]], texts: dict[str, str]) -> None:
    audio.write_atomically(output / "speakers.csv", _to_csv([("id", "speaker"), *made]))
    splits = [("id", "split"), *((name, "train") for name, _ in made)]
    audio.write_atomically(output / "splits.csv", _to_csv(splits))
    rows = "".join(f"{name}|{texts[name]}|{texts[name]}\n" for name, _ in made)
    audio.write_atomically(output / "metadata.csv", rows)


def _to_csv(rows: list[tuple[str, str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _check_settings(output: Path, config: SynthesisConfig) -> None:
    """Refuse to mix the voices of two runs: the lists would name the wrong ones."""
    path = output / "synthesis.json"
    drawn = {key: v for key, v in asdict(config).items() if key not in ("num_clips", "workers")}
    settings = json.dumps({**drawn, "voices": [*FLITE_VOICES, *ESPEAK_VOICES]})
    if (output / "wavs").exists() and not path.exists():
        raise CorpusError(f"{output} was made in another way; needed: another folder")
    if path.exists() and path.read_text(encoding="utf-8") != settings:
        raise CorpusError(f"{output} was made with other settings; needed: another folder")
    audio.write_atomically(path, settings)


def _synthesise_one(
    name: str, text: str, output: Path, config: SynthesisConfig
) -> tuple[str, str | None]:
    draw = random.Random(f"{config.seed} {name}")
    stretch, pitch = draw.uniform(*config.stretch), draw.uniform(*config.pitch)
    kind = draw.random()
    path = output / "wavs" / f"{name}.wav"
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "speech.wav"
        if kind < config.slt_share + config.other_flite_share:
            others = [voice for voice in FLITE_VOICES if voice != "slt"]
            voice = "slt" if kind < config.slt_share else draw.choice(others)
            command = _flite_command(voice, text, wav, stretch, pitch)
        else:
            voice = draw.choice(ESPEAK_VOICES)
            command = _espeak_command(voice, text, wav, stretch, pitch)
        if not path.exists() and not _run(command, wav, path):
            return name, None
    return name, voice


def _flite_command(voice: str, text: str, wav: Path, stretch: float, pitch: float) -> list[str]:
    settings = {
        "duration_stretch": f"{stretch:.3f}",
        "int_f0_target_mean": f"{FLITE_VOICES[voice] * pitch:.1f}",
    }
    options = [word for key, value in settings.items() for word in ("--setf", f"{key}={value}")]
    return ["flite", "-voice", voice, *options, "-t", text, "-o", str(wav)]


def _espeak_command(voice: str, text: str, wav: Path, stretch: float, pitch: float) -> list[str]:
    speed, level = round(165 / stretch), round(50 * pitch**2)
    return [
        "espeak-ng",
        "-v",
        voice,
        "-s",
        str(speed),
        "-p",
        str(level),
        "-w",
        str(wav),
        "--",
        text,
    ]


def _run(command: list[str], wav: Path, path: Path) -> bool:
    """Run a synthesiser and write its clip in native form; False if it gave none."""
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        native = AudioConfig()
        audio.write_native(path, audio.decode_any(wav, native), native)
    except (subprocess.SubprocessError, AudioError):
        return False
    return True

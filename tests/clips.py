"""Tiny clips for tests of corpora: noise, made here, so that no recording is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile


def babble(seconds: float, *, seed: int = 1, rate_hz: int = 22_050) -> np.ndarray:
    """Return float32 noise that comes and goes as syllables do: steady noise is no speech."""
    draw, time_s = np.random.default_rng(seed), np.arange(int(seconds * rate_hz)) / rate_hz
    envelope = 0.05 + 0.45 * np.maximum(0, np.sin(2 * np.pi * draw.uniform(2, 4) * time_s))
    return (envelope * draw.uniform(-1, 1, len(time_s))).astype(np.float32)


def write_clip(path: Path, *, duration_s: float = 1.0, rate_hz: int = 22_050) -> Path:
    """Write noise to `path` in the form of its suffix: WAV and FLAC in 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = babble(duration_s, rate_hz=rate_hz)
    if path.suffix == ".opus":
        soundfile.write(path, noise, rate_hz, format="OGG", subtype="OPUS")
    else:
        soundfile.write(path, noise, rate_hz)
    return path


def write_ljspeech(
    folder: Path, texts: dict[str, str], *, splits: dict[str, str] | None = None
) -> Path:
    """Write a corpus in LJSpeech's form: a second of native WAV for each of `texts` by id."""
    for name in texts:
        write_clip(folder / "wavs" / f"{name}.wav")
    if splits:
        rows = "".join(f"{name},{split}\n" for name, split in splits.items())
        (folder / "splits.csv").write_text(f"id,split\n{rows}", encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"{name}|{text}|{text}\n" for name, text in texts.items())
    (folder / "metadata.csv").write_text(rows, encoding="utf-8")
    return folder

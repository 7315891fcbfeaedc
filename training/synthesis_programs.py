"""How the programs of synthetic speech are called."""

from __future__ import annotations

import math
import subprocess
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from training.synthesis_voices import Voice

FESTIVAL_VOICES = Path("/usr/share/festival/voices")
LONGEST_S = 60
LABELS = """(let ((utt (utt.synth (Utterance Text "{text}"))) (file (fopen "{labels}" "w")))
 (mapcar (lambda (line) (format file "%s" line)) (hts_dump_feats_string_list utt hts_feats_list))
 (fclose file))"""


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How a text is spoken: factors on durations, on the pitch and on its movement."""

    stretch: float = 1.0
    pitch: float = 1.0
    melody: float = 1.0


def speak(voice: Voice, text: str, wav: Path, manner: Manner) -> None:
    """Write `text` as `wav`, to be played `voice.tract` times as fast as its header says.

    A vocal tract is a resampling; the program is asked for what is right after it. espeak-ng and
    flite have no melody to set.

    Raises:
        subprocess.SubprocessError: a program failed, or ran for more than a minute.
    """
    asked = Manner(
        stretch=manner.stretch * voice.tract,
        pitch=voice.pitch * manner.pitch / voice.tract,
        melody=manner.melody,
    )
    for command in _COMMANDS[voice.program](voice, plain(text), wav, asked):
        subprocess.run(command, check=True, capture_output=True, timeout=LONGEST_S)


def plain(text: str) -> str:
    """Return `text` in ASCII, and in small letters if it is all capitals: those may be spelled."""
    straight = text.translate(str.maketrans("‘’“”", "''\"\""))
    ascii_only = unicodedata.normalize("NFKD", straight).encode("ascii", "ignore").decode()
    return ascii_only.lower() if ascii_only.isupper() else ascii_only


def _flite(voice: Voice, text: str, wav: Path, manner: Manner) -> list[list[str]]:
    mean = (voice.hertz or 0.0) * manner.pitch
    settings = (f"duration_stretch={manner.stretch:.3f}", f"int_f0_target_mean={mean:.1f}")
    options = [word for setting in settings for word in ("--setf", setting)]
    return [["flite", "-voice", voice.model, *options, "-t", text, "-o", str(wav)]]


def _espeak(voice: Voice, text: str, wav: Path, manner: Manner) -> list[list[str]]:
    """Its pitch goes from 0 to 99; 50 more is an octave."""
    speed, level = round(165 / manner.stretch), round(50 + 50 * math.log2(manner.pitch))
    options = ["-s", str(speed), "-p", str(min(max(level, 0), 99)), "-w", str(wav)]
    return [["espeak-ng", "-v", voice.model, *options, "--", text]]


def _diphones(voice: Voice, text: str, wav: Path, manner: Manner) -> list[list[str]]:
    mean = f"(target_f0_mean {(voice.hertz or 0.0) * manner.pitch:.1f})"
    shape = f"(target_f0_std {14 * manner.melody:.1f}) (model_f0_mean 170) (model_f0_std 34)"
    steps = (
        f"(set! int_lr_params '({mean} {shape}))",
        f"(Parameter.set 'Duration_Stretch {manner.stretch:.3f})",
        f'(utt.save.wave (utt.synth (Utterance Text "{_quoted(text)}")) "{wav}" \'riff)',
    )
    return [["festival", "-b", f"(voice_{voice.model})", *steps]]


def _hidden_markov(voice: Voice, text: str, wav: Path, manner: Manner) -> list[list[str]]:
    """Festival reads the text; hts_engine, which can be told pitch and melody, speaks it."""
    labels = wav.with_suffix(".lab")
    written = LABELS.format(text=_quoted(text), labels=labels)
    reader = ["festival", "-b", f"(voice_{voice.model})", "(Parameter.set 'Synth_Method 'None)"]
    rate, half_tones = 1 / manner.stretch, 12 * math.log2(manner.pitch)
    options = ["-r", f"{rate:.3f}", "-fm", f"{half_tones:.2f}", "-jf", f"{manner.melody:.2f}"]
    engine = ["hts_engine", "-m", _model_file(voice.model), *options, "-ow", str(wav), str(labels)]
    return [[*reader, written], engine]


def _quoted(text: str) -> str:
    """In a Scheme string."""
    return text.replace("\\", " ").replace('"', '\\"')


@cache
def _model_file(model: str) -> str:
    return str(next(FESTIVAL_VOICES.rglob(f"{model}.htsvoice"), f"{model}.htsvoice"))


_COMMANDS = {
    "flite": _flite,
    "espeak-ng": _espeak,
    "festival": _diphones,
    "hts_engine": _hidden_markov,
}

"""The voices of synthetic speech: who there is, and what each costs in packages."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, replace

PACKAGES = {
    "flite": "flite",
    "espeak-ng": "espeak-ng",
    "festival": "festival festvox-kdlpc16k",
    "hts_engine": "festival festvox-us-slt-hts htsengine",
}
REQUIRED = ("flite", "espeak-ng")
NEEDS = {"hts_engine": ("hts_engine", "festival")}


@dataclass(frozen=True, kw_only=True)
class Voice:
    """A speaker: a program's voice, perhaps with another pitch and another vocal tract.

    Args:
        program: one of `PACKAGES`.
        name: of the speaker; no two voices share one.
        model: what the program calls its voice.
        hertz: its mean pitch; None where the program takes a factor.
        pitch: factor on that pitch.
        tract: factor on all formants; over 1 is a shorter vocal tract, a smaller speaker.
        weight: how often, among the program's voices.
    """

    program: str
    name: str
    model: str
    hertz: float | None = None
    pitch: float = 1.0
    tract: float = 1.0
    weight: float = 1.0


def _with_others(voice: Voice, *others: tuple[str, float, float, float]) -> list[Voice]:
    """Return `voice` and speakers made from it: suffix, pitch, tract and weight of each."""
    made = [
        replace(voice, name=f"{voice.name}-{suffix}", pitch=pitch, tract=tract, weight=weight)
        for suffix, pitch, tract, weight in others
    ]
    return [voice, *made]


def _flite(model: str, hertz: float, weight: float = 1.0) -> Voice:
    return Voice(program="flite", name=model, model=model, hertz=hertz, weight=weight)


def _espeak(language: str, variants: str, weight: float) -> list[Voice]:
    models = [f"{language}+{variant}" for variant in variants.split()]
    return [Voice(program="espeak-ng", name=m, model=m, weight=weight) for m in models]


SLT_HTS = Voice(program="hts_engine", name="slt-hts", model="cmu_us_slt_arctic_hts", weight=3.0)
KED = Voice(program="festival", name="ked", model="ked_diphone", hertz=105.0)

VOICES: tuple[Voice, ...] = (
    *_with_others(
        SLT_HTS,
        ("low", 0.92, 0.95, 3.0),
        ("high", 1.08, 1.05, 3.0),
        ("alto", 0.85, 0.91, 1.5),
        ("small", 1.2, 1.1, 0.7),
        ("tenor", 0.7, 0.88, 1.0),
        ("bass", 0.58, 0.85, 1.0),
    ),
    *_with_others(KED, ("high", 1.2, 1.06, 0.5), ("she", 1.7, 1.15, 0.5)),
    *_with_others(_flite("slt", 185.0, 2.0), ("low", 0.9, 0.94, 1.5), ("high", 1.1, 1.06, 1.5)),
    *_with_others(_flite("rms", 105.0), ("high", 1.0, 1.06, 0.75), ("small", 1.0, 1.12, 0.75)),
    *_with_others(_flite("awb", 125.0), ("she", 1.5, 1.12, 0.75), ("low", 0.9, 0.94, 0.5)),
    _flite("kal16", 105.0, 0.5),
    *_espeak("en-us", "f1 f2 f3 f4 f5 Annie Andrea linda belinda aunty steph", 1.0),
    *_espeak("en-us", "Mike Alex Diogo Hugo m1 m2 m3 m4 m5 m7 max ed rob quincy klatt", 0.4),
    *_espeak("en-us-nyc", "f2 f4 m4", 0.4),
    *_espeak("gmw/en", "f2 f5 m6", 0.4),
    *_espeak("en-gb-x-rp", "f4 m1", 0.4),
)


def missing_programs() -> list[str]:
    """Return the programs of `PACKAGES` that this machine cannot run."""
    return [p for p in PACKAGES if not all(map(shutil.which, NEEDS.get(p, (p,))))]


def installed_voices(voices: tuple[Voice, ...] = VOICES) -> list[Voice]:
    """Return those of `voices` that this machine can speak with."""
    missing = missing_programs()
    known = {program: _models(program) for program in PACKAGES if program not in missing}
    return [voice for voice in voices if _parts(voice) <= known.get(voice.program, set())]


def _parts(voice: Voice) -> set[str]:
    """Return what must be there: espeak-ng leaves an unknown variant out without a word."""
    return set(voice.model.split("+")) if voice.program == "espeak-ng" else {voice.model}


def _models(program: str) -> set[str]:
    """Return what `program` calls the voices that it has."""
    if program == "flite":
        return set(_ask("flite", "-lv").partition(":")[2].split())
    if program in ("festival", "hts_engine"):
        return set(re.findall(r"\w+", _ask("festival", "-b", "(print (voice.list))")))
    columns = [line.split() for line in _ask("espeak-ng", "--voices=en").splitlines()[1:]]
    variants = re.findall(r"!v/(\S+)", _ask("espeak-ng", "--voices=variant"))
    return {column[1] for column in columns} | {c[4] for c in columns} | set(variants)


def _ask(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

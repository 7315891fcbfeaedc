"""The worst clips of a report: players, and the text as said over the text as understood."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import soundfile
import soxr
from markupsafe import Markup

from speech.audio import Waveform
from training.analysis_clip import Clip
from training.analysis_findings import counted, percent
from training.analysis_page import data_uri, join, paragraph
from training.analysis_words import Step

_MP3_RATES_HZ = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_LONGEST_S = 30.0
_SIGNS = {"equal": "", "substitution": "≠", "deletion": "−", "insertion": "+"}
_READ = {"substitution": "“{0}” heard as “{1}”", "deletion": "“{0}” left out"}


@dataclass(frozen=True, kw_only=True)
class WorstConfig:
    """How many clips are shown, and how much sound the page may hold."""

    clips: int = 20
    max_audio_bytes: int = 6_000_000

    def __post_init__(self) -> None:
        if self.clips < 0 or self.max_audio_bytes < 0:
            raise ValueError(
                f"got {self.clips} clips, {self.max_audio_bytes} bytes; needed: neither under 0"
            )


def worst(clips: Sequence[Clip], count: int) -> list[Clip]:
    """Return the clips with the most errors a word, those of more errors first among equals."""
    wrong = [clip for clip in clips if clip.word_errors]
    return sorted(wrong, key=lambda clip: (-clip.wer, -clip.word_errors, clip.id))[:count]


def encode_mp3(waveform: Waveform, *, sample_rate_hz: int) -> bytes:
    """Return an MP3 file, which every browser plays, of at most the first half minute.

    Args:
        waveform: float32 `[samples]` in [-1, 1].
    """
    rate_hz = next((rate for rate in _MP3_RATES_HZ if rate >= sample_rate_hz), _MP3_RATES_HZ[-1])
    samples = waveform[: int(_LONGEST_S * sample_rate_hz)]
    if rate_hz != sample_rate_hz:
        samples = soxr.resample(samples, sample_rate_hz, rate_hz)
    buffer = io.BytesIO()
    soundfile.write(
        buffer, samples, rate_hz, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.7
    )
    return buffer.getvalue()


def show_worst(
    clips: Sequence[Clip],
    read: Callable[[Clip], Waveform],
    *,
    sample_rate_hz: int,
    max_audio_bytes: int,
) -> Markup:
    """Return the clips as a list, with players until the page holds `max_audio_bytes` of sound.

    Args:
        read: returns the samples of a clip.
    """
    items, left = [], max_audio_bytes
    for clip in clips:
        sound = encode_mp3(read(clip), sample_rate_hz=sample_rate_hz) if left > 0 else b""
        left -= len(sound)
        items.append(_item(clip, _player(clip, sound if left >= 0 else b"")))
    return Markup('<ol class="clips">{}</ol>\n').format(join(*items))


def _item(clip: Clip, player: Markup) -> Markup:
    facts = [f"WER {percent(clip.wer)}", f"{clip.duration_s:.1f} s"]
    if clip.snr_db is not None:
        facts.append(f"SNR about {clip.snr_db:.0f} dB")
    if clip.word_confidences:
        mean = sum(clip.word_confidences) / len(clip.word_confidences)
        facts.append(f"confidence {percent(mean)}")
    return Markup("<li><h3>{}</h3>{}{}{}</li>\n").format(
        clip.id, paragraph(" · ".join(facts), kind="facts"), player, show_alignment(clip.steps)
    )


def _player(clip: Clip, sound: bytes) -> Markup:
    if not sound:
        return paragraph("Not in this page, which holds as much sound as it may.", kind="note")
    cut = clip.duration_s > _LONGEST_S
    return Markup(
        '<audio controls preload="metadata" aria-label="{}" src="{}"></audio>{}\n'
    ).format(
        f"Clip {clip.id}",
        data_uri(sound, "audio/mpeg"),
        paragraph(f"The first {_LONGEST_S:g} s.", kind="note") if cut else "",
    )


def show_alignment(steps: Sequence[Step]) -> Markup:
    """Return what was said over what was understood; errors carry signs, and are read out."""
    return Markup(
        '<p class="unseen">{}</p><div class="aligned" aria-hidden="true">{}</div>'
    ).format(_read_out(steps), join(*map(_column, steps)))


def _column(step: Step) -> Markup:
    return Markup('<span class="{}"><span>{}</span><span>{}</span><b>{}</b></span> ').format(
        step.kind, step.reference or "\u00a0", step.hypothesis or "\u00a0", _SIGNS[step.kind]
    )


def _read_out(steps: Sequence[Step]) -> str:
    said = " ".join(step.reference for step in steps if step.reference)
    heard = " ".join(step.hypothesis for step in steps if step.hypothesis)
    wrong = [
        _READ.get(step.kind, "“{1}” added").format(*step) for step in steps if step.kind != "equal"
    ]
    return (
        f"Said: {said}. Understood: {heard or 'nothing'}. "
        f"{counted(len(wrong), 'error')}: {'; '.join(wrong)}."
    )

"""Live captions: how soon they come, how many words they take back, how many speakers fit.

Run it with `make bench-live SPEECH_CLIPS=FOLDER`, and `MODELS="Models/a Models/b"` for others than
the bundled one. Each model's captions are first made in this process (`benchmarks.live_readers`).
Then the service is `api.py` with the model, a process of its own on the same cores as the speakers.
A speaker sends clips of real speech, trimmed to their first and last sound, with pauses of faint
noise, in chunks of 40 ms, each when its last sample would have been spoken. The delay of a final
counts from the moment at which the last sample of a clip was spoken to the moment at which the
final with that clip's end was received: the silence that ends an utterance is in it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from websockets.asyncio.client import ClientConnection, connect

from benchmarks import uploads
from benchmarks.live_clips import Clip, Talk, count_words, make_talk, read_clips, show
from benchmarks.live_readers import compare_readers
from benchmarks.machine import describe_machine
from captions.settings import CaptionConfig
from captions.sources import to_pcm
from predictor import load_predictor
from service_config import ServerConfig
from speech.audio import write_atomically
from speech.config_json import to_json
from terminal import exit_codes

SPEAKERS = (1, 2, 4, 8, 16, 32)
TALK_S, FEWEST_S = 30.0, 90.0  # of each speaker, of all together
WARM_UP_SPEAKERS, WARM_UP_S = 2, 45.0
PAUSE_S = 1.2
CHUNK_S = 0.04
END_TOLERANCE_S = 0.25
REAL_TIME_S = 1.0  # p95 of a final's delay that still counts as keeping up
RESULTS = Path("benchmarks/results/live.json")


@dataclass
class Heard:
    """What one speaker got: captions with the seconds since the start, and the end of the talk."""

    captions: list[tuple[float, dict[str, Any]]] = field(default_factory=list)

    def final_delays(self, talk: Talk, rate_hz: int) -> list[float]:
        """Return the delay of each clip's last final, in s; infinite if there is none."""
        delays = []
        for end in talk.ends:
            end_s = end / rate_hz
            came = [
                at_s
                for at_s, caption in self.captions
                if caption["type"] == "final" and abs(caption["end_s"] - end_s) <= END_TOLERANCE_S
            ]
            delays.append(came[0] - end_s if came else float("inf"))
        return delays

    def partials_per_s(self) -> float:
        """Return partials a second of speech."""
        finals = [c for _, c in self.captions if c["type"] == "final"]
        speech_s = sum(c["end_s"] - c["start_s"] for c in finals)
        return (len(self.captions) - len(finals)) / max(speech_s, 1e-9)


async def speak(url: str, talk: Talk, rate_hz: int) -> Heard:
    """Play a talk in real time; return what was heard."""
    heard, pcm = Heard(), to_pcm(talk.waveform)
    async with connect(url, proxy=None, compression=None) as server:
        await server.send(json.dumps({"type": "start", "sample_rate_hz": rate_hz}))
        _read(await server.recv())
        started = time.perf_counter()
        sending = asyncio.create_task(_send(server, pcm, rate_hz, started))
        async for text in server:
            message = _read(text)
            if message["type"] in ("partial", "final"):
                heard.captions.append((time.perf_counter() - started, message))
        await sending
    return heard


def _read(text: str | bytes) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(text)
    if message["type"] == "error":
        raise SystemExit(f"the service said {message}")
    return message


async def _send(server: ClientConnection, pcm: bytes, rate_hz: int, started: float) -> None:
    size = 2 * round(CHUNK_S * rate_hz)
    for start in range(0, len(pcm), size):
        spoken_s = min(start + size, len(pcm)) / 2 / rate_hz
        await asyncio.sleep(max(0.0, started + spoken_s - time.perf_counter()))
        await server.send(pcm[start : start + size])
    await server.send(json.dumps({"type": "close"}))


def make_talks(clips: Sequence[Clip], count: int, rate_hz: int, *, duration_s: float) -> list[Talk]:
    """Return a talk a speaker, of at least so long; each starts with another clip."""
    talks = []
    for speaker in range(count):
        chosen: list[Clip] = []
        while sum(len(clip.waveform) / rate_hz + PAUSE_S for clip in chosen) < duration_s:
            chosen.append(clips[(speaker + len(chosen)) % len(clips)])
        talks.append(make_talk(chosen, pause_s=PAUSE_S, sample_rate_hz=rate_hz))
    return talks


async def _speak_together(url: str, talks: Sequence[Talk], rate_hz: int) -> list[Heard]:
    async def speak_later(place: int, talk: Talk) -> Heard:
        await asyncio.sleep(place / len(talks))  # nobody starts at the same moment
        return await speak(url, talk, rate_hz)

    return list(await asyncio.gather(*(speak_later(i, talk) for i, talk in enumerate(talks))))


def _server_cpu_s() -> float:
    """Return the processor time that this process' children have used."""
    ticks = 0
    for children in Path("/proc/self/task").glob("*/children"):
        for child in children.read_text(encoding="utf-8").split():
            stat = Path("/proc", child, "stat").read_text(encoding="utf-8").rpartition(")")[2]
            ticks += sum(int(field) for field in stat.split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(url: str, talks: Sequence[Talk], rate_hz: int) -> dict[str, Any]:
    """Return delays, partials and changed words of speakers at the same time."""
    cpu_before_s = _server_cpu_s()
    heard = asyncio.run(_speak_together(url, talks, rate_hz))
    audio_s = sum(len(talk.waveform) for talk in talks) / rate_hz
    delays = [
        delay
        for one, talk in zip(heard, talks, strict=True)
        for delay in one.final_delays(talk, rate_hz)
    ]
    found = np.array([delay for delay in delays if np.isfinite(delay)])
    counts = [count_words(caption for _, caption in one.captions) for one in heard]
    total = {key: sum(count[key] for count in counts) for key in counts[0]}
    return {
        "speakers": len(talks),
        "clips": len(delays),
        "clips_without_final_at_their_end": len(delays) - len(found),
        "final_delay_p50_ms": 1000 * float(np.percentile(found, 50)),
        "final_delay_p95_ms": 1000 * float(np.percentile(found, 95)),
        "partials_per_s": float(np.mean([one.partials_per_s() for one in heard])),
        "partials_per_s_least": min(one.partials_per_s() for one in heard),
        "cpu_s_per_s_of_audio": (_server_cpu_s() - cpu_before_s) / audio_s,
        "words_changed_of_shown": total["changed"] / max(1, total["shown"]),
        "words_changed_of_final": total["changed"] / max(1, total["final"]),
    }


def measure_all(clips: Sequence[Clip], rate_hz: int, *, model: Path) -> list[dict[str, Any]]:
    """Return a row for each number of speakers, up to the first at which finals lag."""
    rows: list[dict[str, Any]] = []
    settings = {
        "STT_LIVE_MAX_SESSIONS": str(max(WARM_UP_SPEAKERS, *SPEAKERS)),
        "STT_MODEL": str(model),
    }
    with uploads.service(settings) as port:
        url = f"ws://{uploads.HOST}:{port}/v1/stream"
        measure(url, make_talks(clips, WARM_UP_SPEAKERS, rate_hz, duration_s=WARM_UP_S), rate_hz)
        for count in SPEAKERS:
            duration_s = max(TALK_S, FEWEST_S / count)
            talks = make_talks(clips, count, rate_hz, duration_s=duration_s)
            rows.append(measure(url, talks, rate_hz))
            if rows[-1]["final_delay_p95_ms"] > 1000 * REAL_TIME_S:
                break
    return rows


def measure_model(model: Path, source: Path) -> dict[str, list[dict[str, Any]]]:
    """Return a model's rows: `readers` of this process, `speakers` of the service."""
    predictor = load_predictor(ServerConfig(model=model, compile_clips=False))
    clips = read_clips(source, predictor.audio, predictor.pipeline.alphabet)
    rate_hz, readers = predictor.audio.sample_rate_hz, compare_readers(predictor, clips)
    name = predictor.pipeline.name
    del predictor
    speakers = [{"model": name, **row} for row in measure_all(clips, rate_hz, model=model)]
    return {"readers": readers, "speakers": speakers}


def main() -> None:
    """Measure, print, write."""
    load_before = round(os.getloadavg()[0], 1)  # others' work delays captions
    source = Path(sys.argv[1] if len(sys.argv) > 1 else "Data/samples")
    models = [Path(model) for model in sys.argv[2:]] or [uploads.MODEL]
    with exit_codes():
        found = [measure_model(model, source) for model in models]
    rows = {key: [row for one in found for row in one[key]] for key in ("readers", "speakers")}
    console, machine = Console(width=200), describe_machine()
    console.print(machine)
    show(console, "captions of clips", rows["readers"])
    show(console, "speakers in real time", rows["speakers"])
    result = {
        "command": 'make bench-live SPEECH_CLIPS=FOLDER MODELS="…"',
        "machine": machine,
        "load_average_before": load_before,
        "config": to_json(CaptionConfig()),
        "keeps_up_within_s": REAL_TIME_S,
        **rows,
    }
    write_atomically(RESULTS, json.dumps(result, indent=2) + "\n")
    console.print(f"wrote {RESULTS}")


if __name__ == "__main__":
    main()

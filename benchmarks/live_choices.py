"""What live captions could be like: when to show a word, when an utterance ends.

Run it with `make bench-live-choices SPEECH_CLIPS=FOLDER`. On a machine that is never behind: audio
is fed in steps of 40 ms, and no clock is read.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks import uploads
from benchmarks.live_clips import Clip, count_words, make_talk, read_clips, show
from benchmarks.machine import describe_machine
from captions.events import Caption
from captions.session import CaptionSession
from captions.settings import CaptionConfig
from captions.stability import Committing, Stabiliser, Words, num_common
from predictor import Predictor, load_predictor
from service_config import ServerConfig
from serving.backend import Backend
from speech.audio import Waveform, write_atomically
from speech.config_json import to_json
from speech.pipeline import Pipeline
from speech.transcript import Word
from terminal import exit_codes

STEP_S = 0.04
PAUSE_S = 1.2
SILENCES_S = (0.35, 0.4, 0.5, 0.7, 1.0)
RESULTS = Path("benchmarks/results/live_choices.json")


class HoldingBack:
    """Shows each decoding as it is, but for its last words."""

    def __init__(self, held_back: int) -> None:
        self._held_back = held_back

    def add(self, words: Sequence[Word]) -> Words:
        """See `Stabiliser.add`."""
        return tuple(words[: max(0, len(words) - self._held_back)])

    def replace(self, words: Sequence[Word]) -> None:
        """See `Stabiliser.replace`."""


class Agreeing:
    """Shows what the last decodings begin with; takes back what they no longer do."""

    def __init__(self, agreement: int) -> None:
        self._decodings: deque[list[str]] = deque(maxlen=agreement)

    def add(self, words: Sequence[Word]) -> Words:
        """See `Stabiliser.add`."""
        self._decodings.append([word.text for word in words])
        if len(self._decodings) < (self._decodings.maxlen or 1):
            return ()
        newest = self._decodings[-1]
        return tuple(words[: min(num_common(earlier, newest) for earlier in self._decodings)])

    def replace(self, words: Sequence[Word]) -> None:
        """See `Stabiliser.replace`."""


SHOWING: dict[str, Callable[[], Stabiliser]] = {
    "as decoded": lambda: HoldingBack(0),
    "last word held back": lambda: HoldingBack(1),
    "last two words held back": lambda: HoldingBack(2),
    "what two decodings agree on": lambda: Agreeing(2),
    "what three decodings agree on": lambda: Agreeing(3),
    "decoded once, then left": lambda: Committing(agreement=1),
    "decoded alike twice, then left": lambda: Committing(agreement=2),
    "decoded alike three times, then left": lambda: Committing(agreement=3),
}


class Remembering:
    """A backend that computes each clip once, however often it is asked."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._known: dict[int, NDArray[np.float32]] = {}

    @property
    def pipeline(self) -> Pipeline:
        """The model's."""
        return self._backend.pipeline

    @property
    def version(self) -> str:
        """The model's."""
        return self._backend.version

    def log_probs(
        self, waveforms: list[Waveform], given_up: threading.Event | None = None
    ) -> list[NDArray[np.float32]]:
        """See `Backend.log_probs`."""
        for waveform in waveforms:
            if hash(waveform.tobytes()) not in self._known:
                (computed,) = self._backend.log_probs([waveform], given_up)
                self._known[hash(waveform.tobytes())] = computed
        return [self._known[hash(waveform.tobytes())] for waveform in waveforms]

    def check_ready(self) -> None:
        """See `Backend.check_ready`."""

    def close(self) -> None:
        """See `Backend.close`."""


def listen(
    predictor: Predictor,
    waveform: Waveform,
    config: CaptionConfig,
    make_stabiliser: Callable[[], Stabiliser] | None = None,
) -> list[tuple[float, Caption]]:
    """Return captions with the seconds of audio after which each was shown."""
    session, found = CaptionSession(predictor, config, make_stabiliser=make_stabiliser), []
    step = round(STEP_S * predictor.audio.sample_rate_hz)
    for start in range(0, len(waveform), step):
        captions = session.feed(waveform[start : start + step])
        found += [(session.duration_s, caption) for caption in captions]
    return found + [(session.duration_s, caption) for caption in session.finalize()]


def compare_showing(
    predictor: Predictor, clips: Sequence[Clip], decoders: Sequence[str]
) -> list[dict[str, Any]]:
    """Return for each way to show words how many are changed, and how late they are shown."""
    rows = []
    for decoder in decoders:
        for name, make in SHOWING.items():
            config = replace(CaptionConfig(), partial_decoder=decoder)
            heard = [listen(predictor, _alone(predictor, clip), config, make) for clip in clips]
            counts = [count_words(c.to_json() for _, c in captions) for captions in heard]
            total = {key: sum(count[key] for count in counts) for key in counts[0]}
            delays = [delay for captions in heard for delay in word_delays(captions)]
            row = {"partial_decoder": decoder, "showing": name, **total}
            row["changed_of_shown"] = total["changed"] / max(1, total["shown"])
            row["changed_of_final"] = total["changed"] / max(1, total["final"])
            row["shown_after_s"], row["shown_for_good_after_s"] = np.mean(delays, axis=0).tolist()
            rows.append(row)
    return rows


def word_delays(captions: Sequence[tuple[float, Caption]]) -> list[tuple[float, float]]:
    """Return for each word of the finals how long after its end some word was shown in its place.

    And how long after its end that was it, and stayed; both in s.
    """
    delays = []
    for final_s, final in captions:
        if final.kind == "partial":
            continue
        shown = [(s, c.text.split()) for s, c in captions if c.id == final.id]
        texts = final.text.split()
        for place, word in enumerate(final.words):
            first = next(s for s, words in shown if len(words) > place)
            good = final_s
            for s, words in reversed(shown):
                if words[: place + 1] != texts[: place + 1]:
                    break
                good = s
            delays.append((first - word.end_s, good - word.end_s))
    return delays


def compare_silences(predictor: Predictor, clips: Sequence[Clip]) -> list[dict[str, Any]]:
    """Return for each length of silence how many utterances it makes of the clips, and the WER."""
    known = [clip for clip in clips if clip.text]
    whole = predictor.transcribe_waveforms([clip.waveform for clip in known])
    references = [clip.text for clip in known]
    rows: list[dict[str, Any]] = [
        {
            "endpoint_silence_s": None,
            "utterances": len(known),
            "wer": float(jiwer.wer(references, [transcript.text for transcript in whole])),
        }
    ]
    for silence_s in SILENCES_S:
        config = replace(CaptionConfig(), endpoint_silence_s=silence_s)
        texts, count = [], 0
        for clip in known:
            captions = listen(predictor, _alone(predictor, clip), config)
            finals = [c.text for _, c in captions if c.kind == "final" and c.text]
            texts.append(" ".join(finals))
            count += len(finals)
        wer = float(jiwer.wer(references, texts))
        rows.append({"endpoint_silence_s": silence_s, "utterances": count, "wer": wer})
    return rows


def _alone(predictor: Predictor, clip: Clip) -> Waveform:
    rate_hz = predictor.audio.sample_rate_hz
    return make_talk([clip], pause_s=PAUSE_S, sample_rate_hz=rate_hz).waveform


def main() -> None:
    """Measure, print, write."""
    source = Path(sys.argv[1] if len(sys.argv) > 1 else "Data/samples")
    with exit_codes():
        loaded = load_predictor(ServerConfig(model=uploads.MODEL, compile_clips=False))
        clips = read_clips(source, loaded.audio, loaded.pipeline.alphabet)
        predictor = Predictor(Remembering(loaded.backend), decoder=loaded.decoder)
        showing = compare_showing(predictor, clips, ["greedy", "beam"])
        silences = compare_silences(predictor, clips)
    console, machine = Console(width=160), describe_machine()
    console.print(machine)
    show(console, "when a word is shown", showing)
    show(console, "when an utterance ends", silences)
    result = {
        "command": "make bench-live-choices SPEECH_CLIPS=FOLDER",
        "machine": machine,
        "clips": len(clips),
        "clips_s": sum(len(clip.waveform) for clip in clips) / loaded.audio.sample_rate_hz,
        "config": to_json(CaptionConfig()),
        "showing": showing,
        "silences": silences,
    }
    write_atomically(RESULTS, json.dumps(result, indent=2) + "\n")
    console.print(f"wrote {RESULTS}")


if __name__ == "__main__":
    main()

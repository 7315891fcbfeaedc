"""Live captions: samples in, partial and final results back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from captions.events import Caption, Final, Partial, words_later
from captions.hearing import RecentAudio, SpeechTracker
from captions.reading import NOTHING, Reading, make_reader
from captions.settings import CaptionConfig
from captions.stability import Committing, Stabiliser
from predictor import Predictor
from speech.audio import Waveform
from speech.decoding.decoder import DecodingOptions
from speech.segmentation import Span
from speech.transcript import Word

_FRAMES_PER_STEP = 2
_IDLE_KEPT_S = 1.0


class Captioner(Protocol):
    """What turns audio that goes on into captions, whatever it keeps of the past.

    One thread at a time may use it; which one does not matter.
    """

    def feed(self, samples: Waveform) -> list[Caption]:
        """Hear float32 `[samples]` in [-1, 1] at the model's rate, and return what is new."""

    def finalize(self) -> list[Caption]:
        """End the utterance that is being spoken; more audio may follow."""

    @property
    def duration_s(self) -> float:
        """Of the audio heard so far."""


@dataclass
class _Utterance:
    """The one being spoken, in samples of the session: `start` of its window, then its speech."""

    id: int
    start: int
    speech: Span
    stabiliser: Stabiliser
    decoded_to: int
    has_partials: bool = False


class CaptionSession:
    """Decodes the growing window of each utterance, over and over.

    A network for whole clips computes the window anew each time; one that can carry its state
    computes only what is new.

    Finals depend on the audio alone: silence is looked for in steps of their own, not in the
    pieces that audio comes in. Partials depend on how often it is called: one a call at most, so
    that a machine that is behind computes fewer. It holds `max_utterance_s` of audio and a little
    more, however long the session.
    """

    def __init__(
        self,
        predictor: Predictor,
        config: CaptionConfig | None = None,
        options: DecodingOptions | None = None,
        *,
        make_stabiliser: Callable[[], Stabiliser] | None = None,
        given_up: threading.Event | None = None,
    ) -> None:
        """Begin at 0 s.

        Args:
            options: of both partials and finals: hot words, say.
            make_stabiliser: what chooses an utterance's words to show; `Committing` if None.
            given_up: set once nobody waits for captions; what is asked then raises `GivenUpError`.
        """
        self._config = config = config or CaptionConfig()
        self._make_stabiliser = make_stabiliser or (lambda: Committing(agreement=config.agreement))
        options = options or DecodingOptions()
        self._rate_hz = predictor.audio.sample_rate_hz
        self._tracker = SpeechTracker(
            sample_rate_hz=self._rate_hz,
            config=config.speech,
            history_s=max(config.max_utterance_s, config.speech.floor_window_s),
        )
        self._step = _FRAMES_PER_STEP * self._tracker.frame_length
        self._audio = RecentAudio(self._step)
        self._pending: Waveform = np.zeros(0, np.float32)
        self._utterance: _Utterance | None = None
        self._next_id = self._heard = self._closed_to = 0
        reading = Reading(
            predictor=predictor,
            audio=self._audio,
            whole=options,
            so_far=replace(options, decoder=config.partial_decoder or options.decoder),
            given_up=given_up,
        )
        self._reader = make_reader(reading, streams=config.streams)

    @property
    def duration_s(self) -> float:
        """Of the audio heard so far."""
        return self._heard / self._rate_hz

    def feed(self, samples: Waveform) -> list[Caption]:
        """Hear more audio; return finals of what ended in it, and a partial if one is due.

        Args:
            samples: float32 `[samples]` in [-1, 1] at the model's rate, any number of them.

        Raises:
            GivenUpError: nobody waits for it.
            ModelUnavailableError: no model answers at present.
        """
        self._heard += len(samples)
        pending = np.concatenate([self._pending, samples])
        whole = len(pending) // self._step * self._step
        captions: list[Caption] = []
        for block in pending[:whole].reshape(-1, self._step):
            self._audio.append(block.copy())
            self._tracker.append(block)
            captions += self._end_what_ended()
        self._pending = pending[whole:].copy()
        return captions + self._look_ahead()

    def finalize(self) -> list[Caption]:
        """End the utterance that is being spoken, as if silence followed; see `feed`."""
        captions = []
        if self._utterance is None:  # what is behind a cut is nobody's until the next step
            self._utterance = self._begin(self._tracker.speech(after=self._open_from))
        if self._utterance:
            reaches_end = self._utterance.speech.end >= self._audio.end
            rest = self._pending if reaches_end else self._pending[:0]
            captions = self._end(self._window(), rest)
        self._closed_to = max(self._closed_to, min(self._audio.end, self._beginning()))
        return captions

    def _end_what_ended(self) -> list[Caption]:
        """Follow the speech up to now; end an utterance that is over or too long."""
        now = self._audio.end
        parts = self._tracker.speech(after=self._open_from)
        if self._utterance is None:
            self._utterance = self._begin(parts)
        utterance = self._utterance
        if utterance is None:
            self._audio.forget(now - round(_IDLE_KEPT_S * self._rate_hz))
            return []
        if parts:
            utterance.speech = Span(utterance.speech.start, parts[-1].end)
        longest = int(self._config.max_utterance_s * self._rate_hz)
        if now - utterance.speech.end >= self._config.endpoint_silence_s * self._rate_hz:
            return self._end(self._window())
        if now - utterance.start >= longest:
            last_third = Span(now - longest // 3, now)
            return self._end(Span(utterance.start, self._tracker.quietest(last_third)))
        return []

    def _begin(self, parts: Sequence[Span]) -> _Utterance | None:
        """Return a new utterance if there is speech that no final has, more than its echo."""
        shortest = self._config.speech.min_speech_s * self._rate_hz
        new = (part for part in parts if part.end - max(part.start, self._open_from) >= shortest)
        speech = next(new, None)
        if speech is None:
            return None
        start = max(self._open_from, speech.start - self._padding)
        self._next_id += 1
        return _Utterance(
            id=self._next_id - 1,
            start=start,
            speech=Span(max(start, speech.start), parts[-1].end),
            stabiliser=self._make_stabiliser(),
            decoded_to=start,
        )

    def _beginning(self) -> int:
        """Return from where on there is sound, in no final, that goes on and may yet be speech.

        It is too short so far to be told from a click. Where there is none: the end.
        """
        loud = self._tracker.loud(after=self._open_from)
        if loud and loud[-1].end >= self._audio.end:
            return max(self._open_from, loud[-1].start - self._padding)
        return self._heard

    def _end(self, window: Span, rest: Waveform = NOTHING) -> list[Caption]:
        """Return the final of what is being spoken, up to the end of `window`, and `rest`."""
        utterance, transcript = self._spoken(), self._reader.whole(window, rest)
        self._utterance, self._closed_to = None, window.end + len(rest)
        self._audio.forget(window.end)
        utterance.speech = Span(utterance.speech.start, min(utterance.speech.end, window.end))
        if not (transcript.words or utterance.has_partials):
            return []
        words = words_later(transcript, window.start / self._rate_hz)
        return [Final(**self._values(utterance, words, transcript.confidence))]

    def _look_ahead(self) -> list[Caption]:
        """Return a partial if one is due.

        Once silence has begun, that is the final: computed before it is known to be one, so that
        it is there as soon as it is.
        """
        utterance, now = self._utterance, self._audio.end
        if utterance is None or utterance.decoded_to >= utterance.speech.end + self._padding:
            return []
        is_silent = now >= utterance.speech.end + self._padding
        interval = self._config.partial_interval_s * self._rate_hz
        if not is_silent and now - utterance.decoded_to < interval:
            return []
        window = self._window() if is_silent else Span(utterance.start, now)
        transcript = self._reader.whole(window) if is_silent else self._reader.so_far(window)
        shown = words_later(transcript, window.start / self._rate_hz)
        if is_silent:
            utterance.stabiliser.replace(shown)
        else:
            shown = utterance.stabiliser.add(shown)
        utterance.decoded_to, utterance.has_partials = now, True
        sure = [word.confidence for word in shown]
        confidence = round(float(np.mean(sure)), 4) if sure else transcript.confidence
        return [Partial(**self._values(utterance, shown, confidence))]

    def _window(self) -> Span:
        """Return what is being spoken with the padding around it."""
        utterance = self._spoken()
        return Span(utterance.start, min(utterance.speech.end + self._padding, self._audio.end))

    def _values(
        self, utterance: _Utterance, words: tuple[Word, ...], confidence: float
    ) -> dict[str, Any]:
        start_s, end_s = (
            round(sample / self._rate_hz, 3)
            for sample in (utterance.speech.start, utterance.speech.end)
        )
        return {
            "id": utterance.id,
            "text": " ".join(word.text for word in words),
            "start_s": min([start_s, *(word.start_s for word in words)]),
            "end_s": max([end_s, *(word.end_s for word in words)]),
            "confidence": confidence,
            "words": words,
        }

    def _spoken(self) -> _Utterance:
        if self._utterance is None:
            raise ValueError("nothing is being spoken")
        return self._utterance

    @property
    def _open_from(self) -> int:
        """The first sample that no final has, and that is still there."""
        return max(self._closed_to, self._audio.start)

    @property
    def _padding(self) -> int:
        return round(self._config.speech.padding_s * self._rate_hz)

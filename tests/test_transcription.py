"""Many files: groups that bound memory, order, progress. Predictor and decoding are stand-ins."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest

import transcription
from config import AudioConfig, AudioError
from speech.audio import Waveform
from speech.batches import MAX_BATCH
from speech.transcript import Transcript
from transcription import GROUP_S, transcribe_files

AUDIO = AudioConfig(sample_rate_hz=1000, max_duration_s=7200.0)
HOUR_S = 3600.0


class FakePredictor:
    """Gives a recording's length as its text; notes the groups it got."""

    def __init__(self) -> None:
        self.audio = AUDIO
        self.groups_s: list[list[float]] = []

    def transcribe_waveforms(
        self,
        waveforms: Sequence[Waveform],
        options: object,
        *,
        progress: Callable[[int, int], None],
    ) -> list[Transcript]:
        """Return a transcript for each; report three steps, none where there is no recording."""
        lengths_s = [len(waveform) / AUDIO.sample_rate_hz for waveform in waveforms]
        self.groups_s.append(lengths_s)
        for done in range(1, 4 if waveforms else 1):
            progress(done, 3)
        return [
            Transcript(text=f"{s:g}", confidence=1.0, duration_s=s, model="fake") for s in lengths_s
        ]


class Files:
    """Decodes the name of a length to a waveform, and sees how much is in memory each time."""

    def __init__(self) -> None:
        self.decoded = 0
        self.most_held_s = 0.0
        self._held: list[weakref.ref[Waveform]] = []

    def decode(self, source: bytes, audio: AudioConfig) -> Waveform:
        """Stand in for `read_recording`."""
        if source == b"bad":
            raise AudioError("cannot read the audio")
        self.decoded += 1
        waveform = np.zeros(round(float(source) * audio.sample_rate_hz), np.float32)
        self._held.append(weakref.ref(waveform))
        held = [found for ref in self._held if (found := ref()) is not None]
        self.most_held_s = max(self.most_held_s, sum(map(len, held)) / audio.sample_rate_hz)
        return waveform


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Files:
    """Replace the reading of audio."""
    found = Files()
    monkeypatch.setattr(transcription, "read_recording", found.decode)
    return found


def sources_of(*lengths_s: float | str) -> list[tuple[str, bytes]]:
    return [(f"file{i}", str(length_s).encode()) for i, length_s in enumerate(lengths_s)]


@pytest.mark.parametrize(
    ("lengths_s", "groups_s"),
    [
        ([1.0] * (MAX_BATCH + 2), [[1.0] * MAX_BATCH, [1.0] * 2]),
        ([50.0] * 5, [[50.0] * 3, [50.0] * 2]),
        ([HOUR_S] * 3, [[HOUR_S]] * 3),
        ([20.0, HOUR_S, 20.0, 30.0], [[20.0, HOUR_S], [20.0, 30.0]]),
        ([GROUP_S, 1.0, 2.0], [[GROUP_S, 1.0], [2.0]]),
    ],
)
def test_a_group_is_full_by_files_or_by_seconds(
    files: Files, lengths_s: list[float], groups_s: list[list[float]]
) -> None:
    predictor = FakePredictor()
    results = list(transcribe_files(predictor, sources_of(*lengths_s)))
    assert predictor.groups_s == groups_s
    assert [result.duration_s for _, result in results] == lengths_s


@pytest.mark.parametrize(
    "lengths_s", [[HOUR_S] * 6, [50.0] * 12, [100.0, HOUR_S, 10.0, 100.0, HOUR_S, 10.0]]
)
def test_memory_holds_a_group_and_one_file_at_most(files: Files, lengths_s: list[float]) -> None:
    for _, result in transcribe_files(FakePredictor(), sources_of(*lengths_s)):
        assert result.text
    assert files.decoded == len(lengths_s)
    assert files.most_held_s <= GROUP_S + max(lengths_s)
    assert files.most_held_s < 2 * HOUR_S


def test_results_come_before_later_files_are_read(files: Files) -> None:
    results = transcribe_files(FakePredictor(), sources_of(*[50.0] * 9))
    next(results)
    assert files.decoded == 3


def test_what_cannot_be_read_is_yielded_in_its_place(files: Files) -> None:
    sources = [*sources_of(50, "bad", 51, 52, 53), ("none", AudioError("no audio file"))]
    results = list(transcribe_files(FakePredictor(), sources))
    assert [name for name, _ in results] == [name for name, _ in sources]
    assert [str(getattr(result, "text", result)) for _, result in results] == [
        "50",
        "cannot read the audio",
        "51",
        "52",
        "53",
        "no audio file",
    ]


@pytest.mark.parametrize(
    "lengths_s",
    [
        [1.0],
        ["bad"],
        [1.0, "bad"],
        ["bad"] * (MAX_BATCH + 1),
        [1.0] * (2 * MAX_BATCH + 5),
        [HOUR_S, 1.0, "bad", 50.0, 50.0, 50.0, 50.0],
    ],
)
def test_progress_never_falls_and_ends_at_all(files: Files, lengths_s: list[float | str]) -> None:
    steps: list[tuple[int, int]] = []
    report = lambda done, total: steps.append((done, total))  # noqa: E731
    results = transcribe_files(FakePredictor(), sources_of(*lengths_s), progress=report)
    num_reported = [len(steps) for _ in results]
    assert num_reported[0] > 0
    assert all(0 < done <= total == 1000 for done, total in steps)
    assert all(a <= b for a, b in pairwise(steps))
    assert steps[-1] == (1000, 1000)


def test_no_sources_are_no_results(files: Files) -> None:
    assert list(transcribe_files(FakePredictor(), [])) == []

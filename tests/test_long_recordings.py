"""A recording that is transcribed while it is read has the text of the whole waveform."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile

from config import GivenUpError
from predictor import Predictor, load_predictor
from service_config import ServerConfig
from serving.local import LocalBackend
from speech.decoding.decoder import DecodingOptions
from speech.transcript import Transcript
from tests.clips import babble
from tests.openai_service import SAMPLE

RATE_HZ = 22_050


@pytest.fixture(scope="module")
def bundled_predictor() -> Predictor:
    return load_predictor(ServerConfig(compile_clips=False))


@pytest.fixture(scope="module")
def tiny(model_folder) -> Predictor:
    return Predictor(LocalBackend(model_folder))


def recording(seconds: float) -> np.ndarray:
    """The sample again and again, faint and loud, with pauses of many lengths, over faint noise."""
    draw = np.random.default_rng(11)
    sample = soundfile.read(SAMPLE, dtype="float32")[0]
    parts, num_samples = [], 0
    while num_samples < seconds * RATE_HZ:
        pause = np.zeros(int(draw.choice([0.3, 0.7, 1.5, 2.2, 4.0]) * RATE_HZ))
        parts += [draw.uniform(0.3, 1.0) * sample, pause]
        num_samples += len(sample) + len(pause)
    waveform = np.concatenate(parts)[: int(seconds * RATE_HZ)]
    return (waveform + draw.normal(0, 1e-4, len(waveform))).astype(np.float32)


def blocks_of(waveform: np.ndarray, size: int = RATE_HZ) -> Iterator[np.ndarray]:
    for start in range(0, len(waveform), size):
        yield waveform[start : start + size]


@pytest.mark.parametrize("seconds", [3.0, 19.0, 100.0])
def test_text_and_words_are_those_of_the_whole(
    bundled_predictor: Predictor, seconds: float
) -> None:
    waveform = recording(seconds)
    (whole,) = bundled_predictor.transcribe_waveforms([waveform])
    pieces: list[Transcript] = []
    streamed = bundled_predictor.transcribe_blocks(blocks_of(waveform), heard=pieces.append)
    assert whole.text
    assert streamed.text == whole.text
    assert streamed.duration_s == whole.duration_s
    assert streamed.confidence == pytest.approx(whole.confidence, abs=2e-3)
    for ours, theirs in zip(streamed.words, whole.words, strict=True):
        assert ours.text == theirs.text
        assert ours.start_s == pytest.approx(theirs.start_s, abs=0.03)
        assert ours.end_s == pytest.approx(theirs.end_s, abs=0.03)
        assert ours.confidence == pytest.approx(theirs.confidence, abs=2e-3)
    assert " ".join(piece.text for piece in pieces if piece.text) == whole.text
    assert [word for piece in pieces for word in piece.words] == list(streamed.words)


def test_pieces_are_heard_before_the_recording_ends(tiny: Predictor) -> None:
    """Of ten minutes, no more than two or three are ahead of what was heard."""
    read_s, heard_s, ahead_s = 0.0, 0.0, []

    def blocks() -> Iterator[np.ndarray]:
        nonlocal read_s
        for block in blocks_of(np.tile(recording(60.0), 10)):
            read_s += len(block) / RATE_HZ
            ahead_s.append(read_s - heard_s)
            yield block

    def note(piece: Transcript) -> None:
        nonlocal heard_s
        heard_s = piece.words[-1].end_s if piece.words else heard_s

    tiny.transcribe_blocks(blocks(), DecodingOptions(decoder="greedy"), heard=note)
    assert read_s == pytest.approx(600.0)
    assert max(ahead_s) < 180


def test_nothing_to_hear(tiny: Predictor) -> None:
    heard: list[Transcript] = []
    silent = tiny.transcribe_blocks(
        blocks_of(np.zeros(50 * RATE_HZ, np.float32)), heard=heard.append
    )
    assert (silent.text, silent.words, silent.duration_s, heard) == ("", (), 50.0, [])


def test_what_nobody_waits_for_is_not_read_further(tiny: Predictor) -> None:
    given_up, num_read = threading.Event(), 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal num_read
        for block in blocks_of(babble(600.0)):
            num_read += 1
            if num_read == 30:
                given_up.set()
            yield block

    with pytest.raises(GivenUpError):
        tiny.transcribe_blocks(blocks(), given_up=given_up)
    assert num_read <= 31

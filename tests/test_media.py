"""The processes that decode what libsndfile cannot: few at a time, ended, and told no secrets."""

from __future__ import annotations

import io
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from config import AudioConfig, AudioError, GivenUpError
from speech import media
from speech.recordings import read_blocks
from tests.clips import babble
from tests.media_files import encode
from tests.processes import children, needs_proc

RATE_HZ = 48_000
CONFIG = AudioConfig(max_duration_s=60.0)

pytestmark = needs_proc


def recording(seconds: float = 30.0) -> io.BytesIO:
    """Return a file whose samples do not fit the pipe that they come through."""
    return io.BytesIO(encode("m4a", babble(seconds, rate_hz=RATE_HZ), RATE_HZ))


def decoder_of(before: set[int]) -> int:
    (process,) = children() - before
    return process


def test_a_client_that_goes_ends_a_process_that_says_nothing() -> None:
    before, given_up = children(), threading.Event()
    blocks = read_blocks(recording(), CONFIG, given_up=given_up)
    next(blocks)
    process = decoder_of(before)
    os.kill(process, signal.SIGSTOP)
    threading.Timer(0.3, given_up.set).start()
    with pytest.raises(GivenUpError):
        for _ in blocks:
            pass
    assert children() <= before


def test_a_process_that_says_nothing_for_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    before = children()
    blocks = read_blocks(recording(), CONFIG)
    next(blocks)
    monkeypatch.setattr(media, "_LONGEST_SILENCE_S", 0.5)
    os.kill(decoder_of(before), signal.SIGSTOP)
    with pytest.raises(AudioError, match="takes too long to decode"):
        for _ in blocks:
            pass
    assert children() <= before


def test_there_are_some_processes_at_a_time_and_the_rest_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = threading.BoundedSemaphore(1)
    monkeypatch.setattr(media, "_places", lambda: place)
    before, given_up = children(), threading.Event()
    first = read_blocks(recording(), CONFIG)
    next(first)
    given_up.set()
    with pytest.raises(GivenUpError):
        next(read_blocks(recording(), CONFIG, given_up=given_up))
    heard: list[int] = []
    waiting = threading.Thread(
        target=lambda: heard.extend(map(len, read_blocks(recording(1.0), CONFIG)))
    )
    waiting.start()
    waiting.join(0.5)
    assert not heard
    assert len(children() - before) == 1
    first.close()
    waiting.join(60)
    assert sum(heard) > 0.9 * CONFIG.sample_rate_hz


def test_as_many_as_processors_but_never_very_many() -> None:
    assert 4 <= media._places()._initial_value <= 8


def test_the_process_is_told_neither_keys_nor_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STT_API_KEYS", "a-key-of-sixteen-or-more")
    monkeypatch.setenv("ANOTHER_TOKEN", "a-token-of-somebody-s")
    before = children()
    blocks = read_blocks(recording(), CONFIG)
    next(blocks)
    told = Path(f"/proc/{decoder_of(before)}/environ").read_bytes()
    blocks.close()
    assert b"PATH=" in told
    assert not [secret for secret in (b"a-key-of", b"a-token-of") if secret in told]


def test_blocks_are_small_whatever_the_rate_and_the_channels() -> None:
    wide = np.zeros((200_000, 2), np.float32)
    content = encode("m4a-lossless", wide, 192_000)
    with media.opened_media(io.BytesIO(content), "mov") as source:
        sizes = [block.shape for block in source.blocks()]
    assert sum(frames for frames, _ in sizes) == len(wide)
    assert max(frames for frames, _ in sizes) == 65_536

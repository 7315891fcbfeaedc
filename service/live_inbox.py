"""What a live client has sent and nobody has worked on yet: bounded, and in order."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from service.live_messages import LiveError, Start

_MAX_ITEMS = 32


@dataclass(frozen=True)
class FinalizeNow:
    """The client wants the utterance ended."""


@dataclass(frozen=True)
class End:
    """Nothing more comes: the client closed, `error` ended it, or the client `is_gone`."""

    error: LiveError | None = None
    is_gone: bool = False


Item = Start | bytearray | FinalizeNow | End


class Inbox:
    """Audio and commands, from the task that reads to the one that works; for one event loop.

    Audio that waits is one item, however many messages it came in.
    """

    def __init__(self) -> None:
        self._max_bytes = self._worthwhile_bytes = 1
        self._items: deque[Start | bytearray | FinalizeNow] = deque()
        self._end: End | None = None
        self._changed = asyncio.Event()

    def set_sizes(self, *, max_bytes: int, worthwhile_bytes: int) -> None:
        """Say how much audio may wait before nothing more is read.

        Args:
            worthwhile_bytes: less audio than this is not handed out, unless something follows it.
        """
        self._max_bytes, self._worthwhile_bytes = max_bytes, worthwhile_bytes
        self._changed.set()  # who waits for room may have it now

    def put_audio(self, pcm: bytes) -> None:
        """Add audio."""
        if self._items and isinstance(self._items[-1], bytearray):
            self._items[-1] += pcm
        else:
            self._items.append(bytearray(pcm))
        self._changed.set()

    def put(self, item: Start | FinalizeNow) -> None:
        """Add what is to be worked on after the audio that waits."""
        self._items.append(item)
        self._changed.set()

    def end(self, end: End) -> None:
        """Let nothing more in; of several ends the first counts, but that the client is gone."""
        if self._end is None or end.is_gone:
            self._end = end
        self._changed.set()

    @property
    def waiting_bytes(self) -> int:
        """Of audio."""
        return sum(len(item) for item in self._items if isinstance(item, bytearray))

    async def room(self) -> bool:
        """Wait until there is room; return whether more may come at all."""
        while not self._end and not self._has_room():
            await self._wait()
        return self._end is None

    async def get(self) -> Item:
        """Wait for what is next; the end comes last, and again after that."""
        while not self._is_ready():
            await self._wait()
        self._changed.set()
        if self._end and (self._end.is_gone or not self._items):
            return self._end
        return self._items.popleft()

    def _has_room(self) -> bool:
        return self.waiting_bytes < self._max_bytes and len(self._items) < _MAX_ITEMS

    def _is_ready(self) -> bool:
        if self._end or len(self._items) > 1:
            return True
        if not self._items:
            return False
        (item,) = self._items
        return not isinstance(item, bytearray) or len(item) >= self._worthwhile_bytes

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()

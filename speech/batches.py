"""Which clips are computed together: of a recording that comes in, and of many that are there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from speech.stream_cutting import Piece

BATCH_SECONDS = 60.0
MAX_BATCH = 16


def groups_of(
    pieces: Iterable[Piece], *, first_s: float, sample_rate_hz: int
) -> Iterator[list[Piece]]:
    """Yield pieces in a row: the first `first_s` or more, then twice as much, up to a batch."""
    group: list[Piece] = []
    seconds = first_s
    for piece in pieces:
        group.append(piece)
        held = sum(len(piece.samples) for piece in group)
        if held >= seconds * sample_rate_hz or len(group) == MAX_BATCH:
            yield group
            group, seconds = [], min(2 * seconds, BATCH_SECONDS)
    if group:
        yield group


def batches_of(lengths: Sequence[int], *, sample_rate_hz: int) -> Iterator[list[int]]:
    """Yield the places of clips of like length, at most `BATCH_SECONDS` a batch with padding.

    Args:
        lengths: of the clips, in samples.
    """
    limit = BATCH_SECONDS * sample_rate_hz
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        too_long = lengths[i] * (len(batch) + 1) > limit
        if batch and (too_long or len(batch) == MAX_BATCH):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch

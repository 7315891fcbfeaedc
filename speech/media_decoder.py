"""A program that decodes one audio file with PyAV (FFmpeg): `media_decoder.py DEMUXER < FILE`.

It is run as a process of its own, with bounds on memory and time: a few kilobytes of M4A can make
FFmpeg take gigabytes, and what crashes it crashes nobody else. It needs nothing of this project.

It writes a line of JSON, `rate_hz`, `channels` and `claimed_s`, and then float32 samples, the
channels' in turn. What goes wrong is one line on standard error, and exit code 2.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import av

MAX_MEMORY_BYTES = 512 * 1024 * 1024
MAX_CPU_S = 1800
FAILED = 2
_PER_SECOND = 1_000_000


def main(demuxer: str, source: BinaryIO, target: BinaryIO) -> None:
    """Decode `source` to `target`.

    FFmpeg is told the kind. Left to guess, it would also take playlists, which name other files.
    """
    with av.open(source, mode="r", format=demuxer) as container:
        if not container.streams.audio:
            raise ValueError("got a file without sound; needed: an audio track")
        track = container.streams.audio[0]
        track.codec_context.thread_count = 1
        form = {
            "rate_hz": track.rate or 0,
            "channels": track.channels,
            "claimed_s": claimed_s(container, track),
        }
        target.write(json.dumps(form).encode() + b"\n")
        for samples in decode(container, track):
            target.write(samples)


def claimed_s(container: Any, track: Any) -> float | None:
    """Return the duration that the file claims, in seconds."""
    if track.duration and track.time_base:
        return float(track.duration * track.time_base)
    return container.duration / _PER_SECOND if container.duration else None


def decode(container: Any, track: Any) -> Iterator[memoryview]:
    """Yield float32 `[frames, channels]`, as bytes."""
    wanted, frames = (track.rate, track.channels), container.decode(track)
    packed = av.AudioResampler(format="flt")
    while True:
        frame = next(frames, None)
        for part in packed.resample(frame):
            got = (part.sample_rate, part.layout.nb_channels)
            if got != wanted:
                raise ValueError(
                    f"got audio that changes from {wanted} to {got}; "
                    "needed: one rate and number of channels"
                )
            yield memoryview(part.planes[0])[: 4 * part.samples * track.channels]
        if frame is None:
            return


def limit() -> None:
    """Bound what this process may take."""
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_S, MAX_CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))


if __name__ == "__main__":
    limit()
    try:
        main(sys.argv[1], sys.stdin.buffer, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except av.FFmpegError as error:
        print(f"cannot read the audio: {error.strerror}", file=sys.stderr)
        sys.exit(FAILED)
    except MemoryError:
        print("got a file that takes too much memory; needed: a smaller one", file=sys.stderr)
        sys.exit(FAILED)
    except ValueError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        sys.exit(FAILED)

"""Live captions of a WAV file, played as if it were spoken now.

Needs `pip install websockets`, and nothing else of this project: copy it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

CHUNK_S = 0.1


def main() -> None:
    """Print what the server understands; one line for an error."""
    try:
        asyncio.run(show_captions(parse_options()))
    except (ValueError, OSError, WebSocketException) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


def parse_options() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description="Print live captions of a WAV file.")
    parser.add_argument("wav", type=Path, help="mono, 16-bit PCM, 8000 to 192000 Hz")
    parser.add_argument("--url", default="ws://127.0.0.1:8000/v1/stream")
    key = os.environ.get("STT_API_KEY")
    parser.add_argument("--key", default=key, help="of the server; $STT_API_KEY if not given")
    parser.add_argument("--speed", type=float, default=1.0, help="1: as fast as it was spoken")
    parser.add_argument("--partials", action="store_true", help="print what is not final, too")
    return parser.parse_args()


async def show_captions(options: argparse.Namespace) -> None:
    """Send audio in one task, and print what comes back in another."""
    rate_hz, chunks = read_chunks(options.wav)
    headers = {"Authorization": f"Bearer {options.key}"} if options.key else {}
    async with connect(options.url, additional_headers=headers, compression=None) as server:
        await server.send(json.dumps({"type": "start", "sample_rate_hz": rate_hz}))
        sending = asyncio.create_task(send(server, chunks, options.speed))
        async for text in server:
            show(json.loads(text), partials=options.partials)
        await sending


async def send(server: ClientConnection, chunks: Iterator[bytes], speed: float) -> None:
    """Send a chunk whenever it would have been spoken, then say that it is over."""
    for chunk in chunks:
        await server.send(chunk)
        await asyncio.sleep(CHUNK_S / speed)
    await server.send(json.dumps({"type": "close"}))


def show(message: dict[str, object], *, partials: bool) -> None:
    """Print a final, or what was asked for besides; `ValueError` if it is an error."""
    if message["type"] == "error":
        raise ValueError(message["message"])
    if message["type"] == "partial" and partials:
        print(f"  {message['text']}", flush=True)
    if message["type"] == "final" and message["text"]:
        print(message["text"], flush=True)


def read_chunks(path: Path) -> tuple[int, Iterator[bytes]]:
    """Return the rate of a mono, 16-bit WAV file, and its samples in pieces."""
    try:
        with wave.open(str(path)) as file:
            got = (file.getnchannels(), 8 * file.getsampwidth())
            rate_hz, pcm = file.getframerate(), file.readframes(file.getnframes())
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path} is not a WAV file: {str(error) or 'cut off'}") from error
    if got != (1, 16):
        raise ValueError(f"{path}: got {got[0]} channels, {got[1]} bits; needed: 1 and 16")
    size = 2 * round(CHUNK_S * rate_hz)
    return rate_hz, (pcm[start : start + size] for start in range(0, len(pcm), size))


if __name__ == "__main__":
    main()

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
from websockets.exceptions import ConnectionClosed, WebSocketException

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
    options = parser.parse_args()
    if not options.speed > 0:
        raise ValueError("--speed: no number over 0")
    return options


async def show_captions(options: argparse.Namespace) -> None:
    """Send audio in one task, and print what comes back in another."""
    rate_hz, chunks = read_chunks(options.wav)
    headers = {"Authorization": f"Bearer {options.key}"} if options.key else {}
    async with connect(options.url, additional_headers=headers, compression=None) as server:
        await server.send(json.dumps({"type": "start", "sample_rate_hz": rate_hz}))
        sending = asyncio.create_task(send(server, chunks, options.speed))
        receiving = asyncio.create_task(receive(server, options))
        tasks = [sending, receiving]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                if task.done():
                    await task  # raises what it raised
        finally:
            sending.cancel()
            receiving.cancel()


async def send(server: ClientConnection, chunks: Iterator[bytes], speed: float) -> None:
    """Send a chunk whenever it would have been spoken, then say that it is over."""
    try:
        for chunk in chunks:
            await server.send(chunk)
            await asyncio.sleep(CHUNK_S / speed)
        await server.send(json.dumps({"type": "close"}))
    except ConnectionClosed:
        pass  # why, `receive` says


async def receive(server: ClientConnection, options: argparse.Namespace) -> None:
    """Print what comes until the server has closed the socket; `ValueError` if that is early."""
    is_over = False
    async for text in server:
        try:
            message = json.loads(text)
            kind = message["type"]
        except (ValueError, TypeError, KeyError) as error:
            got = f"got {text[:80]!r}"
            raise ValueError(f"{options.url} is no server of live captions: {got}") from error
        is_over = is_over or kind == "closed"
        show(message, partials=options.partials)
    if not is_over:
        raise ValueError(f"the server ended the session: {server.close_code} {server.close_reason}")


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

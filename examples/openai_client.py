"""The text of an audio file from the service, through OpenAI's Python client.

Needs `pip install openai`, and nothing else of this project: copy it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from openai import APIConnectionError, APIError, OpenAI


def main() -> None:
    """Print what the service makes of one file; an error is one line and exit code 1."""
    options = parse_options()
    client = OpenAI(
        base_url=f"http://{options.address}/v1",
        api_key=os.environ.get("STT_API_KEY", "none"),
        timeout=options.timeout,
    )
    try:
        stream_text(client, options.audio) if options.stream else show_words(client, options.audio)
    except OSError as error:
        sys.exit(f"error: cannot read {options.audio}: {error.strerror}")
    except APIConnectionError as error:
        sys.exit(f"error: {options.address}: {error.__cause__ or error}")
    except APIError as error:
        sys.exit(f"error: {options.audio}: {error.message}")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Print the words of an audio file, or its text as it is transcribed."
    )
    parser.add_argument("audio", type=Path, help="any kind that the service reads")
    parser.add_argument("--address", default="127.0.0.1:8000", help="default %(default)s")
    parser.add_argument("--stream", action="store_true", help="print the text while it is made")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds; default %(default)s")
    return parser.parse_args()


def show_words(client: OpenAI, audio: Path) -> None:
    """Print each word with the time at which it starts."""
    with audio.open("rb") as file:
        answer = client.audio.transcriptions.create(
            file=file,
            model="whisper-1",
            response_format="verbose_json",
            timestamp_granularities=["word"],
        )
    for word in answer.words or []:
        print(f"{word.start:6.2f}  {word.word}")


def stream_text(client: OpenAI, audio: Path) -> None:
    """Print the text, a stretch of the recording at a time."""
    with audio.open("rb") as file:
        events = client.audio.transcriptions.create(file=file, model="whisper-1", stream=True)
        for event in events:
            if event.type == "transcript.text.delta":
                print(event.delta, end="", flush=True)
    print()


if __name__ == "__main__":
    main()

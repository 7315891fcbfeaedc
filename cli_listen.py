"""`stt listen`: live captions at the terminal."""

from __future__ import annotations

import json
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.text import Text

from terminal import console, errors, exit_codes, say


class ListenFormat(StrEnum):
    """How captions are printed."""

    text = "text"
    json = "json"


def listen(
    wav: Annotated[
        Path | None, typer.Option(help="Play this file as if it were spoken now.")
    ] = None,
    speed: Annotated[float, typer.Option(min=0.1, max=100.0, help="Of playing it.")] = 1.0,
    device: Annotated[
        str | None, typer.Option(help="Microphone, by number or a part of its name.")
    ] = None,
    model: Annotated[Path | None, typer.Option("--model", "-m", help="Folder of a model.")] = None,
    url: Annotated[
        str | None, typer.Option(help="Ask this server, ws://HOST:PORT, not a model here.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Of the server.", envvar="STT_API_KEY", show_envvar=True)
    ] = None,
    hotword: Annotated[list[str] | None, typer.Option(help="`phrase` or `phrase:8`.")] = None,
    output_format: Annotated[ListenFormat, typer.Option("--format", "-f")] = ListenFormat.text,
    tf_serving: Annotated[
        str | None, typer.Option("--tf-serving", help="host:port of a TensorFlow Serving's gRPC.")
    ] = None,
) -> None:
    """Print what is said, while it is said; Ctrl-C ends it, and prints the last words.

    A microphone needs `pip install -e '.[microphone]'`.

    Example: `stt listen`

    Example: `stt listen --wav Data/samples/sample.wav --format json`

    Example: `stt listen --url ws://127.0.0.1:8000`
    """
    with exit_codes(), _until_interrupted() as stop:
        if url and (model or tf_serving):
            raise ValueError("got --url and a model; needed: one of them")
        hear = _hearing(url, key, hotword or [], stop, model=model, tf_serving=tf_serving)
        with _open_source(wav, speed, device, stop) as source:
            _print_all(hear(source), output_format)


def _open_source(
    wav: Path | None, speed: float, device: str | None, stop: threading.Event
) -> AbstractContextManager[Any]:
    from captions.sources import open_file, open_microphone

    if wav is not None:
        return open_file(wav, speed=speed, stop=stop)
    return open_microphone(stop=stop, device=device)


def _hearing(
    url: str | None, key: str | None, hotwords: list[str], stop: threading.Event, **given: Any
) -> Any:
    """Return what makes captions of a source: a server, or a model that is loaded now."""
    if url:
        from captions.client import captions_of, stream_url

        stream_url(url)
        logging.getLogger("websockets").setLevel(logging.CRITICAL)  # how it ends, our line says
        return lambda source: captions_of(source, url=url, key=key, hotwords=hotwords, stop=stop)

    from captions.session import CaptionSession
    from predictor import load_predictor
    from settings import read_settings
    from speech.decoding.decoder import DecodingOptions
    from speech.decoding.hotwords import parse_hotword

    given = {name: value for name, value in given.items() if value is not None}
    with errors.status("loading the model"):
        predictor = load_predictor(read_settings(**given, compile_clips=False))
    parsed = tuple(parse_hotword(text, predictor.pipeline.alphabet) for text in hotwords)
    session = CaptionSession(predictor, options=DecodingOptions(hotwords=parsed))
    return lambda source: _captions_here(source, session, predictor.audio.sample_rate_hz)


def _captions_here(source: Any, session: Any, model_rate_hz: int) -> Iterator[Any]:
    from captions.pcm import PcmStream
    from captions.sources import gathered

    pcm = PcmStream(sample_rate_hz=source.sample_rate_hz, model_rate_hz=model_rate_hz)
    for heard in gathered(source.chunks):
        yield from session.feed(pcm.push(heard))
    yield from session.feed(pcm.flush())
    yield from session.finalize()


def _print_all(captions: Iterator[Any], form: ListenFormat) -> None:
    """Print captions as they come: the growing one in place, if this is a terminal."""
    if form is ListenFormat.json:
        for caption in captions:
            print(json.dumps(caption.to_json(), ensure_ascii=False), flush=True)
        return
    with Live(console=console, transient=True, auto_refresh=False) as live:
        for caption in captions:
            is_final = caption.kind == "final"
            if is_final and caption.text:
                say(caption.text)
            live.update(Text("" if is_final else caption.text, style="dim"), refresh=True)


@contextmanager
def _until_interrupted() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C sets; a second one interrupts."""
    stop = threading.Event()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)

"""What the commands share at the terminal: consoles, bars, one line for an error and its code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from config import AudioError, CorpusError, ModelError, SpeechToTextError

console = Console(emoji=False)  # `a:b:c` in a path or a word is no picture
errors = Console(stderr=True, emoji=False)

EXIT_CODES: list[tuple[type[Exception], int]] = [
    (AudioError, 3),
    (CorpusError, 4),
    (ModelError, 5),
    (SpeechToTextError, 1),
    (ValueError, 2),
    (OverflowError, 2),
    (OSError, 1),
]
INTERRUPTED = 130
_LOSS_SPEED_SECONDS = 300


@contextmanager
def exit_codes(*, interrupted: str = "interrupted") -> Iterator[None]:
    """Print an error as one line and exit with its code; nobody reads a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        errors.print(interrupted)
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:  # the reader has seen enough, as in `| head`
        raise
    except tuple(kind for kind, _ in EXIT_CODES) as error:
        errors.print(f"[bold red]error:[/] {escape(' '.join(str(error).split()))}", soft_wrap=True)
        code = next(code for kind, code in EXIT_CODES if isinstance(error, kind))
        raise typer.Exit(code) from error


def say(text: str) -> None:
    """Print plain text, neither wrapped nor taken for markup."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def bar(
    title: str, *, of_bytes: bool = False, as_share: bool = False
) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with the time left on standard error; call what it yields with done and total.

    What is printed meanwhile goes above the bar if both are on a terminal, else where it belongs.
    """
    amount: list[ProgressColumn] = [MofNCompleteColumn()]
    if of_bytes:
        amount = [DownloadColumn(), TransferSpeedColumn()]
    elif as_share:
        amount = [TaskProgressColumn()]
    columns = [TextColumn("{task.description}"), BarColumn(), *amount]
    columns += [TimeElapsedColumn(), TimeRemainingColumn()]
    to_terminal = sys.stdout.isatty()
    with Progress(
        *columns, console=errors, transient=True, redirect_stdout=to_terminal
    ) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def training_bar() -> Iterator[tuple[Callable[..., None], Callable[..., None]]]:
    """Show steps, loss and time left; print each epoch's error rates and sample transcripts."""
    columns = [
        TextColumn("{task.fields[epoch]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=console, speed_estimate_period=_LOSS_SPEED_SECONDS) as progress:
        task = progress.add_task("", total=None, epoch="starting", loss="")

        def on_step(p: Any) -> None:
            epoch, loss = f"epoch {p.epoch}/{p.epochs}", f"loss {p.loss:.3f}"
            progress.update(task, completed=p.step, total=p.steps, epoch=epoch, loss=loss)

        def on_epoch(epoch: int, loss: float, result: Any) -> None:
            say(f"epoch {epoch}: loss {loss:.3f}, WER {result.wer:.3f}, CER {result.cer:.3f}")
            for name, reference, text in result.samples:
                say(f"  {name}\n  ref {reference}\n  hyp {text}")
            if result.warning:
                console.print(f"[yellow]{escape(result.warning)}[/]")

        yield on_step, on_epoch


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether Ctrl-C or a termination was asked for.

    The first one asks, so that work can be saved; a second one interrupts.
    """
    asked = False

    def ask(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        errors.print("stopping after this step, to save")

    # A background job ignores Ctrl-C, and goes on doing so.
    heard = [n for n in (signal.SIGINT, signal.SIGTERM) if callable(signal.getsignal(n))]
    heard += [n for n in (signal.SIGTERM,) if signal.getsignal(n) is signal.SIG_DFL]
    before = {number: signal.signal(number, ask) for number in heard}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

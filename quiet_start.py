"""Start TensorFlow without the lines that its compiled part prints before it has a log level."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def start_tensorflow() -> None:
    """Import TensorFlow and find its devices, with standard error sent nowhere meanwhile.

    What raises still raises. `TF_CPP_MIN_LOG_LEVEL` in the environment, if set to 0, 1 or 2, brings
    all lines back.
    """
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if level != "3":
        return
    with standard_error_unheard():
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextmanager
def standard_error_unheard() -> Iterator[None]:
    """Send nowhere what compiled code prints on standard error; what raises still raises."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)

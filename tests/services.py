"""The HTTP service behind a real socket, for tests whose clients need one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI


@contextmanager
def served(app: FastAPI) -> Iterator[tuple[uvicorn.Server, int]]:
    """Run the service behind a real socket; yield it and its port."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    ready = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app.state.on_ready = ready.set
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert ready.wait(60)
            yield server, listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()

"""A small stand-in for TensorFlow Serving's model server, for development and tests."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import uvicorn

from serving.config_files import read_batching_parameters, read_models
from serving.stand_in.batching import Batcher
from serving.stand_in.interfaces import build_grpc_server, build_rest_app
from serving.stand_in.manager import ModelManager, every
from serving.stand_in.servable import RefusedError, Servable
from serving_config import ModelServerConfig

HOST = "127.0.0.1"
_GRACE_S = 5
NOTICE = "A stand-in for TensorFlow Serving, for development and tests; deploy the real server."


@contextmanager
def running_manager(config: ModelServerConfig) -> Iterator[ModelManager]:
    """Load the models of `config` and follow their folders meanwhile.

    Raises:
        ValueError: a file is not what it must be, or a label names a version that is not there.
    """
    parameters = read_batching_parameters(config.batching_parameters_file)
    batching = Batcher(parameters) if config.enable_batching else None
    manager = ModelManager(
        partial(Servable, batching=batching),
        early_labels=config.allow_version_labels_for_unavailable_models,
    )
    try:
        manager.apply(read_models(config))  # a version that is missing may come later
    except RefusedError as refused:
        raise ValueError(f"Failed to start server. Error: {refused}") from refused
    stopped = threading.Event()
    every(config.file_system_poll_wait_seconds, manager.poll, stopped)
    if config.model_config_file:
        seconds = config.model_config_file_poll_wait_seconds
        every(seconds, lambda: manager.apply(read_models(config)), stopped)
    try:
        yield manager
    finally:
        stopped.set()


def serve(config: ModelServerConfig, *, say: Callable[[str], None] = print) -> None:
    """Serve until interrupted.

    Raises:
        ValueError: as `running_manager`.
        OSError: a port is taken.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("stt.model_server").setLevel(logging.INFO)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # the session loader is "deprecated"
    say(NOTICE)
    _listen(config.port).close()
    with _listen(config.rest_api_port) as listener, running_manager(config) as manager:
        server = build_grpc_server(manager, max_threads=config.grpc_max_threads)
        server.add_insecure_port(f"{HOST}:{config.port}")
        server.start()
        say(f"gRPC on {HOST}:{config.port}")
        say(f"REST on http://{HOST}:{config.rest_api_port}/v1/models/")
        rest = uvicorn.Config(build_rest_app(manager), log_level="warning")
        try:
            uvicorn.Server(rest).run(sockets=[listener])
        finally:  # requests that run are answered
            server.stop(grace=_GRACE_S).wait()


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise OSError(f"port {port} cannot be used: {error.strerror}") from error

"""The stand-in for TensorFlow Serving, in this process or as one of its own."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
from starlette.testclient import TestClient

from serving.model_server import running_manager
from serving.stand_in.interfaces import build_grpc_server, build_rest_app
from serving.stand_in.manager import ModelManager
from serving.stubs import model_service_pb2_grpc, prediction_service_pb2_grpc
from serving_config import ModelServerConfig

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Running:
    """A stand-in that answers: its gRPC address and stubs, its REST client, its manager."""

    address: str
    predictions: prediction_service_pb2_grpc.PredictionServiceStub
    models: model_service_pb2_grpc.ModelServiceStub
    rest: TestClient
    manager: ModelManager


@contextmanager
def running(config: ModelServerConfig) -> Iterator[Running]:
    """Run the stand-in in this process; polling is off unless `config` says otherwise."""
    with running_manager(config) as manager:
        server = build_grpc_server(manager, max_threads=config.grpc_max_threads)
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(address, options) as channel:
            yield Running(
                address=address,
                predictions=prediction_service_pb2_grpc.PredictionServiceStub(channel),
                models=model_service_pb2_grpc.ModelServiceStub(channel),
                rest=TestClient(build_rest_app(manager)),
                manager=manager,
            )
        server.stop(None).wait()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server_process(port: int, rest_port: int, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """Run `stt model-server` until the block ends; it answers when the block begins."""
    command = [sys.executable, "-m", "cli", "model-server", f"--port={port}"]
    process = subprocess.Popen(
        [*command, f"--rest_api_port={rest_port}", *flags],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        for _ in range(480):
            assert process.poll() is None, process.stdout.read()
            try:
                httpx.get(f"http://127.0.0.1:{rest_port}/v1/models/none")
                break
            except httpx.TransportError:
                time.sleep(0.25)
        else:
            raise AssertionError(f"the model server does not answer at port {rest_port}")
        yield process
    finally:
        process.kill()
        process.wait(60)
        process.stdout.close()


def quoted(text: str) -> str:
    """Return a pattern that matches `text` and nothing else."""
    return f"^{re.escape(text)}$"

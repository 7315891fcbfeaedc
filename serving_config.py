"""Frozen settings of where a model runs: batches in this process, a remote one, the stand-in."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from config import BUNDLED_MODEL, check


@dataclass(frozen=True, kw_only=True)
class BatchingConfig:
    """Which clips of several requests the model in this process computes together.

    Args:
        max_clips: of a batch; 1 computes every clip alone.
        max_audio_s: of a batch with its padding, by which memory grows: 1 GB at 160 s.
        max_stretch: a batch's longest clip is at most this many times as long as its shortest.
        wait_ms: longest wait for more clips when some wait already; an idle model begins at once.
    """

    max_clips: int = 16
    max_audio_s: float = 120.0
    max_stretch: float = 1.5
    wait_ms: float = 5.0

    def __post_init__(self) -> None:
        check(self.max_clips >= 1, f"batch_max_clips {self.max_clips} is under 1")
        check(self.max_audio_s > 0, f"max_audio_s {self.max_audio_s} is not positive")
        check(self.max_stretch >= 1, f"max_stretch {self.max_stretch} is under 1")
        check(0 <= self.wait_ms <= 1000, f"batch_wait_ms {self.wait_ms} is not in 0 to 1000")


def _is_address(address: str) -> bool:
    """Whether it is `host:port`, or names one of gRPC's own resolvers."""
    if re.match(r"(dns|unix|unix-abstract|ipv4|ipv6|xds):", address):
        return True
    plain = re.fullmatch(r"(\[[^\]\s]+\]|[^:/\s]+):(\d{1,5})", address)
    return plain is not None and 1 <= int(plain[2]) <= 65_535


@dataclass(frozen=True, kw_only=True)
class RemoteConfig:
    """A model behind TensorFlow Serving's gRPC port.

    Args:
        address: `host:port`, or whatever else gRPC resolves.
        model: its name there; that of `pipeline.json` if None.
        version: ask for this version; the newest if neither this nor `label` is given.
        label: ask for the version that has this label there, as `stable`.
        deadline_s: longest wait for an answer, retries in it.
        tls: encrypt, and check the server's certificate.
        ca_file: PEM file of whom to trust for `tls`; the system's authorities if None.
        token: sent as `authorization: Bearer …`; only over `tls`.
        max_message_bytes: of a request or an answer; a minute of audio takes 5.3 MB.
    """

    address: str
    model: str | None = None
    version: int | None = None
    label: str | None = None
    deadline_s: float = 30.0
    tls: bool = False
    ca_file: Path | None = None
    token: str | None = field(default=None, repr=False)
    max_message_bytes: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        check(_is_address(self.address), f"address {self.address!r}; needed: host:port")
        check(
            self.version is None or 0 <= self.version < 2**63,
            f"version {self.version} is not in 0 to 2**63 - 1",
        )
        check(
            self.version is None or self.label is None,
            f"got version {self.version} and label {self.label}; needed: one of them at most",
        )
        check(0 < self.deadline_s < inf, f"deadline_s {self.deadline_s} is not positive")
        check(self.ca_file is None or self.tls, "got a ca_file without tls")
        check(self.token is None or self.tls, "got a token without tls, readable by anyone")
        check(
            self.max_message_bytes >= 1024**2,
            f"max_message_bytes {self.max_message_bytes} is under 1 MiB",
        )


@dataclass(frozen=True, kw_only=True)
class ModelServerConfig:
    """The stand-in for TensorFlow Serving; the names are those of the server's own flags."""

    port: int = 8500
    rest_api_port: int = 8501
    model_name: str = BUNDLED_MODEL.name
    model_base_path: Path = BUNDLED_MODEL / "saved_model"
    model_config_file: Path | None = None
    model_config_file_poll_wait_seconds: float = 0.0
    file_system_poll_wait_seconds: float = 1.0
    enable_batching: bool = False
    batching_parameters_file: Path | None = None
    allow_version_labels_for_unavailable_models: bool = False
    grpc_max_threads: int = 4 * (os.cpu_count() or 1)

    def __post_init__(self) -> None:
        check(1 <= self.port <= 65_535, f"--port {self.port} is not in 1 to 65535")
        rest = self.rest_api_port
        check(1 <= rest <= 65_535, f"--rest_api_port {rest} is not in 1 to 65535")
        check(rest != self.port, f"--rest_api_port {rest} cannot be same as --port")
        check(self.grpc_max_threads >= 1, f"--grpc_max_threads {self.grpc_max_threads} is under 1")
        check(bool(self.model_name), "--model_name is empty")
        check(
            self.batching_parameters_file is None or self.enable_batching,
            "--batching_parameters_file is set without --enable_batching",
        )
        for name in ("model_config_file", "file_system"):
            seconds = getattr(self, f"{name}_poll_wait_seconds")
            check(0 <= seconds < inf, f"--{name}_poll_wait_seconds {seconds} is negative")

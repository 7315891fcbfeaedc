"""Frozen settings of the running service: its doors, who may ask, how much, what is logged."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from math import inf
from pathlib import Path
from typing import Literal

from config import BUNDLED_MODEL, PROJECT_ROOT, check
from serving_config import BatchingConfig, RemoteConfig

# What fits both a Bearer token (RFC 6750) and a WebSocket subprotocol (RFC 6455).
_KEY = re.compile(r"[A-Za-z0-9._~+-]{16,}")
_ORIGIN = re.compile(r"\*|https?://[^/?#\s*]+")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on `host`."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, kw_only=True)
class AccessConfig:
    """Who may ask.

    Args:
        api_keys: one of them is needed; none: whoever reaches the port may ask.
        allow_open: listen beyond this machine without keys.
        metrics_public: `/metrics` needs no key.
        cors_origins: pages of these origins may ask, as `https://example.org`, or of all with
            `*`; otherwise only those that the service itself serves.
    """

    api_keys: tuple[str, ...] = field(default=(), repr=False)
    allow_open: bool = False
    metrics_public: bool = False
    cors_origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for place, key in enumerate(self.api_keys, start=1):
            check(
                _KEY.fullmatch(key) is not None,
                f"api_keys: number {place}, of {len(key)} characters; needed: 16 or more of "
                "A-Z a-z 0-9 . _ ~ + -, as `openssl rand -hex 16` makes them",
            )
        for origin in self.cors_origins:
            check(
                _ORIGIN.fullmatch(origin) is not None,
                f"cors_origins: {origin!r}; needed: as https://example.org",
            )

    def check_open(self, host: str) -> None:
        """Raise `ValueError` where anyone on the network could ask, and nobody said so."""
        check(
            bool(self.api_keys) or self.allow_open or is_loopback(host),
            f"host {host} is reached from other machines, and no key is needed; "
            "set STT_API_KEYS=KEY,… (or STT_ALLOW_OPEN=true, or STT_HOST=127.0.0.1)",
        )


@dataclass(frozen=True, kw_only=True)
class LimitsConfig:
    """How much one client may ask, and for how long.

    A client is a key, or without keys an address.

    Args:
        rate_per_minute: requests of a client, so many at once at most; no limit if None.
        max_per_client: requests of a client at a time; no limit if None.
        body_timeout_s: longest time in which a request's body arrives, and in which what is sent of
            its answer at a time is taken; its head has 30 s.
        max_bodies_bytes: of the bodies of all requests that are there; one alone may be larger.
        graceful_s: longest time for what runs to end when the service is told to.
    """

    rate_per_minute: float | None = None
    max_per_client: int | None = None
    body_timeout_s: float = 300.0
    max_bodies_bytes: int = 512 * 1024 * 1024
    graceful_s: int = 30

    def __post_init__(self) -> None:
        rate, most = self.rate_per_minute, self.max_per_client
        check(rate is None or 0 < rate < inf, f"rate_per_minute {rate} is not positive")
        check(most is None or most >= 1, f"max_per_client {most} is under 1")
        check(
            0 < self.body_timeout_s < inf, f"body_timeout_s {self.body_timeout_s} is not positive"
        )
        check(self.max_bodies_bytes >= 1, f"max_bodies_bytes {self.max_bodies_bytes} is under 1")
        check(self.graceful_s >= 0, f"graceful_s {self.graceful_s} is negative")


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    """What is logged, and how.

    Args:
        format: `plain` lines for people, or a JSON object a line, which the terminal gets too.
        transcripts: log the texts that were heard; never done unless it is set.
    """

    format: Literal["plain", "json"] = "plain"
    transcripts: bool = False

    def __post_init__(self) -> None:
        check(self.format in ("plain", "json"), f"log_format {self.format!r}; plain or json")


@dataclass(frozen=True, kw_only=True)
class LiveConfig:
    """Live captions over a WebSocket; beyond these a client is told why, and its session ends.

    Args:
        max_sessions: at a time.
        idle_s: longest time without audio or keepalive, and at most 30 s of it in which a client
            does not take what it is sent.
        max_session_s: longest session.
        max_buffered_s: of audio that waits for the model; then no more is read from the client.
        max_message_bytes: of one message.
    """

    max_sessions: int = 32
    idle_s: float = 30.0
    max_session_s: float = 14_400.0
    max_buffered_s: float = 5.0
    max_message_bytes: int = 1024 * 1024

    def __post_init__(self) -> None:
        check(self.max_sessions >= 1, f"live_max_sessions {self.max_sessions} is under 1")
        for name in ("idle_s", "max_session_s", "max_buffered_s"):
            value = getattr(self, name)
            check(0 < value < inf, f"live_{name} {value} is not over 0")
        check(
            self.max_message_bytes >= 1024,
            f"live_max_message_bytes {self.max_message_bytes} is under 1024",
        )


def _check_seconds(name: str, value: float) -> None:
    check(0 < value < inf, f"{name} {value:g}; needed: seconds over 0, not endless")


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """The HTTP service; `api.py` reads these from `STT_…` variables.

    `max_upload_bytes` and `max_duration_s` are for `/upload/`; `max_file_bytes` and
    `max_recording_s` for `/v1/audio/transcriptions`, which takes recordings of hours.
    At most `max_running` uploads are worked on at a time and `max_waiting` more wait; what comes
    beyond is refused. With `compile_clips` XLA compiles, in the background, what computes a clip
    alone. With a `remote` model, of `model` only `pipeline.json` is read, and both that and
    `batching` are the server's own.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    model: Path = BUNDLED_MODEL
    log_folder: Path = PROJECT_ROOT / "logs"
    max_upload_bytes: int = 16 * 1024 * 1024
    max_duration_s: float = 120.0
    max_file_bytes: int = 256 * 1024 * 1024
    max_recording_s: float = 4 * 3600.0
    max_running: int = 32
    max_waiting: int = 64
    batching: BatchingConfig = field(default_factory=BatchingConfig)
    live: LiveConfig = field(default_factory=LiveConfig)
    compile_clips: bool = True
    remote: RemoteConfig | None = None
    access: AccessConfig = field(default_factory=AccessConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        check(0 <= self.port <= 65_535, f"port {self.port} is not in 0 to 65535")
        check(self.max_upload_bytes >= 1, f"max_upload_bytes {self.max_upload_bytes} is under 1")
        _check_seconds("max_duration_s", self.max_duration_s)
        check(self.max_file_bytes >= 1, f"max_file_bytes {self.max_file_bytes} is under 1")
        _check_seconds("max_recording_s", self.max_recording_s)
        check(self.max_running >= 1, f"max_running {self.max_running} is under 1")
        check(self.max_waiting >= 0, f"max_waiting {self.max_waiting} is negative")

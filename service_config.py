"""Frozen settings of the running service: who may ask, how much, and what is logged."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from math import inf
from typing import Literal

# What fits both a Bearer token (RFC 6750) and a WebSocket subprotocol (RFC 6455).
_KEY = re.compile(r"[A-Za-z0-9._~+-]{16,}")
_ORIGIN = re.compile(r"\*|https?://[^/?#\s*]+")


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


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
            _check(
                _KEY.fullmatch(key) is not None,
                f"api_keys: number {place}, of {len(key)} characters; needed: 16 or more of "
                "A-Z a-z 0-9 . _ ~ + -, as `openssl rand -hex 16` makes them",
            )
        for origin in self.cors_origins:
            _check(
                _ORIGIN.fullmatch(origin) is not None,
                f"cors_origins: {origin!r}; needed: as https://example.org",
            )

    def check_open(self, host: str) -> None:
        """Raise `ValueError` where anyone on the network could ask, and nobody said so."""
        _check(
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
        body_timeout_s: longest time in which a request's body arrives; its head has 30 s.
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
        _check(rate is None or 0 < rate < inf, f"rate_per_minute {rate} is not positive")
        _check(most is None or most >= 1, f"max_per_client {most} is under 1")
        _check(
            0 < self.body_timeout_s < inf, f"body_timeout_s {self.body_timeout_s} is not positive"
        )
        _check(self.max_bodies_bytes >= 1, f"max_bodies_bytes {self.max_bodies_bytes} is under 1")
        _check(self.graceful_s >= 0, f"graceful_s {self.graceful_s} is negative")


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
        _check(self.format in ("plain", "json"), f"log_format {self.format!r}; plain or json")

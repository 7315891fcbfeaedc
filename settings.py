"""Settings from the environment: `ServerConfig` as `STT_…` variables set it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service_config import AccessConfig, LimitsConfig, LiveConfig, LogConfig, ServerConfig
from serving_config import BatchingConfig, RemoteConfig

T = TypeVar("T")

_DEFAULTS = ServerConfig()
_REMOTE = "tf_serving"
_BATCHING = "batch_"
_LIVE = "live_"
_PREFIX = "STT_"
_CLIENTS_KEY, _KEYS = "STT_API_KEY", "STT_API_KEYS"


def _split(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    return tuple(part.strip() for part in given.split(",") if part.strip())


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """`STT_HOST`, `STT_PORT`, `STT_TF_SERVING` and so on; the fields of `ServerConfig`.

    `tf_serving` is the address of a `RemoteConfig`, and `tf_serving_…` its other fields; `batch_…`
    are those of a `BatchingConfig`, `live_…` of a `LiveConfig`. Lists are separated by commas.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, env_ignore_empty=True)

    host: str = _DEFAULTS.host
    port: int = _DEFAULTS.port
    model: Path = _DEFAULTS.model
    log_folder: Path = _DEFAULTS.log_folder
    max_upload_bytes: int = _DEFAULTS.max_upload_bytes
    max_duration_s: float = _DEFAULTS.max_duration_s
    max_file_bytes: int = _DEFAULTS.max_file_bytes
    max_recording_s: float = _DEFAULTS.max_recording_s
    max_running: int = _DEFAULTS.max_running
    max_waiting: int = _DEFAULTS.max_waiting
    batch_max_clips: int = _DEFAULTS.batching.max_clips
    batch_wait_ms: float = _DEFAULTS.batching.wait_ms
    live_max_sessions: int = _DEFAULTS.live.max_sessions
    live_idle_s: float = _DEFAULTS.live.idle_s
    live_max_session_s: float = _DEFAULTS.live.max_session_s
    compile_clips: bool = _DEFAULTS.compile_clips
    api_keys: CommaSeparated = ()
    allow_open: bool = False
    metrics_public: bool = False
    cors_origins: CommaSeparated = ()
    rate_per_minute: float | None = None
    max_per_client: int | None = None
    body_timeout_s: float = _DEFAULTS.limits.body_timeout_s
    max_bodies_bytes: int = _DEFAULTS.limits.max_bodies_bytes
    graceful_s: int = _DEFAULTS.limits.graceful_s
    log_format: Literal["plain", "json"] = _DEFAULTS.log.format
    log_transcripts: bool = False
    tf_serving: str | None = None
    tf_serving_model: str | None = None
    tf_serving_version: int | None = None
    tf_serving_label: str | None = None
    tf_serving_deadline_s: float = 30.0
    tf_serving_tls: bool = False
    tf_serving_ca_file: Path | None = None
    tf_serving_token: str | None = None


def read_settings(**given: Any) -> ServerConfig:
    """Return the settings: `given` before the environment before the defaults.

    Raises:
        ValueError: a value cannot be read or is out of range; one line says which.
    """
    try:
        values = Settings(**given).model_dump()
    except ValidationError as error:
        wrong = [f"{e['loc'][0]} {e['input']!r}: {e['msg']}" for e in error.errors()]
        raise ValueError("; ".join(wrong)) from error
    address = values.pop(_REMOTE)
    others = _pop(values, f"{_REMOTE}_")
    remote = None if address is None else RemoteConfig(address=address, **others)
    batching = BatchingConfig(**_pop(values, _BATCHING))
    live = LiveConfig(**_pop(values, _LIVE))
    access, limits = _pop_fields(values, AccessConfig), _pop_fields(values, LimitsConfig)
    log = LogConfig(format=values.pop("log_format"), transcripts=values.pop("log_transcripts"))
    return ServerConfig(
        **values,
        batching=batching,
        live=live,
        remote=remote,
        access=access,
        limits=limits,
        log=log,
    )


def unread_variables(environment: Mapping[str, str]) -> list[str]:
    """Return a line for each `STT_…` variable that is no setting, with the one that may be meant.

    A client's key is no mistake where the service has keys of its own.
    """
    known = {f"{_PREFIX}{name}".upper() for name in Settings.model_fields}
    if environment.get(_KEYS):
        known.add(_CLIENTS_KEY)
    given = [name for name in environment if name.upper().startswith(_PREFIX)]
    return [
        f"{name} is set, and nothing reads it{_nearest(name.upper(), known)}"
        for name in sorted(given)
        if name.upper() not in known
    ]


def _nearest(name: str, known: set[str]) -> str:
    near = get_close_matches(name, sorted(known), n=1)
    return f"; needed perhaps: {near[0]}" if near else ""


def _pop_fields(values: dict[str, Any], kind: type[T]) -> T:
    """Take the fields of a settings dataclass out of `values`, and return it made of them."""
    return kind(**{entry.name: values.pop(entry.name) for entry in fields(kind)})  # type: ignore[arg-type]


def _pop(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Take what begins with `prefix` out of `values`, and return it without the prefix."""
    names = [name for name in values if name.startswith(prefix)]
    return {name.removeprefix(prefix): values.pop(name) for name in names}

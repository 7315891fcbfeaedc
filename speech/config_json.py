"""Settings of `config.py` as plain values of a model's JSON files, and back."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, TypeVar

from config import (
    ADDED,
    AudioConfig,
    ConvolutionConfig,
    DecodingConfig,
    FeatureConfig,
    ModelError,
    NetworkConfig,
)

T = TypeVar("T")


def to_json(config: Any) -> dict[str, Any]:
    """Return a settings dataclass as plain values for a JSON file.

    Added settings are left out where all of them have their defaults, so that the files of models
    that do without them, and what is derived from those files, stay what they were.
    """
    values, added = asdict(config), _added(type(config))
    if added and all(values[name] == getattr(type(config)(), name) for name in added):
        return {name: value for name, value in values.items() if name not in added}
    return values


def features_from_json(values: dict[str, Any]) -> FeatureConfig:
    """Read what `to_json` wrote; an unknown or missing key raises `ModelError`."""
    return _from_json(FeatureConfig, values)


def network_from_json(values: dict[str, Any]) -> NetworkConfig:
    """Read what `to_json` wrote; an unknown or missing key raises `ModelError`."""
    try:
        convolutions = [dict(convolution) for convolution in values["convolutions"]]
    except (TypeError, KeyError, ValueError) as error:
        raise ModelError(f"NetworkConfig: got {values!r}; needed: settings by name") from error
    blocks = tuple(
        _from_json(
            ConvolutionConfig,
            {key: tuple(v) if isinstance(v, list) else v for key, v in convolution.items()},
        )
        for convolution in convolutions
    )
    return _from_json(NetworkConfig, {**values, "convolutions": blocks})


def decoding_from_json(values: dict[str, Any]) -> DecodingConfig:
    """Read what `to_json` wrote; an unknown or missing key raises `ModelError`."""
    return _from_json(DecodingConfig, values)


def audio_from_json(values: dict[str, Any]) -> AudioConfig:
    """Read what `to_json` wrote; an unknown or missing key raises `ModelError`."""
    return _from_json(AudioConfig, values)


def _added(kind: type[Any]) -> set[str]:
    """Return the settings that files of earlier models do not have: their defaults hold there."""
    return {entry.name for entry in fields(kind) if entry.metadata == ADDED}


def _from_json(kind: type[T], values: Any) -> T:
    if not isinstance(values, dict):
        raise ModelError(f"{kind.__name__}: got {values!r}; needed: settings by name")
    names = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]
    missing, unknown = sorted(names - _added(kind) - values.keys()), sorted(values.keys() - names)
    if missing or unknown:
        raise ModelError(f"{kind.__name__}: missing settings {missing}, unknown settings {unknown}")
    defaults = vars(kind())
    for name, default in ((name, defaults[name]) for name in values):
        wanted = (int, float) if isinstance(default, float) else type(default)
        is_bool = isinstance(values[name], bool)
        if not isinstance(values[name], wanted) or is_bool != isinstance(default, bool):
            raise ModelError(f"{kind.__name__}: {name} is {values[name]!r}; like {default!r}")
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{kind.__name__}: {error}") from error

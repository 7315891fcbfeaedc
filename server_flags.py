"""Flags written as TensorFlow Serving's own: `--name=value`, underscores in names."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, get_args, get_type_hints

from serving_config import ModelServerConfig

_HELP = {
    "port": "gRPC",
    "rest_api_port": "REST",
    "model_name": "of the one model",
    "model_base_path": "folder of its numbered versions",
    "model_config_file": "ModelServerConfig in text form; replaces name and path",
    "model_config_file_poll_wait_seconds": "read that file again and again; 0: once",
    "file_system_poll_wait_seconds": "look for new versions; 0: once",
    "enable_batching": "join concurrent requests",
    "batching_parameters_file": "BatchingParameters in text form",
    "allow_version_labels_for_unavailable_models": "labels may come before their versions",
    "grpc_max_threads": "requests at a time",
}


def parse_server_flags(arguments: Sequence[str], *, program: str) -> ModelServerConfig:
    """Return the settings that the flags give.

    What is not honoured is refused by name: a usage line on standard error, then exit code 2.

    Raises:
        ValueError: a value is out of range.
    """
    parser = argparse.ArgumentParser(
        prog=program,
        allow_abbrev=False,
        description="Serve SavedModels as TensorFlow Serving does, by gRPC and REST, on this "
        "machine only. A stand-in for development and tests, with the real server's flags.",
        epilog=f"Example: {program} --model_name=mine --model_base_path=Models/mine/saved_model",
    )
    types = get_type_hints(ModelServerConfig)
    for setting in fields(ModelServerConfig):
        kind = next(iter(get_args(types[setting.name])), types[setting.name])
        options: dict[str, Any] = {"type": kind, "metavar": kind.__name__.upper()}
        if kind is bool:
            options |= {"type": _to_bool, "nargs": "?", "const": True}
        note = _HELP[setting.name] + ("" if setting.default is None else "; default %(default)s")
        parser.add_argument(f"--{setting.name}", default=setting.default, help=note, **options)
    flags, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(f"the stand-in does not honour {' '.join(unknown)}")
    return ModelServerConfig(**vars(flags))


def _to_bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"got {text!r}; needed: true or false")
    return text.lower() == "true"

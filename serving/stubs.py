"""TensorFlow Serving's messages and stubs, without starting TensorFlow.

They need only the message classes inside the package `tensorflow`, but importing one of them runs
`tensorflow/__init__.py`, hence the whole runtime: seconds, and hundreds of megabytes. So an empty
package of that name stands in its place while they are imported; a process that needs the runtime
imports it afterwards as ever.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from config import ModelError


@contextmanager
def _package_without_its_code(name: str) -> Iterator[None]:
    if name in sys.modules:  # the runtime is there already
        yield
        return
    found = importlib.util.find_spec(name)
    if found is None:
        raise ModelError(f"no package {name}; needed: pip install {name}")
    package = ModuleType(name)
    package.__path__ = list(found.submodule_search_locations or ())
    sys.modules[name] = package
    try:
        yield
    finally:
        del sys.modules[name]


with _package_without_its_code("tensorflow"):
    from tensorflow.core.framework import types_pb2
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )
    from tensorflow_serving.config import model_server_config_pb2

__all__ = [
    "get_model_metadata_pb2",
    "get_model_status_pb2",
    "model_server_config_pb2",
    "model_service_pb2_grpc",
    "predict_pb2",
    "prediction_service_pb2_grpc",
    "types_pb2",
]

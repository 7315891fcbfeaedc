"""`TensorProto` to NumPy and back, without TensorFlow's runtime."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from serving.stubs import types_pb2

_FIELDS = {
    "float": ("float32", "float_val"),
    "int32": ("int32", "int_val"),
    "int64": ("int64", "int64_val"),
    "string": ("object", "string_val"),
}
_MAX_FILLED = 2**26
_NAMES = {np.dtype(kind): name for name, (kind, _) in _FIELDS.items()}


def dtype_name(dtype: int) -> str:
    """Return a `DataType` as TensorFlow Serving writes it: float, int32, string."""
    return types_pb2.DataType.Name(dtype).removeprefix("DT_").lower()


def fill_proto(proto: Any, array: np.ndarray, *, packed: bool = True) -> None:
    """Write a float32, int32, int64 or object (bytes) array into an empty `TensorProto`.

    Args:
        packed: numbers as `tensor_content`, the fast form; else in the repeated field of their
            type, which is how TensorFlow Serving answers.
    """
    name = _NAMES[array.dtype]
    proto.dtype = types_pb2.DataType.Value(f"DT_{name.upper()}")
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if packed and name != "string":
        proto.tensor_content = array.tobytes()
    else:
        getattr(proto, _FIELDS[name][1]).extend(array.ravel().tolist())


def to_array(proto: Any) -> np.ndarray:
    """Return a `TensorProto`'s values in its shape; a single value fills the shape.

    Raises:
        ValueError: another type, a negative size, or as many values as the shape does not have.
    """
    name, shape = dtype_name(proto.dtype), [dim.size for dim in proto.tensor_shape.dim]
    if name not in _FIELDS:
        raise ValueError(f"got a tensor of type {name}; needed: one of {', '.join(_FIELDS)}")
    if min(shape, default=0) < 0:
        raise ValueError(f"got the shape {shape}; needed: no negative size")
    kind, field = _FIELDS[name]
    if proto.tensor_content and name != "string":
        return np.frombuffer(proto.tensor_content, kind).reshape(shape)
    values = np.array(getattr(proto, field), kind)
    if len(values) == 1 and math.prod(shape) > 1:
        if math.prod(shape) > _MAX_FILLED:
            raise ValueError(f"got one value for the shape {shape}; needed: at most {_MAX_FILLED}")
        return np.full(shape, values[0], kind)
    return values.reshape(shape)

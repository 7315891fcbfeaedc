"""JSON bodies to predict requests, and responses to JSON, by the server's rules and words."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from serving.stand_in.servable import RefusedError, check
from serving.tensors import dtype_name, to_array

_NUMBERS: dict[str, set[type]] = {"float": {int, float}, "int32": {int}, "int64": {int}}
_NAMES = {"NoneType": "Null", "str": "String", "list": "Array", "dict": "Object", "bool": "Bool"}


def _check(holds: Any, value: Any, words: str) -> None:
    if not holds:  # only now: to write out a minute of samples takes a second
        raise RefusedError(f"JSON Value: {json.dumps(value, indent=4)} {words}")


def parse_body(body: bytes) -> dict[str, Any]:
    """Return the object that a predict request's body holds."""
    check(body, "JSON Parse error: The document is empty")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        position = getattr(error, "pos", 0)
        raise RefusedError(f"JSON Parse error: {error} at offset: {position}") from error
    _check(isinstance(document, dict), document, "Is not object")
    message = "not formatted correctly. 'signature_name' key must be a string value."
    _check(isinstance(document.get("signature_name", ""), str), document, message)
    return document


def read_inputs(document: dict[str, Any], infos: Any) -> dict[str, np.ndarray]:
    """Return an array for each input, from rows (`instances`) or columns (`inputs`)."""
    rows: Any = document.get("instances")
    values: Any = document.get("inputs")
    message = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
    _check(not {"instances", "inputs"} <= document.keys(), document, message)
    check(not {"instances", "inputs"}.isdisjoint(document), "Missing 'inputs' or 'instances' key")
    if "instances" in document:
        message = "Excepting 'instances' to be an list/array"
        _check(isinstance(rows, list), document, message)
        _check(rows, document, "No values in 'instances' array")
        values = _to_columns(rows, infos) if _is_named(rows[0]) else rows
    if not _is_named(values):
        plain = "inputs is a plain value/list" if rows is None else "instances is a plain list"
        message = f"{plain}, but expecting list of objects as multiple input tensors required"
        check(len(infos) == 1, f"{message} as per tensorinfo_map")
        values = dict.fromkeys(infos, values)
    for name in sorted(infos):
        check(name in values, f"Missing named input: {name} in 'inputs' object.")
    return {name: _to_array(values[name], dtype_name(infos[name].dtype)) for name in infos}


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and [*value] != ["b64"]


def _to_columns(rows: list[Any], infos: Any) -> dict[str, list[Any]]:
    for i, row in enumerate(rows):
        check(_is_named(row), f"Expecting object but got list at item {i} of input list")
        if row.keys() != infos.keys():
            message = f"Failed to process element: {i} of 'instances' list. JSON object: "
            message += json.dumps(row, indent=4)
            raise RefusedError(f"{message} keys must be equal to: {','.join(sorted(infos))}")
    return {name: [row[name] for row in rows] for name in infos}


def _to_array(value: Any, name: str) -> np.ndarray:
    try:
        boxed = np.array(value, dtype=object)
        values = boxed.ravel().tolist()
        if not set(map(type, values)) <= _NUMBERS.get(name, set()):
            values = [_to_leaf(leaf, name) for leaf in values]
        kind = {"float": "float32", "string": "object"}.get(name, name)
        return np.array(values, kind).reshape(boxed.shape)
    except (ValueError, OverflowError) as error:  # ragged, not base64, too large
        _check(False, value, f"is not a tensor of type {name}: {error}")
        raise  # `_check` has raised already


def _to_leaf(value: Any, name: str) -> Any:
    kind = _NAMES.get(type(value).__name__, "Number")
    fits = name == "string" and isinstance(value, (str, dict))
    _check(fits, value, f"Type: {kind} is not of expected type: {name}")
    if isinstance(value, str):
        return value.encode()
    is_base64 = [*value] == ["b64"] and isinstance(value["b64"], str)
    _check(is_base64, value, "not formatted correctly for base64 data")
    return base64.b64decode(value["b64"], validate=True)


def to_json(response: Any, *, rows: bool) -> dict[str, Any]:
    """Return `predictions` or `outputs`; bytes whose name ends in `_bytes` become base64."""
    columns = {name: _to_values(name, to_array(t)) for name, t in response.outputs.items()}
    if len(columns) == 1:
        return {"predictions" if rows else "outputs": next(iter(columns.values()))}
    items = [dict(zip(columns, item, strict=True)) for item in zip(*columns.values(), strict=True)]
    return {"predictions": items} if rows else {"outputs": columns}


def _to_values(name: str, array: np.ndarray) -> Any:
    def to_value(value: Any) -> Any:
        if isinstance(value, bytes):
            encoded = {"b64": base64.b64encode(value).decode()}
            return encoded if name.endswith("_bytes") else value.decode()
        return float(f"{value:.9g}") if isinstance(value, float) else value

    boxed = np.empty(array.size, object)
    boxed[:] = [to_value(value) for value in array.ravel().tolist()]
    return boxed.reshape(array.shape).tolist()

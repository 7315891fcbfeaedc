"""One loaded version of a model, run through a plain session as the C++ server runs it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from grpc import StatusCode
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving.tensors import dtype_name, fill_proto, to_array

CODES = {code.value[0]: code for code in StatusCode}
Inputs = dict[str, np.ndarray]
Run = Callable[[Inputs], list[np.ndarray]]


class RefusedError(Exception):
    """A request that cannot be answered: gRPC's code, and the server's own words."""

    def __init__(self, message: str, code: StatusCode = StatusCode.INVALID_ARGUMENT) -> None:
        super().__init__(message)
        self.code = code


def check(holds: Any, message: str, code: StatusCode = StatusCode.INVALID_ARGUMENT) -> None:
    """Raise `RefusedError` unless it holds."""
    if not holds:
        raise RefusedError(message, code)


class Servable:
    """A version that answers; its session closes when the last request has let go of it."""

    def __init__(self, version: int, path: Path, batching: Callable[..., Any] | None) -> None:
        """Load `path` with the tag `serve` and replay its warm-up requests."""
        message = (
            f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {path}"
        )
        check((path / "saved_model.pb").is_file(), message, StatusCode.NOT_FOUND)
        self.version, self._batching = version, batching
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            loaded = tf.compat.v1.saved_model.load(self._session, ["serve"], str(path))
        self.signatures = dict(loaded.signature_def)
        warm_up = path / "assets.extra" / "tf_serving_warmup_requests"
        for record in tf.data.TFRecordDataset(str(warm_up)) if warm_up.is_file() else ():
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
            self.predict(log.predict_log.request)

    def predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        """Run a signature; `RefusedError` says what does not fit it."""
        name = request.model_spec.signature_name or "serving_default"
        message = f'Serving signature key "{name}" not found.'
        check(name in self.signatures, message, StatusCode.FAILED_PRECONDITION)
        signature = self.signatures[name]
        inputs = _read_inputs(signature.inputs, request.inputs)
        aliases = _read_filter(signature.outputs, request.output_filter)
        fetches = [signature.outputs[alias].name for alias in aliases]
        outputs = self._run(fetches, inputs)
        response = predict_pb2.PredictResponse(model_spec=request.model_spec)
        response.model_spec.signature_name = name
        response.model_spec.version.value = self.version
        for alias, output in zip(aliases, outputs, strict=True):
            fill_proto(response.outputs[alias], output, packed=False)
        return response

    def _run(self, fetches: list[str], inputs: Inputs) -> list[np.ndarray]:
        def run(feeds: Inputs) -> list[np.ndarray]:
            return self._session.run(fetches, feeds)

        # What differs in rank cannot share a batch: one client's mistake stays its own.
        key = (self, *fetches, *(array.ndim for array in inputs.values()))
        try:
            return self._batching(key, inputs, run) if self._batching else run(inputs)
        except tf.errors.OpError as error:
            raise RefusedError(error.message, CODES[error.error_code]) from error
        except ValueError as error:  # a shape that the signature does not take
            raise RefusedError(str(error)) from error


def _set(names: Collection[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _read_inputs(infos: Any, given: Any) -> Inputs:
    extra, missing = _set(given.keys() - infos.keys()), _set(infos.keys() - given.keys())
    sizes = f"{len(given)}!={len(infos)} len({_set(given)}) != len({_set(infos)})"
    message = f"input size does not match signature: {sizes}. Sent extra: {extra}."
    check(len(given) == len(infos), f"{message} Missing but required: {missing}.")
    inputs = {}
    for position, alias in enumerate(sorted(given)):
        message = f"input tensor alias not found in signature: {alias}. Inputs expected to be in"
        check(alias in infos, f"{message} the set {_set(infos)}.")
        wanted = dtype_name(infos[alias].dtype)
        try:
            got = dtype_name(given[alias].dtype)
            check(wanted == got, f"Expects arg[{position}] to be {wanted} but {got} is provided")
            inputs[infos[alias].name] = to_array(given[alias])
        except ValueError as error:
            raise RefusedError(f"tensor parsing error: {alias}") from error
    return inputs


def _read_filter(infos: Any, wanted: Collection[str]) -> list[str]:
    for alias in wanted:
        message = f"output tensor alias not found in signature: {alias} Outputs expected to be in"
        check(alias in infos, f"{message} the set {_set(infos)}.")
    check(len(wanted) == len(set(wanted)), f"duplicate output tensor alias in {_set(wanted)}")
    return list(wanted) or sorted(infos)

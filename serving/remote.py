"""A model behind TensorFlow Serving, over gRPC."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from grpc import StatusCode
from numpy.typing import NDArray

from config import AudioError, ModelError, ModelUnavailableError
from serving.backend import check_wanted, pad_batch
from serving.stubs import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from serving.tensors import fill_proto, to_array
from serving_config import RemoteConfig
from speech.audio import Waveform
from speech.pipeline import Pipeline, read_pipeline

_AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE
_MAY_PASS = (
    StatusCode.UNAVAILABLE,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.RESOURCE_EXHAUSTED,
    StatusCode.NOT_FOUND,
    StatusCode.CANCELLED,
    StatusCode.ABORTED,
)
_RETRIES = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


class RemoteBackend:
    """A model of a TensorFlow Serving; one channel for all calls, which may come from any thread.

    No call is made before it is needed. After the server was away the channel finds it again by
    itself.
    """

    def __init__(self, folder: Path, remote: RemoteConfig) -> None:
        """Read `folder/pipeline.json`; the model itself is only where `remote` says.

        Raises:
            ModelError: no pipeline, or the file of `remote.ca_file` cannot be read.
        """
        self._pipeline = read_pipeline(folder)
        self._remote = remote
        self._model = remote.model or self._pipeline.name
        self._channel = _open_channel(remote)
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    @property
    def pipeline(self) -> Pipeline:
        """What the model was trained with."""
        return self._pipeline

    @property
    def version(self) -> str:
        """The version or the label that is asked for; `newest` if neither is."""
        wanted = self._remote.label if self._remote.version is None else self._remote.version
        return "newest" if wanted is None else str(wanted)

    def log_probs(
        self, waveforms: list[Waveform], given_up: threading.Event | None = None
    ) -> list[NDArray[np.float32]]:
        """Run the clips as one request; see `Backend.log_probs`.

        Raises:
            AudioError: the clips are larger than a message may be.
            ModelUnavailableError: the server does not answer, or not in time.
            ModelError: the server has no such model, or one that does not fit `pipeline`.
        """
        check_wanted(given_up)
        batch, num_samples = pad_batch(waveforms)
        request = predict_pb2.PredictRequest(output_filter=["log_probs", "num_frames"])
        self._fill_spec(request.model_spec)
        fill_proto(request.inputs["waveform"], batch)
        fill_proto(request.inputs["num_samples"], num_samples)
        if request.ByteSize() > self._remote.max_message_bytes:
            raise AudioError(
                f"got clips of {request.ByteSize()} bytes as a request; "
                f"needed: at most {self._remote.max_message_bytes} bytes"
            )
        response = self._call(self._predictions.Predict, request)
        return self._read(response, len(waveforms))

    def check_ready(self) -> None:
        """Ask the server for the state of the model; see `Backend.check_ready`."""
        request = get_model_status_pb2.GetModelStatusRequest()
        self._fill_spec(request.model_spec)
        states = self._call(self._models.GetModelStatus, request).model_version_status
        if not any(version.state == _AVAILABLE for version in states):
            messages = [version.status.error_message for version in states]
            why = next(filter(None, messages), "still loading")
            raise ModelUnavailableError(f"{self._where()}: no version is available: {why}")

    def close(self) -> None:
        """End the channel; running calls fail."""
        self._channel.close()

    def _fill_spec(self, spec: Any) -> None:
        spec.name = self._model
        if self._remote.version is not None:
            spec.version.value = self._remote.version
        if self._remote.label is not None:
            spec.version_label = self._remote.label

    def _where(self) -> str:
        return f"model {self._model} at {self._remote.address}"

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        try:
            return method(request, timeout=self._remote.deadline_s)
        except grpc.RpcError as error:
            code, details = error.code(), error.details()
            message = f"{self._where()}: {details} ({code.name})"
            if code == StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
                raise AudioError(f"the audio is too long for the server: {message}") from error
            kind = ModelUnavailableError if code in _MAY_PASS else ModelError
            raise kind(message) from error

    def _read(self, response: Any, count: int) -> list[NDArray[np.float32]]:
        try:
            log_probs, num_frames = (
                to_array(response.outputs[name]) for name in ("log_probs", "num_frames")
            )
        except ValueError as error:
            raise ModelError(f"{self._where()} answers with a broken tensor: {error}") from error
        symbols = len(self._pipeline.alphabet)
        fits = (
            log_probs.dtype == np.float32
            and log_probs.ndim == 3
            and (len(log_probs), log_probs.shape[2]) == (count, symbols)
            and num_frames.dtype == np.int32
            and num_frames.shape == (count,)
            and all(0 < frames <= log_probs.shape[1] for frames in num_frames)
        )
        if not fits:
            raise ModelError(
                f"{self._where()} gives log_probs {log_probs.dtype} {list(log_probs.shape)} and "
                f"num_frames {num_frames.dtype} {list(num_frames.shape)}; needed by pipeline.json: "
                f"float32 [{count}, frames, {symbols}] and int32 [{count}], of those frames"
            )
        return [clip[:frames] for clip, frames in zip(log_probs, num_frames, strict=True)]


def _open_channel(remote: RemoteConfig) -> grpc.Channel:
    """Open the channel; it connects at the first call.

    A request is kept for another try only while it fits gRPC's retry buffer, of 256 KiB if nothing
    is said: so it is as large as a message.
    """
    service = {"methodConfig": [{"name": [{}], "retryPolicy": _RETRIES}]}
    service["loadBalancingConfig"] = [{"round_robin": {}}]
    options = [
        ("grpc.max_send_message_length", remote.max_message_bytes),
        ("grpc.max_receive_message_length", remote.max_message_bytes),
        ("grpc.per_rpc_retry_buffer_size", remote.max_message_bytes),
        ("grpc.service_config", json.dumps(service)),
        ("grpc.enable_http_proxy", 0),  # a proxy for web pages is none for this server
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),
    ]
    if not remote.tls:
        return grpc.insecure_channel(remote.address, options)
    try:
        trusted = remote.ca_file.read_bytes() if remote.ca_file else None
    except OSError as error:
        raise ModelError(f"cannot read the certificates {remote.ca_file}: {error}") from error
    credentials = grpc.ssl_channel_credentials(trusted)
    if remote.token:
        token = grpc.access_token_call_credentials(remote.token)
        credentials = grpc.composite_channel_credentials(credentials, token)
    return grpc.secure_channel(remote.address, credentials, options)

"""The stand-in's answers and refusals are TensorFlow Serving's, over gRPC and REST."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
)

from config import AudioConfig
from serving.local import LocalBackend
from serving_config import ModelServerConfig
from speech.audio import encode_native
from tests.model_servers import Running, running

NAME = "tiny"


@pytest.fixture(scope="module")
def server(model_folder: Path) -> Iterator[Running]:
    config = ModelServerConfig(
        model_name=NAME,
        model_base_path=model_folder / "saved_model",
        file_system_poll_wait_seconds=0,
    )
    with running(config) as server:
        yield server


def waveform(num_samples: int = 8000) -> np.ndarray:
    return np.random.default_rng(3).uniform(-0.5, 0.5, num_samples).astype(np.float32)


def predict_request(**inputs: object) -> predict_pb2.PredictRequest:
    """Return a request for `serving_default`, of a good clip where nothing else is said."""
    given = {"waveform": waveform()[np.newaxis], "num_samples": np.array([8000], np.int32)}
    request = predict_pb2.PredictRequest()
    request.model_spec.name = NAME
    for name, value in {**given, **inputs}.items():
        if value is not None:
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def expected(model_folder: Path) -> np.ndarray:
    return LocalBackend(model_folder).log_probs([waveform()])[0]


def test_predict_gives_what_the_model_gives(server: Running, model_folder: Path) -> None:
    response = server.predictions.Predict(predict_request())
    log_probs = tf.make_ndarray(response.outputs["log_probs"])[0]
    np.testing.assert_allclose(log_probs, expected(model_folder), atol=1e-4)
    assert response.model_spec.name == NAME
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"
    assert response.outputs["log_probs"].float_val, "the server answers in typed fields"


def test_an_output_filter_chooses(server: Running) -> None:
    request = predict_request()
    request.output_filter.append("num_frames")
    assert set(server.predictions.Predict(request).outputs) == {"num_frames"}


def refused(call, request) -> tuple[str, str]:
    """Return the code and the message that a call fails with."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request)
    return caught.value.code().name, caught.value.details()


def with_spec(**spec: object) -> predict_pb2.PredictRequest:
    request = predict_request()
    request.model_spec.Clear()
    version = spec.pop("version", None)
    for field, value in spec.items():
        setattr(request.model_spec, field, value)
    if version is not None:
        request.model_spec.version.value = version
    return request


NEEDED = "{num_samples,waveform}"


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (predict_pb2.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (
            with_spec(signature_name="x"),
            "INVALID_ARGUMENT",
            "ModelSpec has no name specified.",
        ),
        (
            with_spec(name="nobody"),
            "NOT_FOUND",
            "Servable not found for request: Latest(nobody)",
        ),
        (
            with_spec(name=NAME, version=7),
            "NOT_FOUND",
            f"Servable not found for request: Specific({NAME}, 7)",
        ),
        (
            with_spec(name=NAME, version_label="stable"),
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: stable",
        ),
        (
            with_spec(name=NAME, signature_name="classify"),
            "FAILED_PRECONDITION",
            'Serving signature key "classify" not found.',
        ),
        (
            predict_request(num_samples=None),
            "INVALID_ARGUMENT",
            f"input size does not match signature: 1!=2 len({{waveform}}) != len({NEEDED}). "
            "Sent extra: {}. Missing but required: {num_samples}.",
        ),
        (
            predict_request(extra=1),
            "INVALID_ARGUMENT",
            f"input size does not match signature: 3!=2 len({{extra,num_samples,waveform}}) != "
            f"len({NEEDED}). Sent extra: {{extra}}. Missing but required: {{}}.",
        ),
        (
            predict_request(num_samples=None, samples=[1]),
            "INVALID_ARGUMENT",
            "input tensor alias not found in signature: samples. "
            f"Inputs expected to be in the set {NEEDED}.",
        ),
        (
            predict_request(num_samples=np.array([8000], np.int64)),
            "INVALID_ARGUMENT",
            "Expects arg[0] to be int32 but int64 is provided",
        ),
    ],
    ids=lambda value: "" if isinstance(value, predict_pb2.PredictRequest) else value[:40],
)
def test_predict_refuses_in_the_servers_words(server, request_, code, message) -> None:
    assert refused(server.predictions.Predict, request_) == (code, message)


def test_a_filter_that_names_no_output_is_refused(server: Running) -> None:
    request = predict_request()
    request.output_filter.append("text")
    assert refused(server.predictions.Predict, request) == (
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: text Outputs expected to be in the set "
        "{log_probs,num_frames}.",
    )


def test_shapes_that_do_not_fit_and_broken_tensors_are_refused(server: Running) -> None:
    code, _ = refused(server.predictions.Predict, predict_request(waveform=waveform()))
    assert code == "INVALID_ARGUMENT"
    request = predict_request()
    request.inputs["waveform"].tensor_content = b"\0" * 6
    code, message = refused(server.predictions.Predict, request)
    assert (code, message) == ("INVALID_ARGUMENT", "tensor parsing error: waveform")
    for sizes in ((-1, 4), (1, -1), (1, -2)):
        request = predict_request()
        for dim, size in zip(request.inputs["waveform"].tensor_shape.dim, sizes, strict=True):
            dim.size = size
        assert refused(server.predictions.Predict, request)[1] == "tensor parsing error: waveform"
    request = predict_request()
    request.inputs["waveform"].dtype = 9999
    assert refused(server.predictions.Predict, request)[1] == "tensor parsing error: waveform"


def test_status_of_all_versions_and_of_one(server: Running) -> None:
    request = get_model_status_pb2.GetModelStatusRequest()
    assert refused(server.models.GetModelStatus, request)[1] == "Missing ModelSpec"
    request.model_spec.name = NAME
    (version,) = server.models.GetModelStatus(request).model_version_status
    assert (version.version, version.state, version.status.error_code) == (1, 30, 0)
    request.model_spec.version.value = 5
    assert refused(server.models.GetModelStatus, request) == (
        "NOT_FOUND",
        f"Could not find version 5 of model {NAME}",
    )
    request.model_spec.name = "nobody"
    request.model_spec.ClearField("version")
    assert refused(server.models.GetModelStatus, request) == (
        "NOT_FOUND",
        "Could not find any versions of model nobody",
    )


def test_metadata_are_the_signatures(server: Running) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = NAME
    message = "GetModelMetadataRequest must specify at least one metadata_field"
    assert refused(server.predictions.GetModelMetadata, request)[1] == message
    request.metadata_field.append("signature_def")
    response = server.predictions.GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert {"serving_default", "transcribe", "spectrogram"} <= set(signatures.signature_def)
    assert response.model_spec.version.value == 1
    request.metadata_field.append("weights")
    assert refused(server.predictions.GetModelMetadata, request)[0] == "INVALID_ARGUMENT"


def test_what_is_not_a_list_of_models_is_no_configuration(server: Running) -> None:
    code, message = refused(
        server.models.HandleReloadConfigRequest, model_management_pb2.ReloadConfigRequest()
    )
    assert code == "INVALID_ARGUMENT"
    assert "Only ModelConfigList is currently supported" in message


def wav() -> bytes:
    return encode_native(waveform(), AudioConfig())


def b64(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}


def post(server: Running, body: object, path: str = f"/v1/models/{NAME}:predict"):
    content = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return server.rest.post(path, content=content)


def test_rows_and_columns_give_what_the_model_gives(server: Running, model_folder: Path) -> None:
    row = {"waveform": waveform().tolist(), "num_samples": 8000}
    (prediction,) = post(server, {"instances": [row]}).json()["predictions"]
    columns = {"waveform": [row["waveform"]], "num_samples": [8000]}
    outputs = post(server, {"inputs": columns}).json()["outputs"]
    assert prediction["num_frames"] == outputs["num_frames"][0]
    for log_probs in (prediction["log_probs"], outputs["log_probs"][0]):
        np.testing.assert_allclose(log_probs, expected(model_folder), atol=1e-4)


def test_base64_and_signature_name(server: Running, model_folder: Path) -> None:
    signature = {"signature_name": "transcribe"}
    rows = post(server, {**signature, "instances": [b64(wav()), b64(b"hello")]})
    columns = post(server, {**signature, "inputs": [b64(wav()), b64(b"hello")]})
    named = post(server, {**signature, "instances": [{"wav_bytes": b64(wav())}]})
    good, bad = rows.json()["predictions"]
    assert good["error"] == bad["text"] == ""
    assert good["text"]
    assert "not a WAV file" in bad["error"]
    assert columns.json()["outputs"]["text"] == [good["text"], ""]
    assert named.json()["predictions"][0]["text"] == good["text"]


def test_floats_have_the_digits_of_their_type(server: Running) -> None:
    row = {"waveform": waveform().tolist(), "num_samples": 8000}
    value = post(server, {"instances": [row]}).json()["predictions"][0]["log_probs"][0][0]
    assert float(np.float32(value)) != value
    assert len(str(value).lstrip("-0.").replace(".", "")) <= 9


def test_status_and_metadata_over_rest(server: Running) -> None:
    status = server.rest.get(f"/v1/models/{NAME}").json()
    assert status == {
        "model_version_status": [
            {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }
    assert server.rest.get(f"/v1/models/{NAME}/versions/1").json() == status
    metadata = server.rest.get(f"/v1/models/{NAME}/metadata").json()
    assert metadata["model_spec"] == {"name": NAME, "signature_name": "", "version": "1"}
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    assert signatures["transcribe"]["inputs"]["wav_bytes"]["dtype"] == "DT_STRING"


def error(response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v1/models/nobody", 404, "Could not find any versions of model nobody"),
        ("GET", f"/v1/models/{NAME}/versions/5", 404, f"Could not find version 5 of model {NAME}"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        (
            "GET",
            f"/v1/models/{NAME}/labels/stable",
            400,
            "Unrecognized servable version label: stable",
        ),
        (
            "GET",
            "/v1/models/nobody/metadata",
            404,
            "Servable not found for request: Latest(nobody)",
        ),
        (
            "GET",
            f"/v1/models/{NAME}/versions/99999999999999999999",
            400,
            "Failed to convert version: 99999999999999999999 to numeric.",
        ),
        ("POST", "/v1/foo", 400, "Malformed request: POST /v1/foo"),
        ("PUT", f"/v1/models/{NAME}", 400, f"Malformed request: PUT /v1/models/{NAME}"),
        (
            "GET",
            f"/v1/models/{NAME}:predict",
            400,
            f"Malformed request: GET /v1/models/{NAME}:predict",
        ),
    ],
)
def test_paths_are_refused_in_the_servers_words(server, method, path, status, message) -> None:
    assert error(server.rest.request(method, path)) == (status, message)


def test_other_paths_are_404_without_words(server: Running) -> None:
    response = server.rest.get("/metrics")
    assert (response.status_code, response.content) == (404, b"")


def test_classify_is_not_honoured(server: Running) -> None:
    response = server.rest.post(f"/v1/models/{NAME}:classify", json={})
    assert response.status_code == 501


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("", 400, "JSON Parse error: The document is empty"),
        ("{", 400, "JSON Parse error: "),
        ("[1]", 400, "Is not object"),
        ({"instances": [1], "signature_name": 5}, 400, "key must be a string value."),
        ({"x": 1}, 400, "Missing 'inputs' or 'instances' key"),
        ({"instances": [1], "inputs": [1]}, 400, "only one of 'inputs' or 'instances' keys"),
        ({"instances": 5}, 400, "Excepting 'instances' to be an list/array"),
        ({"instances": []}, 400, "No values in 'instances' array"),
        ({"instances": [[1.0]]}, 400, "instances is a plain list, but expecting list of objects"),
        ({"inputs": [[1.0]]}, 400, "inputs is a plain value/list, but expecting"),
        (
            {"inputs": {"waveform": [[1.0]]}},
            400,
            "Missing named input: num_samples in 'inputs' object.",
        ),
        ({"instances": [{"waveform": [1.0]}]}, 400, "keys must be equal to: num_samples,waveform"),
        (
            {"instances": [{"waveform": [1.0], "num_samples": 1}, [1.0]]},
            400,
            "Expecting object but got list at item 1 of input list",
        ),
        (
            {"inputs": {"waveform": [["x"]], "num_samples": [1]}},
            400,
            'JSON Value: "x" Type: String is not of expected type: float',
        ),
        (
            {"inputs": {"waveform": [[1.0]], "num_samples": [1.5]}},
            400,
            "JSON Value: 1.5 Type: Number is not of expected type: int32",
        ),
        (
            {"inputs": {"waveform": [[1.0], [1.0, 2.0]], "num_samples": [1, 2]}},
            400,
            "is not of expected type: float",
        ),
        (
            {"signature_name": "transcribe", "instances": [5]},
            400,
            "JSON Value: 5 Type: Number is not of expected type: string",
        ),
        (
            {"signature_name": "transcribe", "instances": [{"b64": "%"}]},
            400,
            "is not a tensor of type string",
        ),
        (
            {"signature_name": "x", "instances": [1]},
            400,
            'Serving signature name: "x" not found in signature def',
        ),
    ],
)
def test_bodies_are_refused_in_the_servers_words(server, body, status, message) -> None:
    code, text = error(post(server, body))
    assert code == status
    assert message in text


def test_an_unknown_model_is_404(server: Running) -> None:
    response = post(server, {"instances": [1]}, "/v1/models/nobody/versions/3:predict")
    assert error(response) == (404, "Servable not found for request: Specific(nobody, 3)")

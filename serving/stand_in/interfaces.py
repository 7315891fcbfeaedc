"""gRPC and REST, over a `ModelManager`."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import unquote

import grpc
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from tensorflow_serving.apis import get_model_metadata_pb2 as metadata_pb2
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest, ReloadConfigResponse
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from serving.stand_in.json_tensors import parse_body, read_inputs, to_json
from serving.stand_in.manager import ModelManager
from serving.stand_in.servable import RefusedError, check
from serving.tensors import fill_proto

_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_OPTIONS += [("grpc.so_reuseport", 0)]  # a port that is taken is an error, not shared
_PATH = r"(?i)/v1/models%s(?:/versions/(\d+)|/labels/([^/:]+))?%s"
_PATHS = {
    "POST": re.compile(_PATH % ("/([^/:]+)", ":(classify|regress|predict)")),
    "GET": re.compile(_PATH % ("(?:/([^/:]+))?", "(?:/(metadata))?")),
}
_HTTP = {"NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429, "UNIMPLEMENTED": 501, "UNAVAILABLE": 503}
_HTTP |= dict.fromkeys(["INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE"], 400)


def _metadata(manager: ModelManager, request: Any) -> Any:
    message = "GetModelMetadataRequest must specify at least one metadata_field"
    check(request.metadata_field, message)
    for name in request.metadata_field:
        check(name == "signature_def", f"Metadata field {name} is not supported")
    servable = manager.servable(request.model_spec)
    spec = {"name": request.model_spec.name, "version": {"value": servable.version}}
    response = metadata_pb2.GetModelMetadataResponse(model_spec=spec)
    signatures = metadata_pb2.SignatureDefMap(signature_def=servable.signatures)
    response.metadata["signature_def"].Pack(signatures)
    return response


def _reload(manager: ModelManager, request: Any) -> Any:
    message = "ServerModelConfig type not supported by HandleReloadConfigRequest."
    message += " Only ModelConfigList is currently supported"
    check(request.config.HasField("model_config_list"), message)
    missing = ", ".join(manager.apply(request.config))
    message = f"Some models did not become available: {{{missing}}}"
    check(not missing, message, grpc.StatusCode.UNKNOWN)
    return ReloadConfigResponse()


_METHODS = (
    ("PredictionService/Predict", PredictRequest, ModelManager.predict),
    ("PredictionService/GetModelMetadata", metadata_pb2.GetModelMetadataRequest, _metadata),
    ("ModelService/GetModelStatus", GetModelStatusRequest, ModelManager.status),
    ("ModelService/HandleReloadConfigRequest", ReloadConfigRequest, _reload),
)


def build_grpc_server(manager: ModelManager, *, max_threads: int, **others: Any) -> grpc.Server:
    """Return a server with both services and no port yet; `others` as of `grpc.server`."""

    def answer(method: Any, request: Any, context: Any) -> Any:
        try:
            specified = isinstance(request, ReloadConfigRequest) or request.HasField("model_spec")
            check(specified, "Missing ModelSpec")
            return method(manager, request).SerializeToString()
        except RefusedError as refused:
            context.abort(refused.code, str(refused))

    server = grpc.server(ThreadPoolExecutor(max_threads), **{"options": _OPTIONS, **others})
    for path, kind, method in _METHODS:
        handler = grpc.unary_unary_rpc_method_handler(partial(answer, method), kind.FromString)
        service, name = f"tensorflow.serving.{path}".split("/")
        generic = grpc.method_handlers_generic_handler(service, {name: handler})
        server.add_generic_rpc_handlers((generic,))
    return server


def build_rest_app(manager: ModelManager) -> Starlette:
    """Return the application; it answers every path under `/v1/`."""

    async def answer(request: Request) -> Response:
        path, body = request.scope["raw_path"].decode("latin-1"), await request.body()
        if not path.lower().startswith("/v1/"):
            return Response(status_code=404)
        try:
            status = 200
            content = await run_in_threadpool(_handle, manager, request.method, path, body)
        except RefusedError as refused:
            status, content = _HTTP.get(refused.code.name, 500), {"error": str(refused)}
        except Exception as error:  # a mistake of this server's, said in its own form
            status, content = 500, {"error": f"{type(error).__name__}: {error}"}
        text = json.dumps(content, indent=1, ensure_ascii=False).encode(errors="replace")
        return Response(text, status, media_type="application/json")

    app = Starlette()
    app.add_route("/{path:path}", answer, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    return app


def _handle(manager: ModelManager, method: str, path: str, body: bytes) -> Any:
    match = _PATHS[method].fullmatch(path) if method in _PATHS else None
    if match is None:
        raise RefusedError(f"Malformed request: {method} {path}")
    name, version, label, what = match.groups(default="")
    check(name, "Missing model name in request.")
    spec: dict[str, Any] = {"name": unquote(name), "version_label": unquote(label) or None}
    check(len(version) < 19, f"Failed to convert version: {version} to numeric.")
    spec |= {"version": {"value": int(version)}} if version else {}
    if method == "POST":
        check(what.lower() == "predict", f"no {what} here", grpc.StatusCode.UNIMPLEMENTED)
        return _predict_json(manager, PredictRequest(model_spec=spec), parse_body(body))
    if not what:
        return _to_dict(manager.status(GetModelStatusRequest(model_spec=spec)))
    request = metadata_pb2.GetModelMetadataRequest(
        model_spec=spec, metadata_field=["signature_def"]
    )
    content = _to_dict(_metadata(manager, request))
    del content["metadata"]["signature_def"]["@type"]
    return content


def _predict_json(manager: ModelManager, request: Any, document: dict[str, Any]) -> Any:
    name = document.get("signature_name") or "serving_default"
    signatures = manager.servable(request.model_spec).signatures
    check(name in signatures, f'Serving signature name: "{name}" not found in signature def')
    request.model_spec.signature_name = name
    for alias, array in read_inputs(document, signatures[name].inputs).items():
        fill_proto(request.inputs[alias], array)
    return to_json(manager.predict(request), rows="instances" in document)


def _to_dict(message: Any) -> dict[str, Any]:
    options = {"always_print_fields_with_no_presence": True, "preserving_proto_field_name": True}
    return json_format.MessageToDict(message, **options)

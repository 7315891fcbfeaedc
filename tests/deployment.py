"""What is deployed, read for the tests: compose, Kubernetes and TensorFlow Serving's own files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf import wrappers_pb2 as wrappers

from service_config import ServerConfig
from serving.stubs import model_server_config_pb2

ROOT = Path(__file__).parents[1]
DOCKER, KUBERNETES = ROOT / "serving/docker", ROOT / "serving/kubernetes"
PINS = dict(line.split("==") for line in (ROOT / "requirements.txt").read_text().split())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODEL = ServerConfig().model.name
READY = f"/v1/models/{MODEL}/labels/stable/metadata"
IMAGES = {
    "tf-serving": f"tensorflow/serving:{PINS['tensorflow-serving-api']}",
    "api": f"speech-to-text-api:{PROJECT['version']}",
}
APPS = ["tf-serving", "api"]
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
KUSTOMIZATION = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))
MANIFESTS = [
    pytest.param(manifest, id=f"{path.name}-{manifest['kind']}")
    for path in sorted(KUBERNETES.glob("*.yaml"))
    if path.name != "kustomization.yaml"
    for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8"))
]
BY_NAME = {(m["kind"], m["metadata"]["name"]): m for (m,) in (p.values for p in MANIFESTS)}

# Source: the flag list of tensorflow_serving/model_servers/main.cc
FLAGS = """
    port grpc_socket_path rest_api_port rest_api_num_threads rest_api_timeout_in_ms
    rest_api_enable_cors_support enable_batching allow_version_labels_for_unavailable_models
    batching_parameters_file enable_per_model_batching_parameters model_config_file
    model_config_file_poll_wait_seconds model_name model_base_path num_load_threads
    num_unload_threads max_num_load_retries load_retry_interval_micros
    file_system_poll_wait_seconds flush_filesystem_caches tensorflow_session_parallelism
    tensorflow_session_config_file tensorflow_intra_op_parallelism tensorflow_inter_op_parallelism
    use_alts_credentials ssl_config_file platform_config_file per_process_gpu_memory_fraction
    saved_model_tags grpc_channel_arguments grpc_max_threads enable_model_warmup
    num_request_iterations_for_warmup version monitoring_config_file
    remove_unused_fields_from_bundle_metagraph prefer_tflite_model num_tflite_pools
    num_tflite_interpreters_per_pool enable_signature_method_name_check
    xla_cpu_compilation_enabled enable_profiler thread_pool_factory_config_file
"""

# Messages that the package `tensorflow-serving-api` leaves out.
# Source: session_bundle_config.proto and monitoring_config.proto of TensorFlow Serving
_INT64, _STRING = ".google.protobuf.Int64Value", ".google.protobuf.StringValue"
_MESSAGES = {
    "BatchingParameters": [
        ("max_batch_size", _INT64),
        ("batch_timeout_micros", _INT64),
        ("max_enqueued_batches", _INT64),
        ("num_batch_threads", _INT64),
        ("thread_pool_name", _STRING),
        ("allowed_batch_sizes", "repeated int64"),
        ("pad_variable_length_inputs", "bool"),
    ],
    "PrometheusConfig": [("enable", "bool"), ("path", "string")],
    "MonitoringConfig": [("prometheus_config", ".PrometheusConfig")],
}
_TYPES = {"bool": {"type": 8}, "string": {"type": 9}, "repeated int64": {"type": 3, "label": 3}}


def message(text: str, kind: str) -> Any:
    """Parse text as one of `_MESSAGES`."""
    file = descriptor_pb2.FileDescriptorProto(name="deployment.proto", syntax="proto3")
    file.dependency.append(wrappers.DESCRIPTOR.name)
    for name, members in _MESSAGES.items():
        made = file.message_type.add(name=name)
        for number, (member, type_) in enumerate(members, start=1):
            options = _TYPES.get(type_, {"type": 11, "type_name": type_})
            made.field.add(name=member, number=number, **options)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    found = message_factory.GetMessageClass(pool.FindMessageTypeByName(kind))
    return text_format.Parse(text, found())


def read(name: str) -> str:
    """Return the text of a file of serving/docker."""
    return (DOCKER / name).read_text(encoding="utf-8")


def model() -> Any:
    """Return the one model of models.config."""
    config = model_server_config_pb2.ModelServerConfig()
    (only,) = text_format.Parse(read("models.config"), config).model_config_list.config
    return only


def batching() -> Any:
    """Return the message of batching_parameters.txt."""
    return message(read("batching_parameters.txt"), "BatchingParameters")


def monitoring() -> Any:
    """Return the message of monitoring.config for Prometheus."""
    return message(read("monitoring.config"), "MonitoringConfig").prometheus_config


def pod(name: str) -> dict[str, Any]:
    """Return the pod of a Deployment."""
    return BY_NAME["Deployment", name]["spec"]["template"]["spec"]


def container(name: str) -> dict[str, Any]:
    """Return the one container of a Deployment's pod."""
    (only,) = pod(name)["containers"]
    return only


def flags(of: str) -> dict[str, str]:
    """Return the server's flags in `compose` or on `kubernetes`."""
    words = SERVICES["serving"]["command"] if of == "compose" else container("tf-serving")["args"]
    assert all(re.fullmatch(r"--\w+=\S+", word) for word in words)
    return dict(word.removeprefix("--").split("=", 1) for word in words)

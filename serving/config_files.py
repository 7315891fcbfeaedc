"""TensorFlow Serving's configuration files, in protobuf's text format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf import wrappers_pb2 as wrappers

from serving.stubs import model_server_config_pb2
from serving_config import ModelServerConfig

_Field = descriptor_pb2.FieldDescriptorProto
_INTEGERS = (
    "max_batch_size",
    "batch_timeout_micros",
    "max_enqueued_batches",
    "num_batch_threads",
)


def read_models(config: ModelServerConfig) -> Any:
    """Return the `ModelServerConfig` message of the file that `config` names, or of its one model.

    Raises:
        ValueError: the file cannot be read as one.
    """
    message = model_server_config_pb2.ModelServerConfig()
    if config.model_config_file:
        return _read(config.model_config_file, message)
    model = message.model_config_list.config.add(name=config.model_name)
    model.base_path, model.model_platform = str(config.model_base_path.absolute()), "tensorflow"
    return message


def read_batching_parameters(path: Path | None) -> Any:
    """Return the `BatchingParameters` message of a file; an empty one if `path` is None.

    Raises:
        ValueError: the file cannot be read as one.
    """
    message = _batching_parameters_class()()
    return _read(path, message) if path else message


def _read(path: Path, message: Any) -> Any:
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), message)
    except (text_format.ParseError, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"Invalid protobuf file: '{path}': {error}") from error


def _batching_parameters_class() -> Any:
    """Build the class: the Python package `tensorflow-serving-api` leaves this message out.

    Source: tensorflow_serving/servables/tensorflow/session_bundle_config.proto
    """
    file = descriptor_pb2.FileDescriptorProto(name="batching_parameters.proto", syntax="proto3")
    file.dependency.append(wrappers.DESCRIPTOR.name)
    message = file.message_type.add(name="BatchingParameters")
    for number, name in enumerate((*_INTEGERS, "thread_pool_name"), start=1):
        wrapper = "Int64Value" if name in _INTEGERS else "StringValue"
        message.field.add(
            name=name,
            number=number,
            type=_Field.TYPE_MESSAGE,
            type_name=f".google.protobuf.{wrapper}",
        )
    message.field.add(
        name="allowed_batch_sizes",
        number=6,
        type=_Field.TYPE_INT64,
        label=_Field.LABEL_REPEATED,
    )
    message.field.add(name="pad_variable_length_inputs", number=7, type=_Field.TYPE_BOOL)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("BatchingParameters"))

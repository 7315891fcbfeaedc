"""What protobuf messages put on the wire, to compare two definitions of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf import descriptor_pb2
from tensorflow_serving.apis import predict_pb2


def fields_of(file: descriptor_pb2.FileDescriptorProto) -> dict[str, Any]:
    """Return number, type, label, type's name and oneof of each field, and each enum's values.

    Names are without packages and the `Entry` of maps, which protobuf.js leaves out of types.
    """
    found: dict[str, Any] = {}

    def walk(message: Any, prefix: str) -> None:
        oneofs = [oneof.name for oneof in message.oneof_decl]
        for field in message.field:
            oneof = oneofs[field.oneof_index] if field.HasField("oneof_index") else None
            type_name = _plain(field.type_name.rpartition(".")[2])
            kind = (field.number, field.type, field.label, type_name, oneof)
            found[f"{prefix}.{field.name}"] = kind
        for nested in message.nested_type:
            walk(nested, f"{prefix}.{_plain(nested.name)}")

    for message in file.message_type:
        walk(message, f"{file.package}.{message.name}")
    for enum in file.enum_type:
        found |= {f"{file.package}.{enum.name}.{value.name}": value.number for value in enum.value}
    return found


def installed_fields(paths: Iterable[str]) -> dict[str, Any]:
    """Return `fields_of` the installed files of TensorFlow and TensorFlow Serving at `paths`."""
    found: dict[str, Any] = {}
    for path in paths:
        file = descriptor_pb2.FileDescriptorProto()
        predict_pb2.DESCRIPTOR.pool.FindFileByName(path).CopyToProto(file)
        found |= fields_of(file)
    return found


def _plain(name: str) -> str:
    return name.removesuffix("Entry")

"""The messages of gRPC's reflection, which are the same in v1 and v1alpha.

Only the parts that are used: https://github.com/grpc/grpc/blob/master/src/proto/grpc/reflection/v1/reflection.proto.
This module builds the messages itself, so grpcio-reflection is not needed.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

__all__ = ["PATHS", "ReflectionError", "files_in", "files_of_name", "files_of_symbol", "list_services", "services_in"]

PATHS: Final = tuple(
    f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha")
)

_Field = descriptor_pb2.FieldDescriptorProto
_TEXT, _BYTES, _INT32, _MESSAGE = _Field.TYPE_STRING, _Field.TYPE_BYTES, _Field.TYPE_INT32, _Field.TYPE_MESSAGE


class ReflectionError(Exception):
    """The server answered a question of reflection with an error. code: a number of gRPC's statuses."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


def list_services() -> bytes:
    """Return the request for the names of all services."""
    return _serialized(list_services="*")


def files_of_symbol(name: str) -> bytes:
    """Return the request for the file that declares a service."""
    return _serialized(file_containing_symbol=name)


def files_of_name(name: str) -> bytes:
    """Return the request for a file by its name."""
    return _serialized(file_by_filename=name)


def services_in(answer: bytes) -> list[str]:
    """Return the names of all services in the server's answer to a request for its list of services.

    Raises:
        ReflectionError: the server answered with an error.
    """
    return [service.name for service in _parsed(answer).list_services_response.service]


def files_in(answer: bytes) -> list[descriptor_pb2.FileDescriptorProto]:
    """Return the files in an answer.

    Raises:
        ReflectionError: the server answered with an error, or with an invalid descriptor.
    """
    found = _parsed(answer).file_descriptor_response.file_descriptor_proto
    try:
        return [descriptor_pb2.FileDescriptorProto.FromString(file) for file in found]
    except DecodeError as error:
        raise ReflectionError(_INTERNAL, f"the server sent an invalid descriptor: {error}") from error


_INTERNAL: Final = 13


def _serialized(**fields: str) -> bytes:
    found: bytes = _request(**fields).SerializeToString()
    return found


def _parsed(answer: bytes) -> Any:
    try:
        found = _response.FromString(answer)
    except DecodeError as error:
        raise ReflectionError(
            _INTERNAL, f"the server sent an invalid answer to a reflection request: {error}"
        ) from error
    if found.HasField("error_response"):
        raise ReflectionError(found.error_response.error_code, found.error_response.error_message)
    return found


def _classes() -> tuple[Any, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="loadgen/reflection.proto", package="loadgen", syntax="proto3")

    def message(name: str, *fields: tuple[str, int, Any, str, bool]) -> None:
        made = file.message_type.add(name=name)
        for field, number, kind, type_name, is_repeated in fields:
            label = _Field.LABEL_REPEATED if is_repeated else _Field.LABEL_OPTIONAL
            made.field.add(name=field, number=number, type=kind, type_name=type_name or None, label=label)

    message("Service", ("name", 1, _TEXT, "", False))
    message("Services", ("service", 1, _MESSAGE, ".loadgen.Service", True))
    message("Files", ("file_descriptor_proto", 1, _BYTES, "", True))
    message("Error", ("error_code", 1, _INT32, "", False), ("error_message", 2, _TEXT, "", False))
    message(
        "Request",
        ("file_by_filename", 3, _TEXT, "", False),
        ("file_containing_symbol", 4, _TEXT, "", False),
        ("list_services", 7, _TEXT, "", False),
    )
    message(
        "Response",
        ("file_descriptor_response", 4, _MESSAGE, ".loadgen.Files", False),
        ("list_services_response", 6, _MESSAGE, ".loadgen.Services", False),
        ("error_response", 7, _MESSAGE, ".loadgen.Error", False),
    )
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    request, response = (pool.FindMessageTypeByName(f"loadgen.{name}") for name in ("Request", "Response"))
    return message_factory.GetMessageClass(request), message_factory.GetMessageClass(response)


_request, _response = _classes()

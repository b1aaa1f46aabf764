"""Services and their message classes, built from file descriptors (https://protobuf.dev/programming-guides/techniques/).

The descriptors come from a descriptor set, as `protoc --descriptor_set_out` and `buf build` write it, or from the
reflection of a server. Each schema has a pool of its own, so two versions of a service can be used side by side. The
files of protobuf itself (`google/protobuf/timestamp.proto` ...) may be missing in a set.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from loadgen.errors import UsageError

__all__ = ["MAX_FILES", "MethodShape", "Schema", "ServiceShape", "nearest"]

MAX_FILES: Final = 2_000
"""The most files of one schema: a server can name any number."""
_OURS: Final = frozenset(
    f"google/protobuf/{name}.proto"
    for name in (
        *("any", "api", "descriptor", "duration", "empty", "field_mask", "source_context", "struct"),
        *("timestamp", "type", "wrappers"),
    )
)
_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class MethodShape:
    """A method of a service. path: "/shop.v1.Cart/Get"."""

    path: str
    request: type[Message]
    response: type[Message]
    streams_request: bool
    streams_response: bool


@dataclass(frozen=True, slots=True)
class ServiceShape:
    """A service. name: "shop.v1.Cart". methods: by their short names. pool: finds the types within `Any` values."""

    name: str
    methods: Mapping[str, MethodShape]
    pool: DescriptorPool

    def method(self, name: str) -> MethodShape:
        """Return a method.

        Raises:
            UsageError: the service has no such method.
        """
        found = self.methods.get(name)
        if found is None:
            raise UsageError(f"the gRPC service {self.name} has no method {name}", hint=nearest(name, self.methods))
        return found


class Schema:
    """All services of some files.

    Raises:
        UsageError: the files are no valid descriptors, there are too many, or one that they import is missing.
    """

    def __init__(self, files: Iterable[descriptor_pb2.FileDescriptorProto]) -> None:
        self._files = {file.name: file for file in files}
        if len(self._files) > MAX_FILES:
            raise UsageError(
                f"the gRPC schema has {len(self._files):,} files: the limit is {MAX_FILES:,}",
                hint="make a descriptor set of the service's .proto file and its imports only",
            )
        self._shapes: dict[str, ServiceShape] = {}
        self._pool  # noqa: B018  # reports errors now

    @classmethod
    def from_set(cls, data: bytes) -> Schema:
        """Return the schema of a serialized FileDescriptorSet.

        Raises:
            UsageError: the bytes are not a descriptor set, or as above.
        """
        try:
            files = descriptor_pb2.FileDescriptorSet.FromString(data).file
        except DecodeError as error:
            raise UsageError(f"not a descriptor set: {error}", hint=_HOW) from error
        if not files or not all(file.name for file in files):
            raise UsageError("not a descriptor set: it contains no .proto files", hint=_HOW)
        return cls(files)

    def as_set(self) -> bytes:
        """Return the files as a serialized FileDescriptorSet, in the same order each time."""
        files = [self._files[name] for name in sorted(self._files)]
        return descriptor_pb2.FileDescriptorSet(file=files).SerializeToString(deterministic=True)

    @cached_property
    def services(self) -> tuple[str, ...]:
        """Return the full names of all services, sorted."""
        names = []
        for file in self._files.values():
            prefix = f"{file.package}." if file.package else ""
            names += [prefix + service.name for service in file.service]
        return tuple(sorted(names))

    def service(self, name: str) -> ServiceShape:
        """Return a service by its full name, "shop.v1.Cart".

        Raises:
            UsageError: the files have no such service.
        """
        shape = self._shapes.get(name)
        if shape is None:
            try:
                found: Any = self._pool.FindServiceByName(name)
            except KeyError:
                hint = nearest(name, self.services)
                raise UsageError(f"the descriptors have no gRPC service {name}", hint=hint) from None
            shape = self._shapes[name] = ServiceShape(
                name, MappingProxyType({method.name: _shape(name, method) for method in found.methods}), self._pool
            )
        return shape

    @cached_property
    def _pool(self) -> DescriptorPool:
        pool = DescriptorPool()
        added = set[str]()
        waiting = [(name, "") for name in sorted(self._files, reverse=True)]
        entered = set[str]()
        while waiting:
            name, needed_by = waiting[-1]
            if name in added:
                waiting.pop()
                continue
            file = self._files.get(name) or _own_file(name)
            if file is None:
                raise UsageError(
                    f"{needed_by} imports {name}, and the descriptors do not contain it",
                    hint="make the set with its imports: protoc --include_imports --descriptor_set_out=FILE",
                )
            missing = [one for one in file.dependency if one not in added]
            if missing and name not in entered:
                entered.add(name)
                waiting += [(one, name) for one in missing]
                continue
            waiting.pop()
            try:
                pool.AddSerializedFile(file.SerializeToString())
            except Exception as error:
                raise UsageError(f"the descriptor of {name} is invalid: {error}", hint=_HOW) from error
            added.add(name)
        return pool


_HOW: Final = "make one with protoc --include_imports --descriptor_set_out=FILE, or buf build -o FILE"


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a hint for an unknown name: the nearest known one, or the first known ones."""
    known = sorted(names)
    by_case = {one.lower(): one for one in known}
    near = get_close_matches(name.lower(), by_case, n=1)
    if near:
        return f"did you mean {by_case[near[0]]}?"
    if not known:
        return "there are none"
    more = f", and {len(known) - _SHOWN:,} more" if len(known) > _SHOWN else ""
    return f"use one of {', '.join(known[:_SHOWN])}{more}"


def _shape(service: str, method: Any) -> MethodShape:
    return MethodShape(
        f"/{service}/{method.name}",
        message_factory.GetMessageClass(method.input_type),
        message_factory.GetMessageClass(method.output_type),
        method.client_streaming,
        method.server_streaming,
    )


def _own_file(name: str) -> descriptor_pb2.FileDescriptorProto | None:
    """Return a file of protobuf itself; None if it has no such file."""
    if name not in _OURS:
        return None
    module = importlib.import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
    found = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(found)
    return found

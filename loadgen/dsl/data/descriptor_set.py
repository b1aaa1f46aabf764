"""A file with the descriptors of gRPC services, which travels with the scenario: `SHOP = descriptor_set("shop.binpb")`.

`protoc --include_imports --descriptor_set_out=shop.binpb shop.proto` writes one, and `buf build -o shop.binpb`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loadgen.dsl.data.named_files import faults_of, name_file
from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault, ScenarioError, UsageError

if TYPE_CHECKING:
    from loadgen.clients.grpc_schema.schema import Schema

__all__ = ["DescriptorSet", "descriptor_set"]

_MOST_BYTES: Final = 64 * 1024 * 1024
_WRITE: Final = 'write descriptor_set("shop.binpb")'
_MAKE: Final = "write it with protoc --include_imports --descriptor_set_out=FILE, or buf build -o FILE"


@dataclass(frozen=True)
class DescriptorSet:
    """The services of a descriptor set. Made by `descriptor_set`."""

    path: Path
    origin: Origin = field(compare=False, repr=False)
    wrong: tuple[Fault, ...] = field(default=(), compare=False, repr=False)
    """Errors in the arguments."""

    @cached_property
    def faults(self) -> tuple[Fault, ...]:
        """Return the errors in the arguments and in the file."""
        return faults_of(lambda: self.schema)

    @cached_property
    def schema(self) -> Schema:
        """Return the services and messages in the file.

        Raises:
            ScenarioError: the file cannot be read, or is not a descriptor set with all its imports.
        """
        from loadgen.clients.grpc_schema.schema import Schema  # protobuf's descriptors: few scenarios need them

        if self.wrong:
            raise ScenarioError(self.wrong)
        name = self.path.name
        try:
            with self.path.open("rb") as opened:
                data = opened.read(_MOST_BYTES + 1)
        except OSError as error:
            raise ScenarioError(
                [self.origin.fault(f"{name}: cannot be read: {error.strerror or error}", _MAKE)]
            ) from None
        if len(data) > _MOST_BYTES:
            raise ScenarioError([self.origin.fault(f"{name}: it has more than {_MOST_BYTES:,} bytes", _MAKE)])
        try:
            return Schema.from_set(data)
        except UsageError as error:
            raise ScenarioError([self.origin.fault(f"{name}: {error.message}", error.hint or _MAKE)]) from error

    @property
    def services(self) -> tuple[str, ...]:
        """Return the full names of the services, sorted."""
        return self.schema.services


def descriptor_set(path: str | PathLike[str]) -> DescriptorSet:
    """Return the gRPC services of a descriptor set, for `user.grpc.service("shop.v1.Cart", SHOP)`.

    Args:
        path: a file as `protoc --include_imports --descriptor_set_out` or `buf build -o` writes it, in the scenario's
            folder or below; relative to the calling file.
    """
    origin = here()
    place = origin.beside(path)
    wrong = () if place is not None else (origin.fault(f"descriptor_set: {path!r} is not a path of a file", _WRITE),)
    made = DescriptorSet(place or Path(), origin, wrong)
    name_file(made)
    return made

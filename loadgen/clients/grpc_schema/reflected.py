"""The gRPC services that a worker knows by reflection. The first user of a service asks the target for it, once.

This module imports no protobuf, because every worker has one of these.
"""

from __future__ import annotations

import asyncio
import zlib
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from loadgen.errors import UsageError

if TYPE_CHECKING:
    from loadgen.clients.grpc_schema.schema import Schema

__all__ = ["MAX_SET_BYTES", "Reflected", "sets_in"]

MAX_SET_BYTES: Final = 4 * 1024 * 1024
"""Size limit of a service's descriptor set."""
_MAX_SETS: Final = 100
_MAX_BYTES: Final = 32 * 1024 * 1024
"""Size limit of all descriptor sets together: a value of the set-up comes from an agent, and is packed."""
_GRPC: Final = "loadgen.grpc"
_SHARED: Final = "shared"


class Reflected:
    """The schemas of a worker, by target and service."""

    def __init__(self) -> None:
        self._schemas: dict[tuple[str, str], Schema] = {}
        self._refused: dict[tuple[str, str], UsageError] = {}
        """Answers that will not change: no reflection, no such service."""
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    def known(self, target: str, service: str) -> Schema | None:
        """Return a schema that is known already."""
        return self._schemas.get((target, service))

    def keep(self, target: str, service: str, schema: Schema) -> None:
        self._schemas[target, service] = schema

    async def schema(self, target: str, service: str, ask: Callable[[], Awaitable[Schema]]) -> Schema:
        """Return the schema of a service. `ask` gets it from the server; further users wait for the first one.

        Raises:
            UsageError: what `ask` raised, also for all later users. Other exceptions of `ask` are not kept.
        """
        key = (target, service)
        found = self._schemas.get(key)
        if found is not None:
            return found
        async with self._locks.setdefault(key, asyncio.Lock()):
            found = self._schemas.get(key)
            if found is not None:
                return found
            if (refused := self._refused.get(key)) is not None:
                raise UsageError(refused.message, hint=refused.hint)
            try:
                found = self._schemas[key] = await ask()
            except UsageError as error:
                self._refused[key] = error
                raise
            return found

    # -- from the set-up to all workers, and to the run folder --------------------------------------

    def wrap(self, shared: Any) -> Any:
        """Return one value that contains the schemas and `shared`, the return value of the plan's set-up.

        If there are no schemas, return `shared` unchanged. `unwrap` separates the two again.
        """
        if not self._schemas:
            return shared
        sets = [
            {"target": target, "service": service, "set": b64encode(zlib.compress(schema.as_set(), 9)).decode("ascii")}
            for (target, service), schema in self._schemas.items()
        ]
        return {_GRPC: sets, _SHARED: shared}

    def unwrap(self, value: Any) -> Any:
        """Keep the schemas in a value of `wrap`, and return the value of the set-up.

        Raises:
            UsageError: a schema in it is invalid.
        """
        if not _is_wrapped(value):
            return value
        from loadgen.clients.grpc_schema.schema import Schema  # protobuf's descriptors: few scenarios need them

        for target, service, data in sets_in(value):
            if (target, service) not in self._schemas:
                self.keep(target, service, Schema.from_set(data))
        return value[_SHARED]


def sets_in(value: Any) -> list[tuple[str, str, bytes]]:
    """Return (target, service, descriptor set) of all schemas in a value of `Reflected.wrap`; [] for other values.

    The value may be a part of one with facts about an AI model. Schemas that are broken or larger than MAX_SET_BYTES
    are left out, and those beyond a limit on the number or size of all.
    """
    if isinstance(value, Mapping) and value.keys() == {"llm", _SHARED}:
        value = value[_SHARED]
    found: list[tuple[str, str, bytes]] = []
    left = _MAX_BYTES
    for one in value[_GRPC][:_MAX_SETS] if _is_wrapped(value) else ():
        try:
            target, service, packed = str(one["target"]), str(one["service"]), b64decode(one["set"])
            unpacker = zlib.decompressobj()
            data = unpacker.decompress(packed, min(left, MAX_SET_BYTES) + 1)
        except (KeyError, TypeError, ValueError, zlib.error):
            continue
        left -= len(data)
        if left < 0:
            break
        if unpacker.eof and len(data) <= MAX_SET_BYTES:
            found.append((target, service, data))
    return found


def _is_wrapped(value: Any) -> bool:
    return isinstance(value, Mapping) and value.keys() == {_GRPC, _SHARED} and isinstance(value[_GRPC], list)

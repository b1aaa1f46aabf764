"""Asks a server for the descriptors of a service by gRPC's reflection: v1 first, then v1alpha.

Each question is a message of one stream. The call is a row as any other; a server that has only v1alpha costs one row
more, which is ok.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from grpc import aio

from loadgen.clients.grpc_client.failures import GrpcFailed
from loadgen.clients.grpc_schema.reflected import MAX_SET_BYTES
from loadgen.clients.grpc_schema.reflection_messages import (
    PATHS,
    ReflectionError,
    files_in,
    files_of_name,
    files_of_symbol,
    list_services,
    services_in,
)
from loadgen.clients.grpc_schema.schema import MAX_FILES, Schema, nearest
from loadgen.errors import UsageError

if TYPE_CHECKING:
    from loadgen.clients.grpc_client.channel import GrpcChannel

__all__ = ["reflected"]

T = TypeVar("T")

_NOT_FOUND, _UNIMPLEMENTED = 5, 12
_OTHERWISE = 'enable it on the server, or use a descriptor set: user.grpc.service(name, descriptor_set("shop.binpb"))'


async def reflected(channel: GrpcChannel, service: str) -> Schema:
    """Return the schema with a service of the server.

    Raises:
        UsageError: the server has no reflection or no such service, or its descriptors are invalid.
        GrpcFailed: the call failed, as any call can.
    """
    asking = channel.accepting(grpc.StatusCode.UNIMPLEMENTED)
    for path in PATHS:
        call: Any = asking.stream_stream(path)()
        try:
            return await _schema(call, service)
        except GrpcFailed as failure:
            if failure.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
        except ReflectionError as error:
            if error.code == _UNIMPLEMENTED:
                break
            raise UsageError(f"gRPC reflection of {service} failed: {error.text!r}", hint=_OTHERWISE) from error
        finally:
            call.cancel()
    raise UsageError(f"cannot find {service}: the server does not offer gRPC reflection", hint=_OTHERWISE)


async def _schema(call: Any, service: str) -> Schema:
    try:
        waiting = await _asked(call, files_of_symbol(service), files_in)
    except ReflectionError as error:
        if error.code != _NOT_FOUND:
            raise
        names = await _asked(call, list_services(), services_in)
        raise UsageError(
            f"the server does not offer the gRPC service {service}", hint=nearest(service, names)
        ) from error
    files = {file.name: file for file in waiting}
    size = sum(file.ByteSize() for file in waiting)
    refused = dict[str, str]()
    while waiting:
        file = waiting.pop()
        for name in file.dependency:
            if name in files or name in refused:
                continue
            if len(files) >= MAX_FILES or size > MAX_SET_BYTES:
                raise UsageError(
                    f"the descriptors of {service} exceed {MAX_SET_BYTES:,} bytes or {MAX_FILES:,} files",
                    hint=_OTHERWISE,
                )
            try:
                found = await _asked(call, files_of_name(name), files_in)
            except ReflectionError as error:
                refused[name] = error.text  # protobuf's own files are here as well; `Schema` names others
                continue
            for one in found:
                if one.name not in files:
                    files[one.name] = one
                    size += one.ByteSize()
                    waiting.append(one)
    await call.done_writing()
    while await call.read() is not aio.EOF:
        pass
    schema = Schema(files.values())
    schema.service(service)
    return schema


async def _asked(call: Any, request: bytes, read: Callable[[bytes], T]) -> T:
    await call.write(request)
    answer = await call.read()
    if answer is aio.EOF:
        raise ReflectionError(_UNIMPLEMENTED, "the server ended the reflection call without an answer")
    return read(answer)

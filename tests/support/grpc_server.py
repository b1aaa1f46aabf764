"""A server of grpcio on a free port, whose methods a test gives: the oracle for our client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

__all__ = ["SERVICE", "GrpcServer", "connections_to", "grpc_server"]

SERVICE = "shop.v1.Cart"


@dataclass
class GrpcServer:
    """A running server. calls: the names of the methods that it has received."""

    port: int
    calls: list[str] = field(default_factory=list)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    compressed: list[bool] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def grpc_server(tls: grpc.ServerCredentials | None = None, **more: Any) -> AsyncIterator[GrpcServer]:
    """Serve echoes: Get returns its request, Fail the status that the request names, Watch n messages, Sum the number
    of bytes, Chat each message as it comes. Messages are bytes.
    """
    server = aio.server(options=list(more.items()))
    found = GrpcServer(0)

    def noted(context: Any, name: str) -> None:
        found.calls.append(name)
        found.metadata.append(dict(context.invocation_metadata() or ()))

    async def get(request: bytes, context: Any) -> bytes:
        noted(context, "Get")
        await context.send_initial_metadata((("x-head", "1"),))
        context.set_trailing_metadata((("x-cost", "7"), ("x-raw-bin", b"\0\1")))
        return request

    async def fail(request: bytes, context: Any) -> bytes:
        noted(context, "Fail")
        code = next(code for code in grpc.StatusCode if code.value[0] == request[0])
        context.set_trailing_metadata((("x-why", "asked"),))
        await context.abort(code, "as äsked: 100 %")
        return b""

    async def watch(request: bytes, context: Any) -> AsyncIterator[bytes]:
        noted(context, "Watch")
        count, size = (int(part) for part in request.split(b","))
        for n in range(count):
            yield bytes([n % 256]) * size
        if not size:
            await context.abort(grpc.StatusCode.ABORTED, "enough")

    async def total(requests: AsyncIterator[bytes], context: Any) -> bytes:
        noted(context, "Sum")
        size = 0
        async for request in requests:
            size += len(request)
        return str(size).encode()

    async def chat(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        noted(context, "Chat")
        async for request in requests:
            yield request

    kinds: dict[str, tuple[Callable[..., Any], Any]] = {
        "Get": (grpc.unary_unary_rpc_method_handler, get),
        "Fail": (grpc.unary_unary_rpc_method_handler, fail),
        "Watch": (grpc.unary_stream_rpc_method_handler, watch),
        "Sum": (grpc.stream_unary_rpc_method_handler, total),
        "Chat": (grpc.stream_stream_rpc_method_handler, chat),
    }
    handlers = {name: kind(fn) for name, (kind, fn) in kinds.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    found.port = server.add_insecure_port("127.0.0.1:0") if tls is None else server.add_secure_port("127.0.0.1:0", tls)
    await server.start()
    try:
        yield found
    finally:
        await server.stop(None)


def connections_to(port: int) -> int:
    """How many sockets of this machine are connected to the port, over IPv4 and IPv6."""
    lines = [
        line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]
    ]
    return sum(line[2].endswith(f":{port:04X}") and line[3] == "01" for line in lines)

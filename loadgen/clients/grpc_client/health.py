"""gRPC's health service, by which a server reports whether it is ready for calls.

https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

from __future__ import annotations

from typing import Final

import grpc

from loadgen.clients.grpc_client.channel import GrpcChannel

__all__ = ["health_of"]

_CHECK: Final = "/grpc.health.v1.Health/Check"
_TIMEOUT_S: Final = 5.0
_STATUSES: Final = {b"": "UNKNOWN", b"\x08\x01": "SERVING", b"\x08\x02": "NOT_SERVING", b"\x08\x03": "SERVICE_UNKNOWN"}
"""The serialized `HealthCheckResponse` of each status: one enum, in field 1."""


async def health_of(channel: GrpcChannel) -> str:
    """Return the one status that the server reports for itself as a whole: "SERVING", "NOT_SERVING", "UNKNOWN" or
    "SERVICE_UNKNOWN"; "" if the server has no health service.

    Raises:
        GrpcFailed: the call failed.
    """
    missing = grpc.StatusCode.UNIMPLEMENTED
    try:
        answer: bytes = await channel.accepting(missing).unary_unary(_CHECK)(b"", timeout=_TIMEOUT_S)
    except grpc.RpcError as error:
        if error.code() is missing:
            return ""
        raise
    return _STATUSES.get(answer, f"an unknown status, in bytes: {answer[:20].hex()}")

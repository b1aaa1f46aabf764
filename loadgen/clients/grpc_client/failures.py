"""The exception of a failed gRPC call: a `RequestFailed` with its outcome, and grpcio's `RpcError` with its code.

So a scenario catches what it would catch from grpcio:

    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND: ...

and if it catches nothing, the iteration ends with the outcome of the call's row.
"""

from __future__ import annotations

from typing import Any, Final

import grpc

from loadgen.clients.grpc_client.metadata import Metadata
from loadgen.clients.grpc_client.status import Status
from loadgen.errors import RequestFailed

__all__ = ["GrpcFailed", "status_code"]

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


def status_code(number: int) -> Any:
    """Return grpcio's `StatusCode` for a number; UNKNOWN for one that it does not have."""
    return _CODES.get(number, grpc.StatusCode.UNKNOWN)


class GrpcFailed(RequestFailed, grpc.RpcError):  # type: ignore[misc]  # grpcio has no types
    """A call that did not end with the status OK."""

    def __init__(self, outcome: str, detail: str, status: Status, head: Metadata = (), trailers: Metadata = ()) -> None:
        super().__init__(outcome, detail)
        self._status, self._head, self._trailers = status, head, trailers

    def code(self) -> Any:
        """Return the `grpc.StatusCode`. A call without any answer has the one that grpcio gives it: UNAVAILABLE, or
        DEADLINE_EXCEEDED after a time-out.
        """
        return status_code(self._status.number)

    def details(self) -> str:
        """Return the server's explanation."""
        return self._status.text

    def initial_metadata(self) -> Metadata:
        return self._head

    def trailing_metadata(self) -> Metadata:
        return self._trailers

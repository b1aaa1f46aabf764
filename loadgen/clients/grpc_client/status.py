"""The status of a gRPC call: its number, name and text, and the outcome of the row. Pure, without I/O.

A call has ended well if its trailers have `grpc-status: 0`. An answer without any status was cut off by something
between us and the server, such as a proxy that drops trailers: `grpc no status`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from loadgen.clients.protocol.response_heads import Head
from loadgen.measure.deltas.series_key import OK

__all__ = ["CODES", "NO_STATUS", "UNKNOWN", "Status", "is_grpc", "number_for_http", "outcome_for", "status_in"]

CODES: Final = (
    "ok",
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
)
"""Names of the codes, by their numbers (https://grpc.io/docs/guides/status-codes/)."""
NO_STATUS: Final = "grpc no status"
"""Outcome: the answer ended without `grpc-status`."""
UNKNOWN: Final = 2
_INTERNAL, _UNAVAILABLE, _UNIMPLEMENTED, _PERMISSION, _UNAUTHENTICATED = 13, 14, 12, 7, 16
_BY_HTTP: Final = {
    400: _INTERNAL,
    401: _UNAUTHENTICATED,
    403: _PERMISSION,
    404: _UNIMPLEMENTED,
    429: _UNAVAILABLE,
    502: _UNAVAILABLE,
    503: _UNAVAILABLE,
    504: _UNAVAILABLE,
}
"""Codes of answers with another HTTP status than 200, by gRPC's http-grpc-status-mapping.md."""
_MAX_TEXT: Final = 1_000


class Status(NamedTuple):
    """number: the code. text: the server's explanation, at most 1,000 characters."""

    number: int
    text: str = ""

    @property
    def name(self) -> str:
        """Return the name of the code, "not_found"; "unknown" for a number that gRPC does not have."""
        return CODES[self.number] if self.number < len(CODES) else CODES[UNKNOWN]


def status_in(fields: Iterable[tuple[bytes, bytes]]) -> Status | None:
    """Return the status in trailers, or in the head of an answer without a body; None: there is none.

    A value that is not a number counts as `unknown`, as in grpcio.
    """
    number, text = None, ""
    for name, value in fields:
        key = name.lower()
        if key == b"grpc-status":
            number = int(value) if value.isdigit() and len(value) < 4 else UNKNOWN
        elif key == b"grpc-message":
            text = unquote_to_bytes(value[: 3 * _MAX_TEXT]).decode("utf-8", "replace")[:_MAX_TEXT]
    return None if number is None else Status(number, text)


def is_grpc(head: Head) -> bool:
    """Return True if an answer is one of gRPC, and not, for example, an error page of a proxy."""
    return head.status == 200 and (head.get(b"content-type") or b"").lower().startswith(b"application/grpc")


def number_for_http(status: int) -> int:
    """Return the code for an answer whose HTTP status is not 200."""
    return _BY_HTTP.get(status, UNKNOWN)


def outcome_for(status: Status) -> str:
    """Return the outcome of a row: `ok`, or "grpc not_found"."""
    return OK if not status.number else f"grpc {status.name}"

"""A method of a service, and the options of one call of it, checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc

from loadgen.clients.grpc_client.metadata import lines_of, timeout_line
from loadgen.clients.http import HttpClient
from loadgen.errors import UsageError
from loadgen.units import NS_PER_S, parse_duration

__all__ = ["Method", "Options", "call_limit_ns", "check_compression", "options_of"]

_HEADERS: Final = (
    b"TE: trailers\r\nContent-Type: application/grpc\r\nUser-Agent: loadgen\r\ngrpc-accept-encoding: identity,gzip\r\n"
)
_PACKED: Final = b"grpc-encoding: gzip\r\n"


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a service. path: "/shop.v1.Cart/Get". accepted: numbers of statuses that are not failures."""

    http: HttpClient
    path: str
    serialize: Callable[[Any], bytes]
    parse: Callable[[bytes], Any]
    accepted: frozenset[int] = frozenset()

    @property
    def name(self) -> str:
        """Return the name of the row: "shop.v1.Cart/Get"."""
        return self.path[1:]


@dataclass(frozen=True, slots=True)
class Options:
    """lines: header lines. limit_ns: the call's own time-out, or None. is_packed: messages are compressed."""

    lines: bytes
    limit_ns: int | None
    is_packed: bool

    @classmethod
    def of(cls, timeout: float | str | None, metadata: Any, credentials: Any, compression: Any) -> Options:
        """Check the options of a call.

        Raises:
            UsageError: an invalid time-out or metadata, credentials, or a compression that is not supported.
        """
        if credentials is not None:
            raise UsageError(
                "credentials= of a gRPC call is not supported", hint='write metadata=(("authorization", "Bearer ..."),)'
            )
        check_compression(compression)
        is_packed = compression is grpc.Compression.Gzip
        lines, limit_ns = _HEADERS, None
        if timeout is not None:
            limit_ns = call_limit_ns(timeout)
            lines += timeout_line(limit_ns)
        if is_packed:
            lines += _PACKED
        if metadata is not None:
            lines += lines_of(metadata)
        return cls(lines, limit_ns, is_packed)


_PLAIN: Final = Options(_HEADERS, None, False)


def options_of(timeout: float | str | None, metadata: Any, credentials: Any, compression: Any) -> Options:
    """Return the checked options of a call. Cost without any: 0.1 µs.

    Raises:
        UsageError: as `Options.of`.
    """
    if timeout is None and metadata is None and credentials is None and compression is None:
        return _PLAIN
    return Options.of(timeout, metadata, credentials, compression)


def check_compression(compression: Any) -> None:
    """Raise UsageError unless messages can be compressed in this way."""
    if compression not in (None, grpc.Compression.NoCompression, grpc.Compression.Gzip):
        raise UsageError(
            f"compression {compression!r} is not supported", hint="write grpc.Compression.Gzip, or remove compression="
        )


def call_limit_ns(timeout: object) -> int:
    """Return the time-out of a call in ns.

    Raises:
        UsageError: not a duration above 0.
    """
    found_ns = 0
    if isinstance(timeout, str):
        try:
            found_ns = parse_duration(timeout)
        except ValueError:
            found_ns = 0
    elif isinstance(timeout, int | float) and not isinstance(timeout, bool) and 0 < timeout < float("inf"):
        found_ns = int(timeout * NS_PER_S)
    if found_ns <= 0:
        raise UsageError(
            f"invalid timeout={timeout!r} of a gRPC call", hint='write seconds above 0, or a text such as "500ms"'
        )
    return found_ns

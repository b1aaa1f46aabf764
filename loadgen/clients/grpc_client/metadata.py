"""Metadata of gRPC calls as header lines, and the header of the deadline. Pure, without I/O.

Values of names that end with `-bin` are bytes, and travel as base64 without padding; others are printable ASCII.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable
from typing import Final

from loadgen.errors import UsageError
from loadgen.units import NS_PER_S

__all__ = ["Metadata", "lines_of", "metadata_in", "timeout_line"]

Metadata = tuple[tuple[str, str | bytes], ...]

_NAME: Final = re.compile(r"[a-z0-9_.-]+")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")
_RESERVED: Final = ("grpc-", ":")
_OURS: Final = frozenset({"te", "content-type", "host", "connection", "content-length", "transfer-encoding"})
_UNITS: Final = (
    (1, "n"),
    (1_000, "u"),
    (1_000_000, "m"),
    (NS_PER_S, "S"),
    (60 * NS_PER_S, "M"),
    (3_600 * NS_PER_S, "H"),
)
_MOST_DIGITS: Final = 10**8


def lines_of(metadata: Iterable[tuple[str, str | bytes]]) -> bytes:
    """Return the metadata of a call as header lines.

    Raises:
        UsageError: with all faults: a name or value that a header cannot have, or a name that gRPC itself uses.
    """
    lines, wrong = [], []
    for pair in metadata:
        try:
            name, value = pair
        except (TypeError, ValueError):
            wrong.append(f"{pair!r} must be a pair of name and value")
            continue
        name = name.lower() if isinstance(name, str) else name
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            wrong.append(f"{name!r} must be a name of letters, digits and . _ -")
        elif name.startswith(_RESERVED) or name in _OURS:
            wrong.append(f"{name} is reserved: gRPC sets it itself")
        elif name.endswith("-bin"):
            if isinstance(value, bytes):
                lines.append(b"%b: %b\r\n" % (name.encode(), b64encode(value).rstrip(b"=")))
            else:
                wrong.append(f"{name} must have bytes, got {type(value).__name__}")
        elif isinstance(value, str | bytes) and _VALUE.fullmatch(text := _text(value)):
            lines.append(f"{name}: {text}\r\n".encode())
        else:
            wrong.append(f"the value of {name} must be printable ASCII")
    if wrong:
        raise UsageError(
            f"invalid metadata of a gRPC call: {'; '.join(wrong)}",
            hint='write pairs such as ("x-tenant", "a"); bytes need a name that ends with -bin',
        )
    return b"".join(lines)


def metadata_in(fields: Iterable[tuple[bytes, bytes]]) -> Metadata:
    """Return the metadata in a head or in trailers. Bytes that are not base64 are kept as they are."""
    found: list[tuple[str, str | bytes]] = []
    for raw, value in fields:
        name = raw.decode("latin-1").lower()
        if name.startswith(_RESERVED) or name == "content-type":
            continue
        if name.endswith("-bin"):
            for part in value.split(b","):
                try:
                    found.append((name, b64decode(part + b"=" * (-len(part) % 4), validate=True)))
                except Base64Error:
                    found.append((name, part))
        else:
            found.append((name, value.decode("latin-1")))
    return tuple(found)


def timeout_line(timeout_ns: int) -> bytes:
    """Return the header `grpc-timeout` for a time of at least 1 ns, in the finest unit that has at most 8 digits.

    The value is rounded up: the server may not give up before we do.
    """
    for size, unit in _UNITS:
        count = -(-timeout_ns // size)
        if count < _MOST_DIGITS:
            return f"grpc-timeout: {count}{unit}\r\n".encode()
    return b""


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")

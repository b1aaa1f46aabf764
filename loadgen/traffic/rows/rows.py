"""A request between parsing and counting: one row of 32 bytes in a numpy array.

A Python object for each line would take ten times the memory. Texts (addresses, agents, paths) are not in a row: the
user is a keyed hash, and the path is a number of the `PathTree`.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FORMAT_SHIFT",
    "HAS_QUERY",
    "METHODS",
    "METHOD_NUMBERS",
    "MOST_SIZE",
    "ROW",
    "Fields",
    "Rows",
    "pack_row",
    "rows_of",
]

Fields = tuple[int, float, bytes, bytes, bytes, bytes, int, int]
"""The fields of a line: start in µs since 1970 (UTC); duration in s, NaN if unknown; client's address; user; agent;
request line such as `GET /cart HTTP/1.1`, the version may be absent; status, 0 if unknown; bytes sent.

A plain tuple, because making a dataclass costs 0.4 µs more a line."""

Rows = NDArray[np.void]

ROW: Final = np.dtype(
    [
        ("user", "<u8"),
        ("start", "<i8"),
        ("took", "<f4"),
        ("path", "<u4"),
        ("size", "<u4"),
        ("status", "<u2"),
        ("method", "u1"),
        ("flags", "u1"),
    ]
)
"""user: keyed hash. start: µs since 1970. took: s, NaN if unknown. size: bytes sent, at most `MOST_SIZE`."""

pack_row: Final = Struct("<QqfIIHBB").pack
"""Returns the bytes of a row. Faster than numpy for one row: 0.25 µs."""

MOST_SIZE: Final = 2**32 - 1
HAS_QUERY: Final = 1
FORMAT_SHIFT: Final = 4
"""The upper four bits of the flags are the number of the log's format, for the accounting."""

METHODS: Final = (
    *("other", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "REPORT"),
    *("PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "SEARCH", "PURGE", "QUERY"),
)
"""Methods by number. All unlisted methods are "other"."""
METHOD_NUMBERS: Final = {name.encode(): number for number, name in enumerate(METHODS) if number}


def rows_of(packed: list[bytes]) -> Rows:
    """Return the array of packed rows."""
    return np.frombuffer(b"".join(packed), ROW)

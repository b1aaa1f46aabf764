"""Counts requests and users of the targets of requests, and of their parts, to decide what may be sent again.

A target is a path, with its query if the log was read with queries. Its parts are the template of the path, the path,
and the names and values of the fields in the query. A part may be shown only if enough users sent it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.rows.rows import Rows
from loadgen.traffic.sessions.named_rows import NamedRows

__all__ = ["TargetCounts", "fields_of", "template_part", "value_part"]

_MOST_FIELDS: Final = 50
"""The fields of a query that are kept; further ones are left out."""


def fields_of(query: bytes) -> list[tuple[bytes, bytes]]:
    """Return the names and values of the fields of a query, as they are written in the log."""
    fields = (field.partition(b"=") for field in query.split(b"&") if field[:1] not in (b"", b"="))
    return [(name, value) for name, _, value in fields][:_MOST_FIELDS]


def template_part(index: int) -> bytes:
    """Return the key of a template."""
    return b"#%d" % index


def value_part(name: bytes, value: bytes | None = None) -> bytes:
    """Return the key of a field's value, or without a value of its name."""
    return b"?" + name if value is None else b"?" + name + b"=" + value


class TargetCounts:
    """Requests and users by target and by part. Call `add` with the rows of each partition.

    A target is known by its number in the `PathTable`. The numbers of parts depend on the order of the lines, their
    counts do not.
    """

    def __init__(self, read: NamedRows) -> None:
        size = read.paths.size
        self.texts: list[bytes | None] = [None] * size
        """Path and query by number; None for a number that many paths share, because the table was full."""
        for text, number in read.paths.numbers.items():
            # A long path is kept as a hash, whose bytes may look like parts of a target.
            self.texts[number] = b"\0" + text.hex().encode() if text[:1] == b"\0" else text
        self._numbers: dict[bytes, int] = {}
        parts: list[int] = []
        ends = np.zeros(size + 1, np.int64)
        for number, one in enumerate(self.texts):
            parts.extend(self._numbers.setdefault(key, len(self._numbers)) for key in _keys(read, number, one))
            ends[number + 1] = len(parts)
        self._parts = np.array(parts, np.int64)
        self._begins, self._lengths = ends[:-1], np.diff(ends)
        self.requests = np.zeros(size, np.int64)
        """Requests by number of the target."""
        self._users = np.zeros(len(self._numbers), np.int64)

    def add(self, rows: Rows) -> None:
        """Add the rows of a partition, which has all rows of its users."""
        size, parts = len(self.texts), len(self._numbers)
        _, user = np.unique(rows["user"], return_inverse=True)
        target = rows["path"].astype(np.int64)
        self.requests += np.bincount(target, minlength=size)
        pairs = np.unique(user * size + target)
        user, target = pairs // size, pairs % size
        lengths = self._lengths[target]
        before = np.cumsum(lengths) - lengths
        at = np.repeat(self._begins[target] - before, lengths) + np.arange(lengths.sum())
        sent = np.unique(np.repeat(user, lengths) * parts + self._parts[at])
        self._users += np.bincount(sent % parts, minlength=parts)

    def users(self, part: bytes) -> int:
        """Return the number of users that sent a part: a path, or the key of a template, field or value."""
        return int(self._users[self._numbers[part]])

    def used(self) -> NDArray[np.int64]:
        """Return the numbers of the targets with at least one request."""
        return np.flatnonzero(self.requests)


def _keys(read: NamedRows, number: int, text: bytes | None) -> list[bytes]:
    found = [template_part(int(read.template_of[number]))]
    if text is not None:
        path, _, query = text.partition(b"?")
        found.append(path)
        for name, value in fields_of(query):
            found += [value_part(name), value_part(name, value)]
    return found

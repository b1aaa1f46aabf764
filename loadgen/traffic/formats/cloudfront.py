"""Amazon CloudFront, version 1: columns between tabs, named by a line `#Fields:`. The time is a request's end, in UTC.

Version 2 has the same names in JSON; `json_lines` passes such objects to `CloudFront.of_values`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isnan
from typing import Final
from urllib.parse import unquote_to_bytes

from loadgen.traffic.formats.log_format import FormatOptions, duration, whole_number
from loadgen.traffic.rows.accounting import Rejected
from loadgen.traffic.rows.rows import Fields
from loadgen.traffic.rows.timestamps import Timestamps

__all__ = ["CloudFront"]

_STANDARD: Final = (
    b"date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) cs(User-Agent) "
    b"cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id x-host-header cs-protocol cs-bytes time-taken "
    b"x-forwarded-for ssl-protocol ssl-cipher x-edge-response-result-type cs-protocol-version fle-status "
    b"fle-encrypted-fields c-port time-to-first-byte x-edge-detailed-result-type sc-content-type sc-content-len "
    b"sc-range-start sc-range-end"
).split()
_NEEDED: Final = (b"date", b"time", b"c-ip", b"cs-method", b"cs-uri-stem", b"sc-status")
_READ: Final = (*_NEEDED, b"sc-bytes", b"cs(User-Agent)", b"cs-uri-query", b"time-taken", b"x-forwarded-for")
_MOST_CACHED: Final = 20_000


class CloudFront:
    """Parses lines of CloudFront. The first address of x-forwarded-for, if any, is the client."""

    name = "cloudfront"

    def __init__(self, options: FormatOptions, times: Timestamps) -> None:
        self._times = times
        self._agents: dict[bytes, bytes] = {}
        self.lacks = ""
        """Needed columns that the last line `#Fields` does not have."""
        self._set_columns(_STANDARD)

    def directive(self, line: bytes) -> None:
        """Read `#Fields:`, which names the columns of the following lines."""
        if line.startswith(b"#Fields:"):
            names = line[8:].split()
            self.lacks = b" ".join(name for name in _NEEDED if name not in names).decode("ascii")
            if not self.lacks:
                self._set_columns(names)

    def parse(self, line: bytes) -> Fields:
        """Return the fields of a line."""
        if self.lacks:
            raise Rejected(f"the line #Fields does not have {self.lacks}")
        cells = line.split(b"\t")
        if len(cells) < self._least:
            raise Rejected("fewer columns than the line #Fields has")
        return self.of_values(lambda at: cells[at] if at >= 0 else b"-", self._places)

    def of_values(self, value: Callable[[int], bytes], places: tuple[int, ...]) -> Fields:
        """Return the fields of a request.

        value: returns the text of a column. places: its arguments, in the order of `columns_read`.
        """
        day, clock, client, method, stem, status, size, agent, query, taken, forwarded = map(value, places)
        took = duration(taken)
        start = self._times.iso(day + b"T" + clock + (b"" if b"." in clock else b".000000") + b"Z")
        if not isnan(took):
            start -= round(took * 1e6)
        if forwarded not in (b"-", b""):
            client = forwarded.replace(b"%20", b"").split(b",")[0].strip() or client
        target = stem if query in (b"-", b"") else stem + b"?" + query
        return (
            start,
            took,
            client,
            b"",
            self._agent(agent),
            method + b" " + target,
            whole_number(status),
            whole_number(size),
        )

    @staticmethod
    def columns_read() -> tuple[bytes, ...]:
        """Return the names of the columns that `of_values` needs."""
        return _READ

    def _set_columns(self, names: list[bytes]) -> None:
        self._places = tuple(names.index(name) if name in names else -1 for name in _READ)
        # A line of a newer version may have more columns; one with fewer is cut off.
        self._least = len(names) if names is not _STANDARD else max(self._places) + 1

    def _agent(self, text: bytes) -> bytes:
        """Return the decoded agent. CloudFront encodes agents twice (`%2520` is a space)."""
        known = self._agents.get(text)
        if known is None:
            if len(self._agents) >= _MOST_CACHED:
                self._agents.clear()
            known = b"" if text == b"-" else unquote_to_bytes(unquote_to_bytes(text))
            self._agents[text] = known
        return known

"""S3 server access logs: `owner bucket [time] ip requester id operation key "uri" status error sent size total ...`.

The time is the start of a request; total time is in ms. Newer files have more fields at the end of a line.
"""

from __future__ import annotations

import re
from typing import Final

from loadgen.traffic.formats.log_format import NO_REQUEST, FormatOptions, duration, whole_number
from loadgen.traffic.rows.accounting import Excluded, Rejected
from loadgen.traffic.rows.rows import Fields
from loadgen.traffic.rows.timestamps import Timestamps

__all__ = ["S3Access"]

_QUOTED: Final = rb'(?:"((?:[^"\\]|\\.)*+)"|(-))'
_LINE: Final = re.compile(
    rb"(\S+) (\S+) \[([^\]]{10,40})\] (\S+) (\S+) (\S+) ([A-Z0-9_.-]+) (\S+) "
    + _QUOTED
    + rb" (\d{3}|-) (\S+) (\d+|-) (\d+|-) (\d+|-) (\d+|-) "
    rb"(?:\"((?:[^\"\\]|\\.)*+)\"|-) (?:\"([^\"]*+)\"|(-))(.*)",
    re.DOTALL,
)
_NOT_OF_USERS: Final = (b"BATCH.", b"S3.")


class S3Access:
    """Parses S3 server access logs. `BATCH.` and lifecycle operations are excluded: no user sent them."""

    name = "s3"

    def __init__(self, options: FormatOptions, times: Timestamps) -> None:
        self._times = times

    def directive(self, line: bytes) -> None:
        """Ignore a comment."""

    def parse(self, line: bytes) -> Fields:
        """Return the fields of a line; the requester is the user."""
        found = _LINE.match(line)
        if found is None:
            raise Rejected("not in the format of S3 access logs")
        _, _, when, client, requester, _, operation, _, request, _, status, _, sent, _, total_ms, _, _, agent, _, _ = (
            found.groups()
        )
        start = self._times.clf(when)
        if operation.startswith(_NOT_OF_USERS):
            raise Excluded("an operation of S3 itself")
        if not request:
            raise Excluded(NO_REQUEST)
        took = duration(total_ms, 1e-3)
        agent = agent if agent and agent != b"-" else b""
        return start, took, client, requester, agent, request, whole_number(status), whole_number(sent)

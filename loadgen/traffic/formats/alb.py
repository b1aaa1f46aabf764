"""AWS Application Load Balancer: `type time elb client:port target:port ... "request" "agent" ...`.

`time` is the end of a request; `request_creation_time` is its start. AWS adds fields at the end of a line from time to
time, so only the fields up to `request_creation_time` are read. Older files have fewer fields, and may lack this one.
"""

from __future__ import annotations

import re
from math import isnan, nan
from typing import Final

from loadgen.traffic.formats.log_format import NO_REQUEST, FormatOptions, duration, host_of, whole_number
from loadgen.traffic.rows.accounting import Excluded, Rejected
from loadgen.traffic.rows.rows import Fields
from loadgen.traffic.rows.timestamps import Timestamps

__all__ = ["Alb"]

_TYPES: Final = {b"http", b"https", b"h2", b"grpcs", b"ws", b"wss"}
_STATUSES: Final = {str(code).encode(): code for code in range(100, 600)}
_QUOTED: Final = rb'"((?:[^"\\]|\\.)*+)"'
_LINE: Final = re.compile(rb"([^\"]*+)" + _QUOTED + rb" " + _QUOTED + rb"(.*)", re.DOTALL)
_CREATED: Final = re.compile(rb' (?:\d+|-) (\d{4}-\d\d-\d\dT[0-9:.]{8,18}Z) "')
_STAMP: Final = re.compile(rb"\d{4}-\d\d-\d\dT")


class Alb:
    """Parses lines of an Application Load Balancer. HOT: 2 µs a line."""

    name = "alb"

    def __init__(self, options: FormatOptions, times: Timestamps) -> None:
        self._times = times

    def directive(self, line: bytes) -> None:
        """Ignore a comment."""

    def parse(self, line: bytes) -> Fields:
        """Return the fields of a line. `-` and -1 mean unknown; IPv6 addresses may be without brackets."""
        parts = line.split(b'"', 11)
        # A part before an escaped quote ends with a backslash. Only these two can have quotes of a client.
        if len(parts) < 5 or parts[1][-1:] == b"\\" or parts[3][-1:] == b"\\":
            head, request, agent, rest = _slowly(line)
            created = _CREATED.search(rest)
            start_text = created[1] if created else b""
        else:
            head, request, agent = parts[0], parts[1], parts[3]
            # `priority created`, with a space on each side.
            start_text = parts[10].rstrip().rpartition(b" ")[2] if len(parts) > 10 else b""
        words = head.split()
        if len(words) != 12 or words[0] not in _TYPES:
            raise _wrong(words)
        times = self._times
        end_text = words[1]
        # As in `Timestamps.iso`: the call would take as long as the conversion, and a line has two stamps.
        second, digits = times.iso_cache.get(end_text[:20]), end_text[20:26]
        if second is not None and digits.isdigit() and end_text[26:] == b"Z":
            end = second + int(digits)
        else:
            end = times.iso(end_text)
        if len(start_text) >= 20:
            second, digits = times.iso_cache.get(start_text[:20]), start_text[20:26]
            if second is not None and digits.isdigit() and start_text[26:] == b"Z":
                start = second + int(digits)
            else:
                start = times.iso(start_text)
            took = (end - start) / 1e6 if end >= start else nan
        else:
            took = sum(duration(text) for text in words[5:8])
            start = end if isnan(took) else end - round(took * 1e6)
        if request[:2] == b"- ":
            raise Excluded(NO_REQUEST)
        client, status, size = words[3], words[8], words[11]
        ends = client.split(b":")
        address = ends[0] if len(ends) == 2 else host_of(client)
        if agent == b"-":
            agent = b""
        code = _STATUSES.get(status)
        if code is None:
            code = whole_number(status)
        return start, took, address, b"", agent, request, code, int(size) if size.isdigit() else whole_number(size)


def _slowly(line: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    found = _LINE.match(line)
    if found is None:
        raise _wrong(line[:200].split())
    return found[1], found[2], found[3], found[4]


def _wrong(words: list[bytes]) -> Rejected:
    """Return the reason why a line is not one of an Application Load Balancer."""
    if words and words[0] in (b"tls", b"tcp"):
        return Rejected("a connection of a Network Load Balancer, which has no HTTP requests")
    if words and _STAMP.match(words[0]):
        return Rejected("a line of the load balancer's connection log")
    return Rejected("not in the format of an Application Load Balancer")

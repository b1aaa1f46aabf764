"""CLF and combined: the access logs of Apache and nginx. A virtual host may come before, and a duration after.

203.0.113.7 - frank [17/May/2015:10:05:03 +0000] "GET /cart HTTP/1.1" 200 2326 "http://shop/" "Mozilla/5.0 ..."
"""

from __future__ import annotations

import re
from math import isnan, nan
from typing import Final

from loadgen.traffic.formats.log_format import UNITS, FormatOptions, duration, whole_number
from loadgen.traffic.rows.accounting import Rejected
from loadgen.traffic.rows.rows import Fields
from loadgen.traffic.rows.timestamps import Timestamps

__all__ = ["Combined"]

_QUOTED: Final = rb'"((?:[^"\\]|\\.)*+)"'
_LINE: Final = re.compile(
    # Possessive, and with a bounded time stamp: a hostile line takes linear time.
    rb"([^\[]*+(?:\[(?![^\]]{10,40}\] \")[^\[]*+)*+)\[([^\]]{10,40})\] " + _QUOTED + rb" (\d{3}|-) (\d+|-)"
    rb"(?: " + _QUOTED + rb"(?: " + _QUOTED + rb"(.*)|)|)",
    re.DOTALL,
)
_ADDRESS: Final = re.compile(rb"\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]+")
_AFTER_PREFIX: Final = re.compile(
    rb".*? (\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%\S+)?) - (.*)", re.DOTALL
)
"""The client's address after a prefix of several words, such as that of syslog or of a log of containers."""
_NEXT_LINE: Final = re.compile(rb"\[\d\d?/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d")
_WORD: Final = re.compile(rb'[^\s"]*+"[^"]*+"?|[^\s"]++')
_NUMBER: Final = re.compile(rb"\d+(?:\.\d+)?")
_ESCAPE: Final = re.compile(rb"\\(x[0-9A-Fa-f]{2}|.)", re.DOTALL)
_LETTERS: Final = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b", b"v": b"\v"}


class Combined:
    """Parses CLF and combined. HOT: 1.2 µs a line without escapes."""

    name = "combined"

    def __init__(self, options: FormatOptions, times: Timestamps) -> None:
        self._times = times
        self._unit_s = UNITS[options.time_after] if options.time_after else 0.0
        self._is_end = options.stamp == "end"

    def directive(self, line: bytes) -> None:
        """Ignore a comment."""

    def parse(self, line: bytes) -> Fields:
        """Return the fields of a line. A line with a backslash or an unusual number of quotes takes a slower way."""
        parts = line.split(b'"')
        count = len(parts)
        if (count != 7 and count != 3) or b"\\" in line:
            return self._slowly(line)
        before, _, when = parts[0].rpartition(b" [")
        if when[-2:] != b"] ":
            raise Rejected("the time stamp in brackets is missing")
        client, _, rest = before.partition(b" ")
        user = rest[2:]
        if rest[:2] != b"- ":
            client, user = _who(before)
        status, size = _status_and_size(parts[2])
        start = self._times.clf_cache.get(when[:-2])
        if start is None:
            start = self._times.clf(when[:-2])
        took = nan
        if count == 7:
            if self._unit_s:
                start, took = self._with_duration(start, parts[6])
            return start, took, client, user, parts[5], parts[1], status, size
        return start, took, client, user, b"", parts[1], status, size

    def _slowly(self, line: bytes) -> Fields:
        found = _LINE.match(line)
        if found is None:
            raise Rejected("a quote is missing" if line.count(b'"') % 2 else "not in the combined format")
        before, when, request, status, size, _, agent, after = found.groups()
        if after and _NEXT_LINE.search(after):
            raise Rejected("two lines in one: a line end is missing, or lines end with CR alone")
        client, user = _who(before.strip())
        start, took = self._times.clf(when), nan
        if self._unit_s and after:
            start, took = self._with_duration(start, after)
        elif after is None and line[found.end() :].strip():
            raise Rejected("a quote is missing" if line.count(b'"') % 2 else "not in the combined format")
        agent = _plain(agent or b"")
        return start, took, client, user, agent, _plain(request), whole_number(status), whole_number(size)

    def _with_duration(self, start: int, after: bytes) -> tuple[int, float]:
        took = _first_duration(after, self._unit_s)
        if self._is_end and not isnan(took):
            start -= round(took * 1e6)
        return start, took


def _who(before: bytes) -> tuple[bytes, bytes]:
    """Return the client's address and the user of the text before the time stamp: `[prefix] client ident user`.

    Users may contain spaces. The first word is a virtual host only if it is not an address and the second word is.
    Several words before an address are the prefix of syslog, or of a log of containers.
    """
    words = before.split(b" ", 3)
    if len(words) < 3 or not words[0]:
        raise Rejected("not in the combined format")
    if len(words) == 4 and _ADDRESS.fullmatch(words[1]) and not _ADDRESS.fullmatch(words[0]):
        return words[1], words[3].partition(b" ")[2]
    found = None if words[1] == b"-" or _ADDRESS.fullmatch(words[0]) else _AFTER_PREFIX.match(before)
    if found is not None:
        return found[1], found[2]
    return words[0], b" ".join(words[2:])


def _first_duration(after: bytes, unit_s: float) -> float:
    """Return the first number after the user agent, in s; NaN without one, or if a `-` without quotes comes before.

    It may have a name and quotes: `rt=0.250`, `"0.250"`. Other texts in quotes are passed over, such as the addresses
    of `X-Forwarded-For`, and lists of the times of upstream servers.
    """
    for found in _WORD.finditer(after):
        text = found[0]
        number = text.strip(b'"').rpartition(b"=")[2]
        if _NUMBER.fullmatch(number):
            return duration(number, unit_s)
        if number == b"-" and text[:1] != b'"':
            return nan
    return nan


def _status_and_size(text: bytes) -> tuple[int, int]:
    words = text.split()
    if len(words) != 2:
        raise Rejected("status and bytes are missing")
    return whole_number(words[0]), whole_number(words[1])


def _plain(text: bytes) -> bytes:
    r"""Return a quoted text without the escapes of Apache and nginx: `\"`, `\\`, `\x16`."""
    return _ESCAPE.sub(_letter, text) if b"\\" in text else text


def _letter(found: re.Match[bytes]) -> bytes:
    code = found[1]
    return bytes([int(code[1:], 16)]) if len(code) == 3 else _LETTERS.get(code, code)

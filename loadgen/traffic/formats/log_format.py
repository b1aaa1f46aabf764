"""The interface of all formats of access logs, and helpers for several formats."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import Final, Literal, Protocol

from loadgen.traffic.rows.accounting import Rejected
from loadgen.traffic.rows.rows import Fields

__all__ = ["NO_REQUEST", "UNITS", "FormatOptions", "LogFormat", "Stamp", "duration", "host_of", "whole_number"]

Stamp = Literal["start", "end"]
NO_REQUEST: Final = "no HTTP request"
UNITS: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True)
class FormatOptions:
    """Facts about logs that their lines do not contain, from the user."""

    stamp: Stamp = "start"
    """CLF and combined: whether the time is the start (Apache) or the end (nginx) of a request. It matters only with
    `time_after`."""
    time_after: str = ""
    """CLF and combined: the unit of the duration after the agent: s, ms, us or ns. Empty: no duration is read."""
    mapping: tuple[tuple[str, str], ...] = ()
    """JSON: pairs of a field and the member that contains it: ("took", "duration:ms"). Others are guessed."""


class LogFormat(Protocol):
    """Parses the lines of one file."""

    name: str

    def directive(self, line: bytes) -> None:
        """Read a line that begins with `#`."""

    def parse(self, line: bytes) -> Fields:
        """Return the fields of a line.

        Raises:
            Rejected: the line is not in this format.
            Excluded: the line has no request of a user.
            ValueError: a number or a time stamp is invalid.
        """
        ...


def whole_number(text: bytes) -> int:
    """Return a count such as bytes sent; `-` is 0."""
    if text.isdigit():
        return int(text)
    if text in (b"-", b"-1", b""):
        return 0
    raise Rejected("a number of bytes or a status is invalid")


def duration(text: bytes, unit_s: float = 1.0) -> float:
    """Return a duration in s; NaN for `-` and negative values, which mean an unknown duration."""
    if text in (b"-", b"-1", b""):
        return nan
    seconds = float(text) * unit_s
    return seconds if 0 <= seconds < 1e7 else nan


def host_of(address: bytes) -> bytes:
    """Return the address of `address:port`, also of IPv6 with and without brackets."""
    host, _, port = address.rpartition(b":")
    return host.strip(b"[]") if host and port.isdigit() else address

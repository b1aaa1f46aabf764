"""Parses the header Alt-Svc (RFC 7838), by which a target offers HTTP/3. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["CLEAR", "Offer", "h3_offer"]

_USUAL_AGE_S: Final = 24 * 3600
_MOST_AGE_S: Final = 10**9
_ENTRY: Final = re.compile(
    r"""\s*(?P<protocol>[!#$%&'*+.^_`|~0-9A-Za-z-]+)="(?P<authority>[^"]*)"(?P<rest>(?:\s*;[^,"]*(?:"[^"]*")?)*)\s*(?:,|$)"""
)
_AGE: Final = re.compile(r';\s*ma="?(\d{1,12})"?\s*(?:;|$)')
_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]*):(\d{1,5})")


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer of HTTP/3. host: "" means the host that made it. age_s: how long it is valid; 0: not any more."""

    host: str
    port: int
    age_s: int


CLEAR: Final = Offer("", 0, 0)
"""The target withdraws its offers."""


def h3_offer(value: str) -> Offer | None:
    """Return the first offer of HTTP/3 in the value of a header Alt-Svc, such as `h3=":443"; ma=86400`.

    Return `CLEAR` for the value "clear", and None if nothing offers HTTP/3. Offers of drafts, such as h3-29, are
    ignored. Parsing stops at the first malformed entry.
    """
    if value.strip().lower() == "clear":
        return CLEAR
    at = 0
    while entry := _ENTRY.match(value, at):
        at = entry.end()
        place = _AUTHORITY.fullmatch(entry["authority"])
        if entry["protocol"] != "h3" or place is None or not 0 < int(place[2]) < 65536:
            continue
        age = _AGE.search(entry["rest"])
        age_s = _USUAL_AGE_S if age is None else min(int(age[1]), _MOST_AGE_S)
        return Offer(place[1].strip("[]").lower(), int(place[2]), age_s)
    return None

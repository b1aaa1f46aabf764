"""Which servers a browser may reach: the targets of the plan and the names of the allow-list, each at one address.

Chromium gets a rule for each server and one that lets all other names fail (`--host-resolver-rules`). A rule names the
address that the target guard has checked, so no later answer of DNS can lead elsewhere. It needs no proxy and no
interception of requests, which would slow the pages down that are measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from loadgen.allowlist import AllowList

__all__ = ["Place", "is_allowed", "place_of_url", "places_of", "resolver_rules"]

_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_LOCAL: Final = ("data", "blob", "about", "chrome-error", "chrome", "devtools", "javascript", "filesystem")


class Place(NamedTuple):
    """A server by name and port; the name is in lower case, without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def place_of_url(url: str) -> Place | None:
    """Return the server of a URL; None if the URL needs none, such as "data:..."."""
    try:
        parts = urlsplit(url)
        if parts.scheme in _LOCAL:
            return None
        return Place((parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0))
    except ValueError:
        return Place("", 0)


def places_of(urls: Iterable[str], allow: AllowList | None) -> tuple[Place, ...]:
    """Return the servers that pages may reach: of these URLs (the targets with HTTP), and the names of an allow-list.

    An entry without ports stands for 80 and 443. A network in the list admits targets, and adds no server by itself.
    """
    found = [place for url in urls if url.startswith(("http://", "https://")) and (place := place_of_url(url))]
    for entry in () if allow is None else allow.allow:
        if not entry.is_network:
            found += [Place(entry.host, port) for port in entry.ports or (80, 443)]
    return tuple(dict.fromkeys(found))


def is_allowed(url: str, places: Iterable[Place]) -> bool:
    """Return whether a page may request a URL."""
    place = place_of_url(url)
    return place is None or place in places


def resolver_rules(addresses: Iterable[tuple[Place, str]]) -> str:
    """Return the value of Chromium's option `--host-resolver-rules`: each server has one address, all others have none.

    addresses: (server, its address that the allow-list permits).
    """
    rules = [f"MAP {place} {Place(address, place.port)}" for place, address in addresses]
    return ", ".join([*rules, "MAP * ~NOTFOUND"])

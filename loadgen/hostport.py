"""Parses HOST, HOST:PORT and [IPV6]:PORT. This is the only parser of these forms.

Two parsers that disagree are a security risk: one read `[::1].evil` as `::1`, while a browser looks it up in DNS.
This parser rejects every text that it cannot parse completely. It does no DNS lookups and knows no shortened
addresses: it treats `127.1` and `0x7f.1` as names, which are not loopback.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address, ip_address
from typing import Final, NamedTuple
from urllib.parse import SplitResult

__all__ = ["MAX_PORT", "HostPort", "host_port", "is_loopback", "of_url", "split_host_port"]

MAX_PORT: Final = 65_535
_FORM: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<name>[\w.-]+))(?::(?P<port>[0-9]{1,5}))?")
"""A name may contain letters of any script: the resolver encodes them. Dots and the digits of ports are ASCII."""
_MAX_NAME: Final = 253


class HostPort(NamedTuple):
    """A host without brackets, as it was written, and its port; None if the text has no port."""

    host: str
    port: int | None

    @property
    def bracketed(self) -> str:
        """Return the host as it is written before a port: `[::1]`, `10.0.0.7`, `shop.example`."""
        return f"[{self.host}]" if ":" in self.host else self.host


def split_host_port(text: str) -> HostPort:
    """Parse "shop.example", "shop.example:443", "10.0.0.7:5557", "[::1]" or "[::1]:5557", and return host and port.

    Raises:
        ValueError: the text has another form; the message describes what is wrong.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"invalid address {text[:80]!r}")
    if found["v6"] is not None:
        try:
            IPv6Address(found["v6"])
        except AddressValueError:
            raise ValueError(f"invalid IPv6 address [{found['v6'][:80]}]") from None
    elif len(found["name"]) > _MAX_NAME or found["name"].startswith(".") or ".." in found["name"]:
        raise ValueError(f"invalid host name {found['name'][:80]!r}")
    port = None if found["port"] is None else int(found["port"])
    if port is not None and port > MAX_PORT:
        raise ValueError(f"invalid port {port}: must be at most {MAX_PORT}")
    return HostPort(found["v6"] or found["name"], port)


def host_port(text: str) -> tuple[str, int]:
    """Parse a text as `split_host_port` does, and return (host, port). The text must contain a port.

    Raises:
        ValueError: the text has another form, or no port.
    """
    host, port = split_host_port(text)
    if port is None:
        raise ValueError(f"missing port in {text[:80]!r}: write HOST:PORT")
    return host, port


def of_url(parts: SplitResult) -> HostPort:
    """Return the host (in lower case) and port of a URL that `urlsplit` has split.

    Do not use `SplitResult.hostname` instead: for `http://[::1].evil/` it is "::1".

    Raises:
        ValueError: no host, or an invalid host or port.
    """
    if not parts.netloc:
        raise ValueError("no host")
    found = split_host_port(parts.netloc.rpartition("@")[2])
    return HostPort(found.host.lower(), found.port)


def is_loopback(host: str) -> bool:
    """Return True if a host without brackets is this machine: `localhost`, 127.0.0.0/8, `::1`, or their IPv6 forms.

    `0.0.0.0` is not loopback: a server that listens there listens on every network.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback

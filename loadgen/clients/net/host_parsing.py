"""Parses and checks hosts, addresses and networks that people write in plans and options."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network

from loadgen.hostport import MAX_PORT, split_host_port

__all__ = ["as_address", "family_digit", "is_host_or_network", "is_name", "is_network", "is_place", "parse_resolve"]

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")


def parse_resolve(text: str) -> tuple[str, tuple[str, ...]]:
    """Parse HOST[:PORT]:ADDRESS[,ADDRESS], as curl's `--resolve` takes it, for example
    "shop.example:443:10.0.0.1,[fd00::1]". Return (HOST or HOST:PORT, the addresses).

    Raises:
        ValueError: not of that form.
    """
    found = re.fullmatch(r"([^\s:,\[\]]+)(?::(\d{1,5}))?:(\S+)", text)
    addresses = tuple(map(_bare, found[3].split(","))) if found else ()
    if found is None or not is_place(found[1]) or any(as_address(one) is None for one in addresses):
        raise ValueError(f'"{text}" must be HOST[:PORT]:ADDRESS[,ADDRESS]; write shop.example:443:10.0.0.1')
    if found[2] is not None and not 0 < int(found[2]) <= MAX_PORT:
        raise ValueError(f'"{text}": invalid port {found[2]}; use 1 to {MAX_PORT}')
    return (found[1] if found[2] is None else f"{found[1]}:{int(found[2])}").lower(), addresses


def as_address(text: object) -> str | None:
    """Return an IP address in its usual spelling, as `ipaddress` writes it; None if `text` is not an IP address."""
    if not isinstance(text, str):
        return None
    try:
        return str(ip_address(text))
    except ValueError:
        return None


def _bare(text: str) -> str:
    """Return `text` without the square brackets that an IPv6 address may have."""
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text


def family_digit(address: object) -> str:
    """Return the IP version of an address or a network: "4" or "6"."""
    return "6" if ":" in str(address) else "4"


def is_name(text: str) -> bool:
    """Return True if `text` is a host name in ASCII, such as "shop.example"."""
    return _HOST.fullmatch(text) is not None and len(text) <= 253


def is_place(text: str) -> bool:
    """Return True if `text` is HOST or HOST:PORT, where HOST is a name or an address."""
    if as_address(text) is not None:
        return True
    try:
        host, port = split_host_port(text)
    except ValueError:
        return False
    return is_name(host) and port != 0


def is_host_or_network(text: str) -> bool:
    """Return True if `text` is a host name, an address, a network, or a pattern such as ".shop.example" or
    "*.shop.example".
    """
    if "/" in text:
        return is_network(text)
    return as_address(text) is not None or is_name(text.removeprefix("*").removeprefix("."))


def is_network(text: object) -> bool:
    """Return True if `text` is an IP network such as "10.0.0.0/8"."""
    if not isinstance(text, str) or "/" not in text:
        return False
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True

"""May this target be put under load?

Loopback and private addresses may. Whoever aims at a public host says so, by
name: a typing error must not become an attack on a stranger. Link-local
addresses never may: there live the metadata services of clouds.

This is the person's own seat belt, not a fence: scenario code can open sockets
of its own, and the agents' hosts need rules of their own.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from loadgen.errors import UsageError

__all__ = ["Resolve", "check_target", "resolve"]

Resolve = Callable[[str], Collection[str]]
"""Host -> its addresses; empty where it has none."""


def resolve(host: str) -> Collection[str]:
    """By the resolver of this machine."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return {str(address[4][0]) for address in found}


def check_target(url: str, named: Collection[str] = (), *, resolve: Resolve = resolve) -> None:
    """
    Args:
        named: hosts that the person says may be loaded (`--i-may-load`).

    Raises:
        UsageError: the target is public and not named, unknown and not named, or link-local.
    """
    host = urlsplit(url).hostname
    if host is None:
        return  # no URL: the plan's own fault says so
    addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in resolve(host)]
    if any(_plain(a).is_link_local for a in addresses):
        raise UsageError(f"target {host} has a link-local address, which is never a target")
    if host.lower() in {name.lower() for name in named}:
        return
    if not addresses:
        raise UsageError(
            f"target {host} cannot be resolved, so nobody can tell whose it is",
            hint=f"check the name; if it is right and you may load it: --i-may-load {host}",
        )
    public = sorted(str(a) for a in addresses if not _is_own(a))
    if public:
        raise UsageError(
            f"target {host} is public ({', '.join(public[:3])}): a load test of somebody else's host is an attack",
            hint=f"if you may load it: --i-may-load {host}",
        )


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _plain(address: _Address) -> _Address:
    """An IPv4 address in IPv6 clothing is the IPv4 address."""
    return getattr(address, "ipv4_mapped", None) or address


def _is_own(address: _Address) -> bool:
    plain = _plain(address)
    return (plain.is_private or plain.is_loopback) and not plain.is_unspecified

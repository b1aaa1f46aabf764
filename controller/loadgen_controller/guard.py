"""May this target be put under load?

Loopback and private addresses may. Whoever aims at a public host says so, by
name: a typing error must not become an attack on a stranger. Link-local
addresses never may: there live the metadata services of clouds.

What counts is where the load goes. So the addresses that `--resolve` or
`Http(resolve=...)` give a host are checked as addresses (to have named the host
is not enough: they are not its own), and so is the proxy, beside the target that
it is asked for. Behind a UNIX socket there may be anything, so the target's name
has to be one that may be loaded there, too.

This is the person's own seat belt, not a fence: scenario code can open sockets
of its own, and the agents' hosts need rules of their own.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from loadgen.clients import Http
from loadgen.errors import UsageError

__all__ = ["Resolve", "check_target", "check_ways", "resolve"]

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str], Collection[str]]
"""Host -> its addresses; empty where it has none."""


def resolve(host: str) -> Collection[str]:
    """By the resolver of this machine."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return {str(address[4][0]) for address in found}


def check_target(
    url: str, named: Collection[str] = (), *, http: Http | None = None, resolve: Resolve = resolve
) -> None:
    """
    Args:
        named: hosts that the person says may be loaded (`--i-may-load`).
        http: of the plan. A host to which it gives addresses is `check_ways`' to judge.

    Raises:
        UsageError: the target is public and not named, unknown and not named, or link-local.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return
    if parts.hostname is None:
        return  # no URL: the plan's own fault says so
    _check_host("target", parts.hostname, port, named, http, resolve)


def check_ways(http: Http, named: Collection[str] = (), *, resolve: Resolve = resolve) -> None:
    """May the plan's proxy, and the addresses that it gives hosts, be loaded?

    Raises:
        UsageError: one of them is public and not named, unknown and not named, or link-local.
    """
    known = _lower(named)
    for place, given in http.resolve.items():
        addresses = [_address(one) for one in ([given] if isinstance(given, str) else given)]
        _refuse_link_local(f"resolve: {place}", addresses)
        public = [str(a) for a in addresses if not _is_own(a) and str(a) not in known]
        if public:
            raise UsageError(
                f"resolve: {place} is sent to {', '.join(public[:3])}, which is public",
                hint=f"if you may load it, name the address: --i-may-load {public[0]}",
            )
    if http.proxy_address is not None:
        host, port = http.proxy_address
        _check_host("proxy", host, port, named, http, resolve)


def _check_host(what: str, host: str, port: int, named: Collection[str], http: Http | None, resolve: Resolve) -> None:
    if http is not None and http.addresses_for(host.lower(), port) is not None:
        return
    addresses = [_address(text) for text in resolve(host)]
    _refuse_link_local(f"{what} {host}", addresses)
    if host.lower() in _lower(named):
        return
    if not addresses:
        raise UsageError(
            f"{what} {host} cannot be resolved, so nobody can tell whose it is",
            hint=f"check the name; if it is right and you may load it: --i-may-load {host}",
        )
    public = sorted(str(a) for a in addresses if not _is_own(a))
    if public:
        raise UsageError(
            f"{what} {host} is public ({', '.join(public[:3])}): a load test of somebody else's host is an attack",
            hint=f"if you may load it: --i-may-load {host}",
        )


def _refuse_link_local(what: str, addresses: Collection[_Address]) -> None:
    if any(_plain(a).is_link_local for a in addresses):
        raise UsageError(f"{what} has a link-local address, which is never a target")


def _lower(names: Collection[str]) -> set[str]:
    return {name.lower() for name in names}


def _address(text: str) -> _Address:
    return ipaddress.ip_address(text.partition("%")[0])


def _plain(address: _Address) -> _Address:
    """An IPv4 address in IPv6 clothing is the IPv4 address."""
    return getattr(address, "ipv4_mapped", None) or address


def _is_own(address: _Address) -> bool:
    plain = _plain(address)
    return (plain.is_private or plain.is_loopback) and not plain.is_unspecified

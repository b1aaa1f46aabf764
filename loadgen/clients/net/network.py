"""Where connections come from: the real network, or canned replies (`canned.py`).

A `Network` has one method, so that tests feed bytes and trials need no target.
`TcpNetwork` goes to the host's addresses (`dns.py`) or to a UNIX socket, from the
machine's own addresses or from those of `Http.source`; `proxy.py` goes through a proxy.
Errors of the operating system and of TLS become outcomes here, once.

Each address is looked at (`fence.py`) right before it is connected to: what may not be loaded is not reached.

Where no connection to one address of a host comes about, the next is tried, and the run says so:
a target of which a part is down is not quite the target. What answers and then breaks off (in
TLS, say) has answered, and is an outcome.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from errno import EADDRNOTAVAIL
from ipaddress import ip_address, ip_network
from random import randrange
from time import monotonic
from typing import Any, Final, Protocol, TypeVar

from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.net.dns import Resolver, family_of
from loadgen.clients.net.settings import Http
from loadgen.clients.net.target_guard import OPEN, Fence
from loadgen.clients.protocol.http1 import Connection
from loadgen.clients.protocol.outcomes import (
    NO_PORT,
    OWN_FAULTS,
    REFUSED,
    TIMEOUT,
    UNREACHABLE,
    connect_failure,
)
from loadgen.engine.health.process_health import own_addresses
from loadgen.errors import RequestFailed, UsageError

__all__ = ["Network", "TcpNetwork"]

T = TypeVar("T")
_BIND_ADDRESS_NO_PORT: Final = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24 if sys.platform == "linux" else None)
"""Bind the address only. Else each bind takes a port that no other connection can have, whatever its target."""
_SWALLOWED_S: Final = 1.0
"""An attempt that is given up after so long counts as one that failed."""
_NEXT: Final = frozenset({REFUSED, UNREACHABLE, TIMEOUT, NO_PORT})
"""No connection came about: another address may do."""


class Network(Protocol):
    """Opens a connection and lets `factory` make its protocol."""

    async def connect(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        server_hostname: str | None,
        factory: Callable[[], Connection],
        opening: Opening,
    ) -> tuple[asyncio.BaseTransport, Connection]:
        """Raises RequestFailed: `dns`, `refused`, `tls` ... Time-outs are the caller's.

        opening: is told when `dns`, `connect` and `tls` begin, and when all is over; not where it fails.
        """
        ...


class TcpNetwork:
    """The network of this machine, on the running loop (uvloop or asyncio).

    Args:
        note: is told what a reader of the figures has to know.
        fence: says what may be connected to.

    Raises:
        UsageError: an address of `Http.source` is none of this machine's, or it has none in a network of it.
    """

    def __init__(
        self,
        http: Http = Http(),  # noqa: B008  # frozen
        *,
        resolver: Resolver | None = None,
        note: Callable[[str], None] = lambda _: None,
        fence: Fence = OPEN,
    ) -> None:
        self.resolver, self.fence = resolver or Resolver(http), fence
        self._uds = None if http.uds is None else str(http.uds)
        self._sni = http.sni
        self._sources = _Sources(http.source) if http.source else None
        self._note = note

    async def connect(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        server_hostname: str | None,
        factory: Callable[[], Connection],
        opening: Opening,
    ) -> tuple[asyncio.BaseTransport, Connection]:
        loop = asyncio.get_running_loop()
        if self._uds is not None:
            await self.fence.check_socket(self._uds)
            made = await self._connect_uds(self._uds, tls, server_hostname, factory, opening)
        elif self._sources is not None or tls is not None:  # in two steps: between them connect ends and TLS begins
            sock = await self.open_socket(host, port, opening)
            return await self.adopt(sock, tls, server_hostname, factory, f"{host}:{port}", opening)
        else:

            async def go(address: str) -> tuple[asyncio.BaseTransport, Connection]:
                return await loop.create_connection(factory, address, port)

            made = await self._first(host, port, go, opening)
        opening.end()
        return made

    async def _connect_uds(
        self,
        path: str,
        tls: ssl.SSLContext | None,
        server_hostname: str | None,
        factory: Callable[[], Connection],
        opening: Opening,
    ) -> tuple[asyncio.BaseTransport, Connection]:
        loop = asyncio.get_running_loop()
        opening.begin("connect")
        try:
            if tls is None:
                return await loop.create_unix_connection(factory, path)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                await loop.sock_connect(sock, path)
                opening.begin("tls")
                options = _tls_options(tls, self._sni or server_hostname)
                return await loop.create_unix_connection(factory, sock=sock, **options)
            except BaseException:
                sock.close()
                raise
        except OSError as error:
            raise connect_failure(error, path) from error

    async def open_socket(self, host: str, port: int, opening: Opening) -> socket.socket:
        """A connected socket that does not block, for what has to be said before the connection is one.

        `connect` is still under way: it is over with what is said.

        Raises:
            RequestFailed: `dns`, `refused` ...
        """

        async def go(address: str) -> socket.socket:
            if self._sources is None:
                return await _connected(address, port, None)
            return await self._sources.connected(address, port)

        return await self._first(host, port, go, opening)

    async def adopt(
        self,
        sock: socket.socket,
        tls: ssl.SSLContext | None,
        server_hostname: str | None,
        factory: Callable[[], Connection],
        where: str,
        opening: Opening,
    ) -> tuple[asyncio.BaseTransport, Connection]:
        """Make a connection of a socket that is connected; it is closed where that fails.

        Raises:
            RequestFailed: `tls`, `reset` ...
        """
        options = _tls_options(tls, self._sni or server_hostname)
        if tls is not None:
            opening.begin("tls")
        try:
            made = await asyncio.get_running_loop().create_connection(factory, sock=sock, **options)
            opening.end()
            return made
        except OSError as error:
            sock.close()
            raise connect_failure(error, where) from error
        except BaseException:
            sock.close()
            raise

    async def _first(self, host: str, port: int, go: Callable[[str], Awaitable[T]], opening: Opening) -> T:
        """What `go` makes of the first address to which there is a connection.

        Address by address, by ourselves: the loops fold several errors into one text without an errno.
        """
        failures: list[RequestFailed] = []
        if not self.resolver.knows(host, port):
            opening.begin("dns")
        addresses = await self.resolver.addresses(host, port)
        name = "" if self.resolver.is_told(host, port) else host
        for address in addresses:
            opening.begin("connect")
            begun_s = monotonic()
            try:
                await self.fence.check(name, address, port)
                made = await go(address)
            except OSError as error:
                failure = connect_failure(error, f"{host}:{port}")
                if failure.outcome == NO_PORT:
                    failure = _why_no_port(failure, address, port)
                failure.__cause__ = error
                if failure.outcome not in _NEXT:
                    raise failure from error
                failures.append(failure)
                if failure.outcome not in OWN_FAULTS:
                    self.resolver.failed(address, port)
            except RequestFailed as failure:
                failures.append(failure)
            except asyncio.CancelledError:
                if len(addresses) > 1 and monotonic() - begun_s >= _SWALLOWED_S:
                    self.resolver.failed(address, port)
                    self._say_failed(host, port, address, "no connection in time")
                raise
            else:
                for one, failed in zip(addresses, failures, strict=False):
                    self._say_failed(host, port, one, failed.outcome)
                return made
        raise _telling(failures)

    def _say_failed(self, host: str, port: int, address: str, outcome: str) -> None:
        if not ip_address(address.partition("%")[0]).is_loopback:  # `localhost` on one family only is nobody's trouble
            where = f"[{address}]" if ":" in address else address
            self._note(f"{host} was not reached at {where}:{port} ({outcome}); its other addresses were used")


class _Sources:
    """Addresses to connect from, in turn for each address of a target: each pair has all ports of its own."""

    def __init__(self, given: Iterable[str]) -> None:
        sources = list(dict.fromkeys(address for one in given for address in _own_of(one)))
        self._of = {
            family: [one for one in sources if family_of(one) == family] for family in (socket.AF_INET, socket.AF_INET6)
        }
        self._turns: dict[str, int] = {}
        for one in sources:
            with socket.socket(family_of(one), socket.SOCK_STREAM) as probe:
                try:
                    probe.bind((one, 0))
                except OSError as error:
                    raise UsageError(
                        f"source: {one} is no address of this machine: {error.strerror or error}",
                        hint="give it to an interface (ip addr add), or leave it out of Http(source=...)",
                    ) from error

    async def connected(self, address: str, port: int) -> socket.socket:
        """From the next source; where its ports to this address are used up, from the others."""
        sources = self._of[family_of(address)]
        if not sources:
            raise RequestFailed(UNREACHABLE, f"{address}:{port}: no source address of its family")
        # Workers begin at different ones, as with addresses: else the first would have most of a short run.
        turn = self._turns.get(address)
        turn = self._turns[address] = randrange(len(sources)) if turn is None else turn + 1  # noqa: S311
        for n in range(len(sources)):
            try:
                return await _connected(address, port, sources[(turn + n) % len(sources)])
            except OSError as error:
                if error.errno != EADDRNOTAVAIL or n == len(sources) - 1:
                    raise
        raise AssertionError


def _own_of(source: str) -> list[str]:
    """An address as it is; of a network those of this machine that are in it."""
    if "/" not in source:
        return [source]
    network = ip_network(source, strict=False)
    there = own_addresses()
    found = [one for one in there if ip_address(one) in network]
    if not found:
        raise UsageError(f"source: this machine has no address in {source}", hint=f"it has {', '.join(there)}")
    return found


async def _connected(address: str, port: int, source: str | None) -> socket.socket:
    sock = socket.socket(family_of(address), socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source is not None:
            if _BIND_ADDRESS_NO_PORT is not None:
                with suppress(OSError):  # Linux before 4.2
                    sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _tls_options(tls: ssl.SSLContext | None, server_hostname: str | None) -> dict[str, Any]:
    return {} if tls is None else {"ssl": tls, "server_hostname": server_hostname}


def _telling(failures: list[RequestFailed]) -> RequestFailed:
    """Of the failures at each address of a host, the one that says why: ours, else the last of one that is there."""

    def rank(failure: RequestFailed) -> int:
        return 2 if failure.outcome in OWN_FAULTS else int(failure.outcome != UNREACHABLE)

    return max(reversed(failures), key=rank)


def _why_no_port(failure: RequestFailed, address: str, port: int) -> RequestFailed:
    if not _has_source(address, port):
        return RequestFailed(UNREACHABLE, failure.detail)
    return RequestFailed(NO_PORT, f"{failure.detail}: all ports to it are in use; more addresses: Http(source=[...])")


def _has_source(address: str, port: int) -> bool:
    """False where this machine has no address to reach it from, as `::1` without IPv6.

    The system says EADDRNOTAVAIL to that too, and not only when its ports are used up. To "connect" a datagram
    socket sends nothing and needs an address only.
    """
    try:
        with socket.socket(family_of(address), socket.SOCK_DGRAM) as probe:
            probe.connect((address, port))
    except OSError as error:
        return error.errno != EADDRNOTAVAIL
    return True

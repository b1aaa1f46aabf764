"""Opens connections: over the real network; `canned_replies.py` has a network of canned replies.

A `Network` has one method, so that tests can feed bytes and trials need no target.
`TcpNetwork` connects to a host's addresses (`dns.py`) or to a UNIX socket, from the
machine's default addresses or from those of `Http.source`. `proxy.py` connects through a proxy.
Errors of the operating system and of TLS become outcomes here, and only here.

The target guard (`target_guard.py`) checks each address right before the connect, so no
forbidden address is ever connected to.

If one address of a host cannot be connected to, the next one is tried, and the run
reports it: a target that is partly down is not quite the intended target. A failure after
the connect (in TLS, for example) is an outcome, and no other address is tried.
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
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.net.dns import Resolver, family_of
from loadgen.clients.net.kernel_clock import KernelClock
from loadgen.clients.net.settings import Http
from loadgen.clients.net.stamped_tls import StampedTlsTransport
from loadgen.clients.net.stamped_transport import StampedConnection, StampedTransport
from loadgen.clients.net.target_guard import OPEN, TargetGuard
from loadgen.clients.protocol.http1 import Connection
from loadgen.clients.protocol.outcomes import (
    NO_PORT,
    OWN_FAULTS,
    REFUSED,
    TIMEOUT,
    UNREACHABLE,
    connect_failure,
)
from loadgen.engine.health.answer_reads import AnswerReads
from loadgen.engine.health.process_health import own_addresses
from loadgen.errors import RequestFailed, UsageError

__all__ = ["LOOP_NOTE", "Network", "RawNetwork", "TcpNetwork"]

T = TypeVar("T")
_BIND_ADDRESS_NO_PORT: Final = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24 if sys.platform == "linux" else None)
"""Socket option: bind the address only. Otherwise each bind takes a port that no other connection can use."""
_DATAGRAM_BUFFER_BYTES: Final = 2 * 1024 * 1024
"""The receive buffer of a UDP socket; the system may allow less. With Linux's default of 208 KiB, answers of 1 MB lost
packets in this buffer."""
_SWALLOWED_S: Final = 1.0
"""A cancelled attempt to connect counts as failed if it took at least this long."""
LOOP_NOTE: Final = (
    "the event loop timed answers on some connections, although the plan asks for the kernel's clock: that exists for"
    " HTTP/1.1 over TCP on Linux (docs/clock-of-answers.md)"
)
_MOST_SEEN_TLS: Final = 20
"""The most notes about TLS of a worker."""
_NEXT: Final = frozenset({REFUSED, UNREACHABLE, TIMEOUT, NO_PORT})
"""Outcomes without a connection, after which the next address is tried."""


class Network(Protocol):
    """Opens connections. `factory` makes the protocol of each."""

    async def connect(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        server_hostname: str | None,
        factory: Callable[[], Connection],
        opening: Opening,
    ) -> tuple[asyncio.BaseTransport, Connection]:
        """Open a connection to host:port, with TLS if `tls` is given, and return (its transport, its protocol made by
        `factory`). The caller applies time-outs.

        opening: receives the times of the phases `dns`, `connect` and `tls`; after a failure the phase that failed is
        still under way.

        Raises:
            RequestFailed: with the outcome `dns`, `refused`, `tls` ...
        """
        ...


@runtime_checkable
class RawNetwork(Protocol):
    """Opens connections and sockets without HTTP, for `user.tcp` and `user.udp`. The caller applies time-outs."""

    async def open_stream(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        factory: Callable[[], asyncio.Protocol],
        opening: Opening,
    ) -> None:
        """Open a TCP connection to host:port, with TLS if `tls` is given, for the protocol that `factory` makes.

        opening: as in `Network.connect`.

        Raises:
            RequestFailed: with the outcome `dns`, `refused`, `tls` ...
        """

    async def open_datagrams(
        self, host: str, port: int, factory: Callable[[], asyncio.DatagramProtocol], opening: Opening
    ) -> None:
        """Open a UDP socket that sends to host:port and receives from there alone, for the protocol that `factory`
        makes.

        Raises:
            RequestFailed: with the outcome `dns`, `unreachable` ... UsageError: the plan has a proxy.
        """


class TcpNetwork:
    """The network of this machine, on the running loop (uvloop or asyncio).

    Args:
        note: is called with a text that readers of the measurements should know.
        fence: decides which addresses may be connected to.
        clock: times the reads of a `StampedConnection` over TCP, also with TLS. None: the loop reads all connections.
        answers: counts the connections that the loop reads, and lets `clock` time all answers; None: only streamed
            answers of AI models have the kernel's time.
    Raises:
        UsageError: an address of `Http.source` is not an address of this machine, or a network contains none.
    """

    def __init__(
        self,
        http: Http = Http(),  # noqa: B008  # frozen
        *,
        resolver: Resolver | None = None,
        note: Callable[[str], None] = lambda _: None,
        guard: TargetGuard = OPEN,
        clock: KernelClock | None = None,
        answers: AnswerReads | None = None,
    ) -> None:
        self._clock, self._answers = clock, answers
        self.resolver, self.guard = resolver or Resolver(http), guard
        self._uds = None if http.uds is None else str(http.uds)
        self._sni = http.sni
        self._sources = _Sources(http.source) if http.source else None
        self._note = note
        self._seen_tls: set[tuple[str, str | None, str]] = set()

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
            await self.guard.check_socket(self._uds)
            made = await self._connect_uds(self._uds, tls, server_hostname, factory, opening)
            self._count_loop_connection()
            self._note_tls(made[0], self._uds)
        # In two steps, to time connect and TLS separately, or to keep the socket for a reader of our own.
        elif self._sources is not None or tls is not None or self._clock is not None:
            sock = await self.open_socket(host, port, opening)
            return await self.adopt(sock, tls, server_hostname, factory, f"{host}:{port}", opening)
        else:

            async def go(address: str) -> tuple[asyncio.BaseTransport, Connection]:
                return await loop.create_connection(factory, address, port)

            made = await self._first(host, port, go, opening)
            self._count_loop_connection()
        opening.end()
        return made

    def _count_loop_connection(self) -> None:
        """Note that the event loop times the answers of a new connection, if the plan asks for the kernel's clock."""
        if self._answers is not None:
            self._answers.loop_connections += 1
            if self._answers.loop_connections == 1:
                self._note(LOOP_NOTE)

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
        """Connect to host:port and return the non-blocking socket, for programs that first talk to a proxy (CONNECT).

        The phase `connect` of `opening` stays under way, because that dialogue belongs to it.

        Raises:
            RequestFailed: with the outcome `dns`, `refused` ...
        """

        async def go(address: str) -> socket.socket:
            if self._sources is None:
                return await _connected(address, port, None)
            return await self._sources.connected(address, port)

        return await self._first(host, port, go, opening)

    async def open_quic(
        self,
        host: str,
        port: int,
        shake: Callable[[socket.socket, tuple[str, int]], Awaitable[T]],
        opening: Opening,
    ) -> T:
        """Connect a UDP socket to host:port, and return what `shake` returned, which does the handshake of HTTP/3.

        A UDP socket is connected without a packet, so only the handshake shows whether the target is there.

        shake: is called with the non-blocking socket and the (address, port) to which it is connected, and owns the
        socket from then on.

        Raises:
            RequestFailed: with the outcome `dns`, `refused`, or that of `shake`.
        """

        async def go(address: str) -> T | RequestFailed:
            sock = self._datagram_socket(address, port)
            try:
                return await shake(sock, (address, port))
            except RequestFailed as failure:
                if failure.outcome in _NEXT:
                    self.resolver.failed(address, port)
                    raise
                return failure  # the target is there, so its other addresses are not tried

        made = await self._first(host, port, go, opening)
        if isinstance(made, RequestFailed):
            raise made
        self._count_loop_connection()
        opening.end()
        return made

    def _datagram_socket(self, address: str, port: int) -> socket.socket:
        sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _DATAGRAM_BUFFER_BYTES)
            if self._sources is not None:
                sock.bind((self._sources.next(address, port), 0))
            sock.connect((address, port))
        except BaseException:
            sock.close()
            raise
        return sock

    async def open_stream(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        factory: Callable[[], asyncio.Protocol],
        opening: Opening,
    ) -> None:
        sock = await self.open_socket(host, port, opening)
        await self.adopt(sock, tls, host if tls is not None else None, factory, f"{host}:{port}", opening)

    async def open_datagrams(
        self, host: str, port: int, factory: Callable[[], asyncio.DatagramProtocol], opening: Opening
    ) -> None:
        loop = asyncio.get_running_loop()

        async def go(address: str) -> None:
            source = None if self._sources is None else self._sources.next(address, port)
            await loop.create_datagram_endpoint(
                factory,
                remote_addr=(address, port),
                local_addr=None if source is None else (source, 0),
                family=family_of(address),
            )

        await self._first(host, port, go, opening)
        opening.end()

    async def adopt(
        self,
        sock: socket.socket,
        tls: ssl.SSLContext | None,
        server_hostname: str | None,
        factory: Callable[[], Any],
        where: str,
        opening: Opening,
    ) -> tuple[asyncio.BaseTransport, Any]:
        """Turn a connected socket into a connection, with TLS if `tls` is given, and return (its transport, its
        protocol made by `factory`). If that fails, close the socket.

        where: HOST:PORT, for messages.

        Raises:
            RequestFailed: with the outcome `tls`, `reset` ...
        """
        options = _tls_options(tls, self._sni or server_hostname)
        if tls is not None:
            opening.begin("tls")
        try:
            made: tuple[asyncio.BaseTransport, Connection] | None = None
            if self._clock is not None:
                made = await self._with_stamps(sock, factory, self._clock, tls, self._sni or server_hostname)
            if made is None:
                made = await asyncio.get_running_loop().create_connection(factory, sock=sock, **options)
                self._count_loop_connection()
            opening.end()
            self._note_tls(made[0], where)
            return made
        except OSError as error:
            sock.close()
            raise connect_failure(error, where) from error
        except BaseException:
            sock.close()
            raise

    async def _with_stamps(
        self,
        sock: socket.socket,
        factory: Callable[[], Connection],
        clock: KernelClock,
        tls: ssl.SSLContext | None,
        server_hostname: str | None,
    ) -> tuple[asyncio.BaseTransport, Connection] | None:
        """Return a connection whose reads have the kernel's time; None if it wants none, or the system has none."""
        connection = factory()
        if not isinstance(connection, StampedConnection) or not clock.wants_stamps(sock):
            return None
        connection.times_all = self._answers is not None
        loop = asyncio.get_running_loop()
        if tls is None:
            return StampedTransport(loop, sock, connection, clock), connection
        transport = StampedTlsTransport(loop, sock, connection, clock, tls, server_hostname)
        await transport.shake()
        return transport, connection

    def _note_tls(self, transport: asyncio.BaseTransport, where: str) -> None:
        """Note the TLS version and cipher of a connection, once each: `shop.example:443 used TLSv1.3 with ...`."""
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and (cipher := tls.cipher()) is not None:
            seen = where, tls.version(), cipher[0]
            if seen not in self._seen_tls and len(self._seen_tls) < _MOST_SEEN_TLS:
                self._seen_tls.add(seen)
                self._note(f"TLS: {where} used {tls.version()} with {cipher[0]}")

    async def _first(self, host: str, port: int, go: Callable[[str], Awaitable[T]], opening: Opening) -> T:
        """Call `go` with the addresses of a host, one after another, until a connection succeeds, and return what `go`
        returned. If all fail, raise the failure that explains most.

        We try them ourselves, because the loops merge several errors into one text without an errno.
        """
        failures: list[RequestFailed] = []
        if not self.resolver.knows(host, port):
            opening.begin("dns")
        addresses = await self.resolver.addresses(host, port)
        name = "" if self.resolver.is_overridden(host, port) else host
        for address in addresses:
            opening.begin("connect")
            begun_s = monotonic()
            try:
                await self.guard.check(name, address, port)
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
            # The caller's time-out cancels the attempt. An address that drops packets gives no other sign of failure.
            except asyncio.CancelledError:
                if len(addresses) > 1 and monotonic() - begun_s >= _SWALLOWED_S:
                    self.resolver.failed(address, port)
                    self._note_failed(host, port, address, "no connection in time")
                raise
            else:
                for one, failed in zip(addresses, failures, strict=False):
                    self._note_failed(host, port, one, failed.outcome)
                return made
        raise _most_informative(failures)

    def _note_failed(self, host: str, port: int, address: str, outcome: str) -> None:
        if not ip_address(address.partition("%")[0]).is_loopback:  # `localhost` on one family only is harmless
            where = f"[{address}]" if ":" in address else address
            self._note(f"no connection to {host} at {where}:{port} ({outcome}); its other addresses were used")


class _Sources:
    """Source addresses, used in turn for each target address: each pair of addresses has its own set of ports."""

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
                        f"source: {one} is not an address of this machine: {error.strerror or error}",
                        hint="add it to an interface (ip addr add), or remove it from Http(source=...)",
                    ) from error

    def next(self, address: str, port: int) -> str:
        """Return the source address for the next connection to address:port.

        Raises:
            RequestFailed: no source address has the IP version of `address`.
        """
        sources, turn = self._in_turn(address, port)
        return sources[turn % len(sources)]

    def _in_turn(self, address: str, port: int) -> tuple[list[str], int]:
        sources = self._of[family_of(address)]
        if not sources:
            raise RequestFailed(
                UNREACHABLE, f"{address}:{port}: Http(source=...) has no address of this IP version; add one"
            )
        # Workers begin with different sources. Otherwise the first one would carry most of a short run.
        turn = self._turns.get(address)
        turn = self._turns[address] = randrange(len(sources)) if turn is None else turn + 1  # noqa: S311
        return sources, turn

    async def connected(self, address: str, port: int) -> socket.socket:
        """Return a socket connected to address:port from the next source address in turn. If all ports of this source
        are in use, try the other sources.
        """
        sources, turn = self._in_turn(address, port)
        for n in range(len(sources)):
            try:
                return await _connected(address, port, sources[(turn + n) % len(sources)])
            except OSError as error:
                if error.errno != EADDRNOTAVAIL or n == len(sources) - 1:
                    raise
        raise AssertionError


def _own_of(source: str) -> list[str]:
    """Return the source addresses that an entry of `Http(source=...)` means: the address itself, or all addresses of
    this machine in a network.
    """
    if "/" not in source:
        return [source]
    network = ip_network(source, strict=False)
    there = own_addresses()
    found = [one for one in there if ip_address(one) in network]
    if not found:
        hint = f"use one of its addresses: {', '.join(there)}"
        raise UsageError(f"source: this machine has no address in {source}", hint=hint)
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


def _most_informative(failures: list[RequestFailed]) -> RequestFailed:
    """Return the failure that explains most: a fault of the generator if there is one, else the last failure of a
    reachable address.
    """

    def rank(failure: RequestFailed) -> int:
        return 2 if failure.outcome in OWN_FAULTS else int(failure.outcome != UNREACHABLE)

    return max(reversed(failures), key=rank)


def _why_no_port(failure: RequestFailed, address: str, port: int) -> RequestFailed:
    if not _has_source(address, port):
        return RequestFailed(UNREACHABLE, failure.detail)
    hint = "all local ports to it are in use; add source addresses: Http(source=[...])"
    return RequestFailed(NO_PORT, f"{failure.detail}: {hint}")


def _has_source(address: str, port: int) -> bool:
    """Return True if this machine has an address of its own from which it can reach `address`; False for example for
    `::1` without IPv6.

    The system reports EADDRNOTAVAIL in this case too, not only when its ports are used up. "Connecting" a datagram
    socket sends nothing and needs only an address.
    """
    try:
        with socket.socket(family_of(address), socket.SOCK_DGRAM) as probe:
            probe.connect((address, port))
    except OSError as error:
        return error.errno != EADDRNOTAVAIL
    return True

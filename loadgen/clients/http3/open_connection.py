"""Opens one HTTP/3 connection: a UDP socket to one of the target's addresses, and the handshake on it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

from loadgen.clients.http3.connection import Http3Connection
from loadgen.clients.net.connect_timing import Opening

__all__ = ["DatagramNetwork", "NewConnection", "open_connection"]

T = TypeVar("T")
NewConnection = Callable[[tuple[str, int]], Http3Connection]
"""Makes the connection to (address, port), which is not open yet."""


@runtime_checkable
class DatagramNetwork(Protocol):
    """A network that opens UDP sockets. The canned network of trials does not: there, requests use HTTP/1.1."""

    open_quic: Callable[..., object]


async def open_connection(
    network: object, host: str, port: int, new_connection: NewConnection, opening: Opening
) -> Http3Connection:
    """Return an open connection to host:port, after its handshake; with 0-RTT, before it.

    network: a `TcpNetwork`. opening: the phase `connect` holds the whole handshake.

    Raises:
        RequestFailed: `dns`, `refused`, `tls`, `h3 ...`, `not allowed: ...`
    """
    assert isinstance(network, DatagramNetwork)

    async def shake(sock: socket.socket, address: tuple[str, int]) -> Http3Connection:
        connection = new_connection(address)
        loop = asyncio.get_running_loop()
        try:
            await loop.create_datagram_endpoint(lambda: connection, sock=sock)
        except BaseException:
            sock.close()
            raise
        try:
            await connection.ready
        except BaseException:
            connection.abort()
            raise
        return connection

    made: Http3Connection = await network.open_quic(host, port, shake, opening)  # type: ignore[misc]
    return made

"""Finds kept connections that their target has closed, without a turn of the event loop.

The loop reports a close only when it polls its sockets, and a journey that sends its next request at once does not let
it poll. A POST on such a connection ends in a reset, and it must not be sent again, because the target may have acted
on it. So such a request looks first, as httpcore, Go and curl do. Without a look, 100 of 200 POSTs right after a close
ended in `reset` (tests/clients/test_hang_up.py has the sequence).

A look polls an epoll set with the sockets of all connections of a loop, by one system call. Before it is sent, a
request looks, unless any request has looked since the last read of the connection that it will use. So users that the
loop serves in one turn share a look. A close that arrived before or with the connection's previous answer is always
found; a close after the shared look is not. Requests that may be sent again do not look.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter_ns
from typing import Any, Final
from weakref import WeakKeyDictionary

__all__ = ["EpollHangUps", "HangUps", "watched"]

_AT_ONCE: Final = 64
"""The most closed connections that one system call returns. Python reserves 12 bytes for each."""


class HangUps:
    """The watched connections of one event loop, and whether their targets have closed them.

    This class is for systems without epoll: each look polls one connection, and any byte that can be read counts as a
    close, because an idle connection should receive no data.
    """

    __slots__ = ("_polls",)

    def __init__(self) -> None:
        self._polls: dict[object, Callable[[int], list[Any]]] = {}

    def watch(self, connection: object, transport: asyncio.BaseTransport) -> None:
        """Watch an open connection until `forget` is called. Without a socket (a canned reply) nothing is watched."""
        if (fd := _fd_of(transport)) >= 0:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            self._polls[connection] = poll.poll

    def forget(self, connection: object) -> None:
        """Stop watching a connection that is closed."""
        self._polls.pop(connection, None)

    def has(self, connection: object, read_ns: int) -> bool:
        """HOT. Return True if the target has closed this connection.

        read_ns: when bytes of the connection were last read, `perf_counter_ns`.
        """
        poll = self._polls.get(connection)
        return poll is not None and bool(poll(0))


class EpollHangUps(HangUps):
    """The same with epoll (Linux): one look is at all connections."""

    __slots__ = ("_by_fd", "_closed", "_epoll", "_fds", "_looked_ns")

    def __init__(self) -> None:
        super().__init__()
        self._epoll: Any = None
        """Made for the first connection."""
        self._fds: dict[object, int] = {}
        self._by_fd: dict[int, object] = {}
        self._closed: set[object] = set()
        self._looked_ns = 0

    def watch(self, connection: object, transport: asyncio.BaseTransport) -> None:
        """Do as HangUps does; takes a system call. If no more files can be opened, nothing is watched. Then the loop or
        a request that fails finds a close.
        """
        if (fd := _fd_of(transport)) < 0:
            return
        with suppress(OSError):
            if self._epoll is None:
                self._epoll = select.epoll()
            self._epoll.register(fd, select.EPOLLRDHUP | select.EPOLLET)  # edge-triggered: returns each close once
            self._fds[connection], self._by_fd[fd] = fd, connection
            self._looked_ns = 0

    def forget(self, connection: object) -> None:
        self._closed.discard(connection)
        fd = self._fds.pop(connection, None)
        # With TLS the socket may be closed before its connection is lost. Then a new connection may have its number.
        if fd is not None and self._by_fd.get(fd) is connection:
            del self._by_fd[fd]
            with suppress(OSError, ValueError):
                self._epoll.unregister(fd)

    def has(self, connection: object, read_ns: int) -> bool:
        """HOT. Do as HangUps does. Takes a system call, or 0.3 µs if there was a look since `read_ns`."""
        if read_ns >= self._looked_ns:
            self._look()
        return connection in self._closed

    def _look(self) -> None:
        self._looked_ns = perf_counter_ns()
        while self._epoll is not None and (found := self._epoll.poll(0, _AT_ONCE)):
            self._closed.update(self._by_fd[fd] for fd, _ in found if fd in self._by_fd)


def _fd_of(transport: asyncio.BaseTransport) -> int:
    """Return the file descriptor of a transport; -1 if it has none."""
    sock = transport.get_extra_info("socket")
    return -1 if sock is None else sock.fileno()


_all: WeakKeyDictionary[asyncio.AbstractEventLoop, HangUps] = WeakKeyDictionary()


def watched(loop: asyncio.AbstractEventLoop, connection: object, transport: asyncio.BaseTransport) -> HangUps:
    """Watch an open connection of a loop, and return the HangUps of this loop, which is made at the first call."""
    hang_ups = _all.get(loop)
    if hang_ups is None:
        hang_ups = _all[loop] = EpollHangUps() if hasattr(select, "epoll") else HangUps()
    hang_ups.watch(connection, transport)
    return hang_ups

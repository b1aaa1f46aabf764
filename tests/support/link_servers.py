"""Servers of lines, bytes and datagrams in threads, for tests that run scenarios with `user.tcp` and `user.udp`."""

from __future__ import annotations

import socketserver
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.support.in_thread import serving

__all__ = ["running_links"]


class _Gate(socketserver.StreamRequestHandler):
    """Answers PING with PONG, and all other lines with themselves."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(b"PONG\n" if line == b"PING\n" else line)


class _Mail(socketserver.StreamRequestHandler):
    """Greets, and then answers lines, which must end with CR LF as in SMTP."""

    def handle(self) -> None:
        self.wfile.write(b"220 ready\r\n")
        for line in self.rfile:
            if not line.endswith(b"\r\n"):
                return
            self.wfile.write(b"221 bye\r\n" if line == b"QUIT\r\n" else b"250 ok\r\n")


class _Store(socketserver.BaseRequestHandler):
    """Sends all bytes back."""

    def handle(self) -> None:
        while data := self.request.recv(65_536):
            self.request.sendall(data)


class _Datagrams(socketserver.DatagramRequestHandler):
    """Sends each datagram back."""

    def handle(self) -> None:
        self.wfile.write(self.packet)


@contextmanager
def running_links() -> Iterator[dict[str, str]]:
    """Yield the URLs of a gate, a mail server, a store, and two servers of datagrams, by the names of their targets."""
    tcp, udp = socketserver.ThreadingTCPServer, socketserver.ThreadingUDPServer
    kinds: dict[str, tuple[Any, Any]] = {
        "gate": (tcp, _Gate),
        "mail": (tcp, _Mail),
        "store": (tcp, _Store),
        "dns": (udp, _Datagrams),
        "statsd": (udp, _Datagrams),
    }
    with ExitStack() as stack:
        urls = {}
        for name, (make, handler) in kinds.items():
            server = make(("127.0.0.1", 0), handler)
            server.block_on_close, server.daemon_threads = False, True
            server.handle_error = lambda *_: None  # of clients that close with an unread answer
            stack.enter_context(serving(server))
            urls[name] = f"{'tcp' if make is tcp else 'udp'}://127.0.0.1:{server.server_address[1]}"
        yield urls

"""The TCP connections and UDP sockets of one user, which are closed with the user at the latest."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakSet

from loadgen.clients.tcp_udp.frames import Frame
from loadgen.clients.tcp_udp.place import Place
from loadgen.clients.tcp_udp.tcp_link import TcpLink
from loadgen.clients.tcp_udp.udp_socket import UdpSocket

__all__ = ["Links"]


class Links:
    """The connections and sockets of one user. place: returns the place of a target by its name, for "tcp" or "udp"."""

    __slots__ = ("_place", "_sockets", "_tcp")

    def __init__(self, place: Callable[[str, str], Place]) -> None:
        self._place = place
        self._sockets: dict[str, UdpSocket] = {}
        self._tcp: WeakSet[TcpLink] = WeakSet()

    def tcp(self, target: str, frame: Frame, timeout: float | str | None) -> TcpLink:
        """Return a new connection, which is not open yet."""
        link = TcpLink(self._place(target, "tcp"), frame, timeout)
        self._tcp.add(link)
        return link

    def udp(self, target: str) -> UdpSocket:
        """Return the user's socket for a target; the same at each call."""
        found = self._sockets.get(target)
        if found is None:
            found = self._sockets[target] = UdpSocket(self._place(target, "udp"))
        return found

    async def close(self) -> None:
        """Close all of them."""
        for link in list(self._tcp):
            await link.aclose()
        for socket in self._sockets.values():
            socket.close()
        self._sockets.clear()

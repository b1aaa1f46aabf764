"""How many connections to the targets this process has open, by kind: a level for the page and the live outputs.

Each protocol of a connection adds 1 when its connection is made, and takes 1 away when it is lost. A process has one
count, because a worker is a process. Connections of client libraries and of browsers are not in it.
"""

from __future__ import annotations

from typing import Final

__all__ = ["OPEN_CONNECTIONS", "OpenConnections"]


class OpenConnections:
    """Numbers of connections that are open now."""

    __slots__ = ("http", "tcp", "websockets")

    def __init__(self) -> None:
        self.http = 0
        """HTTP/1.1, HTTP/2 and HTTP/3, in use or idle; also those of gRPC and of AI models."""
        self.websockets = 0
        """From the connect to the end."""
        self.tcp = 0
        """Of `user.tcp`."""


OPEN_CONNECTIONS: Final = OpenConnections()
"""The count of this process."""

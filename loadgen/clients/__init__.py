"""Clients that send requests and measure them. HTTP/1.1 is the first; see docs/way-of-one-request.md."""

from loadgen.clients.canned import CannedNetwork, reply
from loadgen.clients.http import HttpClient
from loadgen.clients.network import Network, TcpNetwork, tls_context
from loadgen.clients.pool import ConnectionPool
from loadgen.clients.replies import Reply
from loadgen.clients.timeouts import Timeouts

__all__ = [
    "CannedNetwork",
    "ConnectionPool",
    "HttpClient",
    "Network",
    "Reply",
    "TcpNetwork",
    "Timeouts",
    "reply",
    "tls_context",
]

"""Clients that send requests and measure them. HTTP/1.1 is the first; see docs/way-of-one-request.md."""

from loadgen.clients.canned import CannedNetwork, reply
from loadgen.clients.cap import Cap, OverTheCap
from loadgen.clients.fence import OPEN, Fence, is_not_allowed, place_of
from loadgen.clients.forward import Forward
from loadgen.clients.hosts import parse_resolve
from loadgen.clients.http import HttpClient
from loadgen.clients.httpx_errors import failure_in
from loadgen.clients.httpx_rows import HttpxRows
from loadgen.clients.httpx_stock import StockHttpClient, StockPool, StockTransport
from loadgen.clients.httpx_transport import HttpxClient, HttpxTransport, httpx_client
from loadgen.clients.network import Network, TcpNetwork
from loadgen.clients.outcomes import OWN_FAULTS, generator_faults
from loadgen.clients.pool import ConnectionPool, Connections, SharedPool
from loadgen.clients.pools import pool_for
from loadgen.clients.proxy import network_of
from loadgen.clients.replies import Reply
from loadgen.clients.settings import Http
from loadgen.clients.timeouts import Timeouts
from loadgen.clients.tls import tls_context
from loadgen.clients.tracing import Trace, Tracer

__all__ = [
    "OPEN",
    "OWN_FAULTS",
    "CannedNetwork",
    "Cap",
    "ConnectionPool",
    "Connections",
    "Fence",
    "Forward",
    "Http",
    "HttpClient",
    "HttpxClient",
    "HttpxRows",
    "HttpxTransport",
    "Network",
    "OverTheCap",
    "Reply",
    "SharedPool",
    "StockHttpClient",
    "StockPool",
    "StockTransport",
    "TcpNetwork",
    "Timeouts",
    "Trace",
    "Tracer",
    "failure_in",
    "generator_faults",
    "httpx_client",
    "is_not_allowed",
    "network_of",
    "parse_resolve",
    "place_of",
    "pool_for",
    "reply",
    "tls_context",
]

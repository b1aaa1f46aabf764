"""Clients that send HTTP requests and measure them.

docs/way-of-one-request.md follows one request through this package.
"""

from loadgen.clients.http import HttpClient
from loadgen.clients.httpx_api.errors import failure_in
from loadgen.clients.httpx_api.rows import HttpxRows
from loadgen.clients.httpx_api.stock import StockHttpClient, StockPool, StockTransport
from loadgen.clients.httpx_api.transport import HttpxClient, HttpxTransport, httpx_client
from loadgen.clients.net.canned_replies import CannedNetwork, reply
from loadgen.clients.net.hosts import parse_resolve
from loadgen.clients.net.network import Network, TcpNetwork
from loadgen.clients.net.proxy import network_of
from loadgen.clients.net.proxy_requests import Forward
from loadgen.clients.net.settings import Http
from loadgen.clients.net.target_guard import OPEN, Fence, is_not_allowed, place_of
from loadgen.clients.net.tls import tls_context
from loadgen.clients.pool.choose_pool import pool_for
from loadgen.clients.pool.pool import ConnectionPool, Connections, SharedPool
from loadgen.clients.protocol.outcomes import OWN_FAULTS, generator_faults
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.clients.request.rate_cap import Cap, OverTheCap
from loadgen.clients.request.tracing import Trace, Tracer
from loadgen.clients.response.replies import Reply

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

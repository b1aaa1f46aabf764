"""Chooses the pool for a plan's settings: one user slot's or a shared one, for HTTP/1.1 or also for HTTP/2 and
HTTP/3.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Literal, TypedDict

from loadgen.clients.net.network import Network
from loadgen.clients.pool.connection_policy import Connections
from loadgen.clients.pool.pool import ConnectionPool, SharedPool
from loadgen.clients.protocol.http1 import MAX_BODY_BYTES

if TYPE_CHECKING:
    from loadgen.clients.pool.http3_pool import Http3Worker

__all__ = ["pool_for"]


class _Settings(TypedDict):
    limit_bytes: int
    has_phases: bool
    has_stamps: bool


def pool_for(
    connections: Connections,
    network: Network,
    ssl: ssl.SSLContext | None = None,
    shared: SharedPool | None = None,
    *,
    http2: bool | Literal["prior"] = False,
    http3: Http3Worker | None = None,
    limit_bytes: int = MAX_BODY_BYTES,
    has_phases: bool = False,
    has_stamps: bool = False,
) -> ConnectionPool:
    """Return the connection pool for one user, as the plan's policy `connections` requires.

    shared: the worker's shared pool, if it exists already. If the policy is `shared` and this is None, a new pool is
    returned; pass it as `shared` for the next slots. http2: see `settings.Http`; the TLS context has to offer HTTP/2 as
    well (`tls_context`). http3: what the pools of the worker share, if the plan allows HTTP/3. has_stamps: connections
    of HTTP/1.1 accept the kernel's time of a read.
    """
    if connections.policy == "shared" and shared is not None:
        return shared
    settings = _Settings(limit_bytes=limit_bytes, has_phases=has_phases, has_stamps=has_stamps)
    if http3 is not None:
        return _http3_pool(connections, network, ssl, settings, http3)
    if http2:
        return _http2_pool(connections, network, ssl, settings, prior=http2 == "prior")
    if connections.policy == "shared":
        return SharedPool(connections.limit, network, ssl, **settings)
    return ConnectionPool(network, ssl, **settings)


def _http2_pool(
    connections: Connections, network: Network, ssl: ssl.SSLContext | None, settings: _Settings, *, prior: bool
) -> ConnectionPool:
    from loadgen.clients.pool.http2_pool import Http2Pool, Http2SharedPool  # slow to import, and few plans need it

    if connections.policy == "shared":
        return Http2SharedPool(connections.limit, network, ssl, prior=prior, **settings)
    return Http2Pool(network, ssl, prior=prior, **settings)


def _http3_pool(
    connections: Connections, network: Network, ssl: ssl.SSLContext | None, settings: _Settings, worker: Http3Worker
) -> ConnectionPool:
    from loadgen.clients.pool.http3_pool import Http3Pool, Http3SharedPool  # needs the extra `http3`

    if connections.policy == "shared":
        return Http3SharedPool(connections.limit, network, ssl, worker, **settings)
    return Http3Pool(network, ssl, worker, **settings)

"""Makes the httpx clients of one user: `user.httpx`, `user.httpx2`, and any number of further ones.

All clients of a user send over its connections and are measured alike. Each has its own cookies, headers, hooks and
base URL. A library that makes its client itself takes a transport instead, which all clients here share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import httpx

from loadgen.clients.httpx_api.libraries import library_of
from loadgen.clients.httpx_api.rows import HttpxRows
from loadgen.clients.httpx_api.stock import StockPool, StockTransport
from loadgen.clients.httpx_api.transport import HttpxClient, httpx_client, transport_of
from loadgen.clients.net.proxy_requests import Forward
from loadgen.clients.pool.pool import ConnectionPool
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.clients.request.tracing import Tracer
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import UsageError

__all__ = ["UserClients"]

_OF_PLAN: Final = frozenset(
    {"transport", "mounts", "proxy", "proxies", "verify", "cert", "http1", "http2", "limits", "trust_env"}
)
"""Arguments of an httpx client that the plan decides."""


class UserClients:
    """The httpx clients of one user, over its connections.

    targets, tags, tracer: see `HttpxRows`. forward: how requests are written for a proxy (net/proxy_requests.py).
    """

    def __init__(
        self,
        meter: Meter,
        pool: ConnectionPool,
        base_url: str,
        targets: Mapping[str, str],
        timeouts: Timeouts,
        *,
        tags: tuple[str, ...] = (),
        tracer: Tracer | None = None,
        forward: Forward | None = None,
        follow_redirects: bool = False,
    ) -> None:
        self._meter, self._pool, self._url, self._targets, self._timeouts = meter, pool, base_url, targets, timeouts
        self._tags, self._tracer, self._forward = tags, tracer, forward
        self._follow_redirects = follow_redirects
        self._transports: dict[str, httpx.AsyncBaseTransport] = {}

    def transport(self, name: str) -> httpx.AsyncBaseTransport:
        """Return the user's transport for the clients of a library, `httpx` or `httpx2`.

        Raises:
            UsageError: httpx2 is not installed, or the plan has `client="httpx"`.
        """
        made = self._transports.get(name)
        if made is None:
            made = self._transports[name] = self._transport(name)
        return made

    def _transport(self, name: str) -> httpx.AsyncBaseTransport:
        library = library_of(name)
        if isinstance(self._pool, StockPool):
            if name != "httpx":
                raise UsageError(
                    f'{name} cannot be used with Plan(client="httpx")', hint='leave out client="httpx" for this plan'
                )
            rows = HttpxRows(self._meter, self._url, self._targets, self._tags, self._tracer)
            return StockTransport(rows, self._pool)
        return transport_of(library)(
            self._meter,
            self._pool,
            self._url,
            self._targets,
            tags=self._tags,
            tracer=self._tracer,
            forward=self._forward,
        )

    def client(self, name: str, options: Mapping[str, Any] | None = None) -> HttpxClient:
        """Return a new client of a library. options: arguments of its class, such as `headers` or `base_url`.

        Raises:
            UsageError: as `transport`; or an option that the plan decides.
        """
        if wrong := _OF_PLAN.intersection(options or {}):
            given = ", ".join(sorted(wrong))
            raise UsageError(
                f"{given}: the plan decides this for all clients that use the user's connections",
                hint="set it for all users: Plan(http=Http(...))",
            )
        return httpx_client(
            self.transport(name),
            self._url,
            self._timeouts,
            follow_redirects=self._follow_redirects,
            library=library_of(name),
            options=options,
        )

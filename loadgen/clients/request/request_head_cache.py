"""Maps (method, URL) to the first bytes of a request, with a cache.

httpx defines the meaning of a URL: the way in which it is joined with the target, and its escapes.
httpx takes 30 µs for this, so plain ASCII URLs, which nearly all are, are joined here, and each
route is cached. A test checks that both give the same result. Routes depend only on the
target, so all users of a worker share them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import httpx

from loadgen.clients.net.proxy_requests import Forward, request_line
from loadgen.clients.pool.pool import Origin, origin_of
from loadgen.clients.protocol.response_heads import NO_ANSWER
from loadgen.clients.request.header_encoding import DEFAULT_LINES

__all__ = ["MAX_ROUTES", "Route", "Routes", "origin_of_url", "routes_of"]

MAX_ROUTES: Final = 2048
"""Size limit of the cache of a method. A full cache is emptied, for journeys with a million product pages."""

_PLAIN = re.compile(r"/[A-Za-z0-9_~/-]*(?:\.[A-Za-z0-9_~-]+)*(?:\?[A-Za-z0-9._~/=&+%:,;*!$@-]*)?")
"""Matches URLs without escapes in the path and without dot segments, which httpx would not change."""
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_METHOD = re.compile(r"[A-Z][A-Z0-9_-]*")
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})


class Route:
    """One method and URL. Immutable except for `answer`, its last answer."""

    __slots__ = (
        "answer",
        "bare",
        "head",
        "is_head",
        "is_idempotent",
        "line",
        "method",
        "name",
        "origin",
        "url",
        "whole",
    )

    def __init__(
        self,
        method: str,
        origin: Origin,
        netloc: bytes,
        raw_path: bytes,
        url: str,
        name: str,
        forward: Forward | None = None,
    ) -> None:
        self.method, self.origin, self.url, self.name = method, origin, url, name
        verb = method.encode("ascii")
        if forward is None:
            self.line = request_line(verb, raw_path)
        else:
            self.line = forward.first_lines(verb, origin.scheme, origin.host, netloc, raw_path)
        """The request line, and the lines that are for a proxy alone."""
        self.head = self.line + b"Host: " + netloc + b"\r\n"
        """`line` with the Host header."""
        self.bare = self.head + DEFAULT_LINES
        self.whole = self.bare + b"\r\n"
        """A complete request without body, for a user without own headers and cookies."""
        self.is_head = method == "HEAD"
        self.is_idempotent = method in _IDEMPOTENT
        self.answer = NO_ANSWER

    def __repr__(self) -> str:
        return f"<Route {self.method} {self.url}>"


class _Table(dict[str, Route]):
    """Routes of one method, by the URL as the journey wrote it."""

    __slots__ = ("_method", "_routes")

    def __init__(self, routes: Routes, method: str) -> None:
        self._routes, self._method = routes, method

    def __missing__(self, url: str) -> Route:
        if len(self) >= MAX_ROUTES:
            self.clear()
        route = self[str(url)] = self._routes.make(self._method, url)
        return route


class Routes:
    """All routes of one target.

    name: of the target, if the plan has several; row names contain it. forward: how requests are written for a proxy.
    """

    def __init__(self, base_url: str, name: str = "", forward: Forward | None = None) -> None:
        url = httpx.URL(base_url)
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError(f'invalid target "{base_url}"; write "https://shop.example" or "http://127.0.0.1:8080"')
        self.base_url = url if url.path.endswith("/") else url.copy_with(raw_path=url.raw_path + b"/")
        self._origin = _origin(url)
        self._netloc = url.netloc
        path = self.base_url.raw_path
        self._path = path.rstrip(b"/") if b"?" not in path else b""
        self._plain_base = b"?" not in path and not url.userinfo and not url.fragment
        self._prefix = f"{url.scheme}://{url.netloc.decode('ascii')}"
        self._before_path = f"{name}:" if name else ""
        self._tables: dict[str, _Table] = {}
        self._forward = forward

    def of(self, method: str) -> _Table:
        """Return the routes of an HTTP method, by URL: `routes.of("GET")["/cart"]`. A missing route is made on first
        use.

        Raises:
            ValueError: an invalid HTTP method.
        """
        table = self._tables.get(method)
        if table is None:
            if not _METHOD.fullmatch(method):
                raise ValueError(f"invalid HTTP method {method!r}")
            table = self._tables[method] = _Table(self, method)
        return table

    def make(self, method: str, url: str | httpx.URL) -> Route:
        """Resolve a URL against the target, as httpx does, and return a route for it: the prepared beginning of its
        requests.

        Raises:
            ValueError: the URL is invalid, or its scheme is neither http nor https.
        """
        if (
            self._plain_base
            and isinstance(url, str)
            and _PLAIN.fullmatch(url)
            # RFC 3986, section 4.2: a URL that begins with // names another host.
            and not url.startswith("//")
            and not _BAD_ESCAPE.search(url)
        ):
            raw_path = self._path + url.encode("ascii")
            name = f"{method} {self._before_path}{raw_path.partition(b'?')[0].decode('ascii')}"
            url = self._prefix + raw_path.decode("ascii")
            return Route(method, self._origin, self._netloc, raw_path, url, name, self._forward)
        return self.make_from(method, self.merge(url))

    def merge(self, url: str | httpx.URL) -> httpx.URL:
        """Return a URL resolved as `httpx.Client._merge_url` does: a relative URL is appended to the target's path."""
        try:
            parsed = httpx.URL(url)
            if not parsed.is_relative_url:
                return parsed
            return self.base_url.copy_with(raw_path=self.base_url.raw_path + parsed.raw_path.lstrip(b"/"))
        except httpx.InvalidURL as error:
            raise ValueError(f"invalid URL {url!r}: {error}") from error

    def make_from(self, method: str, url: httpx.URL) -> Route:
        """Return a new route to an absolute URL. Unlike other routes, it is not cached."""
        origin = _origin(url)
        path = url.raw_path.partition(b"?")[0].decode("ascii")
        before = self._before_path if origin is self._origin else f"{origin.scheme}://{origin.where}"
        name = f"{method} {before}{path}"
        return Route(method, origin, url.netloc, url.raw_path, str(url), name, self._forward)


def _origin(url: httpx.URL) -> Origin:
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f'"{url}" is not an absolute http:// or https:// URL')
    return origin_of(url.scheme, url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80))


@lru_cache(maxsize=64)
def routes_of(base_url: str, name: str = "", forward: Forward | None = None) -> Routes:
    """Return the routes of a target: its methods and URLs, each with the prepared beginning of its requests. All
    clients of this process with the same arguments share them.
    """
    return Routes(base_url, name, forward)


def origin_of_url(base_url: str, name: str = "", forward: Forward | None = None) -> Origin:
    """Return where the requests of a target go: to its server, or to a proxy. Arguments as for `routes_of`."""
    return routes_of(base_url, name, forward).of("GET")["/"].origin

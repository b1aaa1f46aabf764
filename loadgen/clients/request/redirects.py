"""The request that follows a redirect, by httpx's rules, which are those of browsers.

After 303 and 302 the method becomes GET (HEAD stays HEAD), and after 301 a POST becomes
GET. 307 and 308 keep method and body. Authorization is not sent to another origin, except
from http to https of the same host. A test compares these rules with httpx.
"""

from __future__ import annotations

from typing import Final

import httpx

from loadgen.clients.protocol.request_body_encoding import Upload

__all__ = ["FOLLOWED", "BadRedirect", "has_same_origin", "redirected"]

FOLLOWED: Final = frozenset({301, 302, 303, 307, 308})
_PORTS: Final = {"http": 80, "https": 443}


class BadRedirect(ValueError):
    """A Location that cannot be followed."""


def redirected(request: httpx.Request, status: int, location: str) -> httpx.Request:
    """Return the request to which `request` was redirected, without cookies. status, location: of the redirect.

    Raises:
        BadRedirect: `location` is not a URL, or its scheme is neither http nor https.
    """
    url = _url(request, location)
    method = _method(request.method, status)
    headers = httpx.Headers(request.headers)
    if not has_same_origin(url, request.url):
        if not _is_upgrade(request.url, url):
            headers.pop("Authorization", None)
        headers["Host"] = url.netloc.decode("ascii")
    upload = request.stream if isinstance(request.stream, Upload) else None
    content: bytes | None = request.read() if upload is None else None
    if method != request.method and method == "GET":
        content = upload = None
        headers.pop("Content-Length", None)
        headers.pop("Transfer-Encoding", None)
    headers.pop("Cookie", None)
    if upload is not None:
        return httpx.Request(method, url, headers=headers, stream=upload)
    return httpx.Request(method, url, headers=headers, content=content or None)


def _method(method: str, status: int) -> str:
    if method != "HEAD" and status in (302, 303):
        return "GET"
    return "GET" if method == "POST" and status == 301 else method


def _url(request: httpx.Request, location: str) -> httpx.URL:
    try:
        url = httpx.URL(location)
        if url.scheme and not url.host:
            url = url.copy_with(host=request.url.host)
        if url.is_relative_url:
            url = request.url.join(url)
        if request.url.fragment and not url.fragment:
            url = url.copy_with(fragment=request.url.fragment)
    except (httpx.InvalidURL, ValueError) as error:
        raise BadRedirect(f"redirected to {location[:200]!r}, which is not a URL: {str(error)[:200]}") from error
    if url.scheme not in _PORTS or not url.host:
        raise BadRedirect(f"redirected to {location[:200]!r}, which is neither http nor https")
    return url


def has_same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    return _origin(one) == _origin(other)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or _PORTS.get(url.scheme)


def _is_upgrade(old: httpx.URL, new: httpx.URL) -> bool:
    return old.host == new.host and _origin(old)[::2] == ("http", 80) and _origin(new)[::2] == ("https", 443)

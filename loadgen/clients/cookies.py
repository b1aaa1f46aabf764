"""A user's cookies: httpx's, with the Cookie header of each URL remembered until something changes.

Which cookie goes where and for how long is decided by the standard library's
jar, as in httpx, with two rules of browsers added: a cookie without a Domain goes
back to the host that set it only, not to those below it; and none is taken for
`co.uk` and its like. (Not the whole list of public suffixes: one for `github.io` is taken.)
It takes 20 µs a request to decide, so the header is kept for
each URL until the jar changes or the first of its cookies expires.
"""

from __future__ import annotations

import time
from http import cookiejar
from http.cookiejar import Cookie, CookieJar, DefaultCookiePolicy
from typing import Any, Final
from urllib.request import Request

import httpx

from loadgen.clients.headers import header_lines

__all__ = ["UserCookies"]

_MAX_KEPT: Final = 64


class _AsBrowsers(DefaultCookiePolicy):
    def return_ok_domain(self, cookie: Cookie, request: Request) -> bool:
        """A cookie of the scenario's own that has no domain at all goes everywhere, as in httpx."""
        if cookie.domain and not cookie.domain_specified and cookie.domain != _host_of(request):
            return False
        return super().return_ok_domain(cookie, request)


def _host_of(request: Request) -> str:
    """As the jar calls it when it takes a cookie of its: in lower case, without the port, `localhost.local`."""
    host: str = cookiejar.eff_request_host(request)[1]  # type: ignore[attr-defined]  # not in typeshed
    return host


class _Jar(CookieJar):
    """Every change of a CookieJar goes through these."""

    def __init__(self) -> None:
        super().__init__(_AsBrowsers(strict_domain=True))
        self.rendered: dict[str, bytes] = {}

    def set_cookie(self, cookie: Cookie) -> None:
        self.rendered.clear()
        super().set_cookie(cookie)

    def clear(self, *args: Any, **kwargs: Any) -> None:
        self.rendered.clear()
        super().clear(*args, **kwargs)


class UserCookies(httpx.Cookies):
    """httpx.Cookies of one user."""

    jar: _Jar

    def __init__(self, cookies: Any = None) -> None:
        super().__init__(None)
        self.jar = _Jar()
        self._until_s = float("inf")
        if cookies is not None:
            self.update(cookies)

    def header_line(self, url: str) -> bytes:
        """ "Cookie: a=b" and CRLF for a request to `url`, or nothing.

        What a target sets in other letters than ASCII goes back as UTF-8, where httpx fails.

        Raises:
            ValueError: a cookie of the scenario's own with CR, LF or NUL in it.
        """
        rendered = self.jar.rendered
        line = rendered.get(url)
        if line is not None and rendered and time.time() < self._until_s:
            return line
        if len(rendered) >= _MAX_KEPT or time.time() >= self._until_s:
            rendered.clear()
        request = httpx.Request("GET", url)
        request.headers.encoding = "utf-8"
        self.set_cookie_header(request)  # drops what has expired
        line = header_lines((b"Cookie", value) for name, value in request.headers.raw if name.lower() == b"cookie")
        self._until_s = min((c.expires for c in self.jar if c.expires is not None), default=float("inf"))
        rendered[url] = line
        return line

    def learn(self, url: str, raw: list[tuple[bytes, bytes]]) -> None:
        """Take the Set-Cookie headers of a response from `url`."""
        headers = [(n, v) for n, v in raw if n.lower() in (b"set-cookie", b"date")]
        self.extract_cookies(httpx.Response(200, headers=headers, request=httpx.Request("GET", url)))

"""A user's cookies: httpx's, with the Cookie header of each URL remembered until something changes.

Which cookie goes where and for how long is decided by the standard library's
jar, as in httpx. It takes 20 µs a request to decide, so the header is kept for
each URL until the jar changes or the first of its cookies expires.
"""

from __future__ import annotations

import time
from http.cookiejar import Cookie, CookieJar
from typing import Any, Final

import httpx

from loadgen.clients.headers import header_lines

__all__ = ["UserCookies"]

_MAX_KEPT: Final = 64


class _Jar(CookieJar):
    """Every change of a CookieJar goes through these."""

    def __init__(self) -> None:
        super().__init__()
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

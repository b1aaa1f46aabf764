"""A user's cookies: httpx's, with the Cookie header of each URL cached until something changes.

As in httpx, the standard library's jar decides which cookie is sent where and for how long. We add two rules of
browsers. A cookie without a Domain is sent only to the host that set it, not to its subdomains. A cookie for `co.uk`
and its like is rejected. (This is not the whole list of public suffixes: a cookie for `github.io` is accepted.)

A decision of the jar takes 20 µs a request, so the header is kept for each URL until the jar changes or the first of
its cookies expires.

A jar keeps no more than a browser does (`BoundedJar`). Otherwise a target that sets new cookies with each answer would
fill the worker's memory and make each request slower.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http import cookiejar
from http.cookiejar import Cookie, CookieJar, DefaultCookiePolicy
from typing import Any, Final
from urllib.request import Request

import httpx

from loadgen.clients.request.header_encoding import header_lines
from loadgen.errors import UsageError

__all__ = ["COOKIE_NOTE", "BoundedJar", "UserCookies", "jar_of"]

COOKIE_NOTE: Final = "a target set more or larger cookies than a browser keeps: the oldest were dropped"
MAX_COOKIE_BYTES: Final = 4096
"""Size limit of a cookie's name and value. RFC 6265, section 6.1; Chrome and Firefox also ignore larger ones."""
MAX_COOKIES_A_SITE: Final = 180
"""Chrome's limit (kDomainMaxCookies); Firefox has the same (network.cookie.maxPerHost)."""
MAX_COOKIES: Final = 3000
"""The limit on cookies in all. RFC 6265, section 6.1; as in Firefox (network.cookie.maxNumber); Chrome has 3,300."""
MAX_SITE_BYTES: Final = 64 * 1024
"""Size limit of the names and values of one site. Our own choice: a request carries all of them in its Cookie header,
and no common server accepts that much. nginx accepts 32 KiB of headers, Node.js 16 KiB, an ALB of AWS 64 KiB, Apache
8 KiB a line."""
MAX_SET_COOKIES: Final = 50
"""The limit on cookies of one answer; later ones are ignored. As in curl (MAX_SET_COOKIE_AMOUNT). Each takes 25 µs."""
MAX_LINE_BYTES: Final = 5000
"""Size limit of a Set-Cookie header with its attributes. As in curl (MAX_COOKIE_LINE)."""

_MAX_KEPT: Final = 64
_MAX_KEPT_BYTES: Final = 128 * 1024

_Key = tuple[str, str, str]
"""Domain, path and name."""


class _NotTooLarge(DefaultCookiePolicy):
    def set_ok(self, cookie: Cookie, request: Request) -> bool:
        return _size(cookie) <= MAX_COOKIE_BYTES and super().set_ok(cookie, request)


class _AsBrowsers(_NotTooLarge):
    def return_ok_domain(self, cookie: Cookie, request: Request) -> bool:
        """Return True if `cookie` may be sent with `request`. A cookie of the scenario that has no domain at all is
        sent to every host, as in httpx.
        """
        if cookie.domain and not cookie.domain_specified and cookie.domain != _host_of(request):
            return False
        return super().return_ok_domain(cookie, request)


def _host_of(request: Request) -> str:
    """Return the host of a request as the cookie jar stores it: in lower case and without the port. A name without a
    dot gets ".local".
    """
    host: str = cookiejar.eff_request_host(request)[1]  # type: ignore[attr-defined]  # not in typeshed
    return host


def _key(cookie: Cookie) -> _Key:
    return cookie.domain, cookie.path, cookie.name


def _size(cookie: Cookie) -> int:
    return len(cookie.name) + len(cookie.value or "")


def _site(domain: str) -> str:
    """Return the approximate site of a cookie's domain, whose cookies are limited together: its last two labels, or
    three for domains such as `shop.co.uk`.
    """
    names = domain.lstrip(".").rsplit(".", 3)
    if names[-1].isdigit():  # an IP address
        return domain
    is_national = len(names) > 2 and len(names[-1]) == 2 and len(names[-2]) <= 3
    return ".".join(names[-3:] if is_national else names[-2:])


class _Response:
    """An answer that shows a jar only the first Set-Cookie headers."""

    def __init__(self, answer: Message) -> None:
        self._headers = Message()
        if date := answer["Date"]:
            self._headers["Date"] = date
        lines = answer.get_all("Set-Cookie", [])
        for line in lines[:MAX_SET_COOKIES]:
            if len(line) <= MAX_LINE_BYTES:
                self._headers["Set-Cookie"] = line

    def info(self) -> Message:
        return self._headers


class BoundedJar(CookieJar):
    """A jar that keeps as many cookies as a browser. If a site sets more, its oldest cookies are dropped.

    The oldest cookie is the one whose last setting is longest ago. The limits are enforced when an answer sets cookies,
    so a scenario may put any number into its own jar.
    """

    def __init__(self, policy: DefaultCookiePolicy | None = None) -> None:
        super().__init__(policy or _NotTooLarge())
        self._by_age: dict[_Key, int] = {}
        """Sizes of the cookies, the oldest cookie first."""
        self._by_site: dict[str, dict[_Key, int]] = {}
        self._site_bytes: dict[str, int] = {}
        self._touched: set[str] = set()
        self.dropped = 0

    def set_cookie(self, cookie: Cookie) -> None:
        key = _key(cookie)
        # Removed and added again, so that the order of the dict is the order of the last setting.
        self._forget(key)
        site, size = _site(cookie.domain), _size(cookie)
        self._by_age[key] = size
        self._by_site.setdefault(site, {})[key] = size
        self._site_bytes[site] = self._site_bytes.get(site, 0) + size
        self._touched.add(site)
        super().set_cookie(cookie)

    def clear(self, domain: str | None = None, path: str | None = None, name: str | None = None) -> None:
        super().clear(domain, path, name)
        if name is not None:
            self._forget((domain or "", path or "", name))
            return
        for key in tuple(self._by_age):
            if domain in (None, key[0]) and path in (None, key[1]):
                self._forget(key)

    def extract_cookies(self, response: Any, request: Any) -> None:
        self._touched.clear()
        super().extract_cookies(_Response(response.info()), request)  # type: ignore[arg-type]
        for site in self._touched:
            keys = self._by_site.get(site, {})
            while len(keys) > MAX_COOKIES_A_SITE or self._site_bytes[site] > MAX_SITE_BYTES:
                self._drop(next(iter(keys)))
        while len(self._by_age) > MAX_COOKIES:
            self._drop(next(iter(self._by_age)))

    def _drop(self, key: _Key) -> None:
        self.dropped += 1
        self.clear(*key)

    def _forget(self, key: _Key) -> None:
        size = self._by_age.pop(key, None)
        if size is not None:
            site = _site(key[0])
            del self._by_site[site][key]
            self._site_bytes[site] -= size
            if not self._by_site[site]:
                del self._by_site[site], self._site_bytes[site]


class _Jar(BoundedJar):
    """A jar that clears its rendered headers on every change: each change of a CookieJar uses one of these methods."""

    def __init__(self) -> None:
        super().__init__(_AsBrowsers(strict_domain=True))
        self.rendered: dict[str, bytes] = {}
        self.rendered_bytes = 0

    def set_cookie(self, cookie: Cookie) -> None:
        self.rendered.clear()
        super().set_cookie(cookie)

    def clear(self, domain: str | None = None, path: str | None = None, name: str | None = None) -> None:
        self.rendered.clear()
        super().clear(domain, path, name)

    def render(self, url: str, line: bytes) -> None:
        """Store the Cookie header `line` for `url` in the cache, which is emptied when it is full."""
        if not self.rendered:
            self.rendered_bytes = 0
        self.rendered_bytes += len(line)
        if len(self.rendered) >= _MAX_KEPT or self.rendered_bytes > _MAX_KEPT_BYTES:
            self.rendered.clear()
            self.rendered_bytes = len(line)
        self.rendered[url] = line


class UserCookies(httpx.Cookies):
    """The httpx.Cookies of one user."""

    jar: _Jar

    def __init__(self, cookies: Any = None) -> None:
        super().__init__(None)
        self.jar = _Jar()
        self._until_s = float("inf")
        if cookies is not None:
            self.update(cookies)

    def header_line(self, url: str) -> bytes:
        """Return the header line "Cookie: a=b" with CRLF for a request to `url`; b"" if no cookie belongs to it.

        Non-ASCII characters that a target has set are sent back as UTF-8, where httpx fails.

        Raises:
            ValueError: a cookie of the scenario contains CR, LF or NUL.
        """
        rendered = self.jar.rendered
        line = rendered.get(url)
        if line is not None and rendered and time.time() < self._until_s:
            return line
        if time.time() >= self._until_s:
            rendered.clear()
        request = httpx.Request("GET", url)
        request.headers.encoding = "utf-8"
        self.set_cookie_header(request)  # also drops expired cookies
        line = header_lines((b"Cookie", value) for name, value in request.headers.raw if name.lower() == b"cookie")
        self._until_s = min((c.expires for c in self.jar if c.expires is not None), default=float("inf"))
        self.jar.render(url, line)
        return line

    def learn(self, url: str, raw: list[tuple[bytes, bytes]]) -> bool:
        """Store the cookies that the response headers `raw` from `url` set. Return False if they are more or larger
        than a browser accepts.
        """
        set_by = [(n, v) for n, v in raw if n.lower() == b"set-cookie"]
        taken = [(n, v) for n, v in set_by[:MAX_SET_COOKIES] if len(v) <= MAX_LINE_BYTES]
        date = [(n, v) for n, v in raw if n.lower() == b"date"][:1]
        dropped = self.jar.dropped
        self.extract_cookies(httpx.Response(200, headers=taken + date, request=httpx.Request("GET", url)))
        return len(taken) == len(set_by) and dropped == self.jar.dropped


@contextmanager
def jar_of(given: object) -> Iterator[UserCookies | None]:
    """Return a context with the cookies of one call, by its option `jar=`; None means those of the user. At the end of
    the block, `given` has the cookies that the answers have set.

    Raises:
        UsageError: `given` is not an httpx.Cookies.
    """
    if given is None or isinstance(given, UserCookies):
        yield given
        return
    if not isinstance(given, httpx.Cookies):
        raise UsageError(
            f"jar= must be an httpx.Cookies, got {type(given).__name__}",
            hint="write jar=httpx.Cookies(...); to add cookies to the user's, write cookies={...}",
        )
    cookies = UserCookies(given)
    before = {_key(one): one for one in cookies.jar}
    try:
        yield cookies
    finally:
        # Only what this call has changed: another call with the same jar may have stored newer cookies meanwhile.
        for one in cookies.jar:
            if before.pop(_key(one), None) is not one:
                given.jar.set_cookie(one)
        for one in tuple(given.jar):
            if before.get(_key(one)) is one:  # expired, or deleted by an answer
                given.jar.clear(*_key(one))

"""Turns the options of a call into the bytes of its request, for all calls outside the plain path of `http.py`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Generator, Mapping
from typing import Any, Final, TypedDict

import httpx

from loadgen.clients.protocol.request_body_encoding import (
    FORM,
    JSON,
    Body,
    Content,
    StreamedRequest,
    Upload,
    encode_content,
    encode_form,
    encode_json,
    encode_multipart,
    encode_query,
)
from loadgen.clients.protocol.timeouts import NEVER_NS, Timeouts
from loadgen.clients.request.cookies import UserCookies
from loadgen.clients.request.header_encoding import UserHeaders, header_lines, with_call_headers
from loadgen.clients.request.redirects import BadRedirect
from loadgen.clients.request.request_head_cache import Route, Routes
from loadgen.errors import UsageError
from loadgen.units import NS_PER_S, parse_duration

__all__ = [
    "AllOptions",
    "BodyOptions",
    "Options",
    "auth_of",
    "can_repeat",
    "max_redirects_of",
    "prepare",
    "prepare_from",
    "request_of",
    "timeouts_of",
]

_HAS_LENGTH: Final = frozenset({"POST", "PUT", "PATCH"})
"""Methods that send `Content-Length: 0` if they have no body."""
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"


class Options(TypedDict, total=False):
    """Options of every request besides its URL. Names and meanings are those of httpx, if httpx has them."""

    params: Any
    """Query parameters; they replace the query of the URL."""
    headers: Any
    """Headers for this request; they replace the user's headers of the same name."""
    cookies: Any
    """Cookies for this request, in addition to the user's."""
    auth: Any
    """(user, password), any httpx.Auth, or a function that takes the request and returns it with what it needs. Each
    request of an auth flow is a row."""
    follow_redirects: Any
    max_redirects: int
    """The most redirects of this call; by default the client's value."""
    jar: httpx.Cookies
    """The cookie jar of this call with all its redirects: these cookies are sent instead of the user's, and those that
    the answers set are stored here."""
    timeout: Any
    """Time-out for the whole call: seconds, "500ms", or None. An httpx.Timeout counts with `connect` and `read`."""
    extensions: Any
    """Accepted, but not used."""
    accept: Container[int]
    """Statuses of 400 or more that are not errors for this call."""
    discard: bool
    """Count the body of the answer, but do not keep it."""
    retries: int
    """The limit on repeats of a failed request (`retries.py`); by default the plan's value."""


class BodyOptions(Options, total=False):
    """Options of requests with a body, besides `json`."""

    content: Content | None
    """Text, bytes, `file()`, `blob()`, an open file, or an iterable or async iterable of bytes. Iterables are sent in
    chunks (Transfer-Encoding), no faster than the target accepts them."""
    data: Any
    files: Any
    """As in httpx, also with `file()` and `blob()`. Parts that are not in memory are read while they are sent."""


class AllOptions(BodyOptions, total=False):
    """Options of `request`."""

    json: Any


def prepare(
    routes: Routes,
    headers: UserHeaders | None,
    cookies: UserCookies | None,
    method: str,
    url: str,
    options: Any,
    json: Any = None,
) -> tuple[Route, bytes]:
    """Return (the route, the bytes) of a request with the user's headers and cookies and the options of the call. A
    route is a method and URL with the parts of the request that are always equal.

    Raises:
        ValueError: an invalid URL, method or header, or JSON with NaN.
        TypeError: content that is not a body, or a value that JSON does not support.
        UsageError: a file() that cannot be read.
    """
    route = _route(routes, method, url, options.get("params"))
    lines, merged = with_call_headers(headers, options.get("headers"))
    head = route.head
    given: Any = () if merged is None else merged
    if "host" in given:
        head = route.line + header_lines([(b"Host", given["host"].encode("ascii"))])
    cookie = b"" if "cookie" in given else _cookie_line(cookies, options.get("cookies"), route.url)
    own_type = None if merged is None else merged.get("content-type")
    body, body_type = _body(options, options.get("json") if json is None else json, own_type)
    parts = [head, lines, cookie]
    if "content-length" in given or "transfer-encoding" in given:
        body = _framed(body, given)
    elif isinstance(body, Upload):
        parts.append(_CHUNKED if body.length is None else b"Content-Length: %d\r\n" % body.length)
    elif body or method in _HAS_LENGTH:
        parts.append(b"Content-Length: %d\r\n" % len(body))
    if own_type is None:
        parts.append(body_type)
    parts.append(b"\r\n")
    return route, _joined(parts, body)


def prepare_from(routes: Routes, request: httpx.Request, cookies: UserCookies | None = None) -> tuple[Route, bytes]:
    """Return (the route, the bytes) of an httpx.Request, such as a redirect or a step of an auth flow, with the user's
    `cookies` added.

    Raises:
        BadRedirect: the scheme of the URL is neither http nor https.
    """
    try:
        route = routes.make_from(request.method, request.url)
    except ValueError as error:
        raise BadRedirect(str(error)) from error
    lines = header_lines(request.headers.raw)
    cookie = b"" if cookies is None else cookies.header_line(route.url)
    body = request.stream if isinstance(request.stream, Upload) else request.read()
    if not isinstance(body, Upload) and "transfer-encoding" in request.headers:
        body = _framed(body, request.headers)
    return route, _joined([route.line, lines, cookie, b"\r\n"], body)


def request_of(route: Route, data: bytes) -> httpx.Request:
    """Return the httpx.Request for a request that is given as its route and bytes. Header lines for a proxy are left
    out.
    """
    head, _, body = data.partition(b"\r\n\r\n")
    lines = [line.partition(b": ") for line in head[len(route.line) :].split(b"\r\n") if line]
    headers = [(name, value) for name, _, value in lines]
    if isinstance(data, StreamedRequest) and data.upload is not None:
        return httpx.Request(route.method, route.url, headers=headers, stream=data.upload)
    return httpx.Request(route.method, route.url, headers=headers, content=body or None)


def can_repeat(data: bytes) -> bool:
    """Return True if a request, given as its bytes, can be sent again. False if its body comes from an iterator that is
    used up.
    """
    upload = getattr(data, "upload", None)
    return upload is None or bool(upload.can_repeat)


def timeouts_of(options: Any, default: Timeouts) -> Timeouts:
    """Return the time-outs of a call: those of its option `timeout=`, or `default` if it has none."""
    value = options.get("timeout", httpx.USE_CLIENT_DEFAULT)
    if value is httpx.USE_CLIENT_DEFAULT:
        return default
    if value is None:
        return Timeouts(NEVER_NS, NEVER_NS)
    if isinstance(value, httpx.Timeout | tuple):
        value = httpx.Timeout(value)
        return Timeouts(_ns(value.connect), _ns(value.read))
    total_ns = parse_duration(value)
    return Timeouts(min(default.connect_ns, total_ns), total_ns)


def auth_of(options: Any, url: httpx.URL | str) -> httpx.Auth | None:
    """Return the authentication of a call: its option `auth=`, or else the user and password in the URL; None if it has
    neither.

    Raises:
        TypeError: `auth=` is neither a pair, nor an httpx.Auth, nor a function.
    """
    auth = options.get("auth")
    if isinstance(auth, httpx.Auth):
        return auth
    if isinstance(auth, tuple) and len(auth) == 2:
        return httpx.BasicAuth(*auth)
    if callable(auth):
        return _FunctionAuth(auth)
    if auth is not None and auth is not httpx.USE_CLIENT_DEFAULT:
        given = f"{len(auth)} values" if isinstance(auth, tuple) else type(auth).__name__
        raise TypeError(
            f'auth= must be (user, password), an httpx.Auth or a function, got {given}; write auth=("user", "password")'
        )
    if "@" in str(url):
        parsed = httpx.URL(url)
        if parsed.username or parsed.password:
            return httpx.BasicAuth(parsed.username, parsed.password)
    return None


class _FunctionAuth(httpx.Auth):
    """An auth flow of one request, which a function of the scenario completes."""

    def __init__(self, function: Callable[[httpx.Request], httpx.Request]) -> None:
        self._function = function

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        signed: object = self._function(request)
        if not isinstance(signed, httpx.Request):
            if inspect.iscoroutine(signed):
                signed.close()
            name = getattr(self._function, "__name__", "the function")
            raise UsageError(
                f"auth=: {name} returned {type(signed).__name__}, not the request",
                hint="write a plain function that changes its argument and returns it: return request",
            )
        yield signed


def max_redirects_of(given: object, default: int) -> int:
    """Return the limit on redirects of a call: its option `max_redirects=`, or `default` if it has none.

    Raises:
        UsageError: `max_redirects=` is not an integer of at least 0.
    """
    if given is None:
        return default
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise UsageError(f"invalid max_redirects={given!r}", hint="write an integer of at least 0")
    return given


def _ns(seconds: float | None) -> int:
    return NEVER_NS if seconds is None else round(seconds * NS_PER_S)


def _route(routes: Routes, method: str, url: str, params: Any) -> Route:
    if params is None:
        return routes.of(method)[url]
    routes.of(method)  # checks the method
    query = encode_query(params)
    if isinstance(url, str) and "?" not in url and "#" not in url:
        return routes.make(method, f"{url}?{query}" if query else url)
    return routes.make_from(method, httpx.URL(routes.merge(url), params=query or {}))


def _cookie_line(cookies: UserCookies | None, call: Any, url: str) -> bytes:
    if call:
        cookies = UserCookies(cookies)
        cookies.update(call)
    return b"" if cookies is None else cookies.header_line(url)


def _body(options: Any, json: Any, content_type: str | None) -> tuple[Body, bytes]:
    """Return (the body of a call, its Content-Type header line), by the same precedence of options as httpx.
    content_type: the caller's own Content-Type, if there is one.
    """
    content, data = options.get("content"), options.get("data")
    if data is not None and not isinstance(data, Mapping):
        content = data  # `requests` allowed this, and httpx still does
    if content is not None:
        return encode_content(content), b""
    if options.get("files"):
        return encode_multipart(data, options["files"], content_type)
    if data:
        return encode_form(data), FORM
    if json is not None:
        return encode_json(json), JSON
    return b"", b""


def _framed(body: Body, headers: Any) -> Body:
    """Return the body with the framing (chunked or a Content-Length) that the caller's own headers require."""
    if "transfer-encoding" in headers:
        if isinstance(body, Upload):
            return body.framed_as(is_chunked=True, length=body.length)
        return Upload(lambda: (body,), len(body), is_chunked=True)
    if isinstance(body, Upload):
        return body.framed_as(is_chunked=False, length=int(headers["content-length"]))
    return body


def _joined(parts: list[bytes], body: Body) -> bytes:
    if isinstance(body, Upload):
        return StreamedRequest.of(b"".join(parts), body)
    parts.append(body)
    return b"".join(parts)

"""The reply to a request: httpx.Response's attributes, the four times, `expect` and `pick`.

A reply is its own sample (`engine.recording.meter.Sample`). Everything that takes time
is done on first use: headers, text, decoding, JSON. Rarely used attributes come from a
real httpx.Response, which is built on first use.
"""

from __future__ import annotations

import json as _json
import re
from collections.abc import Container, Iterator, Mapping
from datetime import timedelta
from typing import Any, ClassVar, Literal, TypeVar, overload

import httpx
import msgspec

from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.protocol.connection_interface import Connection
from loadgen.clients.protocol.decoding import DecodingError, decode, is_charset
from loadgen.clients.protocol.http1 import MAX_BODY_BYTES
from loadgen.clients.protocol.outcomes import PROTOCOL, http_outcome
from loadgen.clients.protocol.response_heads import Head, RawHeaders
from loadgen.clients.request.expectation_check import check_max_ms, check_status
from loadgen.clients.request.prepare import request_of
from loadgen.clients.request.redirects import redirected
from loadgen.clients.request.request_head_cache import Route
from loadgen.clients.response.format_exchange import request_text, response_text
from loadgen.clients.response.forms import Form, Sends, form_in
from loadgen.clients.response.pick import Missing, pick_from
from loadgen.engine.recording.recorded_series import RequestSeries
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import ExpectFailed, RequestFailed
from loadgen.measure.deltas.series_key import OK, Phase
from loadgen.units import NS_PER_MS

__all__ = ["BlankReply", "Reply"]

T = TypeVar("T")

_from_json = msgspec.json.Decoder().decode


class Reply:
    """The answer to one request. HOT: made once a request, budget 0.4 µs (bench/client.py).

    Times are `perf_counter_ns`, for this request alone. After redirects, `history` holds the replies of the earlier
    hops, each a row of its own, and `call_elapsed` is the total time.
    """

    __slots__ = (
        "_client",
        "_lazy",
        "_meter",
        "_sent",
        "asked_ns",
        "body",
        "done_ns",
        "first_byte_ns",
        "head",
        "is_sampled",
        "outcome",
        "route",
        "sent_ns",
        "series",
        "size_bytes",
        "span",
        "status_code",
        "trace",
    )

    limit_bytes: ClassVar[int] = MAX_BODY_BYTES
    """Size limit of the decoded body; `reply_class_for_plan.py` makes classes with other limits."""

    def __init__(self, meter: Meter, route: Route, sent: bytes, series: RequestSeries, asked_ns: int) -> None:
        self._meter, self.route, self._sent = meter, route, sent
        self._lazy: dict[str, Any] | None = None
        self.series = series
        self.asked_ns = asked_ns
        """When the journey called the client."""
        self.sent_ns = 0
        self.first_byte_ns = 0
        self.done_ns = 0
        self.outcome: str = OK
        self.trace = ""
        """The trace id, 32 hex digits; empty unless the plan or the scenario traces requests."""
        self.size_bytes = 0
        """Bytes received in all: heads and body, as received."""
        self.span: str
        """The span id, 16 hex digits. Only set if the plan traces requests, as is `is_sampled`."""
        self.is_sampled: bool
        self.head: Head
        self.body: bytes
        """The body as received; `content` is the decoded body."""
        self.status_code: int
        self._client: Sends
        """The client that got this reply: it also sends the page's forms. Set by the client."""

    def opened(self, opening: Opening, outcome: str = OK) -> None:
        """Record how long each phase of opening a connection took for this request. If opening failed, record also the
        phase that failed, with `outcome`.
        """
        self.series.opened(opening.times, opening.failed_in(), outcome)
        self._lazily()["opening"] = opening.times

    @property
    def opening_times(self) -> Mapping[Phase, int]:
        """Return the time of each phase of opening the connection; empty if it was open already."""
        found: Mapping[Phase, int] = (self._lazy or {}).get("opening", {})
        return found

    @property
    def remote(self) -> str:
        """Return address and port of the other side of the connection; "" unless the request is sampled."""
        found: str = (self._lazy or {}).get("remote", "")
        return found

    def sent_to(self, connection: Connection) -> None:
        """Remember the other side of the connection. Called for sampled requests only: it costs 1 µs."""
        self._lazily()["remote"] = connection.remote

    def fill(self, head: Head, body: bytes, cache: Literal["fresh", "revalidated"]) -> None:
        """Make this the reply with a stored answer (`clients/caching.py`)."""
        self.head, self.body, self.status_code = head, body, head.status
        self._lazily()["cache"] = cache

    @property
    def cache(self) -> Literal["", "fresh", "revalidated"]:
        """Return where the body is from, if the plan has `Http(cache="user")`.

        "": this answer. "fresh": the user's cache, without a request. "revalidated": the cache, after a 304.
        """
        found: Literal["", "fresh", "revalidated"] = (self._lazy or {}).get("cache", "")
        return found

    # -- expectations -----------------------------------------------------------------------

    def expect(
        self,
        status: int | Container[int] | None = None,
        *,
        json: Any = None,
        text: str | re.Pattern[str] | None = None,
        header: Mapping[str, str | re.Pattern[str]] | None = None,
        max_ms: float | None = None,
    ) -> Reply:
        """Check the reply and raise if it is not as expected; return the reply, so that `pick` can follow.

        status: the expected one, or a set or range of them; a matching one makes the outcome "ok", also for 404. json:
        must be equal to the body; of objects only the given keys are compared. text: must occur in the body; a pattern
        may match anywhere. header: each must be equal, or match its pattern. max_ms: limit of the response time.

        Raises:
            ExpectFailed: a check failed. Its name, such as `expect status`, is also the outcome of the request.
            UsageError: `status` is invalid, such as "200" (a text) or 99; `max_ms` is not a number of at least 0.
        """
        code = self.status_code
        if status is not None and status != code and not _admits(status, code):
            raise self._failed("expect status", f"got {code}, expected {status}")
        if json is not None and not _contains(self._json_or_none(), json):
            raise self._failed("expect json", f"{_short(json)} not found in {self._excerpt()}")
        if text is not None:
            found = text in self.text if isinstance(text, str) else text.search(self.text)
            if not found:
                raise self._failed("expect text", f"{_short(text)} not found in {self._excerpt()}")
        if header is not None:
            for name, wanted in header.items():
                got = self.headers.get(name)
                if got is None or not (got == wanted if isinstance(wanted, str) else wanted.search(got)):
                    raise self._failed("expect header", f"{name} is {_short(got)}, expected {_short(wanted)}")
        if max_ms is not None:
            check_max_ms(max_ms)
            if self.done_ns - self.asked_ns > max_ms * NS_PER_MS:
                raise self._failed("expect time", f"{(self.done_ns - self.asked_ns) / NS_PER_MS:.1f} ms > {max_ms} ms")
        if status is not None:
            self.outcome = OK  # also for an expected 404; a failing pick may still change it
        return self

    @overload
    def pick(self, path: str) -> str: ...
    @overload
    def pick(self, path: str, kind: type[T]) -> T: ...
    def pick(self, path: str, kind: Any = str) -> Any:
        """Return a value from the answer, found by a path such as `$.token`, `css:input[name=csrf]@value`,
        `regex:id=([0-9]+)` or `header:etag`.

        kind: the type of the value; a list returns all matches, any other type the first one. Dataclasses and msgspec
        structs are allowed, too.

        Raises:
            ExpectFailed: `pick $.token`: no match, or the wrong type.
        """
        try:
            return pick_from(self, path, kind)
        except Missing as error:
            raise self._failed(f"pick {path}", f"{error}, in {self._excerpt()}") from error

    def form(self, selector: str = "form") -> Form:
        """Return a form of this HTML page, to fill in and send: `page.form("#login").submit({"user": "ann"})`.

        selector: a CSS selector; the first element that matches must be a `<form>`. Default: the first form.

        Raises:
            ExpectFailed: `form #login`: the page has no such form.
            ValueError: the selector is invalid.
        """
        try:
            return form_in(self.text, selector, self.route.url, self._client)
        except Missing as error:
            raise self._failed(f"form {selector}", f"{error}, in {self._excerpt()}") from error

    def raise_for_status(self) -> Reply:
        """Raise if the status is not 2xx; otherwise return the reply itself. The exception ends the iteration, with an
        outcome such as `http 404`.

        Raises:
            ExpectFailed: the status is not 2xx.
        """
        if not 200 <= self.status_code < 300:
            raise self._failed(http_outcome(self.status_code), f"{self.reason_phrase} for {self.route.url}")
        return self

    def _failed(self, outcome: str, detail: str) -> ExpectFailed:
        self._meter.settle_as(self, outcome)
        return ExpectFailed(outcome, f"{self.route.method} {self.route.url}: {detail}")

    def _json_or_none(self) -> Any:
        try:
            return self.json()
        except ValueError:
            return None

    def _excerpt(self) -> str:
        return _short(self.text)

    # -- httpx.Response's attributes --------------------------------------------------------

    @property
    def content(self) -> bytes:
        """Return the body of the answer as bytes, with its Content-Encoding undone.

        Raises:
            RequestFailed: `protocol`: the body does not match its Content-Encoding.
        """
        if not self.head.zipped:
            return self.body
        lazy = self._lazily()
        content: bytes | None = lazy.get("content")
        if content is None:
            try:
                content = lazy["content"] = decode(self.body, self.head.encodings, self.limit_bytes)
            except DecodingError as error:
                self._meter.settle_as(self, PROTOCOL)
                raise RequestFailed(PROTOCOL, f"{self.route.method} {self.route.url}: {error}") from error
        return content

    @property
    def text(self) -> str:
        if self._lazy is None or "text" not in self._lazy:
            content = self.content
            try:
                text = content.decode(self.encoding or "utf-8", errors="replace")
            except UnicodeError:  # a codec without error handler "replace", such as punycode
                text = content.decode("utf-8", errors="replace")
            self._lazily()["text"] = text
            return text
        return str(self._lazy["text"])

    @property
    def encoding(self) -> str | None:
        if self._lazy is not None and "encoding" in self._lazy:
            return str(self._lazy["encoding"])
        kind = self.head.get(b"content-type")
        if kind is None or b"charset" not in kind.lower():
            return "utf-8"
        encoding = self.as_httpx().encoding
        return encoding if encoding is None or is_charset(encoding) else "utf-8"

    @encoding.setter
    def encoding(self, value: str) -> None:
        lazy = self._lazily()
        if "text" in lazy:
            raise ValueError("the text was read already: set the encoding before you read it")
        lazy["encoding"] = value

    def json(self, **kwargs: Any) -> Any:
        """Return the body parsed as JSON. Keyword arguments are passed to json.loads.

        Raises:
            ValueError: the body is not JSON.
        """
        content = self.content
        if not kwargs:
            try:
                return _from_json(content)
            except ValueError:
                pass  # NaN, a byte order mark, UTF-16: json.loads accepts these, and raises the usual errors
        return _json.loads(content, **kwargs)

    @property
    def headers(self) -> httpx.Headers:
        lazy = self._lazily()
        headers: httpx.Headers | None = lazy.get("headers")
        if headers is None:
            headers = lazy["headers"] = httpx.Headers(self.head.raw)
        return headers

    @property
    def trailers(self) -> httpx.Headers:
        """Return the headers that came after the body; empty if there were none. Only HTTP/2 answers have them."""
        return httpx.Headers(self.raw_trailers)

    @property
    def raw_trailers(self) -> RawHeaders:
        """Return names and values of the trailers as received, in order."""
        found: RawHeaders = (self._lazy or {}).get("trailers", [])
        return found

    @raw_trailers.setter
    def raw_trailers(self, fields: RawHeaders) -> None:
        self._lazily()["trailers"] = fields

    @property
    def url(self) -> httpx.URL:
        return httpx.URL(self.route.url)

    @property
    def request(self) -> httpx.Request:
        """Return the request as it was sent."""
        lazy = self._lazily()
        request: httpx.Request | None = lazy.get("request")
        if request is None:
            request = lazy["request"] = request_of(self.route, self._sent)
        return request

    @property
    def history(self) -> list[Reply]:
        history: list[Reply] = self._lazily().setdefault("history", [])
        return history

    @property
    def cookies(self) -> httpx.Cookies:
        """Return the cookies that this answer sets."""
        return self.as_httpx().cookies

    @property
    def reason_phrase(self) -> str:
        return self.head.reason.decode("ascii", errors="ignore")

    @property
    def http_version(self) -> str:
        return "HTTP/" + self.head.http_version

    @property
    def charset_encoding(self) -> str | None:
        return self.as_httpx().charset_encoding

    @property
    def links(self) -> dict[str | None, dict[str, str]]:
        return self.as_httpx().links

    @property
    def next_request(self) -> httpx.Request | None:
        """Return the request that would follow this redirect, without cookies; None if the answer is not a redirect."""
        if not self.has_redirect_location:
            return None
        return redirected(self.request, self.status_code, self.headers["location"])

    @property
    def elapsed(self) -> timedelta:
        """Return the time from sending this request to the end of its answer, without earlier redirects, as
        httpx does.
        """
        return timedelta(microseconds=(self.done_ns - self.sent_ns) / 1000)

    @property
    def call_elapsed(self) -> timedelta:
        """Return the time from the journey's call to the end of the answer, including all its redirects."""
        first = self.history[0] if self.history else self
        return timedelta(microseconds=(self.done_ns - first.asked_ns) / 1000)

    @property
    def num_bytes_downloaded(self) -> int:
        """Return the size of the body in bytes, as received."""
        return len(self.body)

    @property
    def extensions(self) -> dict[str, Any]:
        return {"http_version": self.http_version.encode("ascii"), "reason_phrase": self.head.reason}

    @property
    def is_informational(self) -> bool:
        return 100 <= self.status_code < 200

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300

    @property
    def is_redirect(self) -> bool:
        return 300 <= self.status_code < 400

    @property
    def is_client_error(self) -> bool:
        return 400 <= self.status_code < 500

    @property
    def is_server_error(self) -> bool:
        return 500 <= self.status_code < 600

    @property
    def is_error(self) -> bool:
        return 400 <= self.status_code < 600

    @property
    def has_redirect_location(self) -> bool:
        return self.status_code in (301, 302, 303, 307, 308) and self.head.get(b"location") is not None

    @property
    def is_closed(self) -> bool:
        return True

    @property
    def is_stream_consumed(self) -> bool:
        return True

    def read(self) -> bytes:
        return self.content

    async def aread(self) -> bytes:
        return self.content

    def close(self) -> None:
        """Do nothing, because the whole answer has been received."""

    async def aclose(self) -> None:
        """Do nothing, because the whole answer has been received."""

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        return self.as_httpx().iter_bytes(chunk_size)

    def iter_text(self, chunk_size: int | None = None) -> Iterator[str]:
        return self.as_httpx().iter_text(chunk_size)

    def iter_lines(self) -> Iterator[str]:
        return self.as_httpx().iter_lines()

    def as_httpx(self) -> httpx.Response:
        """Return an httpx.Response with the same answer, for code that needs one or for rarely used attributes."""
        lazy = self._lazily()
        response: httpx.Response | None = lazy.get("httpx")
        if response is None:
            # `content` is decoded already; with these headers httpx would decode it once more.
            raw = [(n, v) for n, v in self.head.raw if n.lower() not in (b"content-encoding", b"transfer-encoding")]
            response = lazy["httpx"] = httpx.Response(
                self.status_code, headers=raw, content=self.content, request=self.request
            )
        return response

    def exchange(self) -> tuple[str, str]:
        """Return (request, response) as texts in which secrets are not masked (`format_exchange.py`). Without an answer
        the second text is "".

        Costs some 20 µs, so call it only for the few exchanges that are stored.
        """
        head: Head | None = getattr(self, "head", None)
        if head is None:
            return request_text(self._sent), ""
        content: bytes | None = None if self._lazy is None else self._lazy.get("content")
        if content is not None:
            return request_text(self._sent), response_text(head, content, is_unpacked=True)
        return request_text(self._sent), response_text(
            head, getattr(self, "body", None), path=self._path, trailers=self.raw_trailers
        )

    @property
    def _path(self) -> str:
        """Return the path of the request as it was sent, with its query."""
        return self._sent.partition(b" ")[2].partition(b" ")[0].decode("latin-1")

    def _lazily(self) -> dict[str, Any]:
        lazy = self._lazy
        if lazy is None:
            lazy = self._lazy = {}
        return lazy

    def __repr__(self) -> str:
        try:
            return f"<Reply [{self.status_code} {self.reason_phrase}]>"
        except AttributeError:
            return f"<Reply [{self.outcome}]>"


class BlankReply(Reply):
    """A reply whose fields the fast path of the client sets itself, all that `Reply.__init__` sets.

    A call of `Reply` runs its `__init__` in a new loop of the interpreter. Without that call, a request over HTTP/1.1
    takes 2 % fewer instructions.
    """

    __slots__ = ()

    __init__ = object.__init__


def _admits(status: int | Container[int], code: int) -> bool:
    """Return True if `code` is among the expected statuses.

    Raises:
        UsageError: `status` is not a valid expectation.
    """
    if not isinstance(status, int | str) and isinstance(status, Container) and code in status:
        return True
    check_status("expect", status)
    return False


def _contains(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(key in found and _contains(found[key], value) for key, value in wanted.items())
    return bool(found == wanted)


def _short(value: object, limit: int = 200) -> str:
    text = value if isinstance(value, str) else repr(value)
    return repr(text if len(text) <= limit else text[:limit] + " ...")

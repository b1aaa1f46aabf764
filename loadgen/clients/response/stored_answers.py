"""The answers that one user keeps, as a browser's HTTP cache does (RFC 9111, a private cache). Pure: no clock, no I/O.

The cache keeps answers to GET with status 200 that have a lifetime (`Cache-Control: max-age`, `Expires`) or a validator
(`ETag`, `Last-Modified`). Two rules differ from browsers. Lifetimes are never guessed from `Last-Modified`: an answer
without an explicit lifetime is revalidated each time. No clock of the target is compared with the agent's: the age of
an answer is its `Age` header and the time since its request was sent.

Times are `perf_counter_ns`. docs/decisions/105-cache-of-each-user.md has the reasons.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urljoin, urlsplit
from weakref import WeakValueDictionary

from loadgen.clients.protocol.response_heads import Head
from loadgen.units import NS_PER_S

__all__ = [
    "MOST_ANSWERS",
    "MOST_BYTES",
    "Body",
    "StoredAnswer",
    "StoredAnswers",
    "asks_for_revalidation",
    "may_use_cache",
]

MOST_BYTES: Final = 4 << 20
"""The most bytes of bodies and heads that one user keeps."""
MOST_ANSWERS: Final = 500
"""The most answers that one user keeps."""

_MOST_LIFETIME_S: Final = 1 << 31
"""RFC 9111, section 1.2.2: a larger number of seconds counts as this one."""
_HEAD_BYTES: Final = 1_000
"""The size of an answer beside its body, roughly."""
_DIRECTIVE: Final = re.compile(rb'([\w!#$%&\'*+.^`|~-]+)(?:=(?:"((?:[^"\\]|\\.)*)"|([^,\s"]*)))?')
_KEPT_BY_304: Final = frozenset(
    b"connection content-encoding content-length content-range content-type keep-alive proxy-authenticate "
    b"proxy-authentication-info set-cookie te trailer transfer-encoding upgrade".split()
)
"""Headers of a 304 that do not replace those of the stored answer, as in Chrome."""


class Body:
    """A body that equal answers of several users share."""

    __slots__ = ("__weakref__", "content")

    def __init__(self, content: bytes) -> None:
        self.content = content


_BODIES: WeakValueDictionary[str, Body] = WeakValueDictionary()
"""The last body of each URL, for all users of this worker: a page that 1,000 users keep is in memory once."""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """One answer.

    head: without Set-Cookie. fresh_until_ns: from then on it is revalidated. vary: the request headers that `Vary`
    names, with their values. validators: the header lines that ask whether the answer has changed; empty if it has
    none.
    """

    head: Head
    body: Body
    fresh_until_ns: int
    vary: tuple[tuple[bytes, bytes], ...]
    validators: bytes

    @property
    def size_bytes(self) -> int:
        """The part of the limit of a user that this answer takes."""
        return len(self.body.content) + _HEAD_BYTES


class StoredAnswers:
    """The answers of one user, by URL; the least recently used are dropped first.

    Like Chrome's cache, it has one answer for a URL: if a header that `Vary` names has another value, the answer is not
    used, and the next one replaces it.
    """

    __slots__ = ("_answers", "_most_bytes", "size_bytes")

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._answers: OrderedDict[str, StoredAnswer] = OrderedDict()
        self._most_bytes = most_bytes
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, url: str, request: bytes) -> StoredAnswer | None:
        """Return the stored answer for a request; None without one, or if its `Vary` does not fit."""
        key = _key(url)
        found = self._answers.get(key)
        if found is None:
            return None
        if found.vary:
            headers = _headers_of(request)
            if any(headers.get(name, b"") != value for name, value in found.vary):
                return None
        self._answers.move_to_end(key)
        return found

    def store(self, url: str, request: bytes, head: Head, body: bytes, asked_ns: int) -> StoredAnswer | None:
        """Store an answer to GET if it may be stored, and return it. An older answer of the URL is removed in any case.

        request: as sent. asked_ns: when it was sent.
        """
        key = _key(url)
        self._remove(key)
        fields = _joined(head.raw)
        control = _directives_in(fields.get(b"cache-control", b""))
        vary = sorted({part.strip().lower() for part in fields.get(b"vary", b"").split(b",")} - {b""})
        if head.status != 200 or b"no-store" in control or b"*" in vary:
            return None
        if b"no-store" in _directives_in(_headers_of(request).get(b"cache-control", b"")):
            return None
        lifetime_ns, validators = _lifetime_ns(fields, control), _validators(fields)
        if not lifetime_ns and not validators:
            return None
        headers = _headers_of(request) if vary else {}
        shared = _BODIES.get(key)
        if shared is None or shared.content != body:
            shared = _BODIES[key] = Body(body)
        stored = StoredAnswer(
            _with_fields(head, [field for field in head.raw if field[0].lower() != b"set-cookie"])
            if head.sets_cookie
            else head,
            shared,
            asked_ns + lifetime_ns,
            tuple((name, headers.get(name, b"")) for name in vary),
            validators,
        )
        self._put(key, stored)
        return stored

    def freshen(self, url: str, stored: StoredAnswer, head: Head, asked_ns: int) -> StoredAnswer:
        """Return the stored answer with the headers of a 304, and store it (RFC 9111, section 4.3.4)."""
        key = _key(url)
        news = [field for field in head.raw if field[0].lower() not in _KEPT_BY_304]
        names = {name.lower() for name, _ in news}
        merged = _with_fields(stored.head, [*(f for f in stored.head.raw if f[0].lower() not in names), *news])
        fields = _joined(merged.raw)
        control = _directives_in(fields.get(b"cache-control", b""))
        found = replace(
            stored,
            head=merged,
            fresh_until_ns=asked_ns + _lifetime_ns(fields, control),
            validators=_validators(fields),
        )
        self._remove(key)
        if b"no-store" not in control:
            self._put(key, found)
        return found

    def invalidate(self, url: str, head: Head) -> None:
        """Remove the answers that a successful POST, PUT, PATCH or DELETE of a URL makes invalid.

        These are the answer of this URL, and those of its Location and Content-Location on the same host (RFC 9111,
        section 4.4).
        """
        self._remove(_key(url))
        for name in (b"location", b"content-location"):
            if place := head.get(name):
                try:
                    other = urljoin(url, place.decode("latin-1"))
                    is_same_host = urlsplit(other)[:2] == urlsplit(url)[:2]
                except ValueError:  # no URL, such as http://[
                    continue
                if is_same_host:
                    self._remove(_key(other))

    def _put(self, key: str, stored: StoredAnswer) -> None:
        if stored.size_bytes > self._most_bytes:
            return
        self._answers[key] = stored
        self.size_bytes += stored.size_bytes
        while self.size_bytes > self._most_bytes or len(self._answers) > MOST_ANSWERS:
            self.size_bytes -= self._answers.popitem(last=False)[1].size_bytes

    def _remove(self, key: str) -> None:
        if (old := self._answers.pop(key, None)) is not None:
            self.size_bytes -= old.size_bytes


def may_use_cache(request: bytes) -> bool:
    """Return False for a request that has conditions or a range of its own: such a request is sent as it is."""
    lower = request.lower()
    return not any(name in lower for name in (b"\r\nif-", b"\r\nrange:"))


def asks_for_revalidation(request: bytes) -> bool:
    """Return True if the request itself asks for a revalidation: `Cache-Control: no-cache` or `max-age=0`."""
    headers = _headers_of(request)
    control = _directives_in(headers.get(b"cache-control", b""))
    if not control:
        return b"no-cache" in headers.get(b"pragma", b"").lower()
    return b"no-cache" in control or b"no-store" in control or control.get(b"max-age") == b"0"


def _validators(fields: Mapping[bytes, bytes]) -> bytes:
    lines = b""
    if etag := fields.get(b"etag"):
        lines += b"If-None-Match: " + etag + b"\r\n"
    if modified := fields.get(b"last-modified"):
        lines += b"If-Modified-Since: " + modified + b"\r\n"
    return lines


def _key(url: str) -> str:
    return url.partition("#")[0]


def _with_fields(head: Head, raw: list[tuple[bytes, bytes]]) -> Head:
    return Head(head.status, head.reason, head.http_version, raw, head.keep_alive)


def _headers_of(request: bytes) -> dict[bytes, bytes]:
    """Return the headers of a request, as `_joined` does."""
    lines = request.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    return _joined((name.strip(), value.strip()) for name, _, value in (line.partition(b":") for line in lines))


def _joined(raw: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return headers by name in lower case; the values of equal names are joined."""
    found: dict[bytes, bytes] = {}
    for name, value in raw:
        name = name.lower()
        found[name] = found[name] + b", " + value if name in found else value
    return found


def _directives_in(text: bytes) -> dict[bytes, bytes]:
    """Return the directives of a Cache-Control header in lower case, with values. The first of equal ones counts."""
    found: dict[bytes, bytes] = {}
    for match in _DIRECTIVE.finditer(text):
        name, quoted, plain = match.groups()
        found.setdefault(name.lower(), quoted if quoted is not None else plain or b"")
    return found


def _lifetime_ns(fields: Mapping[bytes, bytes], control: Mapping[bytes, bytes]) -> int:
    """Return how long an answer is fresh after its request was sent, in ns; 0 if it must be revalidated at once."""
    if b"no-cache" in control:
        return 0
    lifetime_s = _seconds(control[b"max-age"]) if b"max-age" in control else _until_expiry_s(fields)
    return max(0, lifetime_s - _seconds(fields.get(b"age", b""))) * NS_PER_S


def _until_expiry_s(fields: Mapping[bytes, bytes]) -> int:
    """Return the time from Date to Expires. Both are the target's, so its clock may be wrong."""
    expires, date = fields.get(b"expires"), fields.get(b"date")
    if expires is None or date is None:
        return 0
    try:
        end, begin = (parsedate_to_datetime(text.decode("latin-1")) for text in (expires, date))
        return min(_MOST_LIFETIME_S, int((end - begin).total_seconds()))
    except (ValueError, TypeError, OverflowError):  # such as Expires: 0, which means: expired
        return 0


def _seconds(text: bytes) -> int:
    """Return a number of seconds; 0 if it is invalid, because such an answer counts as stale (section 4.2.1)."""
    text = text.strip()
    if not text.isdigit():
        return 0
    return _MOST_LIFETIME_S if len(text) > 10 else min(_MOST_LIFETIME_S, int(text))

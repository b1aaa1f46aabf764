"""Request headers: a user's own, kept as the bytes they become, and what must not be in them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import httpx

from loadgen.clients.protocol.decoding import ACCEPTED

__all__ = ["DEFAULT_LINES", "UserHeaders", "header_lines", "with_call_headers"]

_DEFAULTS: Final = {
    "Accept": "*/*",
    "Accept-Encoding": ACCEPTED,
    "Connection": "keep-alive",
    "User-Agent": "loadgen",
}
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[^\0\r\n]*")


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """`Name: value` lines, each with its CRLF.

    Raises:
        ValueError: a name that is no token, or a value with CR, LF or NUL, which would be a second header.
    """
    lines = []
    for name, value in headers:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no header name")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"the header {name.decode()} may hold neither CR, LF nor NUL: {value!r}")
        lines.append(b"%b: %b\r\n" % (name, value.strip(b" \t")))
    return b"".join(lines)


DEFAULT_LINES: Final = header_lines((k.encode(), v.encode()) for k, v in _DEFAULTS.items())


_THOUGHT: Final = frozenset({b"host", b"content-type", b"content-length", b"transfer-encoding", b"cookie"})
"""Headers that change what else is sent."""


class UserHeaders(httpx.Headers):
    """Headers that go with each request of one user: httpx.Headers that tell when they change."""

    def __init__(self, headers: Any = None) -> None:
        super().__init__(headers)
        self._is_rendered = False
        self._lines: bytes | None = None
        self.names: frozenset[bytes] = frozenset()
        """In lower case, as of the last `plain_lines`."""

    @classmethod
    def default(cls) -> UserHeaders:
        return cls(_DEFAULTS)

    def plain_lines(self) -> bytes | None:
        """As bytes, rendered again only when they changed; None if one of them changes what else is sent.

        Raises:
            ValueError: see `header_lines`.
        """
        if not self._is_rendered:
            raw = self.raw
            lines = header_lines(raw)
            self.names = frozenset(name.lower() for name, _ in raw)
            self._lines = None if self.names & _THOUGHT else lines
            self._is_rendered = True
        return self._lines

    def update(self, headers: Any = None) -> None:  # type: ignore[override]
        self._is_rendered = False
        super().update(headers)

    def __setitem__(self, key: str, value: str) -> None:
        self._is_rendered = False
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self._is_rendered = False
        super().__delitem__(key)


def with_call_headers(mine: UserHeaders | None, call: Any) -> tuple[bytes, httpx.Headers | None]:
    """The lines of a user's headers and those of one call, and the merged headers where they need thought.

    A call's header replaces the user's of the same name, as in httpx. Of the merged headers, Host is not
    among the lines.
    """
    user = UserHeaders.default() if mine is None else mine
    lines = user.plain_lines()
    if lines is not None and type(call) is dict and not any(_is_known(name, user.names) for name in call):
        return lines + header_lines((_bytes(n), _bytes(v)) for n, v in call.items()), None
    merged = httpx.Headers(user)
    if call is not None:
        merged.update(call)
    return header_lines((n, v) for n, v in merged.raw if n.lower() != b"host"), merged


def _is_known(name: str | bytes, names: frozenset[bytes]) -> bool:
    lower = _bytes(name).lower()
    return lower in names or lower in _THOUGHT


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("ascii")

"""Request headers: a user's headers, cached as bytes, and the check for forbidden characters."""

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
    """Return the headers as bytes: lines `Name: value`, each with its CRLF.

    Raises:
        ValueError: a name is not a token, or a value contains CR, LF or NUL, which could add a second header.
    """
    lines = []
    for name, value in headers:
        if not _NAME.fullmatch(name):
            raise ValueError(f"invalid header name {name!r}")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"the header {name.decode()} must not contain CR, LF or NUL: {value!r}")
        lines.append(b"%b: %b\r\n" % (name, value.strip(b" \t")))
    return b"".join(lines)


DEFAULT_LINES: Final = header_lines((k.encode(), v.encode()) for k, v in _DEFAULTS.items())


_AFFECTS_OTHERS: Final = frozenset({b"host", b"content-type", b"content-length", b"transfer-encoding", b"cookie"})
"""Headers that change which other headers are sent, so the fast path cannot be used."""


class UserHeaders(httpx.Headers):
    """The headers of each request of one user: httpx.Headers that record whether they changed."""

    def __init__(self, headers: Any = None) -> None:
        super().__init__(headers)
        self._is_rendered = False
        self._lines: bytes | None = None
        self.names: frozenset[bytes] = frozenset()
        """The names in lower case, at the time of the last `plain_lines`."""

    @classmethod
    def default(cls) -> UserHeaders:
        return cls(_DEFAULTS)

    def plain_lines(self) -> bytes | None:
        """Return these headers as lines of bytes, cached until a change. Return None if a header, such as Host, also
        affects other parts of the request, so that the slower `prepare` must write it.

        Raises:
            ValueError: see `header_lines`.
        """
        if not self._is_rendered:
            raw = self.raw
            lines = header_lines(raw)
            self.names = frozenset(name.lower() for name, _ in raw)
            self._lines = None if self.names & _AFFECTS_OTHERS else lines
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
    """Return (the header lines of a user and one call, the merged headers). A call's header replaces the user's header
    of the same name, as in httpx.

    The second value is None if the two sets can simply follow each other. Otherwise the lines leave out Host.
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
    return lower in names or lower in _AFFECTS_OTHERS


def _bytes(text: str | bytes) -> bytes:
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str):
        raise TypeError(f'a header must be a text, got {text!r}; write "{text}"')
    return text.encode("ascii")

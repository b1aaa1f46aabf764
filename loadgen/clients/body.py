"""Request bodies and query strings, as httpx encodes them, quicker where that is easy."""

from __future__ import annotations

import json as _json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import httpx
import msgspec

__all__ = ["FORM", "JSON", "encode_form", "encode_json", "encode_multipart", "encode_query"]

JSON: Final = b"Content-Type: application/json\r\n"
FORM: Final = b"Content-Type: application/x-www-form-urlencoded\r\n"

_quick = msgspec.json.Encoder().encode
_exact = _json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_SAME = frozenset({str, int, bool, type(None)})


def encode_json(value: Any) -> bytes:
    """JSON as httpx writes it: compact, UTF-8, no NaN.

    msgspec is six times as quick and writes the same bytes for strings, integers and their lists and
    objects, but other ones for floats (1e16, NaN) and keys that are no strings, so those go the long way.
    """
    if _is_same(value):
        try:
            return _quick(value)
        except (OverflowError, ValueError, TypeError):
            pass  # an integer beyond 64 bits, a lone surrogate: the long way knows what to say
    return _exact(value).encode("utf-8")


def _is_same(value: Any) -> bool:
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str or (type(item) not in _SAME and not _is_same(item)):
                return False
        return True
    if kind is list or kind is tuple:
        return all(type(item) in _SAME or _is_same(item) for item in value)
    return kind in _SAME


def encode_form(data: Mapping[str, Any]) -> bytes:
    """`a=1&b=2`, lists as repeated keys, None as nothing, booleans in lower case."""
    pairs: list[tuple[str, str]] = []
    for key, value in data.items():
        for item in value if isinstance(value, list | tuple) else (value,):
            pairs.append((key, _text(item)))
    return urlencode(pairs).encode("utf-8")


def encode_multipart(data: Mapping[str, Any] | None, files: Any) -> tuple[bytes, bytes]:
    """Body and header line of a form with files, by httpx itself."""
    request = httpx.Request("POST", "http://multipart.invalid", data=data, files=files)
    return request.read(), b"Content-Type: " + request.headers["content-type"].encode("ascii") + b"\r\n"


def encode_query(params: Any) -> str:
    """A query string without its `?`; mappings, pairs and text, as httpx.QueryParams takes them."""
    if type(params) is dict:
        pairs: list[tuple[str, str]] = []
        for key, value in params.items():
            for item in value if isinstance(value, list | tuple) else (value,):
                pairs.append((key, _text(item)))
        return urlencode(pairs)
    return str(httpx.QueryParams(params))


def _text(value: Any) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    return "" if value is None else str(value)

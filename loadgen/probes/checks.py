"""Checks of settings that several kinds of probes have: URLs, names of secrets, headers and labels. Pure.

A check yields (key, message, hint) for each error. A message never has a value that may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from loadgen.hostport import of_url
from loadgen.probes.spec import SecretName
from loadgen.redact import is_secret_name

__all__ = ["Wrong", "auth_wrongs", "list_of_texts", "secret_wrongs", "text_wrongs", "url_wrongs"]

_SECRET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_FIXED_HEADERS: Final = frozenset(("host", "accept", "accept-encoding", "connection", "content-length", "user-agent"))

Wrong = tuple[str, str, str]
"""The key with the error, the message and the hint."""


def auth_wrongs(values: Mapping[str, Any]) -> Iterator[Wrong]:
    """Check `auth_secret` and `auth_header`."""
    secret, header = values.get("auth_secret"), values.get("auth_header")
    if secret is not None and (not isinstance(secret, str) or not _SECRET.fullmatch(secret)):
        # The value is not shown: it may be the secret itself.
        hint = 'write a name such as "metrics-login"; its value is in LOADGEN_SECRET_METRICS_LOGIN'
        yield "auth_secret", "auth_secret is not the name of a secret", hint
    if header is None:
        return
    if not isinstance(header, str) or not _HEADER.fullmatch(header) or header.lower() in _FIXED_HEADERS:
        yield "auth_header", "auth_header is not the name of a header", 'write auth_header="X-Api-Key"'


def secret_wrongs(key: str, value: object, example: str) -> Iterator[Wrong]:
    """Check a setting such as `password = { secret = "shopdb-password" }`; None is fine."""
    name = value.get("secret") if isinstance(value, Mapping) and set(value) == {"secret"} else None
    if isinstance(value, SecretName):
        name = value.secret
    if value is not None and (not isinstance(name, str) or not _SECRET.fullmatch(name)):
        yield key, f"{key} is not the name of a secret", f'write {key} = {{ secret = "{example}" }}'


def url_wrongs(
    url: object, example: str = "http://10.0.0.7:8000/metrics", what: str = "the URL of the metrics page"
) -> Iterator[Wrong]:
    """Check `url`: http or https, without credentials."""
    hint = f'write "{example}"'
    if not isinstance(url, str) or not url:
        yield "url", f"url: {what} is missing" if not url else f"url: {url!r} is not a URL", hint
        return
    try:
        parts = urlsplit(url)
        host, port = of_url(parts)
    except ValueError:
        yield "url", "url: not a URL with a valid host and port", hint
        return
    if parts.username is not None or parts.password is not None:
        # The URL is not shown: it has a password.
        yield (
            "url",
            "url: the URL contains credentials, which would be stored with the results",
            "write auth_secret instead",
        )
    elif parts.scheme not in ("http", "https") or not host or port == 0 or not url.isprintable() or " " in url:
        yield "url", f"url: {url[:200]!r} is not an http or https URL", hint
    if parts.fragment or any(is_secret_name(key) for key, _ in parse_qsl(parts.query, keep_blank_values=True)):
        yield "url", "url: the URL has a fragment, or a query with a secret", "remove it, or write auth_secret instead"


def text_wrongs(key: str, value: object, pattern: re.Pattern[str], what: str, hint: str) -> Iterator[Wrong]:
    """Check a text against a pattern; None is fine. what: completes "... is not"."""
    if value is not None and (not isinstance(value, str) or not pattern.fullmatch(value)):
        yield key, f"{key}: {str(value)[:60]!r} is not {what}", hint


def list_of_texts(value: object) -> list[str] | None:
    """Return a list or tuple of texts as a list; [] for None, and None for anything else."""
    if value is None:
        return []
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        return None
    return list(value)

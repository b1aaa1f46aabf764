"""Where spans are sent: parses `export="otlp:URL"`, and lists what is wrong with it. Opens nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlsplit

from loadgen.hostport import of_url

__all__ = ["EXPORT_HINT", "Endpoint", "endpoint_of", "wrong_with"]

EXPORT_HINT: Final = 'write export="otlp:http://127.0.0.1:4318"'
_KIND: Final = "otlp:"
_SECRET: Final = re.compile(r"token|passw|secret|api_?key|^[pu]$|^auth", re.IGNORECASE)
_AUTH_HINT: Final = 'write export_auth=secret("otlp-token"), which is sent in the header Authorization'
_PORTS: Final = {"http": 80, "https": 443}


class Endpoint(NamedTuple):
    """A receiver of OTLP over HTTP. path: with the query."""

    is_tls: bool
    host: str
    port: int
    path: str

    @property
    def shown(self) -> str:
        """Return the address for messages, without path and query."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_tls else 'http'}://{host}:{self.port}"


def endpoint_of(text: str) -> Endpoint:
    """Return the receiver of a text without errors (`wrong_with`): "otlp:https://otlp.example/v1/traces".

    Without a path it is /v1/traces, as OpenTelemetry specifies for a base URL.

    Raises:
        ValueError: the host or port is invalid.
    """
    url = urlsplit(text.removeprefix(_KIND))
    host, port = of_url(url)
    path = "/v1/traces" if url.path in ("", "/") else url.path
    return Endpoint(
        url.scheme == "https", host, port or _PORTS.get(url.scheme, 0), f"{path}?{url.query}" if url.query else path
    )


def wrong_with(text: object) -> Iterator[tuple[str, str]]:
    """Yield each error of a setting `export` as (message, what to write instead)."""
    if not isinstance(text, str) or not text.startswith(_KIND):
        shown = text.partition(":")[0][:20] if isinstance(text, str) else type(text).__name__
        yield f'must be "otlp:" and a URL, got {shown!r}', EXPORT_HINT
        return
    try:
        url = urlsplit(text.removeprefix(_KIND))
        if not url.netloc:
            raise ValueError("no host")
        port = of_url(url).port
    except ValueError as error:
        yield f"invalid URL: {error}", EXPORT_HINT
        return
    if url.scheme not in ("http", "https") or port == 0:
        yield "a URL with http or https, and with a port above 0, is required", EXPORT_HINT
    if not text.isascii() or not text.isprintable() or " " in text:
        yield "the URL must be printable ASCII without spaces", EXPORT_HINT
    yield from _secrets(url)
    if url.fragment:
        yield "a # has no meaning here", EXPORT_HINT


def _secrets(url: SplitResult) -> Iterator[tuple[str, str]]:
    if url.username is not None or url.password is not None:
        yield "the URL contains a user or password, which others could see", _AUTH_HINT
    for name, _ in parse_qsl(url.query, keep_blank_values=True):
        if _SECRET.search(name):
            yield f'"{name[:40]}" in the URL is a secret that others would see', _AUTH_HINT

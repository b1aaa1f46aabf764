"""Names and attributes of the spans of requests, by OpenTelemetry's semantic conventions for HTTP clients 1.23."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from loadgen.engine.tracing.client_spans import Request
from loadgen.hostport import of_url
from loadgen.measure.deltas.series_key import OK

__all__ = ["error_type", "request_of"]

_PORTS: Final = {"http": 80, "https": 443}
_HTTP: Final = "http "
"""Prefix of the outcomes of answers with an error status: "http 503"."""


def error_type(outcome: str, status: int) -> str:
    """Return the attribute `error.type`: the status of an answer that failed by it, else the outcome; "" for ok."""
    if outcome == OK:
        return ""
    return str(status) if status and outcome.startswith(_HTTP) else outcome


def request_of(sample: Any) -> Request | None:
    """Return what a span contains of a client's sample; None if it has no URL, like the failed attempt of a retry.

    A failed attempt has the ids of the request that is sent again, whose span covers it.
    """
    route = getattr(sample, "route", None)
    if route is None:
        return None
    url = getattr(route, "url", None)
    if url is None:  # of httpx: the route is the sample itself, which has the request
        request = sample.request
        method, url = request.method, str(request.url)
    else:
        method = route.method
    try:
        status = sample.status_code or 0
    except AttributeError:  # no answer came
        status = 0
    without_query, host, port = _parts(url.partition("?")[0].partition("#")[0])
    return Request(method, without_query, host, port, status)


@lru_cache(4_096)
def _parts(url: str) -> tuple[str, str, int]:
    """Return a URL without user and password, its host and its port."""
    try:
        parts = urlsplit(url)
        host, port = of_url(parts)
    except ValueError:
        return "", "", 0
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return plain, host, port or _PORTS.get(parts.scheme, 0)

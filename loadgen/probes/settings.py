"""Checks the settings of a probe: from `probes=` of a plan, from `[probes.NAME]` of `loadgen.toml`, or from a client.

    [probes.vllm]
    url = "http://10.0.0.7:8000/metrics"
    preset = "vllm"                      # or metrics = ["http_requests_total"]
    every = "1s"
    auth_secret = "metrics-login"        # the name of a secret, never its value
    auth_header = "Authorization"

All errors are reported together, so that one wrong key does not hide another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import msgspec

from loadgen.hostport import of_url
from loadgen.probes.presets import PRESETS, Row, row_of_metric
from loadgen.redact import is_secret_name
from loadgen.units import NS_PER_MS, NS_PER_S, parse_duration

__all__ = ["PROBES_MOST", "ProbeSpec", "names_wrong", "place_of", "probe_of", "wrongs_of"]

PROBES_MOST: Final = 16
_METRICS_MOST: Final = 50
_EVERY_NS: Final = (200 * NS_PER_MS, 3_600 * NS_PER_S)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
_SECRET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,255}")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_FIXED_HEADERS: Final = frozenset(("host", "accept", "accept-encoding", "connection", "content-length", "user-agent"))
_SUFFIX: Final = re.compile(r"_(bucket|total)$")
_KEYS: Final = ("url", "preset", "metrics", "every", "auth_secret", "auth_header")

_Wrong = tuple[str, str, str]
"""The key with the error, the message and the hint."""


class ProbeSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One probe of a plan, checked. Secrets are names."""

    name: str
    url: str
    preset: str = ""
    metrics: tuple[str, ...] = ()
    """Names of metrics besides those of the preset."""
    every_ns: int = NS_PER_S
    auth_secret: str = ""
    """The name of the secret whose value is sent in `auth_header`; empty: the header is not sent."""
    auth_header: str = "Authorization"

    @property
    def rows(self) -> tuple[Row, ...]:
        """Return the rows of the preset, then one for each named metric."""
        return (*PRESETS.get(self.preset, ()), *map(row_of_metric, self.metrics))


def probe_of(name: object, given: Mapping[str, Any]) -> tuple[ProbeSpec | None, list[_Wrong]]:
    """Return the probe with these settings, or None and all errors in them as (key, message, hint).

    given: values as written, by key. Values of None count as absent.
    """
    values = {key: value for key, value in given.items() if value is not None}
    wrong = list(_wrongs(name, values))
    if wrong:
        return None, wrong
    preset = values.get("preset", "")
    metrics = tuple(dict.fromkeys(_SUFFIX.sub("", one) for one in values.get("metrics", ())))
    return (
        ProbeSpec(
            name=str(name or preset or "metrics"),
            url=values["url"],
            preset=preset,
            metrics=metrics,
            every_ns=parse_duration(values.get("every", "1s")),
            auth_secret=values.get("auth_secret", ""),
            auth_header=values.get("auth_header", "Authorization"),
        ),
        [],
    )


def names_wrong(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (message, hint) for names that occur twice, and for too many probes."""
    given = list(names)
    for twice in sorted({name for name in given if given.count(name) > 1}):
        yield f'two probes are named "{twice}"', "give one of them another name="
    if len(given) > PROBES_MOST:
        yield f"{len(given)} probes, but at most {PROBES_MOST} are possible", "remove some of them"


def wrongs_of(spec: ProbeSpec) -> Iterator[str]:
    """Yield a message for each error in a probe that another process has sent."""
    values: dict[str, Any] = {**msgspec.structs.asdict(spec), "every": spec.every_ns / NS_PER_S}
    for key in ("name", "every_ns", *(key for key in ("preset", "metrics", "auth_secret") if not values[key])):
        del values[key]
    yield from (message for _, message, _ in _wrongs(spec.name, values))


def place_of(url: str) -> tuple[str, int]:
    """Return host and port of a checked URL."""
    parts = urlsplit(url)
    host, port = of_url(parts)
    return host, port or (443 if parts.scheme == "https" else 80)


def _wrongs(name: object, values: Mapping[str, Any]) -> Iterator[_Wrong]:
    if name and (not isinstance(name, str) or not _NAME.fullmatch(name)):
        yield "name", f"name: {str(name)[:40]!r} is not a valid name of a probe", "use letters, digits, -, _ and dots"
    for key in values:
        if key not in _KEYS:
            yield key, f"unknown key {key}", f"use {', '.join(_KEYS)}"
    yield from _url_wrongs(values.get("url"))
    yield from _rows_wrongs(values.get("preset"), values.get("metrics", ()))
    every = values.get("every", "1s")
    try:
        if isinstance(every, bool) or not isinstance(every, str | int | float):
            raise ValueError(f"{every!r} is not a duration")
        if not _EVERY_NS[0] <= parse_duration(every) <= _EVERY_NS[1]:
            raise ValueError(f"{every} is out of range: must be from 200 ms to 1 h")
    except (ValueError, OverflowError) as error:
        yield "every", f"every: {error}", 'write every="1s"'
    yield from _auth_wrongs(values)


def _auth_wrongs(values: Mapping[str, Any]) -> Iterator[_Wrong]:
    secret, header = values.get("auth_secret"), values.get("auth_header")
    if secret is not None and (not isinstance(secret, str) or not _SECRET.fullmatch(secret)):
        # The value is not shown: it may be the secret itself.
        hint = 'write a name such as "metrics-login"; its value is in LOADGEN_SECRET_METRICS_LOGIN'
        yield "auth_secret", "auth_secret is not the name of a secret", hint
    if header is None:
        return
    if not isinstance(header, str) or not _HEADER.fullmatch(header) or header.lower() in _FIXED_HEADERS:
        yield "auth_header", "auth_header is not the name of a header", 'write auth_header="X-Api-Key"'


def _url_wrongs(url: object) -> Iterator[_Wrong]:
    hint = 'write "http://10.0.0.7:8000/metrics"'
    if not isinstance(url, str) or not url:
        yield "url", "url: the URL of the metrics page is missing" if not url else f"url: {url!r} is not a URL", hint
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


def _rows_wrongs(preset: object, metrics: object) -> Iterator[_Wrong]:
    if preset is not None and (not isinstance(preset, str) or preset not in PRESETS):
        known = " or ".join(f'"{one}"' for one in PRESETS)
        yield "preset", f"preset: unknown preset {str(preset)[:40]!r}", f"write {known}, or leave preset out"
    given = [] if isinstance(metrics, str | Mapping) or not isinstance(metrics, Iterable) else list(metrics)
    if not given and metrics not in ((), [], None):
        yield "metrics", "metrics: not a list of names", 'write metrics=["http_requests_total"]'
    for one in given:
        if not isinstance(one, str) or not _METRIC.fullmatch(one):
            yield "metrics", f"metrics: {str(one)[:60]!r} is not the name of a metric", "write names without labels"
    if len(given) > _METRICS_MOST:
        yield "metrics", f"metrics: {len(given)} names, the limit is {_METRICS_MOST}", "remove some of them"
    if preset is None and not given:
        known = " or ".join(f'preset="{one}"' for one in PRESETS)
        yield "metrics", "the probe has neither a preset nor metrics", f"write {known}, or metrics=[...]"

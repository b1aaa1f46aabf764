"""A source of traces: the table `[trace.NAME]` of `loadgen.toml`, checked.

    [trace.staging]
    backend = "jaeger"                    # or "tempo", "zipkin", "datadog", "collector", "xray"
    url = "https://jaeger.staging.example"
    auth = { header = "Authorization", secret = "jaeger-token" }       # a list of such tables for several headers
    keep = ["tenant", "app.*"]            # attributes beyond the usual names
    tenant = "shop"                       # Tempo: the header X-Scope-OrgID
    region = "eu-west-1"                  # X-Ray: default AWS_REGION
    ca = "ca.pem"                         # a certificate to trust instead of the system's

The file never contains a secret: `secret` is a name, and its value is the whole value of the header. It comes from
LOADGEN_SECRET_NAME or from a file in LOADGEN_SECRETS_DIR. All errors are reported together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast, get_args
from urllib.parse import parse_qsl, urlsplit

import msgspec

from loadgen.hostport import of_url
from loadgen.outside_text import one_line
from loadgen.redact import is_secret_name

__all__ = ["AuthHeader", "BackendKind", "TraceSource", "TraceTable", "source_of"]

BackendKind = Literal["collector", "datadog", "jaeger", "tempo", "xray", "zipkin"]
KINDS: Final = get_args(BackendKind)
COLLECTOR_URL: Final = "http://127.0.0.1:4318"
"""The address of `loadgen trace collect`, which is the default of OTLP over HTTP."""
_KEEP_MOST: Final = 100
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
_SECRET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_FIXED_HEADERS: Final = frozenset(("host", "accept", "accept-encoding", "connection", "content-length", "user-agent"))
_ATTRIBUTE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./:-]{0,198}\*?")
_TENANT: Final = re.compile(r"[A-Za-z0-9_.!*'()|-]{1,150}")
_REGION: Final = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d{1,2}")
_EXAMPLE_URLS: Final = {
    "collector": COLLECTOR_URL,
    "datadog": "https://api.datadoghq.eu",
    "jaeger": "https://jaeger.staging.example",
    "tempo": "https://tempo.staging.example",
    "zipkin": "https://zipkin.staging.example",
}
_HINT_AUTH: Final = 'write auth = { header = "Authorization", secret = "jaeger-token" }'
_HINT_DATADOG: Final = (
    'write auth = [{ header = "DD-API-KEY", secret = "dd-api-key" }, '
    '{ header = "DD-APPLICATION-KEY", secret = "dd-app-key" }]'
)

_Wrong = tuple[str, str, str]
"""The key with the error, the message and the hint."""


class AuthHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An HTTP header that carries a secret. secret: the name under which loadgen looks up the secret."""

    header: str
    secret: str


class TraceTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[trace.NAME]` as written, before it is checked."""

    backend: str = ""
    url: str = ""
    auth: AuthHeader | tuple[AuthHeader, ...] = ()
    keep: tuple[str, ...] = ()
    tenant: str = ""
    region: str = ""
    ca: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSource:
    """A checked source of traces. Secrets are names."""

    name: str
    backend: BackendKind
    url: str = ""
    """Without a slash at its end; empty for X-Ray."""
    auth: tuple[AuthHeader, ...] = ()
    keep: tuple[str, ...] = ()
    """Names of attributes that are stored besides the usual ones; a * at the end stands for any ending."""
    tenant: str = ""
    region: str = ""
    ca: Path | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the names of the secrets that the source needs."""
        return tuple(dict.fromkeys(one.secret for one in self.auth))


def source_of(name: str, table: TraceTable, folder: Path) -> tuple[TraceSource | None, list[_Wrong]]:
    """Return the source of a table, or None and all errors in it as (key, message, hint).

    folder: the folder of `loadgen.toml`; paths in the file are relative to it.
    """
    auth = (table.auth,) if isinstance(table.auth, AuthHeader) else table.auth
    wrong = list(_wrongs(name, table, auth, folder))
    if wrong:
        return None, wrong
    source = TraceSource(
        name=name,
        backend=cast("BackendKind", table.backend),
        url=(table.url or (COLLECTOR_URL if table.backend == "collector" else "")).rstrip("/"),
        auth=auth,
        keep=table.keep,
        tenant=table.tenant,
        region=table.region,
        ca=folder / table.ca if table.ca else None,
    )
    return source, []


def _wrongs(name: str, table: TraceTable, auth: tuple[AuthHeader, ...], folder: Path) -> Iterator[_Wrong]:
    if not _NAME.fullmatch(name):
        yield "", f"{one_line(name, 40)!r} is not a valid name of a source", "use letters, digits, -, _ and dots"
    if not table.backend:
        yield "backend", "the backend is missing", f'write backend = "jaeger", or one of {", ".join(KINDS)}'
    elif table.backend not in KINDS:
        hint = f"use one of {', '.join(KINDS)}; read files with loadgen trace RUN --file PATH"
        yield "backend", f"backend: unknown backend {one_line(table.backend, 40)!r}", hint
    yield from _url_wrongs(table)
    yield from _auth_wrongs(table.backend, auth)
    for key, kind in (("tenant", "tempo"), ("region", "xray")):
        if getattr(table, key) and table.backend in KINDS and table.backend != kind:
            yield key, f"{key}: only the backend {kind} has this key", f"remove {key}"
    if table.tenant and not _TENANT.fullmatch(table.tenant):
        yield "tenant", "tenant: invalid characters, or longer than 150", 'write tenant = "shop"'
    if table.region and not _REGION.fullmatch(table.region):
        yield "region", f"region: {one_line(table.region, 40)!r} is not a region", 'write region = "eu-west-1"'
    for one in table.keep:
        if not _ATTRIBUTE.fullmatch(one):
            yield "keep", f"keep: {one_line(one, 60)!r} is not the name of an attribute", 'write keep = ["tenant"]'
    if len(table.keep) > _KEEP_MOST:
        yield "keep", f"keep: {len(table.keep)} names, at most {_KEEP_MOST} are allowed", "remove some of them"
    if table.ca and not (folder / table.ca).is_file():
        yield "ca", f"ca: {one_line(table.ca, 100)} does not exist", "give the path of a PEM file"


def _auth_wrongs(backend: str, auth: tuple[AuthHeader, ...]) -> Iterator[_Wrong]:
    if backend == "xray" and auth:
        yield "auth", "auth: X-Ray uses the credentials of AWS", "remove auth, and set AWS_PROFILE"
    if backend == "datadog" and not auth:
        yield "auth", "auth: Datadog needs an API key and an application key", _HINT_DATADOG
    for one in auth:
        if not _SECRET.fullmatch(one.secret):
            # The value is not shown: it may be the secret itself.
            hint = 'write a name such as "jaeger-token"; put its value into LOADGEN_SECRET_JAEGER_TOKEN'
            yield "auth", "auth: secret must be the name of a secret", hint
        if not _HEADER.fullmatch(one.header) or one.header.lower() in _FIXED_HEADERS:
            yield "auth", "auth: header must be the name of an HTTP header that you may set", _HINT_AUTH
    names = [one.header.lower() for one in auth]
    if len(set(names)) < len(names):
        yield "auth", "auth: the same header occurs twice", "remove one of the two"


def _url_wrongs(table: TraceTable) -> Iterator[_Wrong]:
    if table.backend == "xray":
        if table.url:
            yield "url", "url: the backend xray has no url", 'remove url; region = "eu-west-1" chooses the region'
        return
    example = _EXAMPLE_URLS.get(table.backend, _EXAMPLE_URLS["jaeger"])
    hint = f'write url = "{example}"'
    if not table.url:
        if table.backend != "collector":
            yield "url", "the url is missing", hint
        return
    try:
        parts = urlsplit(table.url)
        host, port = of_url(parts)
    except ValueError:
        yield "url", "url: not a URL with a valid host and port", hint
        return
    if parts.username is not None or parts.password is not None:
        # The URL is not shown: it has a password.
        yield "url", "url: the URL contains credentials", f"remove the credentials, and {_HINT_AUTH}"
        return
    is_web = parts.scheme in ("http", "https")
    if not is_web or not host or port == 0 or not table.url.isprintable() or " " in table.url:
        yield "url", f"url: {one_line(table.url, 200)!r} is not an http or https URL", hint
    if any(is_secret_name(key) for key, _ in parse_qsl(parts.query, keep_blank_values=True)):
        yield "url", "url: the query contains a secret", f"remove the secret, and {_HINT_AUTH}"
    elif parts.query or parts.fragment:
        yield "url", "url: must have neither a query nor a fragment", hint

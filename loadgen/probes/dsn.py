"""Checks connection strings of PostgreSQL: "host=db port=5432 dbname=shop user=perf", or postgresql://... . Pure.

A DSN is stored with the results, so it must not have a password. Source: PostgreSQL 17 documentation, 32.1.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from loadgen.probes.checks import Wrong
from loadgen.redact import is_secret_name

__all__ = ["dsn_places", "dsn_values", "dsn_wrongs"]

_PAIR: Final = re.compile(r"\s*([a-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^'\\\s]|\\.)+))(?=\s|$)")
_ESCAPED: Final = re.compile(r"\\(.)")
_HIDDEN: Final = frozenset(("password", "passfile", "sslpassword", "service", "servicefile", "oauth_client_secret"))
"""Keys with a secret, or with a file that loadgen did not check."""
_OURS: Final = frozenset(("application_name", "fallback_application_name", "options"))
"""Keys that a probe sets itself."""
_HINT: Final = 'write dsn = "host=db.staging.example dbname=shop user=perf"'


def dsn_values(dsn: str) -> dict[str, str]:
    """Return the parameters of a DSN by name; several hosts and ports stay one text with commas.

    Raises:
        ValueError: the text is not a DSN.
    """
    if dsn.startswith(("postgresql://", "postgres://")):
        return _url_values(dsn)
    values: dict[str, str] = {}
    at = 0
    while dsn[at:].strip():
        found = _PAIR.match(dsn, at)
        if found is None:
            raise ValueError("not a list of key=value")
        text = found[2] if found[2] is not None else found[3]
        values[found[1]] = _ESCAPED.sub(r"\1", text)
        at = found.end()
    if not values:
        raise ValueError("it is empty")
    return values


def _url_values(dsn: str) -> dict[str, str]:
    parts = urlsplit(dsn)
    values = {key: value for key, value in parse_qsl(parts.query, keep_blank_values=True)}
    login, _, places = parts.netloc.rpartition("@")
    user, has_password, _ = login.partition(":")
    if user:
        values["user"] = unquote(user)
    if has_password:
        values["password"] = "given"  # noqa: S105 - only the fact counts
    hosts, ports = [], []
    for place in filter(None, places.split(",")):
        found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::(\d{1,5}))?", place)
        if found is None:
            raise ValueError("it has an invalid host")
        hosts.append(unquote(found[1].strip("[]")))
        ports.append(found[2] or "")
    if hosts:
        values["host"] = ",".join(hosts)
    if any(ports):
        values["port"] = ",".join(ports)
    if parts.path.strip("/"):
        values["dbname"] = unquote(parts.path.strip("/"))
    return values


def dsn_places(dsn: str, port: int) -> tuple[tuple[str, int], ...]:
    """Return the hosts and ports of a checked DSN; () for a socket on this machine. port: the default."""
    values = dsn_values(dsn)
    hosts = (values.get("hostaddr") or values.get("host") or "").split(",")
    ports = (values.get("port") or "").split(",")
    return tuple(
        (host, int(ports[min(n, len(ports) - 1)] or port))
        for n, host in enumerate(hosts)
        if host and not host.startswith(("/", "@"))
    )


def dsn_wrongs(dsn: object) -> Iterator[Wrong]:
    """Check `dsn`. The message never shows it, because it may have a password."""
    if not isinstance(dsn, str) or not dsn.strip():
        yield "dsn", "dsn: the connection string is missing", _HINT
        return
    try:
        values = dsn_values(dsn)
        places = dsn_places(dsn, 5432)
    except ValueError:
        yield "dsn", "dsn: not a connection string of PostgreSQL", _HINT
        return
    if found := sorted(key for key in values if key in _HIDDEN or is_secret_name(key)):
        yield (
            "dsn",
            f"dsn: it has {', '.join(found)}, which is not allowed, because results contain the dsn",
            'remove it, and write password = { secret = "shopdb-password" }',
        )
    if found := sorted(_OURS & set(values)):
        yield "dsn", f"dsn: it has {', '.join(found)}, which the probe sets itself", "remove it"
    if not dsn.isprintable() or len(dsn) > 1_000 or any(not 0 < port < 65_536 for _, port in places):
        yield "dsn", "dsn: not a connection string of PostgreSQL", _HINT

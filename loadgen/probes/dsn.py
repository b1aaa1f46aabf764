"""Checks connection strings of PostgreSQL: "host=db port=5432 dbname=shop user=perf", or postgresql://... . Pure.

A DSN is stored with the results, so it must not have a password. Source: PostgreSQL 17 documentation, 32.1.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qsl, unquote

from loadgen.probes.checks import Wrong
from loadgen.redact import is_secret_name

__all__ = ["dsn_places", "dsn_values", "dsn_wrongs"]

_URL: Final = re.compile(r"[a-z]+://([^/?#]*)([^?#]*)(?:\?([^#]*))?")
_PAIR: Final = re.compile(r"\s*([a-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^'\\\s]|\\.)+))(?=\s|$)")
_ESCAPED: Final = re.compile(r"\\(.)")
_HIDDEN: Final = frozenset(
    (
        *("password", "passfile", "sslpassword", "service", "servicefile", "oauth_client_secret"),
        *("scram_client_key", "scram_server_key"),
    )
)
"""Keys with a secret, or with a file that loadgen did not check."""
_KNOWN: Final = frozenset(
    (
        *("host", "hostaddr", "port", "dbname", "user", "connect_timeout", "client_encoding", "channel_binding"),
        *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
        *("gssencmode", "krbsrvname", "gsslib", "gssdelegation", "requirepeer", "require_auth"),
        *("sslmode", "sslnegotiation", "sslcompression", "sslcert", "sslkey", "sslcertmode", "sslrootcert", "sslcrl"),
        *("sslcrldir", "sslsni", "ssl_min_protocol_version", "ssl_max_protocol_version", "min_protocol_version"),
        *("max_protocol_version", "target_session_attrs", "load_balance_hosts"),
    )
)
"""The keys of libpq 18 that a probe passes on. A mistyped key such as `pasword` would be stored with its value."""
_OURS: Final = frozenset(("application_name", "fallback_application_name", "options"))
"""Keys that a probe sets itself."""
_PLACE: Final = re.compile(r"[/@].*|[\w.-]+|[0-9A-Fa-f:.]+(%\w+)?|")
"""A socket, a name, an IPv4 or IPv6 address, or nothing."""
_NO_NAME: Final = re.compile(r"[:=?#/]|@.*@")
"""Signs of a URL or of a password in the name of a user or of a database. Names of users may have one @."""
_PASSWORD_IN: Final = re.compile(r"://|passw\w*\s*=", re.IGNORECASE)
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
    # `urlsplit` of Python 3.13 rejects several hosts of which one is an IPv6 address.
    parts = _URL.fullmatch(dsn)
    login, _, places = ("", "", "") if parts is None else parts[1].rpartition("@")
    if parts is None or "@" in parts[2] or "@" in login:
        raise ValueError("it has a #, / or @ that is not percent-encoded")  # mostly in a password
    path = parts[2].strip("/")
    values: dict[str, str] = {}
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
    if path:
        values["dbname"] = unquote(path)
    # As in libpq, a parameter wins over the same value elsewhere in the URL.
    return values | dict(parse_qsl(parts[3] or "", keep_blank_values=True))


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
    if found := sorted(key for key in values if key in _HIDDEN or (key not in _KNOWN and is_secret_name(key))):
        yield (
            "dsn",
            f"dsn: it has {', '.join(found)}, which is not allowed, because results contain the dsn",
            'remove it, and write password = { secret = "shopdb-password" }',
        )
    elif values.keys() - _KNOWN - _OURS:
        # The key is not shown: in a URL with a password that has a ?, it is a part of the password.
        yield (
            "dsn",
            "dsn: it has a key that libpq does not have",
            "use keys such as host, port, dbname, user, sslmode and sslrootcert, and no password",
        )
    elif any(_PASSWORD_IN.search(value) for value in values.values()) or any(
        _NO_NAME.search(values.get(key, "")) for key in ("user", "dbname")
    ):
        yield (
            "dsn",
            "dsn: one of its values looks as if it contained a password or a URL",
            'remove it, and write password = { secret = "shopdb-password" }',
        )
    if found := sorted(_OURS & set(values)):
        yield "dsn", f"dsn: it has {', '.join(found)}, which the probe sets itself", "remove it"
    hosts = ",".join(values.get(key, "") for key in ("host", "hostaddr")).split(",")
    if (
        not dsn.isprintable()
        or len(dsn) > 1_000
        or any(not 0 < port < 65_536 for _, port in places)
        or not all(map(_PLACE.fullmatch, hosts))
    ):
        yield "dsn", "dsn: not a connection string of PostgreSQL", _HINT

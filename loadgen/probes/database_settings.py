"""The settings of the kinds "postgres" and "pgbouncer".

[probes.shopdb]
kind = "postgres"
dsn = "host=db.staging.example dbname=shop user=perf"
password = { secret = "shopdb-password" }      # a name, never the value
every = "1s"

[probes.pool]
kind = "pgbouncer"
dsn = "host=pool.staging.example port=6432 user=stats"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from loadgen.probes.checks import Wrong, secret_wrongs
from loadgen.probes.dsn import dsn_places, dsn_wrongs
from loadgen.probes.spec import ProbeSpec, SecretName

__all__ = ["DatabaseTable", "database_places", "database_secrets", "database_wrongs"]


class DatabaseTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of both kinds, besides those of all kinds."""

    dsn: str = ""
    password: SecretName | None = None


def database_wrongs(values: Mapping[str, Any]) -> Iterator[Wrong]:
    """Check the settings of a database."""
    yield from dsn_wrongs(values.get("dsn"))
    yield from secret_wrongs("password", values.get("password"), "shopdb-password")


def database_places(spec: ProbeSpec) -> tuple[tuple[str, int], ...]:
    """Return the hosts and ports to which the probe connects."""
    return dsn_places(spec.own["dsn"], 6432 if spec.kind == "pgbouncer" else 5432)


def database_secrets(spec: ProbeSpec) -> tuple[str, ...]:
    """Return the names of the secrets that the probe needs."""
    password = spec.table(DatabaseTable).password
    return () if password is None else (password.secret,)

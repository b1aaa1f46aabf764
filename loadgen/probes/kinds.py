"""The kinds of probes: what each accepts in its settings, and where its reader is. Importing it imports no reader.

A new kind is a `Kind` in `KINDS`: a table of its settings, their check, and a module with `open_reader`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, cast

import msgspec

from loadgen.probes.checks import Wrong
from loadgen.probes.database_settings import DatabaseTable, database_places, database_secrets, database_wrongs
from loadgen.probes.kubernetes.settings import KubernetesTable, kubernetes_secrets, kubernetes_wrongs
from loadgen.probes.metrics_page.settings import MetricsTable, metrics_wrongs, rows_of
from loadgen.probes.prometheus.settings import PrometheusTable, prometheus_wrongs
from loadgen.probes.reader import Reader, Tools
from loadgen.probes.running.http_place import place_of
from loadgen.probes.spec import ProbeSpec

__all__ = ["KINDS", "Kind", "expected_of", "open_reader", "place_text", "places_of", "secrets_of"]


def _url_places(spec: ProbeSpec) -> tuple[tuple[str, int], ...]:
    return (place_of(spec.url),)


def _auth_secrets(spec: ProbeSpec) -> tuple[str, ...]:
    return (spec.auth_secret,) if spec.auth_secret else ()


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of probe."""

    table: type[msgspec.Struct]
    """Its keys in `loadgen.toml`, besides `kind`, `every` and `at`."""
    wrongs: Callable[[Mapping[str, Any]], Iterator[Wrong]]
    """Checks values as written, without those that are None."""
    module: str
    """The module with `open_reader(spec, tools)`."""
    every: str = "1s"
    places: Callable[[ProbeSpec], tuple[tuple[str, int], ...]] = _url_places
    """The hosts and ports to which it connects."""
    secrets: Callable[[ProbeSpec], tuple[str, ...]] = _auth_secrets
    """The names of its secrets."""
    is_own_only: bool = False
    """Whether the driver may use credentials of the machine, such as ~/.pgpass: no client of a controller may order
    such a probe."""


KINDS: Final[Mapping[str, Kind]] = {
    "metrics": Kind(MetricsTable, metrics_wrongs, "loadgen.probes.metrics_page.reader"),
    "prometheus": Kind(PrometheusTable, prometheus_wrongs, "loadgen.probes.prometheus.reader", every="10s"),
    "kubernetes": Kind(
        KubernetesTable,
        kubernetes_wrongs,
        "loadgen.probes.kubernetes.reader",
        every="5s",
        secrets=kubernetes_secrets,
    ),
    "postgres": Kind(
        DatabaseTable,
        database_wrongs,
        "loadgen.probes.postgres.reader",
        places=database_places,
        secrets=database_secrets,
        is_own_only=True,
    ),
    "pgbouncer": Kind(
        DatabaseTable,
        database_wrongs,
        "loadgen.probes.pgbouncer.reader",
        places=database_places,
        secrets=database_secrets,
        is_own_only=True,
    ),
}


def places_of(spec: ProbeSpec) -> tuple[tuple[str, int], ...]:
    """Return the hosts and ports to which a checked probe connects."""
    return KINDS[spec.kind].places(spec)


def place_text(spec: ProbeSpec) -> str:
    """Return the server of a checked probe for reports: its URL, or its hosts and ports."""
    return spec.url or ", ".join(f"{host}:{port}" for host, port in places_of(spec)) or "a socket on this machine"


def secrets_of(spec: ProbeSpec) -> tuple[str, ...]:
    """Return the names of the secrets that a checked probe needs, where it runs."""
    return KINDS[spec.kind].secrets(spec)


def expected_of(spec: ProbeSpec) -> dict[str, str]:
    """Return the metric of each row that should be on the page, by key of the row; {} for kinds without a page."""
    return {row.key: row.names[0] for row in rows_of(spec) if not row.is_optional}


def open_reader(spec: ProbeSpec, tools: Tools) -> Reader:
    """Return the reader of a checked probe. It connects at its first `read`."""
    return cast(Reader, import_module(KINDS[spec.kind].module).open_reader(spec, tools))

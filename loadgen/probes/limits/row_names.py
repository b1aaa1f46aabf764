"""Finds the row of a probe that a name means: by its key or its title. Pure.

The rows of presets, databases and clusters are known before a run. Named metrics are known by their names. Rows with
labels, such as one for each instance, belong to the row without labels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from loadgen.probes.kubernetes.rows import CLUSTER_ROWS
from loadgen.probes.metrics_page.exposition import family_of
from loadgen.probes.metrics_page.settings import rows_of
from loadgen.probes.pgbouncer.pools import ROWS as PGBOUNCER_ROWS
from loadgen.probes.postgres.server_state import ROWS as POSTGRES_ROWS
from loadgen.probes.prometheus.selectors import BadSelector, parse_selector
from loadgen.probes.prometheus.series_rows import queries_of
from loadgen.probes.rows import Row, RowKind
from loadgen.probes.spec import ProbeSpec

__all__ = ["KnownRow", "Names", "belongs", "keys_of", "names_of"]

_PARTS: Final = ("[", " ")
"""What follows the name of a row in the keys of its parts: labels, an object, or the group of its scrape."""


@dataclass(frozen=True, slots=True)
class KnownRow:
    """A row that a probe has or may have.

    key: as in `Row.key`, without labels. unit, kind: None and "any" if only the samples decide about them.
    """

    key: str
    title: str
    kind: RowKind = "any"
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Names:
    """The rows of one probe. is_open: it may also have rows whose names are not known before the run."""

    rows: tuple[KnownRow, ...]
    is_open: bool = False

    def find(self, name: str) -> KnownRow | None:
        """Return the row that a name means: its key, its title in any case, or the key of one of its parts."""
        plain = _plain(name)
        for row in self.rows:
            if plain in (_plain(row.key), _plain(row.title)):
                return row
        for row in self.rows:
            if belongs(name, row.key):
                return KnownRow(name, name, row.kind, row.unit)
        return KnownRow(name, name) if self.is_open and plain else None

    @property
    def texts(self) -> tuple[str, ...]:
        """Return the names for hints: the key of each row, or its title if the key is not what people write."""
        return tuple(row.title if row.key.startswith("expression ") else row.key for row in self.rows)


def names_of(spec: ProbeSpec) -> Names:
    """Return the rows of a checked probe."""
    match spec.kind:
        case "metrics":
            return Names(tuple(map(_known, rows_of(spec))))
        case "postgres":
            return Names(tuple(map(_known, POSTGRES_ROWS)))
        case "pgbouncer":
            return Names(tuple(map(_known, PGBOUNCER_ROWS)))
        case "kubernetes":
            return Names(tuple(map(_known, CLUSTER_ROWS)))
        case "prometheus":
            return _of_prometheus(spec)
        case _:
            return Names((), is_open=True)


def belongs(key: str, name: str) -> bool:
    """Return whether the row with this key is the row `name`, or a part of it, such as that of one instance."""
    return key == name or any(key.startswith(name + part) for part in _PARTS)


def _of_prometheus(spec: ProbeSpec) -> Names:
    found: list[KnownRow] = []
    is_open = False
    for query in queries_of(spec):
        if query.row is not None:
            found.append(_known(query.row))
            continue
        try:
            name = parse_selector(query.text).name
        except BadSelector:
            name = ""
        if name:
            found += [KnownRow(one, one) for one in dict.fromkeys((name, family_of(name)))]
        is_open |= not name
    return Names(tuple(dict.fromkeys(found)), is_open)


def _known(row: Row) -> KnownRow:
    # The type on the page decides about a metric that is only named; its unit is a plain number then.
    return KnownRow(row.key, row.title, row.kind, row.unit)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def keys_of(name: str, keys: Iterable[str]) -> list[str]:
    """Return the keys of the rows that belong to a name, sorted."""
    return sorted(key for key in keys if belongs(key, name))

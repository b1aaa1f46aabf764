"""Gives each series of a Prometheus server its row: which title, how it is read, and with which others. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

import msgspec

from loadgen.probes.metrics_page.exposition import family_of
from loadgen.probes.metrics_page.presets import kind_of_type
from loadgen.probes.prometheus.answers import SeriesValues
from loadgen.probes.prometheus.presets import PROMETHEUS_PRESETS
from loadgen.probes.prometheus.selectors import parse_matchers, parse_selector
from loadgen.probes.prometheus.settings import PrometheusTable
from loadgen.probes.rows import Labels, Part, ReadKind, Row, Series, labelled, shortened
from loadgen.probes.spec import ProbeSpec

__all__ = ["Placed", "Query", "group_of", "place", "queries_of", "renamed", "unit_of"]

_SCRAPED: Final = ("job", "instance")
"""The labels of one scraped address: all its series have the times of its scrapes."""
_OWN_TIMES: Final = ("pod", "container", "id", "name")
"""cAdvisor gives the series of each container times of their own."""


@dataclass(frozen=True, slots=True)
class Query:
    """One query: a selector of raw samples, or an expression.

    row: its row; None for a selector of the user, whose rows follow from the series.
    part: the role of its series in the row. by: the labels that give a row of its own.
    """

    text: str
    row: Row | None = None
    part: Part = "value"
    by: tuple[str, ...] = ()
    is_expression: bool = False


@dataclass(frozen=True, slots=True)
class Placed:
    """A series with its row, and the group whose series were read together."""

    row: Row
    series: Series
    group: str


def queries_of(spec: ProbeSpec) -> tuple[Query, ...]:
    """Return the queries of a probe, each text once for a row."""
    table = spec.table(PrometheusTable)
    matchers = parse_matchers(table.match)
    found: list[Query] = []
    for one in PROMETHEUS_PRESETS.get(spec.preset, ()):
        found.append(Query(parse_selector(one.selector).also(matchers).text, one.row, "value", one.by))
        if one.of:
            found.append(Query(parse_selector(one.of).also(matchers).text, one.row, "of", one.by))
    found += (Query(parse_selector(text).text) for text in table.selectors)
    for title, text in table.expressions.items():
        row = Row(key=f"expression {title}", title=title, kind="gauge", names=(title,), over="each")
        found.append(Query(text, row, is_expression=True))
    return tuple(found)


def place(query: Query, one: SeriesValues, types: Mapping[str, str]) -> Placed | None:
    """Return the place of a series; None for a bucket without a valid bound.

    types: the types of metrics by their names; some may be missing.
    """
    labels = dict(one.labels)
    group = group_of(one.labels)
    if query.is_expression:
        assert query.row is not None
        row = labelled(query.row, one.labels)
        return Placed(row, Series(row.key, "value", query.row.key, one.labels), query.row.key)
    if one.name.startswith("container_"):
        group += _text({key: labels[key] for key in _OWN_TIMES if key in labels})
    if query.row is not None:
        chosen = _chosen(labels, query.by)
        row = labelled(query.row, chosen)
        where = " ".join(value for _, value in chosen)
        row = msgspec.structs.replace(row, title=shortened(f"{query.row.title}, {where}" if where else query.row.title))
        return Placed(row, Series(row.key, query.part, one.name, one.labels), group)
    kind = _kind(one.name, labels, types)
    family = family_of(one.name) if kind == "histogram" else one.name
    row = Row(key=family, title=family, kind=kind, names=(family,), unit=unit_of(family, kind))
    if kind != "histogram":
        row = labelled(row, one.labels if kind == "gauge" or not group else _chosen(labels, ("instance",)))
        return Placed(row, Series(row.key, "value", one.name, one.labels), group)
    row = labelled(row, _chosen(labels, ("instance",)))
    try:
        bound = float(labels["le"])
    except (ValueError, KeyError):  # a histogram by its type, but not one of buckets
        return None
    if bound != bound:
        return None
    rest = tuple(label for label in one.labels if label[0] != "le")
    return Placed(row, Series(row.key, "bucket", family, rest, None if bound == inf else bound), group)


def group_of(labels: Labels) -> str:
    """Return the group of a series: its scraped address, or the series itself."""
    found = dict(labels)
    return _text({key: found[key] for key in _SCRAPED if key in found}) or _text(found)


def renamed(placed: Placed) -> Placed:
    """Return a series whose row has the group in its key, for a row that another group has already."""
    key, title = f"{placed.row.key} {placed.group}", shortened(f"{placed.row.title} {placed.group}")
    row = msgspec.structs.replace(placed.row, key=key, title=title)
    return Placed(row, msgspec.structs.replace(placed.series, row=row.key), placed.group)


def unit_of(name: str, kind: ReadKind) -> str:
    """Return the unit that the name of a metric ends with, as Prometheus recommends; "" if it has none."""
    base = name.removesuffix("_total").removesuffix("_sum")
    unit = "s" if base.endswith("_seconds") else "bytes" if base.endswith("_bytes") else ""
    return f"{unit or '1'}/s" if kind == "counter" else unit


def _kind(name: str, labels: Mapping[str, str], types: Mapping[str, str]) -> ReadKind:
    if name.endswith("_bucket") and "le" in labels:
        return "histogram"
    if name.endswith("_count") or (name.endswith("_sum") and types.get(family_of(name)) in ("histogram", "summary")):
        return "counter"
    given = types.get(name) or types.get(name.removesuffix("_total"))
    return kind_of_type(name, [given] if given and given not in ("unknown", "untyped") else [])


def _chosen(labels: Mapping[str, str], names: tuple[str, ...]) -> Labels:
    return tuple((name, labels[name]) for name in names if name in labels)


def _text(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in labels.items())

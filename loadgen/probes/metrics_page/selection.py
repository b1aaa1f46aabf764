"""Selects the series of a probe's rows on a page of metrics. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

import msgspec

from loadgen.probes.metrics_page.exposition import Page, Sample, family_of
from loadgen.probes.metrics_page.presets import kind_of_type
from loadgen.probes.rows import GAUGE_SERIES_MOST, SERIES_MOST, Part, ReadKind, Row, Series, labelled

__all__ = ["START_TIME", "Found", "names_wanted", "select"]

START_TIME: Final = "process_start_time_seconds"
"""The metric that shows a restart of the server even if its counters have risen above their old values since."""

_ENDINGS: Final[Mapping[ReadKind, tuple[str, ...]]] = {
    "gauge": ("", "_total"),
    "counter": ("_total", ""),
    "share": ("_total", ""),
    "histogram": ("_bucket",),
}
"""The endings of the names of a row's samples, the preferred one first."""


@dataclass(frozen=True, slots=True)
class Found:
    """The rows of a probe that a page has, and their values."""

    values: Mapping[Series, float]
    rows: tuple[Row, ...]
    """The rows that are on the page, each with its kind. A named gauge with several series has a row for each."""
    missing: tuple[Row, ...]
    """The rows that are not on the page; optional rows are left out."""
    left_out: int = 0
    """The number of series that were dropped because of the limits."""


def names_wanted(rows: Iterable[Row]) -> frozenset[str]:
    """Return the names of all samples that the rows may need."""
    found = {START_TIME}
    for row in rows:
        endings = ("", "_total", "_bucket") if row.kind == "any" else _ENDINGS[row.kind]
        found.update(name + ending for name in (*row.names, *row.of) for ending in endings)
        if row.kind == "any":
            found.update(f"{family_of(name)}_bucket" for name in row.names)
    return frozenset(found)


def select(rows: Sequence[Row], page: Page) -> Found:
    """Return the series of the rows on a page. The first of a row's names that is on the page is used."""
    by_name: dict[str, list[Sample]] = {}
    for sample in page.samples:
        by_name.setdefault(sample.name, []).append(sample)
    values: dict[Series, float] = {}
    there: list[Row] = []
    missing: list[Row] = []
    left_out = 0
    for row in rows:
        names, kind = _read_as(row, page)
        parts: list[tuple[Part, Sequence[str]]] = [("bucket" if kind == "histogram" else "value", names)]
        if kind == "share":
            parts.append(("of", row.of))
        chosen = [(part, _present(names, _ENDINGS[kind], by_name)) for part, names in parts]
        if not all(samples for _, samples in chosen):
            if not row.is_optional:
                missing.append(row)
            continue
        fixed = msgspec.structs.replace(row, kind=kind)
        if kind == "gauge" and row.over == "each":
            named = chosen[0][1]
            left_out += max(0, len(named) - GAUGE_SERIES_MOST)
            for sample in named[:GAUGE_SERIES_MOST]:
                own = fixed if len(named) == 1 else labelled(fixed, sample.labels)
                there.append(own)
                values[Series(own.key, "value", sample.name, sample.labels)] = sample.value
            continue
        there.append(fixed)
        for part, samples in chosen:
            for sample in samples:
                if len(values) >= SERIES_MOST:
                    left_out += 1
                elif (series := _series(row.key, part, sample)) is not None:
                    values[series] = sample.value
    for sample in by_name.get(START_TIME, ())[:1]:
        values[Series("", "start", sample.name, sample.labels)] = sample.value
    return Found(values, tuple(there), tuple(missing), left_out)


def _read_as(row: Row, page: Page) -> tuple[Sequence[str], ReadKind]:
    """Return the names that a row may have on this page, and how they are read."""
    if row.kind != "any":
        return row.names, row.kind
    (name,) = row.names
    family = family_of(name)
    if f"{family}_bucket" in page.names:
        return (family,), "histogram"
    if name != family and name not in page.types and page.types.get(family) == "summary":
        return row.names, "counter"  # its count or its sum
    # For a counter, format 0.0.4 writes the type at the name with `_total`, OpenMetrics at the name without it.
    types = [page.types[one] for one in (name, f"{name}_total") if one in page.types]
    return row.names, kind_of_type(name if name in page.names else f"{name}_total", types)


def _present(names: Sequence[str], endings: Sequence[str], by_name: Mapping[str, list[Sample]]) -> list[Sample]:
    return next((by_name[n + ending] for n in names for ending in endings if n + ending in by_name), [])


def _series(row: str, part: Part, sample: Sample) -> Series | None:
    if part != "bucket":
        return Series(row, part, sample.name, sample.labels)
    bound = dict(sample.labels).get("le", "")
    try:
        le = float(bound)
    except ValueError:
        return None
    if le != le:
        return None
    others = tuple(label for label in sample.labels if label[0] != "le")
    return Series(row, part, family_of(sample.name), others, None if le == inf else le)

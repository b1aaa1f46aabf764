"""Define the two exported tables of a run: series over the whole run, and series by window.

A figure that is only a lower bound is `inf`; `censored` counts such values. A missing
value is None, never NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from math import inf, isnan

from loadgen.report.run_as_dataframes import WindowRow
from loadgen.report.summary_reader import Figure, Percentiles, Series, Summary

__all__ = ["SeriesRow", "Value", "cells", "columns", "series_rows"]

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """The figures of one series over the whole run after its warm-up. Times are in ms.

    A `region` or `outcome` of "*" means all of them together. p95_low_ms and p95_high_ms are the ends of the 95 %
    interval of p95, and so on; None without an interval.
    """

    kind: str
    journey: str
    step: str
    request: str
    outcome: str
    region: str
    count: int
    censored: int
    mean_ms: float | None
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    p99_9_ms: float | None
    max_ms: float | None
    p50_low_ms: float | None
    p50_high_ms: float | None
    p95_low_ms: float | None
    p95_high_ms: float | None
    p99_low_ms: float | None
    p99_high_ms: float | None
    service_p50_ms: float | None
    service_p95_ms: float | None
    service_p99_ms: float | None
    bound: str
    """"lower": all times of the row are only lower bounds, because iterations waited for a free user; or empty."""


def series_rows(summary: Summary) -> Iterator[SeriesRow]:
    """Yield a row for each series of the summary, in its order."""
    for s in summary.series:
        at, service = s.response_ms or Percentiles(), s.service_ms or Percentiles()
        yield SeriesRow(
            s.kind,
            s.journey,
            s.step or "",
            s.request or "",
            s.outcome,
            s.region,
            s.count,
            s.censored,
            _number(at.mean),
            _number(at.p50),
            _number(at.p90),
            _number(at.p95),
            _number(at.p99),
            _number(at.p99_9),
            _number(at.max),
            *_ends(s, "p50"),
            *_ends(s, "p95"),
            *_ends(s, "p99"),
            service_p50_ms=_number(service.p50),
            service_p95_ms=_number(service.p95),
            service_p99_ms=_number(service.p99),
            bound=s.bound or "",
        )


def columns(row: type[SeriesRow] | type[WindowRow]) -> list[tuple[str, type]]:
    """Return (name, type) of each column; the type is str, int, float or bool."""
    plain = {"str": str, "int": int, "bool": bool}
    return [(field.name, plain.get(str(field.type), float)) for field in fields(row)]


def cells(rows: Iterable[SeriesRow | WindowRow]) -> Iterator[list[Value]]:
    """Yield the values of each row in the order of its columns, with None for NaN."""
    names: list[str] = []
    for row in rows:
        names = names or [field.name for field in fields(row)]
        values = [getattr(row, name) for name in names]
        yield [None if isinstance(value, float) and isnan(value) else value for value in values]


def _number(figure: Figure) -> float | None:
    return inf if isinstance(figure, str) else figure


def _ends(s: Series, quantile: str) -> tuple[float | None, float | None]:
    ends = (s.response_ci_ms or {}).get(quantile)
    return (None, None) if ends is None or isinstance(ends, str) else ends

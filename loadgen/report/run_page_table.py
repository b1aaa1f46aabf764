"""Compute the table of a run for its page: figures of each row, percentile spectra, example requests, the curve.

A row takes 0.2 to 1 ms. So during a run each `look` updates only some of the rows in
turn, and a row is at most a few seconds old. All figures of a row are of one moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from heapq import nlargest
from math import log2
from typing import Final

import msgspec

from loadgen.measure.deltas.exemplar import KeptExemplar
from loadgen.measure.deltas.series_key import OK, PHASES, SKIPPED, Kind, Metric
from loadgen.measure.histograms.histogram import Histogram, percentiles
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.queries import Measured, Row
from loadgen.measure.results.summary import figures
from loadgen.report.charts.latency_by_throughput import curve_of
from loadgen.report.charts.timeline_data import History
from loadgen.report.summary_reader import Series, Summary
from loadgen.units import NS_PER_MS, NS_PER_S

__all__ = ["AT_ONCE", "Table"]

AT_ONCE: Final = 20
"""The number of rows or spectra that one `look` updates."""
_EXEMPLARS: Final = 20
_PER_HALVING: Final = 5
"""Points of a spectrum for each halving of the share of greater values."""
_KINDS: Final[tuple[Kind, ...]] = ("journey", "step", "request")

_Json = dict[str, object]
_Job = Callable[[], None]


class Table:
    """The table of one run. Call `look` after `History.look`."""

    def __init__(self, history: History, warmup_s: float = 0.0) -> None:
        """`warmup_s` is the end of the warm-up after T0; the curve leaves out earlier slots."""
        self._history, self._warmup_s = history, warmup_s
        self._rows: dict[Row, _Json] = {}
        self._spectra: dict[str, list[list[float]]] = {}
        """Percentile spectra by journey."""
        self._spectrum: list[list[float]] = []
        self._curve: list[_Json] = []
        self._exemplars: _Json = {"slowest": [], "failing": []}
        self._jobs: list[_Job] = []
        self._is_warmup = False

    def look(
        self, merge: Merge, *, measured: Measured | None = None, at_once: int | None = AT_ONCE, warmup: bool = False
    ) -> None:
        """Update the next `at_once` rows or spectra; None updates everything.

        Args:
            measured: the measurements for rows and spectra, if they are not those of the merge.
            warmup: show the figures of the warm-up, because there are no others yet.
        """
        measured = measured or merge
        if warmup != self._is_warmup:
            self._is_warmup, self._jobs = warmup, []
            self._rows.clear()
        if at_once is None or not self._jobs:
            self._jobs = list(self._all(merge, measured, warmup))
        for job in self._jobs[:at_once]:
            job()
        del self._jobs[:at_once]

    def take(self, summary: Summary) -> None:
        """Replace the rows with those of the run's summary, which have 95 % intervals. "(other)" rows stay."""
        for row, found in _summary_rows(summary):
            if row in self._rows:
                self._rows[row] = found

    def as_json(self) -> _Json:
        """Return rows, spark_length_s, spectrum, curve and exemplars of the document."""
        order = sorted(self._rows, key=lambda row: _KINDS.index(row.kind))
        sparks = self._history.sparks()
        return {
            "rows": [self._rows[row] | {"spark": sparks[row]} for row in order],
            "spark_length_s": self._history.spark_length_s,
            "spectrum": {"iterations": dict(self._spectra), "requests": self._spectrum},
            "curve": self._curve,
            "exemplars": self._exemplars,
        }

    # -- within -----------------------------------------------------------------------------------

    def _all(self, merge: Merge, measured: Measured, warmup: bool) -> Iterator[_Job]:
        named: dict[Row, list[Row]] = {}
        for row in measured.rows(warmup=warmup):
            if row.kind in _KINDS:
                named.setdefault(self._history.lines.row_of(row), []).append(row)
        for row in [row for row in self._rows if row not in named]:
            del self._rows[row]

        def job(row: Row, members: list[Row]) -> _Job:
            return lambda: self._rows.__setitem__(row, _row(measured, row, members, warmup))

        def spectrum(journey: str) -> _Job:
            return lambda: self._spectra.__setitem__(journey, _spectrum(measured, "journey", journey, warmup))

        for row, members in named.items():
            yield job(row, members)
            if row.kind == "journey":
                yield spectrum(row.journey)
        yield lambda: setattr(self, "_spectrum", _spectrum(measured, "request", None, warmup))
        yield lambda: setattr(self, "_exemplars", _exemplars(merge))
        yield lambda: setattr(self, "_curve", curve_of(self._history, self._warmup_s))


def _row(measured: Measured, row: Row, members: list[Row], warmup: bool) -> _Json:
    """Return the figures of `row`. `members` is the row itself, or all rows of an "(other)" row."""

    def of(metric: Metric) -> tuple[Histogram, Histogram]:
        return measured.select_rows(members, metric, warmup=warmup)

    def with_counts(metric: Metric) -> _Json | None:
        observed, censored = of(metric)
        found = figures(observed, censored)
        counts = {"count": observed.total + censored.total, "censored": censored.total}
        return None if found is None else {**counts, **found}

    observed, censored = of("response")
    outcomes = [measured.row_outcomes(member, warmup=warmup) for member in members]
    had = {phase for member in members if row.kind == "request" for phase in measured.row_phases(member, warmup=warmup)}
    phases = {phase: with_counts(phase) for phase in PHASES if phase in had}
    return _named(row) | {
        "count": observed.total + censored.total,
        "errors": sum(count for by in outcomes for outcome, count in by.items() if outcome not in (OK, SKIPPED)),
        "censored": censored.total,
        "response_ms": figures(observed, censored),
        "service_ms": figures(*of("service")) if row.kind == "request" else None,
        "ci_ms": None,
        "phases_ms": phases or None,
    }


def _named(row: Row) -> _Json:
    return {"kind": row.kind, "journey": row.journey, "step": row.step, "request": row.request}


def _summary_rows(summary: Summary) -> Iterator[tuple[Row, _Json]]:
    errors: dict[Row, int] = {}
    for s in summary.series:
        if s.region == "*" and s.outcome not in ("*", OK, SKIPPED):
            errors[_row_of(s)] = errors.get(_row_of(s), 0) + s.count
    for s in summary.series:
        if s.region == "*" and s.outcome == "*":
            row = _row_of(s)
            yield (
                row,
                _named(row)
                | {
                    "count": s.count,
                    "errors": errors.get(row, 0),
                    "censored": s.censored,
                    "response_ms": msgspec.to_builtins(s.response_ms),
                    "service_ms": msgspec.to_builtins(s.service_ms),
                    "bound": s.bound,
                    "ci_ms": msgspec.to_builtins(s.response_ci_ms),
                    "phases_ms": msgspec.to_builtins(s.phases_ms) or None,
                },
            )


def _row_of(series: Series) -> Row:
    kind = next(kind for kind in _KINDS if kind == series.kind)
    return Row(kind, series.journey, series.step, series.request)


def _spectrum(measured: Measured, kind: Kind, journey: str | None, warmup: bool) -> list[list[float]]:
    """Return [percentile, ms, number of values up to it], up to the first percentile that is only a lower bound."""
    observed, censored = measured.select(kind, journey, warmup=warmup)
    total = observed.total + censored.total
    if not total:
        return []
    halvings = max(1, round(log2(total) * _PER_HALVING))
    qs = [100 * (1 - 2 ** (-n / _PER_HALVING)) for n in range(halvings + 1)] + [100.0]
    found = []
    for q, value in zip(qs, percentiles(observed, censored, qs), strict=True):
        if value is None or value.is_bound:
            break
        found.append([round(q, 6), round(value.ms, 3), round(total * q / 100)])
    return found


def _exemplars(merge: Merge) -> _Json:
    requests = [kept for kept in merge.exemplars if kept.exemplar.request]
    slowest = nlargest(
        _EXEMPLARS, (k for k in requests if k.exemplar.outcome == OK), key=lambda kept: kept.exemplar.response_ns
    )
    failing = nlargest(
        _EXEMPLARS, (k for k in requests if k.exemplar.outcome != OK), key=lambda kept: kept.exemplar.at_ns
    )
    return {"slowest": [_exemplar(one) for one in slowest], "failing": [_exemplar(one) for one in failing]}


def _exemplar(kept: KeptExemplar) -> Mapping[str, object]:
    one = kept.exemplar
    return {
        "at_s": round(one.at_ns / NS_PER_S, 3),
        "journey": one.journey,
        "step": one.step or None,
        "request": one.request or None,
        "ms": round(one.response_ns / NS_PER_MS, 3),
        "outcome": one.outcome,
        "trace_id": one.trace or None,
        "note": one.note or None,
        "agent": kept.agent,
        "region": kept.region,
    }

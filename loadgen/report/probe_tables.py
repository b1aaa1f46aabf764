"""Tables of the probes of a run: figures of the target's side, for the terminal and Markdown.

A percentile of a histogram is shown as the bounds of its bucket, because the page has no exact values.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Final

from loadgen.probes.recorded import between_text
from loadgen.report.report_parts import PLACEHOLDER, Table
from loadgen.report.summary_reader import ProbeFigures, ProbeRow, Summary
from loadgen.units import format_count, quantity

__all__ = ["probe_tables"]

_ROWS_MOST: Final = 40
_BASELINE_S: Final = 30


def probe_tables(summary: Summary) -> Iterator[Table]:
    """Yield up to two tables for each probe: gauges and rates, and the bounds of percentiles."""
    for probe in summary.probes:
        plain = [row for row in probe.rows[:_ROWS_MOST] if row.kind != "histogram"]
        bounded = [row for row in probe.rows[:_ROWS_MOST] if row.kind == "histogram"]
        note = _note(probe)
        cells = tuple(
            (f"{row.title} ({row.unit})" if row.unit else row.title, *map(_figure, (row.mean, row.most, row.last)))
            for row in plain
        )
        columns = ("", "mean", "highest", "last")
        yield Table(f"Probe {probe.name}: the target's side", columns, cells, note="" if bounded else note)
        yield Table(
            f"Probe {probe.name}: bounds of percentiles, from its buckets",
            ("", "count", "p50", "p95", "p99"),
            tuple(
                (row.title, _count(row), *(_between(row, name) for name in ("p50", "p95", "p99"))) for row in bounded
            ),
            note=note,
        )
        if not probe.rows and probe.at == "apart" and not probe.samples:
            note = "It is read beside its server; join its journal with: loadgen probe add RUN FILE."
            yield Table(f"Probe {probe.name}", ("", ""), (("samples", "not added yet"),), note=note)
        elif not probe.rows:
            yield Table(f"Probe {probe.name}", ("", ""), (("samples", "0"), ("gaps", str(probe.gaps))), note=note)


def _note(probe: ProbeFigures) -> str:
    parts = []
    if probe.gaps:
        of = format_count(probe.samples + probe.gaps)
        parts.append(f"{format_count(probe.gaps)} of {of} samples are missing; the last reason: {probe.last_gap}.")
    if probe.resets:
        parts.append(
            f"Counters started again {quantity(probe.resets, 'time')}; the increase in these intervals is unknown."
        )
    if probe.kind != "metrics" and probe.baseline_s is not None and probe.baseline_s < _BASELINE_S:
        parts.append(f"Its baseline is short: {probe.baseline_s:g} s before the load.")
    if len(probe.rows) > _ROWS_MOST:
        parts.append(f"{format_count(len(probe.rows) - _ROWS_MOST)} more rows are in the notebook: run.probes().")
    return " ".join(parts)


def _figure(value: float | None) -> str:
    return PLACEHOLDER if value is None else f"{value:,.0f}" if 1_000 <= abs(value) < 1e12 else f"{value:.3g}"


def _count(row: ProbeRow) -> str:
    return PLACEHOLDER if row.count is None else format_count(round(row.count))


def _between(row: ProbeRow, percentile: str) -> str:
    ends = row.between.get(percentile)
    if ends is None:
        return PLACEHOLDER
    low, high = ends
    return between_text(-inf if low is None else low, inf if high is None else high, row.unit)

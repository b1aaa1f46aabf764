"""Compute what the page shows of requests to AI models besides lines over time: rows, totals and percentile spectra.

Rows have the times and tokens of one outcome, because the partial times of requests that failed must not be among those
of `ok`. Spectra are over all requests: one that failed before its first token is left out, except if it was stopped at
a time limit or by the drain. Then its time is a lower bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from loadgen.measure.deltas.series_key import CUT_OFF, OK, TIMEOUT, StreamMetric
from loadgen.measure.merging.queries import ALL, Measured, Row
from loadgen.measure.results.stream_figures import is_stream_row, llm_block, stream_rows
from loadgen.report.charts.percentile_spectrum import spectrum_of
from loadgen.report.summary_reader import Summary

__all__ = ["SPECTRA", "StreamRows"]

SPECTRA: Final[tuple[StreamMetric, ...]] = ("ttft", "ttft_due", "itl", "tpot", "stall")
"""The metrics that have a percentile spectrum."""
MOST_ROWS: Final = 100
"""The most rows of requests; summary.json has all."""
MOST_OUTCOMES: Final = 10
"""The most outcomes of a row, ok included."""

_Json = dict[str, object]


class StreamRows:
    """Requests to AI models of one run. `jobs` yields what has to be computed, some at each look."""

    def __init__(self) -> None:
        self._rows: dict[Row, list[_Json]] = {}
        self._spectra: dict[str, list[list[float]]] = {}
        self._totals: _Json | None = None

    def clear(self) -> None:
        self._rows.clear()
        self._spectra.clear()
        self._totals = None

    def jobs(self, measured: Measured, warmup: bool) -> Iterator[Callable[[], None]]:
        """Yield functions that each update one row or spectrum; nothing if the run has no requests to models."""
        if not measured.matching("streams", lambda _, key: key.metric == "ttft"):
            return
        rows = [row for row in measured.rows("request", warmup=warmup) if is_stream_row(measured, row, warmup=warmup)]
        for row in rows[:MOST_ROWS]:
            yield lambda row=row: self._rows.__setitem__(row, list(_lines(measured, row, warmup)))  # type: ignore[misc]
        for metric in SPECTRA:
            yield lambda metric=metric: self._spectra.__setitem__(  # type: ignore[misc]
                metric, _spectrum(measured, metric, warmup)
            )
        yield lambda: setattr(self, "_totals", llm_block(measured, None))

    def take(self, summary: Summary) -> None:
        """Replace the totals with those of the summary, which have rates."""
        if summary.llm is not None and self._rows:
            self._totals = msgspec.to_builtins(summary.llm)

    def as_json(self) -> _Json:
        """Return {"streams": ...} for the document; {} for a run without requests to AI models."""
        if not self._rows:
            return {}
        rows = [line for lines in self._rows.values() for line in lines]
        return {"streams": {"rows": rows, "spectrum": dict(self._spectra), "totals": self._totals}}


def _lines(measured: Measured, row: Row, warmup: bool) -> Iterator[_Json]:
    for outcome in list(measured.row_outcomes(row, warmup=warmup))[:MOST_OUTCOMES]:
        found = stream_rows(measured, row, outcome, ALL, warmup)
        if found:
            named = {"kind": "request", "journey": row.journey, "step": row.step, "request": row.request}
            yield named | {"outcome": outcome, "is_ok": outcome == OK} | found


def _spectrum(measured: Measured, metric: StreamMetric, warmup: bool) -> list[list[float]]:
    observed, _ = measured.select("request", metric=metric, warmup=warmup)
    _, bounds = measured.select("request", outcome=TIMEOUT, metric=metric, warmup=warmup)
    _, cut_off = measured.select("request", outcome=CUT_OFF, metric=metric, warmup=warmup)
    bounds.add_histogram(cut_off)
    return spectrum_of(observed, bounds)

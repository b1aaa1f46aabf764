"""Compute the table of a run for its page: figures of each row, percentile spectra, example requests, the curve.

A row takes 0.2 to 1 ms. So during a run each `look` updates only some of the rows in
turn, and a row is at most a few seconds old. All figures of a row are of one moment.

A row with tags has a line for each value of a tag. These lines are updated in turn, too, so while a run goes on they
may be a few seconds older or newer than their row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from heapq import nlargest
from typing import Final

import msgspec

from loadgen.measure.deltas.exemplar import KeptExemplar
from loadgen.measure.deltas.series_key import OK, PHASES, SKIPPED, UNTAGGED, Kind, Metric, Tags
from loadgen.measure.histograms.histogram import Histogram
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.queries import Measured, Row
from loadgen.measure.results.figures import figures
from loadgen.measure.results.message_figures import message_rows
from loadgen.measure.results.page_figures import page_rows
from loadgen.report.charts.latency_by_throughput import curve_of
from loadgen.report.charts.percentile_spectrum import spectrum_of
from loadgen.report.charts.stream_rows import StreamRows
from loadgen.report.charts.timeline_data import History
from loadgen.report.summary_reader import Series, Summary
from loadgen.units import NS_PER_MS, NS_PER_S

__all__ = ["AT_ONCE", "Table"]

AT_ONCE: Final = 20
"""The number of rows or spectra that one `look` updates."""
MOST_VALUES: Final = 10
"""The most values of a tag that a row shows; summary.json has all."""
MOST_LINES: Final = 400
"""The most lines of tags of all rows."""
_EXEMPLARS: Final = 20
_KINDS: Final[tuple[Kind, ...]] = ("journey", "step", "request")

_Json = dict[str, object]
_Job = Callable[[], None]


class Table:
    """The table of one run. Call `look` after `History.look`."""

    def __init__(self, history: History, warmup_s: float = 0.0) -> None:
        """`warmup_s` is the end of the warm-up after T0; the curve leaves out earlier slots."""
        self._history, self._warmup_s = history, warmup_s
        self._rows: dict[Row, _Json] = {}
        self._tagged: dict[Row, dict[tuple[str, str], _Json]] = {}
        """Lines of a row by tag and value."""
        self._tag_counts: dict[Row, dict[str, int]] = {}
        """By row and tag: the number of its values."""
        self._planned: dict[Row, int] = {}
        """By row: its number of lines, also of those that are not made yet."""
        self._spectra: dict[str, list[list[float]]] = {}
        """Percentile spectra by journey."""
        self._spectrum: list[list[float]] = []
        self._streams = StreamRows()
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
            self._tagged.clear()
            self._planned.clear()
            self._streams.clear()
        if at_once is None or not self._jobs:
            self._jobs = list(self._all(merge, measured, warmup))
        left = len(self._jobs) if at_once is None else at_once
        while self._jobs and (left > 0 or at_once is None):
            some, self._jobs = self._jobs[:left], self._jobs[left:]
            for job in some:
                job()  # may add jobs for the lines of a row
            left = len(self._jobs) if at_once is None else 0

    def take(self, summary: Summary) -> None:
        """Replace the rows with those of the run's summary, which have 95 % intervals. "(other)" rows stay."""
        for row, found in _summary_rows(summary):
            if row in self._rows:
                self._rows[row] = found
        self._streams.take(summary)

    def as_json(self) -> _Json:
        """Return rows, spark_length_s, spectrum, curve and exemplars of the document."""
        order = sorted(self._rows, key=lambda row: _KINDS.index(row.kind))
        sparks = self._history.sparks()
        return {
            "rows": [self._rows[row] | {"spark": sparks[row]} | self._tags(row) for row in order],
            "spark_length_s": self._history.spark_length_s,
            "spectrum": {"iterations": dict(self._spectra), "requests": self._spectrum},
            "curve": self._curve,
            "exemplars": self._exemplars,
            **self._streams.as_json(),
        }

    def _tags(self, row: Row) -> _Json:
        """Return the lines of a row by tag, and by tag the number of values that have no line; empty without tags."""
        lines = self._tagged.get(row)
        if not lines:
            return {}
        order = sorted(lines.items(), key=lambda one: (one[0][1] == UNTAGGED, -_count(one[1]), one[0][1]))
        names = list(dict.fromkeys(tag for tag, _ in lines))
        shown = [{"tag": tag, "value": value} | line for name in names for (tag, value), line in order if tag == name]
        counts = self._tag_counts.get(row, {})
        rest = {tag: n for tag in names if (n := counts.get(tag, 0) - sum(name == tag for name, _ in lines)) > 0}
        return {"tags": shown, "more_tags": rest}

    # -- within -----------------------------------------------------------------------------------

    def _all(self, merge: Merge, measured: Measured, warmup: bool) -> Iterator[_Job]:
        named: dict[Row, list[Row]] = {}
        for row in measured.rows(warmup=warmup):
            if row.kind in _KINDS:
                named.setdefault(self._history.lines.row_of(row), []).append(row)
        for row in [row for row in self._rows if row not in named]:
            del self._rows[row]
            self._tagged.pop(row, None)
            self._planned.pop(row, None)

        def job(row: Row, members: list[Row]) -> _Job:
            def made() -> None:
                self._rows[row] = _row(measured, row, members, warmup)
                if members == [row]:  # the sum of many rows has no lines
                    self._jobs.extend(self._lines(measured, row, warmup))

            return made

        def spectrum(journey: str) -> _Job:
            return lambda: self._spectra.__setitem__(journey, _spectrum(measured, "journey", journey, warmup))

        for row, members in named.items():
            yield job(row, members)
            if row.kind == "journey":
                yield spectrum(row.journey)
        yield lambda: setattr(self, "_spectrum", _spectrum(measured, "request", None, warmup))
        yield from self._streams.jobs(measured, warmup)
        yield lambda: setattr(self, "_exemplars", _exemplars(merge))
        yield lambda: setattr(self, "_curve", curve_of(self._history, self._warmup_s))

    def _lines(self, measured: Measured, row: Row, warmup: bool) -> Iterator[_Job]:
        """Yield a job for each line of a row: the most frequent values of each tag, and the values without it."""
        by_tag = measured.row_tags(row, warmup=warmup)
        if not by_tag:
            return
        total = sum(measured.row_outcomes(row, warmup=warmup).values())
        own = self._tagged.setdefault(row, {})
        room = max(0, MOST_LINES - sum(n for of, n in self._planned.items() if of != row))
        found: dict[tuple[str, str], _Job] = {}
        counts: dict[str, int] = {}

        def job(tag: str, value: str) -> _Job:
            return lambda: own.__setitem__((tag, value), _line(measured, row, ((tag, value),), warmup))

        for tag, values in by_tag.items():
            rest = [UNTAGGED] if sum(values.values()) < total else []
            often = sorted(values, key=lambda value: (-values[value], value))[:MOST_VALUES]
            counts[tag] = len(values) + len(rest)
            found |= {(tag, value): job(tag, value) for value in (*often, *rest)}
        self._tag_counts[row] = counts
        kept = list(found)[:room]
        self._planned[row] = len(kept)
        for place in [place for place in own if place not in kept]:
            del own[place]
        yield from (found[place] for place in kept)


def _line(measured: Measured, row: Row, tags: Tags, warmup: bool) -> _Json:
    """Return the figures of the part of a row with these tags."""
    observed, censored = measured.select_row(row, warmup=warmup, tags=tags)
    outcomes = measured.row_outcomes(row, warmup=warmup, tags=tags)
    is_request = row.kind == "request"
    return {
        "count": observed.total + censored.total,
        "errors": sum(count for outcome, count in outcomes.items() if outcome not in (OK, SKIPPED)),
        "censored": censored.total,
        "response_ms": figures(observed, censored),
        "service_ms": figures(*measured.select_row(row, metric="service", warmup=warmup, tags=tags))
        if is_request
        else None,
    }


def _count(line: _Json) -> int:
    count = line["count"]
    assert isinstance(count, int)
    return count


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
    pages = page_rows(measured, members, warmup=warmup) if row.kind == "request" else {}
    return _named(row) | {
        "count": observed.total + censored.total,
        "errors": sum(count for by in outcomes for outcome, count in by.items() if outcome not in (OK, SKIPPED)),
        "censored": censored.total,
        "response_ms": figures(observed, censored),
        "service_ms": figures(*of("service")) if row.kind == "request" else None,
        "ci_ms": None,
        "phases_ms": phases or None,
        "message_ms": (message_rows(measured, members, warmup=warmup) or None) if row.kind == "request" else None,
        **(pages or {"page_ms": None, "cls": None}),
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
                    "message_ms": msgspec.to_builtins(s.message_ms) or None,
                    "page_ms": msgspec.to_builtins(s.page_ms) or None,
                    "cls": msgspec.to_builtins(s.cls),
                },
            )


def _row_of(series: Series) -> Row:
    kind = next(kind for kind in _KINDS if kind == series.kind)
    return Row(kind, series.journey, series.step, series.request)


def _spectrum(measured: Measured, kind: Kind, journey: str | None, warmup: bool) -> list[list[float]]:
    return spectrum_of(*measured.select(kind, journey, warmup=warmup))


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
        "trace_is_kept": one.may_be_read,
        "note": one.note or None,
        "agent": kept.agent,
        "region": kept.region,
    }

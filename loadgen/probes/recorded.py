"""Builds the points of all probes of a run from the records of its journal, during the run or afterwards. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import inf
from typing import Any, Final, cast

from loadgen.outside_text import one_line
from loadgen.probes.journal import (
    Begin,
    Gap,
    NewRows,
    NewSeries,
    NoteRecord,
    Period,
    ProbeOfRun,
    Record,
    Sample,
    ServerClock,
    TimedRecord,
    Zero,
)
from loadgen.probes.points import PERCENTILES, KeepsBuckets, Point, ProbeSeries, Totals, bounds_of
from loadgen.probes.reader import ServerTime
from loadgen.probes.rows import Row, Series
from loadgen.probes.server_clock import ServerClockOffset
from loadgen.probes.timed_points import Spacing, TimedPoints

__all__ = ["ProbeState", "Recorded", "between_text"]

_POINTS_MOST: Final = 20_000
"""The most points of a lane in metrics.json. A longer lane is cut into stretches, and the highest of each is kept."""
_TEXT_MOST: Final = 400
_MARKS_MOST: Final = 500
_SHOWN: Final = PERCENTILES.index(95.0)


class ProbeState:
    """One probe of a run: its points, and the series by number."""

    def __init__(self, probe: ProbeOfRun, keeps: KeepsBuckets = lambda _: False) -> None:
        self.probe = probe
        self._keeps = keeps
        self.read = ProbeSeries(probe.every_ns, keeps)
        """The points of values that have the times of their read."""
        self.timed = TimedPoints()
        self.series: list[Series] = []
        self.notes: list[NoteRecord] = []
        self.clock = ServerClockOffset()
        self.every_ns = probe.every_ns
        """The present time between two reads."""
        self.first_ns: int | None = None
        """The time of the first sample of this session."""
        self.cost_ns = 0
        self.reads = 0
        self.t0_ns: int | None = None
        self._built: tuple[ProbeSeries, dict[str, Spacing]] | None = None

    @property
    def points(self) -> ProbeSeries:
        """Return all points. Of values with times of the server's clock they are built again after a change."""
        return self._all()[0]

    def spacing(self, key: str) -> Spacing:
        """Return the usual distance of the samples of a row, and the samples that are missing."""
        points, spacings = self._all()
        return spacings.get(key) or Spacing(self.every_ns, tuple(points.gaps))

    def changed(self) -> None:
        """Note that values with times of their own, or bounds of their clock, came in."""
        self._built = None

    def _all(self) -> tuple[ProbeSeries, dict[str, Spacing]]:
        if not self.timed:
            return self.read, {}
        if self._built is None:
            built, spacings = self.timed.build(
                self.read.rows.values(), self.clock, self.every_ns, self.t0_ns, self._keeps
            )
            last_ns = max((points[-1].at_ns for points in built.points.values() if points), default=0)
            # A failed read is a gap only if its values did not come later.
            built.gaps += [gap for gap in self.read.gaps if gap.at_ns > last_ns]
            self._built = built, spacings
        return self._built

    @property
    def missing(self) -> list[str]:
        """Return the expected metrics that were never on the page."""
        there = {key.partition("[")[0] for key in self.points.rows}
        return [metric for key, metric in self.probe.expected.items() if key not in there]


class Recorded:
    """All probes of a run. Add the records of the journal in their order.

    keeps: whether the points of a row, by probe and key, keep the buckets of their histograms.
    """

    def __init__(self, records: Iterable[Record] = (), keeps: Callable[[str, str], bool] = lambda _, __: False) -> None:
        self._keeps = keeps
        self.probes: dict[str, ProbeState] = {}
        self.t0_ns: int | None = None
        """T0 in ns of the clock of the last controller process; None if the load never started."""
        self._order: list[ProbeState] = []
        self._last_ns = 0
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """Add one record."""
        match record:
            case Begin(probes=probes, now_ns=now_ns):
                self._order = [
                    self.probes.setdefault(one.name, ProbeState(one, partial(self._keeps, one.name))) for one in probes
                ]
                for state in self._order:
                    state.series = []
                    if now_ns < self._last_ns:  # the clock of another boot
                        state.read.new_session()
                        state.clock = ServerClockOffset()
                        state.t0_ns = None
            case Zero(t0_ns=t0_ns):
                self.t0_ns = t0_ns
                for state in self._order:
                    # A restarted controller writes the same T0 again; the totals go on then.
                    if state.t0_ns != t0_ns:
                        state.read.set_t0(t0_ns)
                        state.t0_ns = t0_ns
                        state.changed()
            case NewRows(probe=number, rows=rows):
                self._order[number].read.add_rows(rows)
            case NewSeries(probe=number, first=first, series=series):
                self._order[number].series[first:] = series
            case Sample(probe=number, sent_ns=sent_ns, received_ns=received_ns, ids=ids, values=values):
                state, self._last_ns = self._order[number], received_ns
                state.cost_ns += received_ns - sent_ns if record.cost_ns is None else record.cost_ns
                state.reads += 1
                state.first_ns = sent_ns if state.first_ns is None else state.first_ns
                if not state.timed:
                    found = {state.series[one]: value for one, value in zip(ids, values, strict=True)}
                    state.read.add(sent_ns, received_ns, found)
            case Gap(probe=number, sent_ns=sent_ns, received_ns=received_ns, why=why):
                self._order[number].read.add_gap(sent_ns, received_ns, why)
            case NoteRecord(probe=number):
                self._order[number].notes.append(record)
            case TimedRecord(probe=number, id=one, at_ms=at_ms, values=values, group=group):
                state = self._order[number]
                state.timed.add(group, state.series[one], at_ms, values)
                state.changed()
            case ServerClock(probe=number):
                state = self._order[number]
                state.clock.add(ServerTime(record.sent_ns, record.received_ns, record.at_ns, record.resolution_ns))
                state.changed()
            case Period(probe=number, every_ns=every_ns):
                state = self._order[number]
                state.every_ns = state.read.every_ns = every_ns

    # -- for metrics.json ------------------------------------------------------------------------

    def lanes(self) -> list[dict[str, Any]]:
        """Return the rows of all probes as metrics of `metrics.json`; [] before T0 is known.

        The time of a rate is the start of its interval. After missing samples the value is None, even if the increase
        over the whole gap is known, because a lane draws no long intervals.
        """
        if self.t0_ns is None:
            return []
        several = len(self.probes) > 1
        return [
            self._lane(state, row, f"{state.probe.name}: {row.title}" if several else row.title)
            for state in self.probes.values()
            for row in state.points.rows.values()
        ]

    def _lane(self, state: ProbeState, row: Row, title: str) -> dict[str, Any]:
        assert self.t0_ns is not None
        spacing = state.spacing(row.key)
        every_ns = spacing.interval_ns
        values: dict[int, float | None] = {gap.at_ns: None for gap in spacing.gaps}
        points = state.points.points[row.key]
        for point in points:
            values[point.at_ns] = _drawn(row, point) if point.length_ns <= 1.5 * every_ns else None
        # Times in the file are rounded, and must increase.
        rounded = {round((at_ns - self.t0_ns) / 1e9, 4): values[at_ns] for at_ns in sorted(values)}
        at_s, drawn = _thinned(list(rounded), list(rounded.values()))
        return {
            "name": title,
            "unit": row.unit,
            "statistic": "p95, upper bound of its bucket" if row.kind == "histogram" else "",
            "period_s": every_ns / 1e9,
            "probe": state.probe.name,
            "metric": row.names[0],
            "key": row.key,
            "error_s": round(max((point.error_ns for point in points), default=0) / 1e9, 6),
            "at_s": at_s,
            "values": drawn,
        }

    # -- for the summary ---------------------------------------------------------------------------

    def figures(self) -> list[dict[str, Any]]:
        """Return one object for each probe, for summary.json: samples, gaps, and the figures of each row."""
        return [self._figures(state) for state in self.probes.values()]

    def _figures(self, state: ProbeState) -> dict[str, Any]:
        points = state.points
        errors_ns = [point.error_ns for found in points.points.values() for point in found]
        return {
            "name": state.probe.name,
            "url": state.probe.url,
            "preset": state.probe.preset or None,
            **_kind_figures(state),
            "every_s": state.every_ns / 1e9,
            "samples": points.samples,
            "gaps": len(points.gaps),
            "last_gap": points.gaps[-1].why if points.gaps else None,
            "resets": len(points.resets),
            "clock_error_ms": round(max(errors_ns) / 1e6, 3) if errors_ns else None,
            "missing": state.missing,
            "rows": [_row_figures(row, points.totals.get(key)) for key, row in points.rows.items()],
        }

    def mean_between(self, key: str, start_ns: int, end_ns: int) -> tuple[float, int]:
        """Return the mean of a gauge of presets, such as "waiting", and its number of samples, in [start_ns, end_ns).

        Times are ns from T0. Values of several probes are added up. (0, 0) without samples, or before T0 is known.
        """
        means = []
        for state in self.probes.values():
            row = state.points.rows.get(key)
            if self.t0_ns is None or row is None or row.kind != "gauge":
                continue
            found = (p for p in state.points.points[key] if start_ns <= p.at_ns - self.t0_ns < end_ns)
            values = [point.value * row.scale for point in found if point.value is not None]
            if values:
                means.append((sum(values) / len(values), len(values)))
        return sum(mean for mean, _ in means), min((count for _, count in means), default=0)

    # -- for the notebook --------------------------------------------------------------------------

    def table(self) -> Iterator[dict[str, object]]:
        """Yield a dict for each point and each gap, for `run.probes()`; times in s from T0."""
        t0_ns = self.t0_ns or 0
        for state in self.probes.values():
            for key, row in state.points.rows.items():
                for point in state.points.points[key]:
                    yield from _table_rows(state.probe.name, row, point, t0_ns)
            for gap in state.points.gaps:
                empty = dict.fromkeys(("value", "low", "high", "count"))
                about = {"probe": state.probe.name, "metric": "", "statistic": "gap", "unit": ""}
                times = {"at_s": (gap.at_ns - t0_ns) / 1e9, "length_s": 0.0, "error_s": gap.error_ns / 1e9}
                yield {**about, **times, **empty, "gap": gap.why}

    def note_table(self) -> Iterator[dict[str, object]]:
        """Yield a dict for each note, for `run.probe_notes()`; times in s from T0. `text` is safe for one line."""
        t0_ns = self.t0_ns or 0
        for state in self.probes.values():
            for note in state.notes:
                yield {
                    "probe": state.probe.name,
                    "kind": note.kind,
                    "at_s": (note.at_ns - t0_ns) / 1e9,
                    "error_s": _error_s(note),
                    "text": one_line(str(note.body.get("text", "")), _TEXT_MOST),
                    "body": note.body,
                }

    def marks(self) -> list[dict[str, Any]]:
        """Return the marks of all probes for `metrics.json`, by time, at most `_MARKS_MOST`; [] before T0 is known.

        The keys are those of marks of AWS's automatic scaling, and `probe`. A mark has no length.
        """
        if self.t0_ns is None:
            return []
        found = [row for row in self.note_table() if row["kind"] == "mark"]
        found.sort(key=lambda row: cast(float, row["at_s"]))
        return [
            {
                "name": row["probe"],
                "at_s": round(cast(float, row["at_s"]), 4),
                "length_s": 0.0,
                "error_s": round(cast(float, row["error_s"]), 4),
                "title": row["text"],
                "status": "",
                "cause": "",
                "probe": row["probe"],
            }
            for row in found[:_MARKS_MOST]
        ]


def _error_s(note: NoteRecord) -> float:
    error = note.body.get("error_ns", 0)
    return error / 1e9 if isinstance(error, int | float) and 0 <= error < 1e15 else 0.0


def between_text(low: float, high: float, unit: str) -> str:
    """Return bounds as text: "0.25 to 0.5 s", "above 10 s" or "at most 0.5 s"."""
    tail = f" {unit}" if unit else ""
    if high == inf:
        return f"above {low:g}{tail}"
    return f"at most {high:g}{tail}" if low in (0.0, -inf) else f"{low:g} to {high:g}{tail}"


def _kind_figures(state: ProbeState) -> dict[str, Any]:
    """Return the figures that not every probe has."""
    about: dict[str, Any] = {"kind": state.probe.kind, "notes": len(state.notes)}
    if state.probe.at == "apart":
        about["at"] = "apart"
    first_ns = state.first_ns
    if state.timed:
        first_ns = min((points[0].at_ns for points in state.points.points.values() if points), default=None)
    if state.t0_ns is not None and first_ns is not None:
        about["baseline_s"] = round(max(0, state.t0_ns - first_ns) / 1e9, 1)
    if state.every_ns != state.probe.every_ns:
        about["planned_every_s"] = state.probe.every_ns / 1e9
    about["mean_read_ms"] = round(state.cost_ns / state.reads / 1e6, 3) if state.reads else None
    if state.clock.count:
        offset = state.clock.at(state.first_ns or 0)
        about["clock"] = {
            "readings": state.clock.count,
            "jumps": len(state.clock.jumps),
            "error_ms": None if offset is None else round(offset[1] / 1e6, 3),
        }
    return about


def _table_rows(probe: str, row: Row, point: Point, t0_ns: int) -> Iterator[dict[str, object]]:
    times = {
        "at_s": (point.at_ns - t0_ns) / 1e9,
        "length_s": point.length_ns / 1e9,
        "error_s": point.error_ns / 1e9,
    }
    about = {"probe": probe, "metric": row.key}
    value = None if point.value is None else point.value * row.scale
    if row.kind != "histogram":
        statistic = "value" if row.kind == "gauge" else "share" if row.kind == "share" else "rate"
        own = {"statistic": statistic, "unit": row.unit, **times, "value": value}
        yield {**about, **own, "low": None, "high": None, "count": point.count, "gap": ""}
        return
    own = {"statistic": "rate", "unit": "1/s", **times, "value": point.value}
    yield {**about, **own, "low": None, "high": None, "count": point.count, "gap": ""}
    for percentile, (low, high) in zip(PERCENTILES, point.bounds, strict=False):
        own = {"statistic": f"p{percentile:g}", "unit": row.unit, **times, "value": None}
        yield {**about, **own, "low": low, "high": high, "count": point.count, "gap": ""}


def _drawn(row: Row, point: Point) -> float | None:
    if row.kind == "histogram":
        high = point.bounds[_SHOWN][1] if point.bounds else None
        return None if high is None or high == inf else high
    return None if point.value is None else round(point.value * row.scale, 6)


def _thinned(at_s: list[float], values: list[float | None]) -> tuple[list[float], list[float | None]]:
    """Return at most `_POINTS_MOST` points: the first time and the highest value of each stretch."""
    step = -(-len(at_s) // _POINTS_MOST)
    if step <= 1:
        return at_s, values
    parts = [values[n : n + step] for n in range(0, len(values), step)]
    return at_s[::step], [max((v for v in part if v is not None), default=None) for part in parts]


def _row_figures(row: Row, totals: Totals | None) -> dict[str, object]:
    about: dict[str, object] = {"key": row.key, "title": row.title, "kind": row.kind, "unit": row.unit}
    found = totals or Totals()
    scaled = {
        "least": found.least * row.scale if found.least < inf else None,
        "most": found.most * row.scale if found.most > -inf else None,
        "last": None if found.last is None else found.last * row.scale,
    }
    match row.kind:
        case "gauge":
            mean = found.sum / found.samples * row.scale if found.samples else None
            return {**about, "samples": found.samples, "mean": mean, **scaled}
        case "share":
            mean = found.increase / found.of * row.scale if found.of else None
            return {**about, "samples": found.samples, "mean": mean, **scaled, "count": found.of}
        case "histogram":
            bounds: dict[str, object] = {}
            for percentile in PERCENTILES:
                between = bounds_of(found.buckets, percentile) if found.buckets else None
                # JSON has no infinity: a missing end is open.
                ends = None if between is None else [None if abs(end) == inf else end for end in between]
                bounds[f"p{percentile:g}"] = ends
            return {**about, "samples": found.samples, "count": found.increase, "between": bounds}
        case _:
            mean = found.increase / found.seconds * row.scale if found.seconds else None
            return {**about, "samples": found.samples, "mean": mean, **scaled, "count": found.increase}

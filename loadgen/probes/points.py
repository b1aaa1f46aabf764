"""Turns the samples of a probe into points: gauges as they are, counters as rates, histograms as bounds. Pure.

Nothing is interpolated. A rate is the increase between two samples, divided by the true time between them. So an
interval after a gap is longer and has the exact increase. An interval has no value if the increase in it is unknown:
if a counter fell, if the server's process has a new start time, or if a series appeared or disappeared.

A histogram on a page has counts up to fixed bounds. A percentile lies between two of these bounds, `low` and `high`,
and its exact value is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, inf, isfinite
from typing import Final

from loadgen.probes.rows import Row, Series

__all__ = ["PERCENTILES", "Bounds", "Gap", "KeepsBuckets", "Point", "ProbeSeries", "Totals", "bounds_of"]

PERCENTILES: Final = (50.0, 95.0, 99.0)

Bounds = tuple[float, float]
"""The bounds of the bucket that holds a percentile: (low, high); high is infinite in the bucket without a bound."""
KeepsBuckets = Callable[[str], bool]
"""Returns whether the points of a row keep the buckets of their histograms."""
_Buckets = dict[float, float]
"""Cumulative counts by upper bound."""


@dataclass(frozen=True, slots=True)
class Point:
    """A value of one row. A gauge has a time; a rate, a share and a histogram have an interval that begins at `at_ns`.

    Times are ns of the clock of the run's controller. `error_ns` is the most by which `at_ns` may be off: half the
    round trip of the sample.
    """

    at_ns: int
    length_ns: int
    error_ns: int
    value: float | None
    """The gauge, the rate in 1/s or the share; None if it is unknown. For a histogram: its values per second."""
    count: float | None = None
    """The increase of the counter, of the denominator of a share, or of the histogram's count; None for gauges."""
    bounds: tuple[Bounds, ...] = ()
    """For a histogram with values: the bounds of `PERCENTILES`. Otherwise empty."""
    buckets: Mapping[float, float] | None = None
    """For a histogram whose buckets are kept: the cumulative counts of this interval by upper bound. Otherwise None."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A missing sample, with the reason."""

    at_ns: int
    error_ns: int
    why: str


@dataclass(slots=True)
class Totals:
    """The figures of a row from T0 to the end of the run."""

    samples: int = 0
    sum: float = 0.0
    least: float = inf
    most: float = -inf
    last: float | None = None
    increase: float = 0.0
    """The increase of the counter, or of the numerator of the share, over all intervals with a known increase."""
    of: float = 0.0
    """For a share: the increase of its denominator over the same intervals."""
    seconds: float = 0.0
    """The total length of these intervals."""
    buckets: _Buckets = field(default_factory=dict)


def bounds_of(buckets: Mapping[float, float], percentile: float) -> Bounds | None:
    """Return the bounds of the bucket that holds a percentile, by nearest rank; None without values.

    buckets: cumulative counts by upper bound; the last bound is infinite. The first bucket begins at 0 if its bound
        is above 0, else it has no lower bound (-inf).
    """
    total = buckets.get(inf, 0.0)
    if not total > 0:
        return None
    rank = max(1.0, ceil(percentile / 100 * total - 1e-9))
    low = 0.0 if min(buckets) > 0 else -inf
    for bound in sorted(buckets):
        if buckets[bound] >= rank:
            return low, bound
        low = bound
    return None


@dataclass(slots=True)
class _Before:
    """The last sample, with which the next one is compared."""

    at_ns: int
    error_ns: int
    values: Mapping[Series, float | None]
    by_row: Mapping[str, Sequence[Series]]


class ProbeSeries:
    """The points of one probe. Add its samples in the order of their times.

    every_ns: the planned time between samples.
    keeps: whether the points of a histogram, by the key of its row, keep their buckets. They need some 1 KB each, so
        only those of judged rows do.
    """

    def __init__(self, every_ns: int, keeps: KeepsBuckets = lambda _: False) -> None:
        self.every_ns, self.keeps = every_ns, keeps
        self.rows: dict[str, Row] = {}
        self.points: dict[str, list[Point]] = {}
        """By key of the row."""
        self.totals: dict[str, Totals] = {}
        self.gaps: list[Gap] = []
        self.samples = 0
        self.resets: list[int] = []
        """Times in ns of the samples at which counters had started again from 0."""
        self._t0_ns: int | None = None
        self._before: _Before | None = None

    def set_t0(self, t0_ns: int) -> None:
        """Set the start of the load. Totals begin with the first sample or interval after it."""
        self._t0_ns = t0_ns
        self.totals.clear()

    def add_rows(self, rows: Iterable[Row]) -> None:
        """Add rows that are new on the page, or replace rows whose metric has another name now."""
        for row in rows:
            self.rows[row.key] = row
            self.points.setdefault(row.key, [])

    def add_gap(self, sent_ns: int, received_ns: int, why: str) -> None:
        """Add a missing sample."""
        self.gaps.append(Gap((sent_ns + received_ns) // 2, (received_ns - sent_ns + 1) // 2, why))

    def join(self, other: ProbeSeries) -> None:
        """Add the points of another one, whose rows are other rows."""
        self.rows |= other.rows
        self.points |= other.points
        self.totals |= other.totals
        self.gaps = sorted((*self.gaps, *other.gaps), key=lambda gap: gap.at_ns)
        self.resets = sorted((*self.resets, *other.resets))
        self.samples += other.samples

    def new_session(self) -> None:
        """Forget the last sample: the controller has restarted, and its clock may be another one."""
        self._before = None
        self._t0_ns = None

    def add(self, sent_ns: int, received_ns: int, values: Mapping[Series, float | None]) -> bool:
        """Add a sample. Return True if counters have started again from 0 since the sample before.

        sent_ns, received_ns: times of the request and of the complete page.
        values: by series; None for NaN and infinity.
        """
        at_ns, error_ns = (sent_ns + received_ns) // 2, (received_ns - sent_ns + 1) // 2
        by_row: dict[str, list[Series]] = {}
        for series in values:
            by_row.setdefault(series.row, []).append(series)
        before, now = self._before, _Before(at_ns, error_ns, values, by_row)
        self.samples, self._before = self.samples + 1, now
        is_restarted = before is not None and _is_restarted(before, now)
        is_reset = is_restarted
        for key, row in self.rows.items():
            if key not in by_row:
                self._add_nothing(row, before, now)
            elif row.kind == "gauge":
                self._add_gauge(row, now)
            elif before is not None and key in before.by_row:
                is_reset |= self._add_increase(row, before, now, is_restarted)
        if is_reset:
            self.resets.append(at_ns)
        return is_reset

    # -- within -----------------------------------------------------------------------------------

    def _add_nothing(self, row: Row, before: _Before | None, now: _Before) -> None:
        """Add a point without a value for a row that is not on the page any more."""
        if row.kind == "gauge":
            self.points[row.key].append(Point(now.at_ns, 0, now.error_ns, None))
        elif before is not None and row.key in before.by_row:
            self.points[row.key].append(Point(before.at_ns, now.at_ns - before.at_ns, before.error_ns, None))

    def _add_gauge(self, row: Row, now: _Before) -> None:
        found = [now.values[series] for series in now.by_row[row.key]]
        known = [value for value in found if value is not None]
        value = None if len(known) < len(found) else max(known) if row.over == "max" else sum(known)
        self.points[row.key].append(Point(now.at_ns, 0, now.error_ns, value))
        if value is not None and (totals := self._totals(row.key, now.at_ns)) is not None:
            totals.samples, totals.sum, totals.last = totals.samples + 1, totals.sum + value, value
            totals.least, totals.most = min(totals.least, value), max(totals.most, value)

    def _add_increase(self, row: Row, before: _Before, now: _Before, is_restarted: bool) -> bool:
        """Add the interval since the sample before. Return True if a counter of the row fell."""
        old, new = before.by_row[row.key], now.by_row[row.key]
        increases: dict[Series, float] = {}
        fell = False
        if not is_restarted and set(old) == set(new):
            for series in new:
                first, last = before.values[series], now.values[series]
                if first is not None and last is not None:
                    fell |= last < first
                    increases[series] = last - first
        at_ns, length_ns = before.at_ns, now.at_ns - before.at_ns
        error_ns = max(before.error_ns, now.error_ns)
        is_known = bool(increases) and not fell and len(increases) == len(new) and length_ns > 0
        if not is_known:
            self.points[row.key].append(Point(at_ns, length_ns, error_ns, None))
            return fell
        totals = self._totals(row.key, at_ns) or Totals()
        seconds = length_ns / 1e9
        if row.kind == "histogram":
            buckets = _summed(increases)
            if buckets is None:
                self.points[row.key].append(Point(at_ns, length_ns, error_ns, None))
                return False
            count = buckets[inf]
            found = tuple(bounds for p in PERCENTILES if (bounds := bounds_of(buckets, p)) is not None)
            kept = buckets if self.keeps(row.key) else None
            self.points[row.key].append(Point(at_ns, length_ns, error_ns, count / seconds, count, found, kept))
            _merge(totals, buckets)
            totals.increase += count
        else:
            increase = sum(value for series, value in increases.items() if series.part == "value")
            of = sum(value for series, value in increases.items() if series.part == "of")
            value = (increase / of if of else None) if row.kind == "share" else increase / seconds
            count = of if row.kind == "share" else increase
            self.points[row.key].append(Point(at_ns, length_ns, error_ns, value, count))
            totals.increase, totals.of = totals.increase + increase, totals.of + of
            if value is not None:
                totals.least, totals.most, totals.last = min(totals.least, value), max(totals.most, value), value
        totals.samples, totals.seconds = totals.samples + 1, totals.seconds + seconds
        return False

    def _totals(self, key: str, at_ns: int) -> Totals | None:
        if self._t0_ns is None or at_ns < self._t0_ns:
            return None
        return self.totals.setdefault(key, Totals())


def _is_restarted(before: _Before, now: _Before) -> bool:
    old = [before.values[series] for series in before.by_row.get("", ())]
    new = [now.values[series] for series in now.by_row.get("", ())]
    return bool(old and new) and old != new


def _summed(increases: Mapping[Series, float]) -> _Buckets | None:
    """Return the cumulative counts of all series together, at the bounds that all of them have.

    None if a series has no bucket without a bound, or if its counts are not cumulative: the page was written while
    requests ended.
    """
    each: dict[tuple[object, ...], _Buckets] = {}
    for series, value in increases.items():
        bound = inf if series.le is None else series.le
        each.setdefault(series.labels, {})[bound] = value
    common = set.intersection(*(set(buckets) for buckets in each.values()))
    if inf not in common:
        return None
    summed = {bound: sum(buckets[bound] for buckets in each.values()) for bound in sorted(common)}
    counts = list(summed.values())
    if any(not isfinite(count) for count in counts) or any(a > b for a, b in pairwise(counts)):
        return None
    return summed


def _merge(totals: Totals, buckets: _Buckets) -> None:
    """Add an interval to the buckets of the whole run; bounds that are not in both are left out."""
    if not totals.buckets:
        totals.buckets = dict(buckets)
    else:
        totals.buckets = {b: n + buckets[b] for b, n in totals.buckets.items() if b in buckets}

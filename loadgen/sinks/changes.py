"""Differences between snapshots, for outputs that send increments, and percentiles of one interval.

A difference counts from the last snapshot that was delivered. So dropped snapshots are
included in the next difference, and all differences add up to the count of the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from loadgen.measure.deltas.delta import Counters
from loadgen.measure.deltas.series_key import CLS_NS
from loadgen.measure.histograms.histogram import Counts, Value, mean_us, percentiles
from loadgen.sinks.snapshot import Labels, Series, Snapshot
from loadgen.units import NS_PER_MS

__all__ = ["QUANTILES", "Change", "Since", "recent_of", "score_of"]

QUANTILES: Final = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "max": 100.0}


@dataclass(frozen=True, slots=True)
class Change:
    """One series, with the increase of its count and of its buckets."""

    series: Series
    count: int
    buckets: Counts


class Since:
    """The counts that one output has delivered so far, by run."""

    def __init__(self) -> None:
        self._series: dict[str, dict[Labels, Series]] = {}
        self._counters: dict[str, dict[str, Counters]] = {}

    def changes(self, snapshot: Snapshot) -> Iterator[Change]:
        """Yield a Change, the increase since the last delivery, for each series of `snapshot`
        whose count has grown, tagged ones and other metrics included.
        """
        known = self._series.get(snapshot.run.run_id, {})
        for series in snapshot.all_series:
            was = known.get(series.labels)
            if was is None:
                yield Change(series, series.count, series.buckets)
            elif was.count != series.count:
                yield Change(series, series.count - was.count, series.buckets - was.buckets)

    def sum_ns(self, snapshot: Snapshot, series: Series) -> int:
        """Return the increase of the sum of a series since the last delivery."""
        was = self._series.get(snapshot.run.run_id, {}).get(series.labels)
        return series.sum_ns - (0 if was is None else was.sum_ns)

    def counters(self, snapshot: Snapshot) -> Iterator[tuple[str, Counters]]:
        """Yield (region, the increase of its counters since the last delivery) for each region of `snapshot`."""
        known = self._counters.get(snapshot.run.run_id, {})
        for region, counters in snapshot.counters.items():
            yield region, counters - known.get(region, Counters())

    def took(self, snapshot: Snapshot, series: Series) -> None:
        """Store that the output has delivered `series` of `snapshot`, so that later increases count from it."""
        self._series.setdefault(snapshot.run.run_id, {})[series.labels] = series

    def took_counter(self, snapshot: Snapshot, region: str, name: str) -> None:
        """Store that the output has delivered the counter `name` of a region, so that later increases count from it."""
        known = self._counters.setdefault(snapshot.run.run_id, {}).setdefault(region, Counters())
        setattr(known, name, getattr(snapshot.counters[region], name))

    def took_all(self, snapshot: Snapshot) -> None:
        """Store that the output has delivered all of `snapshot`. After a run's last snapshot, forget the run."""
        run_id = snapshot.run.run_id
        if snapshot.is_final:
            self._series.pop(run_id, None)
            self._counters.pop(run_id, None)
            return
        self._series[run_id] = {one.labels: one for one in snapshot.all_series}
        self._counters[run_id] = {region: counters.copy() for region, counters in snapshot.counters.items()}


def score_of(value: Value) -> float:
    """Return a figure of `cls` as a score, whose histogram is one of times."""
    return round(float(value.ms) * NS_PER_MS / CLS_NS, 4)


def recent_of(series: Series) -> dict[str, Value]:
    """Return the mean and the percentiles of a series within the snapshot's interval, by name; empty if the interval
    has no values. Cost: about 60 µs.
    """
    if series.recent is None:
        return {}
    mean = mean_us(*series.recent)
    values = percentiles(*series.recent, tuple(QUANTILES.values()))
    named = {"mean": mean} | dict(zip(QUANTILES, values, strict=True))
    return {name: value for name, value in named.items() if value is not None}

"""What has happened since an output last took something: for those that are told differences, and of one interval.

What was dropped in between is in the next difference, so all of them add up to the count of the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from loadgen.measure.deltas.delta import Counters
from loadgen.measure.histograms.histogram import Counts, Value, mean_us, percentiles
from loadgen.sinks.snapshot import Labels, Series, Snapshot

__all__ = ["QUANTILES", "Change", "Since", "recent_of"]

QUANTILES: Final = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "max": 100.0}


@dataclass(frozen=True, slots=True)
class Change:
    """One series, and how it grew."""

    series: Series
    count: int
    buckets: Counts


class Since:
    """What one output has taken of each run."""

    def __init__(self) -> None:
        self._series: dict[str, dict[Labels, Series]] = {}
        self._counters: dict[str, dict[str, Counters]] = {}

    def changes(self, snapshot: Snapshot) -> Iterator[Change]:
        """Of series in which something has changed."""
        known = self._series.get(snapshot.run.run_id, {})
        for series in snapshot.series:
            was = known.get(series.labels)
            if was is None:
                yield Change(series, series.count, series.buckets)
            elif was.count != series.count:
                yield Change(series, series.count - was.count, series.buckets - was.buckets)

    def counters(self, snapshot: Snapshot) -> Iterator[tuple[str, Counters]]:
        """By region, what was counted since."""
        known = self._counters.get(snapshot.run.run_id, {})
        for region, counters in snapshot.counters.items():
            yield region, counters - known.get(region, Counters())

    def took(self, snapshot: Snapshot, series: Series) -> None:
        self._series.setdefault(snapshot.run.run_id, {})[series.labels] = series

    def took_counter(self, snapshot: Snapshot, region: str, name: str) -> None:
        known = self._counters.setdefault(snapshot.run.run_id, {}).setdefault(region, Counters())
        setattr(known, name, getattr(snapshot.counters[region], name))

    def took_all(self, snapshot: Snapshot) -> None:
        """All of it; after a run's last snapshot nothing is kept."""
        run_id = snapshot.run.run_id
        if snapshot.is_final:
            self._series.pop(run_id, None)
            self._counters.pop(run_id, None)
            return
        self._series[run_id] = {series.labels: series for series in snapshot.series}
        self._counters[run_id] = {region: counters.copy() for region, counters in snapshot.counters.items()}


def recent_of(series: Series) -> dict[str, Value]:
    """Mean and percentiles of the interval that the snapshot is of; empty where it has no values. About 60 µs."""
    if series.recent is None:
        return {}
    mean = mean_us(*series.recent)
    values = percentiles(*series.recent, tuple(QUANTILES.values()))
    named = {"mean": mean} | dict(zip(QUANTILES, values, strict=True))
    return {name: value for name, value in named.items() if value is not None}

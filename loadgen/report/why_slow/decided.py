"""The sums of sampled and of other requests of a run, by request, region and second, from its deltas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.series_key import SeriesKey, Tags
from loadgen.units import NS_PER_S

__all__ = ["DecidedRow", "DecidedSeries", "DecidedTable"]


class DecidedSeries(NamedTuple):
    """A request of one region. step: "" outside of steps."""

    region: str
    journey: str
    step: str
    request: str
    tags: Tags


class DecidedRow(NamedTuple):
    """One request of one region in one second: numbers, and sums of ok response times in ns. second: from T0."""

    series: DecidedSeries
    second: int
    sampled_n: int
    sampled_sum_ns: int
    others_n: int
    others_sum_ns: int


class DecidedTable:
    """Adds up the rows of all agents exactly. Seconds in which an agent was unfit have no rows from it."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, int], list[SeriesKey]] = {}
        self._sums: dict[tuple[DecidedSeries, int], list[int]] = {}

    def add(self, region: str, delta: Delta) -> None:
        """Add one delta. Call it for each delta of a run, in order, because deltas number their series."""
        keys = self._keys.setdefault((delta.agent, delta.epoch), [])
        keys.extend(delta.new_series)
        if delta.health.unfit or delta.health.unfit_intervals:
            return
        for one in delta.sampled:
            key = keys[one.series]
            if key.warmup:
                continue
            series = DecidedSeries(region, key.journey, key.step or "", key.request or "", key.tags)
            sums = self._sums.setdefault((series, delta.start_ns // NS_PER_S), [0, 0, 0, 0])
            found = one.sampled_n, one.sampled_sum_ns, one.others_n, one.others_sum_ns
            for at, value in enumerate(found):
                sums[at] += value

    def rows(self, is_wanted: Callable[[DecidedSeries], bool] = lambda _: True) -> Sequence[DecidedRow]:
        """Return the rows of the wanted series, sorted."""
        return sorted(
            DecidedRow(series, second, *sums) for (series, second), sums in self._sums.items() if is_wanted(series)
        )

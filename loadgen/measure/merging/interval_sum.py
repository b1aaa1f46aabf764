"""What all agents measured in one interval, while it is added up.

A merged delta is added once, to the sum of its interval. From there it is in the window that shows the
interval, which asks the sum's own store; in the sums of the run, to which the store is added
as a whole once it is closed; and in the cells that are kept for the end of the run (`cells.py`).

A closed sum never changes, but by what `join` says.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import add

from loadgen.measure.deltas.limits import MOST_VALUES
from loadgen.measure.histograms.histogram import Counts
from loadgen.measure.histograms.series_counts import Stats, Store

__all__ = ["Sum", "add_up"]


class Sum:
    """Of [start_ns, end_ns)."""

    __slots__ = ("counters", "deltas", "end_ns", "is_free", "start_ns", "store", "values")

    def __init__(self, start_ns: int, end_ns: int, store: Store) -> None:
        """`store` is empty, with buckets of 4 bytes."""
        self.start_ns, self.end_ns, self.store = start_ns, end_ns, store
        self.counters: dict[str, list[int]] = {}
        """By region, in the order of COUNTER_NAMES."""
        self.deltas = self.values = 0
        self.is_free = False
        """Closed, and of no use any more to anybody but a window."""

    def __repr__(self) -> str:
        return f"<Sum of {self.deltas} deltas of {self.start_ns} to {self.end_ns} ns, {self.values:,} values>"

    @property
    def interval(self) -> tuple[int, int]:
        return self.start_ns, self.end_ns

    def has_room(self, values: int) -> bool:
        """For so many more, in whichever bucket."""
        return not self.values or self.values + values <= MOST_VALUES

    def add(self, index: Counts, counts: Counts, stats: Stats, values: int, deltas: int) -> None:
        """What some deltas counted; `index` by the catalogue's numbers."""
        self.store.add(index, counts, stats)
        self.values += values
        self.deltas += deltas

    def count(self, region: str, counters: Iterable[int]) -> None:
        before = self.counters.get(region)
        self.counters[region] = list(counters) if before is None else add_up(before, counters)

    def join(self, other: Sum) -> None:
        """Be what a window shows for both. Only of a sum that is free."""
        self.store.add_store(other.store)
        self.values += other.values


def add_up(a: Iterable[int], b: Iterable[int]) -> list[int]:
    """Counters as lists, in the order of COUNTER_NAMES: quicker than as values, and this is once a delta."""
    return list(map(add, a, b))

"""The sum of all agents' measurements of one interval.

A merged delta is added once, to the sum of its interval. Three others read it there. The window that
shows the interval queries the sum's own store. The sums of the run get the store as a whole
once the sum is closed. The stored intervals (`stored_interval.py`) keep it for the end of the run.

A closed sum changes only by `join`.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import add

from loadgen.measure.deltas.limits import MOST_VALUES
from loadgen.measure.histograms.counts_of_all_series import Stats, Store
from loadgen.measure.histograms.sparse_rows import SparseRows

__all__ = ["Sum", "add_up"]


class Sum:
    """Counts, statistics and counters of all agents in [start_ns, end_ns)."""

    __slots__ = ("counters", "deltas", "end_ns", "is_free", "start_ns", "store", "values")

    def __init__(self, start_ns: int, end_ns: int, store: Store) -> None:
        """Create the empty sum of the interval [start_ns, end_ns). `store` must be empty and have counts of 4 bytes."""
        self.start_ns, self.end_ns, self.store = start_ns, end_ns, store
        self.counters: dict[str, list[int]] = {}
        """By region, in the order of COUNTER_NAMES."""
        self.deltas = self.values = 0
        self.is_free = False
        """True once the sum is closed and only a window still uses it."""

    def __repr__(self) -> str:
        return f"<Sum of {self.deltas} deltas of {self.start_ns} to {self.end_ns} ns, {self.values:,} values>"

    @property
    def interval(self) -> tuple[int, int]:
        return self.start_ns, self.end_ns

    def has_room(self, values: int) -> bool:
        """Return whether `values` more values can be added, even if all fall into one histogram bucket of 4 bytes."""
        # The first one always has room: each count of a delta has 4 bytes itself.
        return not self.values or self.values + values <= MOST_VALUES

    def add(self, pairs: SparseRows, stats: Stats, values: int, deltas: int) -> None:
        """Add histogram counts and statistics of `deltas` deltas with `values` values in total.

        stats: of each row of `pairs`, with the number of its series in the run's catalogue.
        """
        self.store.add_rows(pairs, stats)
        self.values += values
        self.deltas += deltas

    def count(self, region: str, counters: Iterable[int]) -> None:
        """Add counters (in the order of COUNTER_NAMES) to those of a region."""
        before = self.counters.get(region)
        self.counters[region] = list(counters) if before is None else add_up(before, counters)

    def join(self, other: Sum) -> None:
        """Add the histogram counts of another sum to this one, so that a window can query both in a single store.

        Call it only for a sum that nothing but a window uses (`is_free`).
        """
        self.store.add_store(other.store)
        self.values += other.values


def add_up(a: Iterable[int], b: Iterable[int]) -> list[int]:
    """Return the element-wise sum of two sequences of counters, both in the order of COUNTER_NAMES.

    This function is called once per delta, and lists are quicker than Counters objects.
    """
    return list(map(add, a, b))

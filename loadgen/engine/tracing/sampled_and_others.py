"""Splits the response times of an interval into those of sampled and of other requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from loadgen.measure.deltas.delta import SeriesStats
from loadgen.measure.deltas.sampled_sums import SampledSums

__all__ = ["SampledAndOthers"]


class SampledAndOthers:
    """Collects the sampled requests of one interval; the others are the rest of each series.

    A series that contains requests without a decision has no rows, because its rest is not a control group.
    """

    __slots__ = ("_mixed", "_sampled")

    def __init__(self) -> None:
        self._sampled: dict[int, tuple[int, int]] = {}
        self._mixed: set[int] = set()

    def add(self, series: int, n: int, sum_ns: int) -> None:
        """Add `n` sampled requests of a series. Several calls for one series add up, such as those of `(other)`."""
        before_n, before_ns = self._sampled.get(series, (0, 0))
        self._sampled[series] = before_n + n, before_ns + sum_ns

    def leave_out(self, series: int) -> None:
        """Yield no row for this series."""
        self._mixed.add(series)

    def rows(self, stats: Iterable[SeriesStats]) -> Iterator[SampledSums]:
        """Yield a row for each added series, in the order of `stats`, which contains all requests of the interval."""
        for one in stats:
            found = self._sampled.get(one.series)
            if found is not None and one.series not in self._mixed:
                n, sum_ns = found
                yield SampledSums(one.series, n, sum_ns, one.n - n, one.sum_ns - sum_ns)

"""Folds lists of times into sparse histograms with numpy, part after part.

A value costs 64 ns (one series) to 178 ns (300 series of 20 values each). `record_value` of the
hdrhistogram package costs 608 ns and silently drops values out of range (`python -m bench record`).
Folding a second of 32,000 values at once would hold up the loop for 3 ms. In parts, other tasks run
in between.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain
from math import ceil
from operator import itemgetter
from typing import Final

import numpy as np

from loadgen.measure.deltas.delta import SeriesStats
from loadgen.measure.histograms.histogram import MAX_NS, SLOTS, Counts, slots_of_ns

__all__ = ["PART", "Fold", "p99"]

PART: Final = 500
"""Least values of a part: about 0.1 ms."""
_PARTS: Final = 64
"""Most parts of an interval, which are larger if there are many values: breaks between parts cost time as well."""
_MOST_ALIKE: Final = 16
"""Parts of one series that are kept before they are added up."""

Values = list[tuple[int, list[int]]]
"""Series id and times in ns; an id may occur more than once."""
Folded = tuple[Counts, Counts, tuple[SeriesStats, ...]]
"""Index and count as in `Delta`, and one SeriesStats for each series, by id."""


class Fold:
    """Folds the values of one interval: iterate over `parts()`, then read the results.

    Args:
        values: lists of times by series; they are emptied.
        keep: ids of the series whose single values are needed afterwards.
        censored: id -> id of the series for values above the histogram's hour. Such values are censored at the hour and
            counted separately, never dropped.
    """

    def __init__(self, values: Values, *, keep: Collection[int] = (), censored: Callable[[int], int]) -> None:
        # In the order of the series, so that parts without a common series need no addition, only to be put one after
        # the other.
        self._values = sorted(values, key=itemgetter(0))
        self._kept: dict[int, list[Counts]] = {series: [] for series in keep}
        self._censored = censored
        none = np.zeros(0, dtype=np.int64)
        self.index: Counts = none
        self.count: Counts = none
        self.stats: tuple[SeriesStats, ...] = ()

    def parts(self) -> Iterator[None]:
        """Return an iterator that adds the next part of the values to the histograms at each step."""
        whole: list[Folded] = []
        alike: list[Folded] = []  # parts that have series in common
        total = sum(len(times) for _, times in self._values)
        for part in _parts(self._values, max(PART, ceil(total / _PARTS))):
            one = self._fold(part)
            yield
            # The new part begins with a later series, so the series before it are complete. `max`, because values
            # above an hour move to a series with a higher id.
            if alike and max(index[-1] for index, _, _ in alike) // SLOTS < one[0][0] // SLOTS:
                whole.append(_together(alike))
                alike = []
                yield
            elif len(alike) == _MOST_ALIKE:
                alike = [_together(alike)]
                yield
            alike.append(one)
        if alike:
            whole.append(_together(alike))
            self.index = np.concatenate([index for index, _, _ in whole])
            self.count = np.concatenate([count for _, count, _ in whole])
            self.stats = tuple(chain.from_iterable(stats for _, _, stats in whole))
            yield

    def kept(self, series: Iterable[int]) -> Counts:
        """Return all single values of these series in ns, in no order. Only series named as `keep` have them."""
        arrays = [array for one in series for array in self._kept[one]]
        return np.concatenate(arrays) if arrays else np.zeros(0, dtype=np.int64)

    def _fold(self, part: Values) -> Folded:
        """Return the histograms of one part of the values, computed for all its series together.

        The overhead of numpy is paid per call and not per value.
        """
        flat: list[int] = []
        for _, values in part:
            flat += values
        values_ns = np.array(flat, dtype=np.int64)
        of = np.repeat([series for series, _ in part], [len(values) for _, values in part])
        for series in {series for series, _ in part} & self._kept.keys():
            self._kept[series].append(values_ns[of == series])
        over = np.flatnonzero(values_ns > MAX_NS)
        if len(over):
            of[over] = [self._censored(series) for series in of[over].tolist()]
            values_ns[over] = MAX_NS
            # The sums below need the values of a series side by side.
            by_series = np.argsort(of, kind="stable")
            of, values_ns = of[by_series], values_ns[by_series]
        starts, lengths = _runs(of)
        columns = (
            of[starts],
            lengths,
            np.add.reduceat(values_ns, starts),
            np.minimum.reduceat(values_ns, starts),
            np.maximum.reduceat(values_ns, starts),
        )
        stats = tuple(map(SeriesStats, *(column.tolist() for column in columns)))
        keys = of * SLOTS + slots_of_ns(values_ns)
        keys.sort()
        firsts, count = _runs(keys)
        return keys[firsts], count, stats


def _runs(ordered: Counts) -> tuple[Counts, Counts]:
    """Return (first positions, lengths) of the runs of equal values in a sorted array.

    np.unique and np.diff do more, at 10 µs a call.
    """
    is_first = np.ones(len(ordered), dtype=np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    starts = np.flatnonzero(is_first)
    lengths = np.empty(len(starts), dtype=np.int64)
    np.subtract(starts[1:], starts[:-1], out=lengths[:-1])
    lengths[-1:] = len(ordered) - starts[-1:]
    return starts, lengths


def _parts(values: Values, size: int) -> Iterator[Values]:
    """Yield the values in parts of at most `size` values, of one or several series. It empties the lists in `values`.

    So the memory of the values is freed part by part. To free 120,000 values at once would stop the loop for 2 ms.
    """
    part: Values = []
    room = size
    for series, times in values:
        while times:
            taken = times[-room:]
            del times[-room:]
            part.append((series, taken))
            room -= len(taken)
            if not room:
                yield part
                part, room = [], size
    if part:
        yield part


def _together(parts: list[Folded]) -> Folded:
    """Return the sum of several folded parts that have series in common."""
    if len(parts) == 1:
        return parts[0]
    index, count = _added(np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]))
    by_series: dict[int, SeriesStats] = {}
    for s in chain.from_iterable(part[2] for part in parts):
        had = by_series.get(s.series)
        if had is not None:
            least, most = min(had.min_ns, s.min_ns), max(had.max_ns, s.max_ns)
            s = SeriesStats(s.series, had.n + s.n, had.sum_ns + s.sum_ns, least, most)
        by_series[s.series] = s
    return index, count, tuple(by_series[series] for series in sorted(by_series))


def _added(index: Counts, count: Counts) -> tuple[Counts, Counts]:
    """Return each index once, in order, with the sum of its counts.

    `index` consists of sorted runs, which a stable sort merges: 80 µs for 16 parts, where np.unique takes 300.
    """
    order = np.argsort(index, kind="stable")
    index = index[order]
    starts, _ = _runs(index)
    return index[starts], np.add.reduceat(count[order], starts)


def p99(values_ns: Counts) -> int | None:
    """Return the p99: the value that 1 % of the values, and at least one, exceed; None if there are no values.

    The worst of a few values is chance, and not a p99.
    """
    if not len(values_ns):
        return None
    rank = max(0, len(values_ns) - 1 - max(1, len(values_ns) // 100))
    return int(np.partition(values_ns, rank)[rank])

"""Compute the percentiles of many histograms in one pass, with the same results as `histogram.percentiles`.

A line of a chart has two keys: 2 * line for observed values, and 2 * line + 1 for
censored values, of which only a lower bound is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen.measure.histograms.histogram import MAX_NS, SLOTS, Counts, Value, highest_us, lowest_us
from loadgen.measure.results.figures import PERCENTILES, Figure, figure
from loadgen.report.charts.time_slots import Sums

__all__ = ["COARSE", "FINE", "Layout", "Line", "coarse", "counted", "lines_of"]

_QS: Final = tuple(PERCENTILES.values())
_COARSE_BITS: Final = 6


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart in one time slot. `at` has one figure per percentile: ms, or "> 1234.5" for a lower bound."""

    count: int
    censored: int
    at: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of a histogram: the range of values, in µs, that each bucket holds."""

    width: int
    """The number of buckets."""
    lowest_us: Callable[[int], int]
    highest_us: Callable[[int], int]


def counted(sums: Sums, keys: int, width: int) -> Counts:
    """Return the number of values of each key: (keys,) int64."""
    edges = np.searchsorted(sums.index, np.arange(keys + 1, dtype=np.int64) * width)
    return np.diff(_cumulated(sums.counts)[edges])


def lines_of(sums: Sums, lines: int, layout: Layout | None = None, qs: Sequence[float] = _QS) -> list[Line | None]:
    """Return all lines of a time slot at the percentiles `qs` (0 to 100); None for a line without values.

    Cost: about 0.1 ms, and 10 µs a line. `layout` is the layout of `sums`; default: that of `Histogram`.
    """
    layout = layout or FINE
    width = layout.width
    totals = counted(sums, 2 * lines, width)
    observed, censored = totals[0::2], totals[1::2]
    sure = both = _with(sums, width, censored_too=False)
    if censored.any():
        both = _with(sums, width, censored_too=True)
    ranks = np.stack([_ranks(observed + censored, q) for q in qs], axis=1)
    low = _at_ranks(both, lines, width, ranks)
    is_known = ranks <= observed[:, None]
    if both is not sure:
        is_known &= _at_ranks(sure, lines, width, ranks) == low
    least, most = _ends(sums.least_ns, lines, MAX_NS).min(axis=1), _ends(sums.most_ns, lines, 0).max(axis=1)
    made: list[Line | None] = []
    for n, (seen, bounds) in enumerate(zip(observed.tolist(), censored.tolist(), strict=True)):
        at = []
        for q, slot, known in zip(qs, low[n].tolist(), is_known[n].tolist(), strict=True):
            if known:
                at.append(figure(Value(layout.highest_us(slot), False)))
            else:  # the same rule as in `histogram.percentiles`
                bound_ns = int(most[n] if q >= 100 else least[n])
                at.append(figure(Value(max(layout.lowest_us(slot), bound_ns // 1_000), True)))
        made.append(Line(seen + bounds, bounds, tuple(at)) if seen + bounds else None)
    return made


def coarse(slots: Counts) -> Counts:
    """Return the coarse cell (layout `COARSE`) of each bucket of the full layout."""
    return _TO_COARSE[slots]


def _coarse_of_us(us: Counts) -> Counts:
    bucket = np.maximum(np.frexp(us.astype(np.float64))[1].astype(np.int64) - (_COARSE_BITS + 1), 0)
    return (bucket << _COARSE_BITS) + (us >> bucket)


def _coarse_lowest_us(cell: int) -> int:
    bucket = max((cell >> _COARSE_BITS) - 1, 0)
    return (cell - (bucket << _COARSE_BITS)) << bucket


_TO_COARSE: Final[Counts] = _coarse_of_us(lowest_us(np.arange(SLOTS, dtype=np.int64)))
FINE: Final = Layout(SLOTS, lowest_us, highest_us)
COARSE: Final = Layout(27 << _COARSE_BITS, _coarse_lowest_us, lambda cell: _coarse_lowest_us(cell + 1) - 1)
"""HdrHistogram's layout with 64 cells per doubling, so a cell is at most 1.6 % wide."""


def _cumulated(counts: np.ndarray) -> Counts:
    return np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))


def _ranks(totals: Counts, q: float) -> Counts:
    """Return the rank of percentile q in each total, with the same order of operations as HdrHistogram."""
    return np.maximum((min(q, 100.0) * totals / 100 + 0.5).astype(np.int64), 1)


def _at_ranks(pairs: tuple[Counts, Counts], lines: int, width: int, ranks: np.ndarray) -> np.ndarray:
    """Return the bucket at each rank: (lines, n). If a line has fewer values than the rank, the bucket is arbitrary."""
    index, counts = pairs
    edges = np.searchsorted(index, np.arange(lines, dtype=np.int64) * width)
    cumulated = _cumulated(counts)
    at = np.searchsorted(cumulated[1:], cumulated[edges][:, None] + ranks)
    found: np.ndarray = np.append(index, 0)[np.minimum(at, len(index))] % width
    return found


def _with(sums: Sums, width: int, *, censored_too: bool) -> tuple[Counts, Counts]:
    """Return (index, counts) by line instead of by key. With censored values, a bucket may occur twice."""
    index, counts = sums.index.astype(np.int64), sums.counts
    key = index // width
    line = (key >> 1) * width + index % width
    if censored_too:
        order = np.argsort(line, kind="stable")
        return line[order], counts[order]
    own = (key & 1) == 0
    return line[own], counts[own]


def _ends(by_key: Counts, lines: int, fill: int) -> np.ndarray:
    """Return the values by line: (lines, 2), for observed and censored values; missing keys get `fill`."""
    padded = np.full(2 * lines, fill, dtype=np.int64)
    padded[: min(len(by_key), 2 * lines)] = by_key[: 2 * lines]
    return padded.reshape(lines, 2)

"""Percentiles of many histograms at once, from sums: what `histogram.percentiles` says of each, in one pass.

A line of a chart has two keys: 2 * line for values that were observed, 2 * line + 1
for those of which only a lower bound is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen.measure.histograms.histogram import MAX_NS, SLOTS, Counts, Value, highest_us, lowest_us
from loadgen.measure.results.summary import PERCENTILES, Figure, figure
from loadgen.report.charts.time_slots import Sums

__all__ = ["COARSE", "FINE", "Layout", "Line", "coarse", "counted", "lines_of"]

_QS: Final = tuple(PERCENTILES.values())
_COARSE_BITS: Final = 6


@dataclass(frozen=True, slots=True)
class Line:
    """One line in one slot. at: by PERCENTILES, ms, or "> 1234.5"."""

    count: int
    censored: int
    at: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Which values are in which bucket of a histogram."""

    width: int
    """How many buckets there are."""
    lowest_us: Callable[[int], int]
    highest_us: Callable[[int], int]


def counted(sums: Sums, keys: int, width: int) -> Counts:
    """(keys,) values of each key."""
    edges = np.searchsorted(sums.index, np.arange(keys + 1, dtype=np.int64) * width)
    return np.diff(_cumulated(sums.counts)[edges])


def lines_of(sums: Sums, lines: int, layout: Layout | None = None, qs: Sequence[float] = _QS) -> list[Line | None]:
    """All lines of a slot at percentiles `qs`; None for one without values. About 0.1 ms and 10 µs a line.

    layout: of the sums; without it that of `measure.histogram`.
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
            else:  # as `histogram.percentiles` has it
                bound_ns = int(most[n] if q >= 100 else least[n])
                at.append(figure(Value(max(layout.lowest_us(slot), bound_ns // 1_000), True)))
        made.append(Line(seen + bounds, bounds, tuple(at)) if seen + bounds else None)
    return made


def coarse(slots: Counts) -> Counts:
    """The coarse cell of each slot of the full layout."""
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
"""HdrHistogram's layout with 64 cells for each doubling, so a cell is at most 1.6 % wide."""


def _cumulated(counts: np.ndarray) -> Counts:
    return np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))


def _ranks(totals: Counts, q: float) -> Counts:
    """With the package's order of operations, as `histogram` has it."""
    return np.maximum((min(q, 100.0) * totals / 100 + 0.5).astype(np.int64), 1)


def _at_ranks(pairs: tuple[Counts, Counts], lines: int, width: int, ranks: np.ndarray) -> np.ndarray:
    """(lines, n) the bucket at each rank; whatever it be where there are not so many values."""
    index, counts = pairs
    edges = np.searchsorted(index, np.arange(lines, dtype=np.int64) * width)
    cumulated = _cumulated(counts)
    at = np.searchsorted(cumulated[1:], cumulated[edges][:, None] + ranks)
    found: np.ndarray = np.append(index, 0)[np.minimum(at, len(index))] % width
    return found


def _with(sums: Sums, width: int, *, censored_too: bool) -> tuple[Counts, Counts]:
    """(index, counts) by line instead of by key; a bucket of which both are may be there twice."""
    index, counts = sums.index.astype(np.int64), sums.counts
    key = index // width
    line = (key >> 1) * width + index % width
    if censored_too:
        order = np.argsort(line, kind="stable")
        return line[order], counts[order]
    own = (key & 1) == 0
    return line[own], counts[own]


def _ends(by_key: Counts, lines: int, fill: int) -> np.ndarray:
    """(lines, 2)"""
    padded = np.full(2 * lines, fill, dtype=np.int64)
    padded[: min(len(by_key), 2 * lines)] = by_key[: 2 * lines]
    return padded.reshape(lines, 2)

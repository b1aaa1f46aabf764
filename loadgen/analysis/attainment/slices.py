"""Counts of good and of all requests, by slices of time, as they stand in a ledger.

    week = slices_of(start=[0, 300], width=300, good=[99, 80], total=[100, 100])

Counts are sums, so slices of any split of a window add up to the same figures.
Times are seconds since the epoch (UTC). `missing` is the time of a slice that
was not observed: its requests are unknown, and they are never taken as good or
as zero. A slice that was observed and has no request is *no data*.

Counts that a source interpolates, samples or extrapolates are estimated. `low`
and `high` bound the true number of good requests, and `kept` is the part of the
requests that the source samples. An estimated slice without bounds can have any
number of good requests, from none to all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.analysis.values_to_float_array import Array

__all__ = ["HOURS_OF_WEEK", "CountedBy", "Slices", "counted", "joined", "slices_of", "within"]

HOURS_OF_WEEK: Final = 168
_MOST_NAMED: Final = 5


class CountedBy(StrEnum):
    """The budgeting method. Results of two methods are not comparable. The words are those of OpenSLO."""

    OCCURRENCES = "Occurrences"
    """Good requests / all requests."""
    TIMESLICES = "Timeslices"
    """Slices whose good ratio is at least the slice target / slices with traffic."""
    RATIO_TIMESLICES = "RatioTimeslices"
    """The unweighted mean of the good ratios of the slices with traffic."""


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """Slices in order of time that do not overlap. All arrays have shape (slices,)."""

    start: Array
    """s since the epoch."""
    width: Array
    """s, > 0."""
    good: Array
    """0 to `total`. Whole numbers, except where the source interpolates, samples or extrapolates."""
    total: Array
    missing: Array
    """s without observation, 0 to `width`."""
    estimated: npt.NDArray[np.bool_]
    """Whether the counts are interpolated, sampled or extrapolated."""
    low: Array
    """The fewest good requests that the interpolation allows, 0 to `good`; `good` where it is exact."""
    high: Array
    """The most good requests that the interpolation allows, `good` to `total`."""
    kept: Array
    """The part of the requests that the source samples before it scales the counts up, above 0 to 1; 1: all."""

    def __len__(self) -> int:
        return len(self.start)

    def take(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.intp] | slice) -> Slices:
        """Return some of the slices, by a mask, by indices or by a range."""
        return Slices(
            self.start[chosen],
            self.width[chosen],
            self.good[chosen],
            self.total[chosen],
            self.missing[chosen],
            self.estimated[chosen],
            self.low[chosen],
            self.high[chosen],
            self.kept[chosen],
        )

    @property
    def bad(self) -> Array:
        """Return the bad requests of each slice, shape (slices,)."""
        return self.total - self.good

    @property
    def end(self) -> Array:
        """Return the ends, s since the epoch, shape (slices,)."""
        return self.start + self.width

    @property
    def missing_s(self) -> float:
        """Return the time without observation within the slices, s."""
        return float(self.missing.sum())

    @property
    def without_traffic(self) -> int:
        """Return the number of slices that were observed as a whole and have no request."""
        return int(((self.total == 0) & (self.missing == 0)).sum())


def slices_of(
    start: npt.ArrayLike,
    width: npt.ArrayLike,
    good: npt.ArrayLike,
    total: npt.ArrayLike,
    missing: npt.ArrayLike = 0.0,
    estimated: npt.ArrayLike = False,
    *,
    low: npt.ArrayLike | None = None,
    high: npt.ArrayLike | None = None,
    kept: npt.ArrayLike = 1.0,
) -> Slices:
    """Check slices and return them sorted by start. A single number is the same for all slices.

    low, high: by default `good`; in estimated slices 0 and `total`, since nothing is known about their error.

    Raises:
        ValueError: invalid counts, times or lengths, or slices that overlap. The message names the first slices of
            each error.
    """
    names = ("start", "width", "good", "total", "missing", "low", "high", "kept")
    try:
        start_of = np.atleast_1d(np.asarray(start, dtype=np.float64))
        arrays = [
            np.array(np.broadcast_to(np.asarray(one, dtype=np.float64), start_of.shape))
            for one in (start, width, good, total, missing)
        ]
        flags = np.array(np.broadcast_to(np.asarray(estimated, dtype=np.bool_), start_of.shape))
        right, of = arrays[2], arrays[3]
        least = np.where(flags, 0.0, right) if low is None else low
        most = np.where(flags, of, right) if high is None else high
        arrays += [
            np.array(np.broadcast_to(np.asarray(one, dtype=np.float64), start_of.shape)) for one in (least, most, kept)
        ]
    except (TypeError, ValueError) as error:
        raise ValueError("each column of the slices must have one number per slice") from error
    if start_of.ndim != 1:
        raise ValueError(f"slices have shape {start_of.shape}: each column must be one-dimensional")
    if wrong := [name for name, one in zip(names, arrays, strict=True) if not np.isfinite(one).all()]:
        raise ValueError(f"slices have values that are not finite in {', '.join(wrong)}")
    order = np.argsort(arrays[0], kind="stable")
    begin, wide, right, of, lacking, fewest, highest, part = (one[order] for one in arrays)
    slices = Slices(begin, wide, right, of, lacking, flags[order], fewest, highest, part)
    checks = (
        (slices.width <= 0, "width is not above 0"),
        (slices.good < 0, "good is negative"),
        (slices.good > slices.total, "good is above total"),
        ((slices.low < 0) | (slices.low > slices.good), "low is not between 0 and good"),
        ((slices.high < slices.good) | (slices.high > slices.total), "high is not between good and total"),
        ((slices.kept <= 0) | (slices.kept > 1), "kept is not above 0 and at most 1"),
        ((slices.missing < 0) | (slices.missing > slices.width), "missing is not between 0 and width"),
        (
            np.append(slices.end[:-1] > slices.start[1:] + 1e-6, False)[: len(slices)],
            "the next slice begins before its end",
        ),
    )
    if faults := [f"{what} in {_places(order[where])}" for where, what in checks if where.any()]:
        raise ValueError(f"invalid slices: {'; '.join(faults)}")
    return slices


def joined(parts: Sequence[Slices]) -> Slices:
    """Return the slices of several parts of a window as one, sorted. Parts must not overlap.

    Raises:
        ValueError: parts overlap.
    """
    if not parts:
        return slices_of([], 1, [], [])
    return slices_of(
        np.concatenate([part.start for part in parts]),
        np.concatenate([part.width for part in parts]),
        np.concatenate([part.good for part in parts]),
        np.concatenate([part.total for part in parts]),
        missing=np.concatenate([part.missing for part in parts]),
        estimated=np.concatenate([part.estimated for part in parts]),
        low=np.concatenate([part.low for part in parts]),
        high=np.concatenate([part.high for part in parts]),
        kept=np.concatenate([part.kept for part in parts]),
    )


def within(slices: Slices, window: tuple[float, float], *, gap_width_s: float = 300.0) -> Slices:
    """Return the slices of a window, with slices that are missing as a whole where the ledger has no slice.

    A slice belongs to the window that contains its start, so windows that follow each other share no slice.

    Args:
        window: start (included) and end (excluded), s since the epoch.
        gap_width_s: the largest width of an added slice, s. Use the width of the ledger's slices.

    Raises:
        ValueError: the window ends before it starts, or `gap_width_s` is not above 0.
    """
    begin, end = window
    if not (end > begin and gap_width_s > 0):
        raise ValueError("the window must end after its start, and gap_width_s must be above 0")
    inside = slices.take((slices.start >= begin) & (slices.start < end))
    edges = np.concatenate(([begin], inside.end, [end]))
    starts = np.concatenate((inside.start, [end]))
    is_gap = starts - edges[:-1] > 1e-6
    added = [
        np.arange(left, right - 1e-6, gap_width_s)
        for left, right in zip(edges[:-1][is_gap], starts[is_gap], strict=True)
    ]
    if not added:
        return inside
    gap_starts = np.concatenate(added)
    all_starts = np.sort(np.concatenate((starts, gap_starts)))
    following = all_starts[np.searchsorted(all_starts, gap_starts, side="right")]
    widths = np.minimum(following - gap_starts, gap_width_s)
    return joined((inside, slices_of(gap_starts, widths, 0, 0, missing=widths)))


def counted(slices: Slices, method: CountedBy, slice_target: float | None = None) -> Slices:
    """Return the slices with `good` and `total` in the units of a budgeting method, and the same for `low` and `high`.

    Occurrences: requests. Timeslices: `total` is 1 for a slice with traffic, and `good` is 1 if its good ratio is at
    least `slice_target`. RatioTimeslices: `total` is 1, and `good` is the ratio. A slice without traffic has 0 of 0.

    Raises:
        ValueError: Timeslices without `slice_target`.
    """
    if method is CountedBy.OCCURRENCES:
        return slices
    if method is CountedBy.TIMESLICES and slice_target is None:
        raise ValueError("Timeslices need a slice_target: the good ratio that makes a slice good")
    least = slice_target if method is CountedBy.TIMESLICES else None
    has_traffic = slices.total > 0

    def of(requests: Array) -> Array:
        ratio = np.divide(requests, slices.total, out=np.zeros(len(slices)), where=has_traffic)
        return ratio if least is None else (has_traffic & (ratio >= least)).astype(np.float64)

    return replace(
        slices,
        good=of(slices.good),
        total=has_traffic.astype(np.float64),
        low=of(slices.low),
        high=of(slices.high),
    )


def _places(indices: npt.NDArray[np.intp]) -> str:
    named = ", ".join(str(int(one)) for one in np.sort(indices)[:_MOST_NAMED])
    more = f" and {len(indices) - _MOST_NAMED} more" if len(indices) > _MOST_NAMED else ""
    return f"slice {named}{more}"

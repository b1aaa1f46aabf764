"""Computes the due times of arrivals from a rate curve and from the arrivals' positions on the area under it.

Every open load has both. The curve is a sequence of stages, and the area under it grows with time. Arrival n of the
fleet is due when the area reaches its position. With even spacing the position is n. With random spacing it is the sum
of n random spacings of mean 1. For recorded times the curve is the playback speed, and the positions are the times
themselves in seconds.

So a change of a running load, such as a pause or another rate, only changes the curve from some time on. The positions
stay, and each arrival is due exactly once.

Times are integer nanoseconds from the load's beginning. Areas at the edges of stages are exact fractions, because one
arrival more or less by rounding would use a row too many or leave a request unaccounted. Within a stage areas are
float64, counted from the stage's end if the rate falls. The error is below 1 ns (measured against `Fraction` at
n = 10^7), so times do not drift.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import takewhile
from math import ceil
from typing import Protocol

import numpy as np

from loadgen.profiles.stage import Stage, between, exact
from loadgen.units import NS_PER_S

__all__ = ["Dues", "Listed", "Positions", "Schedule", "Timeline"]


_Stretch = tuple[int, int, Fraction, Fraction]
"""A stage with its position in time: begin and end in ns, and the exact rates at both."""
_Row = tuple[int, int, float, float, float, float, bool, int, int, float, float]
"""Values of a stretch from which due times are computed; see `_settle` for the columns."""


def _row(stretch: _Stretch, before: Fraction) -> tuple[_Row, Fraction]:
    """Return the values of a stretch from which due times are computed, and the area under the curve up to its end.

    `before` is the area up to its beginning. Cost: 10 µs.
    """
    start_ns, end_ns, start, end = stretch
    area = before + (start + end) / 2 * Fraction(end_ns - start_ns, NS_PER_S)
    first, last = ceil(before), ceil(area) - 1
    is_falling = end < start
    row = (
        first,
        last,
        float(area - last if is_falling else first - before),
        float(end if is_falling else start),
        float(abs(end - start) / Fraction(end_ns - start_ns, NS_PER_S)),
        float(NS_PER_S / start) if start and start == end else 0.0,
        is_falling,
        start_ns,
        end_ns,
        float(before),
        float(area),
    )
    return row, area


class Timeline:
    """A rate curve of consecutive stages, and the area under it. Immutable.

    Cost: 10 µs per stage to create.
    """

    def __init__(self, stages: Iterable[Stage]) -> None:
        stretches: list[_Stretch] = []
        at_ns = 0
        for stage in stages:
            stretches.append((at_ns, at_ns + stage.duration_ns, exact(stage.start), exact(stage.end)))
            at_ns += stage.duration_ns
        self._settle(stretches, [], Fraction(0))

    def _settle(self, stretches: Sequence[_Stretch], known: Sequence[tuple[_Row, Fraction]], area: Fraction) -> None:
        """Compute and store the columns from which due times are looked up.

        Args:
            stretches: the stages with their positions in time.
            known: rows of the first stretches that were computed before, each with the area up to its end.
            area: area before the first stretch.
        """
        self._stretches = tuple(one for one in stretches if one[0] < one[1])
        self.end_ns = stretches[-1][1] if stretches else 0
        self._areas = [area, *(after for _, after in known)]
        self._rows = [row for row, _ in known]
        area = self._areas[-1]
        for stretch in self._stretches[len(known) :]:
            row, area = _row(stretch, area)
            self._rows.append(row)
            self._areas.append(area)
        self.area = area
        """Area under the whole curve; with even spacing, `ceil(area)` is the number of arrivals."""
        columns = list(zip(*(row for row in self._rows if row[3] or row[4]), strict=True)) or [()] * 11
        self._first_n = np.array(columns[0], dtype=np.int64)
        self._last_n = np.array(columns[1], dtype=np.int64)
        self._left_over = np.array(columns[2], dtype=np.float64)
        """Area between the edge from which we count and the nearest arrival."""
        self._low = np.array(columns[3], dtype=np.float64)
        """The lower of the two rates. A stretch with rate 0 and slope 0 has no arrivals and is left out."""
        self._slope = np.array(columns[4], dtype=np.float64)
        self._gap_ns = np.array(columns[5], dtype=np.float64)
        self._is_falling = np.array(columns[6], dtype=bool)
        self._start_ns = np.array(columns[7], dtype=np.int64)
        self._end_ns = np.array(columns[8], dtype=np.int64)
        self._before = np.array(columns[9], dtype=np.float64)
        self._after = np.array(columns[10], dtype=np.float64)

    # -- the curve ----------------------------------------------------------------------------

    def value_at(self, t_ns: int) -> Fraction:
        """Return the exact rate at `t_ns`, or just after a jump there; 0 before the beginning and after the end."""
        for start_ns, end_ns, start, end in self._stretches:
            if start_ns <= t_ns < end_ns:
                return between(start, end, t_ns - start_ns, end_ns - start_ns)
        return Fraction(0)

    def area_at(self, t_ns: int) -> Fraction:
        """Return the exact area under the curve up to `t_ns`.

        Rounded up, it is the number of evenly spaced arrivals that are due before `t_ns`.
        """
        for (start_ns, end_ns, start, end), area in zip(self._stretches, self._areas, strict=False):
            if t_ns < end_ns:
                passed_ns = max(0, t_ns - start_ns)
                at_t = between(start, end, passed_ns, end_ns - start_ns)
                return area + (start + at_t) / 2 * Fraction(passed_ns, NS_PER_S)
        return self.area

    def replaced(self, at_ns: int, stages: Sequence[Stage], since_ns: int | None = None) -> Timeline:
        """Return a copy of the curve that is the same up to `at_ns` and follows `stages` from then on.

        Args:
            since_ns: stages that ended before it are dropped, because their arrivals are not needed again. An `at_ns`
                before the remaining curve counts as the curve's beginning.
        """
        first = 0
        if since_ns is not None:
            until_ns = min(since_ns, at_ns)
            first = sum(end_ns <= until_ns for _, end_ns, _, _ in self._stretches)
        kept: list[_Stretch] = []
        for start_ns, end_ns, start, end in self._stretches[first:]:
            if end_ns <= at_ns:
                kept.append((start_ns, end_ns, start, end))
            elif start_ns < at_ns:
                at_cut = between(start, end, at_ns - start_ns, end_ns - start_ns)
                kept.append((start_ns, at_ns, start, at_cut))
        here_ns = kept[-1][1] if kept else self._stretches[first][0] if first < len(self._stretches) else self.end_ns
        if here_ns < at_ns:
            kept.append((here_ns, at_ns, Fraction(0), Fraction(0)))
            here_ns = at_ns
        for stage in stages:
            kept.append((here_ns, here_ns + stage.duration_ns, exact(stage.start), exact(stage.end)))
            here_ns += stage.duration_ns
        # Rows of stages that are kept whole need not be computed again.
        pairs = zip(kept, self._stretches[first:], strict=False)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        known = list(zip(self._rows[first : first + same], self._areas[first + 1 : first + 1 + same], strict=True))
        new = Timeline.__new__(Timeline)
        new._settle(kept, known, self._areas[first])
        return new

    # -- from area to time --------------------------------------------------------------------

    def due_of(self, n: np.ndarray) -> np.ndarray:
        """Return when the evenly spaced arrivals n (from 0) are due: when the area reaches n.

        With a rate s that changes by a per second, s·t + a·t²/2 = area. This is solved for t without the cancellation
        of the textbook root. For a falling rate it is solved from the end of the stage, so that the last arrivals of a
        ramp to 0 are as exact as the first ones of a ramp from 0. After a pause at rate 0, the next arrival is due when
        the rate is above 0 again.

        Args:
            n: int64 of any shape, each below `ceil(area)`. Arrivals of dropped stages are due at the beginning of the
                remaining curve.
        Returns:
            int64 ns of the same shape, rounded to the nearest ns; non-decreasing in n, each < end_ns.
        Cost: 30 to 45 ns per value in blocks of 1,000.
        Source: the same area argument as k6's `cal` in lib/executor/ramping_arrival_rate.go.
        """
        at: np.ndarray | int = 0
        if len(self._first_n) > 1:
            at = np.maximum(np.searchsorted(self._first_n, n, side="right") - 1, 0)
        is_falling = self._is_falling[at]
        area = np.where(is_falling, self._last_n[at] - n, n - self._first_n[at]) + self._left_over[at]
        return self._within(np.maximum(area, 0.0), at)

    def when(self, areas: np.ndarray) -> np.ndarray:
        """Return the times at which the area under the curve reaches `areas` (float64, each below `area`), int64 ns.

        It is `due_of` for fractional positions. The error is that of float64: 1e-7 arrivals at an area of 10^9, which
        is 1 ps at 100,000/s.
        """
        at: np.ndarray | int = 0
        if len(self._before) > 1:
            at = np.maximum(np.searchsorted(self._before, areas, side="right") - 1, 0)
        from_edge = np.where(self._is_falling[at], self._after[at] - areas, areas - self._before[at])
        return self._within(np.maximum(from_edge, 0.0), at)

    def _within(self, area: np.ndarray, at: np.ndarray | int) -> np.ndarray:
        """Return the times at which stretch `at` has reached this area, int64 ns after the curve's beginning.

        `area` is counted from the stretch's beginning, or from its end if the rate falls.
        """
        low = self._low[at]
        below = low + np.sqrt(low * low + 2.0 * self._slope[at] * area)  # 0 only at the very start of a ramp from 0
        ramp_ns = np.divide(area * (2.0 * NS_PER_S), below, out=np.zeros_like(below), where=below > 0)
        gap_ns = self._gap_ns[at]
        from_edge_ns = np.rint(np.where(gap_ns > 0, area * gap_ns, ramp_ns)).astype(np.int64)
        due_ns = np.where(self._is_falling[at], self._end_ns[at] - from_edge_ns, self._start_ns[at] + from_edge_ns)
        clipped: np.ndarray = np.clip(
            due_ns, self._start_ns[at], self._end_ns[at] - 1
        )  # rounding must not leave the stage
        return clipped


class Positions(Protocol):
    """Uneven positions of arrivals on the area under the curve. They do not depend on the order of calls."""

    def areas(self, n: np.ndarray) -> np.ndarray:
        """Return the positions of arrivals n, measured as area under the rate curve: float64, non-decreasing.

        `n` is int64, counted from 0 over the fleet, increasing.
        """

    def count_below(self, area: Fraction) -> int:
        """Return the number of arrivals with a position below `area`."""


class Listed:
    """Positions from a list: recorded times, or the times of an executor.

    Args:
        places: (arrivals,) float64, non-decreasing.
    """

    __slots__ = ("_places",)

    def __init__(self, places: np.ndarray) -> None:
        self._places = places

    def areas(self, n: np.ndarray) -> np.ndarray:
        """Return the positions of arrivals n from the list, measured as area under the rate curve."""
        found: np.ndarray = self._places[n]
        return found

    def count_below(self, area: Fraction) -> int:
        """Return how many positions in the list are below `area`."""
        return int(np.searchsorted(self._places, float(area), side="left"))


class Dues(Protocol):
    """A source of due times: a profile, or the schedule of a changed load."""

    def total(self) -> int:
        """Return the number of arrivals of the whole fleet in this load."""

    def due_ns(self, n: np.ndarray) -> np.ndarray:
        """Return the due times of arrivals n after the load's beginning: int64 ns, non-decreasing in n.

        `n` has values from 0 to `total()` - 1.
        """


class Schedule:
    """A rate curve with the positions of arrivals: everything that an agent needs of an open load. Immutable.

    Args:
        positions: positions of the arrivals; None spaces them evenly, the n-th at area n.
    """

    __slots__ = ("_positions", "_total", "timeline")

    def __init__(self, timeline: Timeline, positions: Positions | None = None) -> None:
        self.timeline, self._positions = timeline, positions
        self._total = self.count_at(timeline.end_ns)

    @property
    def end_ns(self) -> int:
        """End of the curve in ns after the load's beginning."""
        return self.timeline.end_ns

    def total(self) -> int:
        """Return the number of arrivals of the whole fleet in this load."""
        return self._total

    def count_at(self, t_ns: int) -> int:
        """Return how many arrivals of the whole fleet are due before `t_ns`."""
        area = self.timeline.area_at(t_ns)
        return ceil(area) if self._positions is None else self._positions.count_below(area)

    def due_ns(self, n: np.ndarray) -> np.ndarray:
        """Return the due times of arrivals n after the load's beginning: int64 ns of the same shape.

        Raises:
            IndexError: an n is below 0 or at least `total()`.
        """
        n = np.asarray(n, dtype=np.int64)
        if n.size and (int(n.min()) < 0 or int(n.max()) >= self._total):
            raise IndexError(f"arrivals are counted from 0 to {self._total - 1}")
        if not n.size:
            return n
        if self._positions is None:
            return self.timeline.due_of(n)
        return self.timeline.when(self._positions.areas(n))

    def replaced(self, at_ns: int, stages: Sequence[Stage], since_ns: int | None = None) -> Schedule:
        """Return a copy of the schedule whose curve follows `stages` from `at_ns` on; see `Timeline.replaced`.

        The arrivals keep their positions on the area under the curve.
        """
        return Schedule(self.timeline.replaced(at_ns, stages, since_ns), self._positions)

"""When which arrival is due: a rate curve as area over time, and the places on that area where arrivals lie.

Every open load is both. The curve is a row of stages, whose area grows as time
passes; arrival n of the fleet is due where the area reaches its place. Spaced
evenly its place is n; spaced by chance a sum of n chance spacings of mean 1; of
recorded times the curve is the speed at which they are played, and the places are
the times themselves, in seconds.

So whatever changes a load while it goes on (a pause, another rate) changes the
curve from a time on and nothing else: the places stay, and each arrival is due
exactly once.

Times are integer nanoseconds from the load's beginning. Areas at the edges of
stages are exact fractions, since one arrival more or less by rounding would be a
row too many or a request unaccounted for. Within a stage they are float64, counted
from the stage's end where the rate falls; the error is below 1 ns (measured
against `Fraction` at n = 10^7), so nothing drifts.
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
"""(begin, end) in ns, (rate at either): a stage in its place, exact."""
_Row = tuple[int, int, float, float, float, float, bool, int, int, float, float]
"""Of a stretch, what due times are computed from; see `_settle` for the columns."""


def _row(stretch: _Stretch, before: Fraction) -> tuple[_Row, Fraction]:
    """And the area up to its end, where `before` is that up to its beginning. 10 µs."""
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
    """Stages one after the other, and the area under them. A value: nothing of it changes.

    Cost: 10 µs a stage at birth.
    """

    def __init__(self, stages: Iterable[Stage]) -> None:
        stretches: list[_Stretch] = []
        at_ns = 0
        for stage in stages:
            stretches.append((at_ns, at_ns + stage.duration_ns, exact(stage.start), exact(stage.end)))
            at_ns += stage.duration_ns
        self._settle(stretches, [], Fraction(0))

    def _settle(self, stretches: Sequence[_Stretch], known: Sequence[tuple[_Row, Fraction]], area: Fraction) -> None:
        """
        Args:
            known: of the first stretches, what was computed of them before, and the area under each up to its end.
            area: under what was before the first stretch.
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
        """Under all of it: with even spacing, `ceil` of it is the number of arrivals."""
        columns = list(zip(*(row for row in self._rows if row[3] or row[4]), strict=True)) or [()] * 11
        self._first_n = np.array(columns[0], dtype=np.int64)
        self._last_n = np.array(columns[1], dtype=np.int64)
        self._left_over = np.array(columns[2], dtype=np.float64)
        """Area between the edge that we count from and the arrival nearest to it."""
        self._low = np.array(columns[3], dtype=np.float64)
        """The lower rate of the two ends; where it and the slope are 0 nothing is due, and the stretch is left out."""
        self._slope = np.array(columns[4], dtype=np.float64)
        self._gap_ns = np.array(columns[5], dtype=np.float64)
        self._is_falling = np.array(columns[6], dtype=bool)
        self._start_ns = np.array(columns[7], dtype=np.int64)
        self._end_ns = np.array(columns[8], dtype=np.int64)
        self._before = np.array(columns[9], dtype=np.float64)
        self._after = np.array(columns[10], dtype=np.float64)

    # -- the curve ----------------------------------------------------------------------------

    def value_at(self, t_ns: int) -> Fraction:
        """The rate at `t_ns`, or just after it where it jumps; 0 before the beginning and from the end on."""
        for start_ns, end_ns, start, end in self._stretches:
            if start_ns <= t_ns < end_ns:
                return between(start, end, t_ns - start_ns, end_ns - start_ns)
        return Fraction(0)

    def area_at(self, t_ns: int) -> Fraction:
        """Under the curve up to `t_ns`, exact."""
        for (start_ns, end_ns, start, end), area in zip(self._stretches, self._areas, strict=False):
            if t_ns < end_ns:
                passed_ns = max(0, t_ns - start_ns)
                at_t = between(start, end, passed_ns, end_ns - start_ns)
                return area + (start + at_t) / 2 * Fraction(passed_ns, NS_PER_S)
        return self.area

    def replaced(self, at_ns: int, stages: Sequence[Stage], since_ns: int | None = None) -> Timeline:
        """The same up to `at_ns`, and from then on `stages`.

        Args:
            since_ns: what ended before it will not be asked for again, and is let go. An `at_ns` before all that
                is left of the curve counts as its beginning.
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
        # What is kept whole was computed before.
        pairs = zip(kept, self._stretches[first:], strict=False)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        known = list(zip(self._rows[first : first + same], self._areas[first + 1 : first + 1 + same], strict=True))
        new = Timeline.__new__(Timeline)
        new._settle(kept, known, self._areas[first])
        return new

    # -- from area to time --------------------------------------------------------------------

    def due_of(self, n: np.ndarray) -> np.ndarray:
        """When the area reaches n: when the n-th arrivals, from 0, of an even spacing are due.

        With a rate s that changes by a each second, s·t + a·t²/2 = area. Solved for t without the cancellation of
        the textbook root; where the rate falls, from the end of the stage, so that the last arrivals of
        a ramp to 0 are as exact as the first ones of a ramp from 0. After a pause at rate 0 the
        next arrival is due when the rate is above 0 again, as the first is at the start.

        Args:
            n: any shape, int64, each below `ceil(area)`. Of what was let go: due where what is left begins.
        Returns:
            int64 ns of the same shape, rounded to the nearest ns; non-decreasing in n, each < end_ns.
        Cost: 30 to 45 ns a value in blocks of 1,000.
        Source: the same area argument as k6's `cal` in lib/executor/ramping_arrival_rate.go.
        """
        at: np.ndarray | int = 0
        if len(self._first_n) > 1:
            at = np.maximum(np.searchsorted(self._first_n, n, side="right") - 1, 0)
        is_falling = self._is_falling[at]
        area = np.where(is_falling, self._last_n[at] - n, n - self._first_n[at]) + self._left_over[at]
        return self._within(np.maximum(area, 0.0), at)

    def when(self, areas: np.ndarray) -> np.ndarray:
        """When the area reaches `areas`, float64, each below `area`: as `due_of`, for places that are no whole numbers.

        The error is that of the float: at an area of 10^9 1e-7 arrivals, 1 ps at 100,000/s.
        """
        at: np.ndarray | int = 0
        if len(self._before) > 1:
            at = np.maximum(np.searchsorted(self._before, areas, side="right") - 1, 0)
        from_edge = np.where(self._is_falling[at], self._after[at] - areas, areas - self._before[at])
        return self._within(np.maximum(from_edge, 0.0), at)

    def _within(self, area: np.ndarray, at: np.ndarray | int) -> np.ndarray:
        """Times at which stretch `at` has this area from its edge, its end where it falls."""
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
    """Where on the area under the curve arrivals lie, other than evenly. The same for whoever asks, in any order."""

    def areas(self, n: np.ndarray) -> np.ndarray:
        """Of arrivals n (int64, from 0 over the whole fleet, increasing): float64, non-decreasing in n."""

    def count_below(self, area: Fraction) -> int:
        """How many arrivals lie below `area`."""


class Listed:
    """Places that are all known: recorded times, or those that an executor gave.

    Args:
        places: (arrivals,) float64, non-decreasing.
    """

    __slots__ = ("_places",)

    def __init__(self, places: np.ndarray) -> None:
        self._places = places

    def areas(self, n: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._places[n]
        return found

    def count_below(self, area: Fraction) -> int:
        return int(np.searchsorted(self._places, float(area), side="left"))


class Dues(Protocol):
    """Whatever tells when which arrival is due: a profile, or the schedule of one that has been changed."""

    def total(self) -> int:
        """How many arrivals there are, of the whole fleet."""

    def due_ns(self, n: np.ndarray) -> np.ndarray:
        """When arrivals n, each 0 <= n < total(), are due: int64 ns, non-decreasing in n."""


class Schedule:
    """A curve and the places on it: all that an agent needs to know of an open load. A value.

    Args:
        positions: None: evenly, the n-th where the area is n.
    """

    __slots__ = ("_positions", "_total", "timeline")

    def __init__(self, timeline: Timeline, positions: Positions | None = None) -> None:
        self.timeline, self._positions = timeline, positions
        self._total = self.count_at(timeline.end_ns)

    @property
    def end_ns(self) -> int:
        return self.timeline.end_ns

    def total(self) -> int:
        return self._total

    def count_at(self, t_ns: int) -> int:
        """How many arrivals are due before `t_ns`."""
        area = self.timeline.area_at(t_ns)
        return ceil(area) if self._positions is None else self._positions.count_below(area)

    def due_ns(self, n: np.ndarray) -> np.ndarray:
        """
        Raises:
            IndexError: an n that there is not.
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
        """The same up to `at_ns`, and from then on along `stages`: each arrival that is due later is due there."""
        return Schedule(self.timeline.replaced(at_ns, stages, since_ns), self._positions)

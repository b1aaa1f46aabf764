"""Turns the points of a row into pieces of time, each with its value, and computes how much time they cover. Pure.

A gauge stands for the time up to the next sample, at most 1.6 periods. A rate, share or histogram stands for its
interval. A piece belongs to a stretch of time if its middle is in it; a gauge's is the time of its sample.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from loadgen.probes.points import Point
from loadgen.probes.recorded import ProbeState
from loadgen.probes.rows import Row

__all__ = ["GAP_PERIODS", "Piece", "covered_ns", "pieces_of"]

GAP_PERIODS: Final = 1.6
"""A distance of samples above this many periods is a gap: samples come a little early or late."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of time for which a value stands. Times are ns from T0."""

    start_ns: int
    end_ns: int
    middle_ns: int
    value: float | None
    """In the unit of the row. None for a histogram, and for a share whose denominator did not increase."""
    point: Point
    is_long: bool = False
    """Whether samples are missing within it: the value is an exact mean, and its extremes are unknown."""

    @property
    def length_ns(self) -> int:
        """Return its length."""
        return self.end_ns - self.start_ns


def pieces_of(state: ProbeState, key: str, t0_ns: int, since_ns: int | None = None) -> list[Piece]:
    """Return the known pieces of a row in the order of their times; values that are unknown have no piece.

    since_ns: leave out points before this time from T0, except the last one.
    """
    row, points = state.points.rows[key], state.points.points[key]
    every_ns = state.spacing(key).interval_ns
    first = 0
    if since_ns is not None:
        first = max(0, bisect_left(points, since_ns + t0_ns, key=lambda point: point.at_ns) - 1)
    return list(_pieces(row, points[first:], every_ns, t0_ns))


def _pieces(row: Row, points: Sequence[Point], every_ns: int, t0_ns: int) -> Iterable[Piece]:
    longest_ns = round(GAP_PERIODS * every_ns)
    for n, point in enumerate(points):
        start_ns = point.at_ns - t0_ns
        if row.kind == "gauge":
            if point.value is None:
                continue
            away_ns = points[n + 1].at_ns - point.at_ns if n + 1 < len(points) else every_ns
            end_ns = start_ns + (away_ns if away_ns <= longest_ns else every_ns)
            yield Piece(start_ns, end_ns, start_ns, point.value * row.scale, point)
            continue
        if point.count is None or point.length_ns <= 0:
            continue  # the increase is unknown
        has_value = row.kind != "histogram" and point.value is not None
        value = point.value * row.scale if has_value and point.value is not None else None
        end_ns, is_long = start_ns + point.length_ns, point.length_ns > longest_ns
        yield Piece(start_ns, end_ns, start_ns + point.length_ns // 2, value, point, is_long)


def covered_ns(pieces: Iterable[Piece], from_ns: int, end_ns: int) -> int:
    """Return for how much of a stretch of time the pieces stand. They must not overlap."""
    return sum(max(0, min(one.end_ns, end_ns) - max(one.start_ns, from_ns)) for one in pieces)

"""Makes slices from points that are counts of their own: one of all requests, and one of good or bad ones. Pure.

A slice without a point has no data, which is not zero requests: the service may have had none, or the metric may be
late, renamed or broken. Such slices are missing, unless the person who runs the source wrote `absent = "zero"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, floor, isfinite
from typing import Final

from loadgen.outside_text import one_line
from loadgen.programme.ledger.slices import Slice
from loadgen.programme.sources.asked import Asked, NoCounts
from loadgen.units import quantity

__all__ = ["Points", "Sliced", "sliced"]

_ZERO: Final = 'write absent = "zero" at the source if the metric is sent only when it is not zero'


@dataclass(frozen=True, slots=True)
class Points:
    """The points of one query: values by the start of their slice, Unix time in s.

    estimated: whether the source interpolates them. needs_raw: why points may be absent where there are requests; ""
    if an absent point may mean zero. shown: the query, for people.
    fewest, most: counts that are surely not above and not below the true ones; None: the source gives no such bounds.
    """

    values: Mapping[int, float] = field(default_factory=dict)
    estimated: bool = False
    needs_raw: str = ""
    shown: str = ""
    fewest: Mapping[int, float] | None = None
    most: Mapping[int, float] | None = None


@dataclass(frozen=True, slots=True)
class Sliced:
    """Slices, or why there are none, and remarks."""

    slices: tuple[Slice, ...] = ()
    faults: tuple[NoCounts, ...] = ()
    notes: tuple[str, ...] = ()


def sliced(asked: Asked, total: Points, part: Points, evidence: str, *, absent_is_zero: bool = False) -> Sliced:
    """Return the slices of an objective.

    Gaps between points are slices whose whole width is missing. Slices before the first and after the last point are
    left out, so that later pulls ask for them again. Counts that are no whole numbers are rounded, and estimated.
    Differences in the seventh digit are of the source's arithmetic, and no fractions.

    Args:
        total, part: the points of all requests, and of good ones or of bad ones, as `asked` has it.
        absent_is_zero: take an absent point as zero requests.
    """
    role = asked.roles[1][0]
    starts = range(asked.edges[0], asked.edges[-1], asked.width)
    if not total.values:
        return Sliced(faults=(NoCounts(f"no data for total in this time: {one_line(total.shown, 200)}"),))
    notes: list[str] = []
    if not part.values:
        text = f"no data for {role} in this time: {one_line(part.shown, 200)}"
        if role == "good":
            # A misspelt query is likelier than an outage. After an outage, the next pull has points, and fills the gap.
            return Sliced(faults=(NoCounts(f"{text}{part.needs_raw and '; '}{part.needs_raw}"),))
        if not absent_is_zero:
            return Sliced(faults=(NoCounts(f"{text}; {_ZERO}"),))
        notes.append(f"{text}; it counts as no {role} requests: check its spelling")
    found: list[Slice] = []
    unknown: dict[str, list[int]] = {}
    for start in starts:
        seen = total.values.get(start, 0.0 if absent_is_zero else None)
        of_part = part.values.get(start)
        if of_part is None and seen is not None and (seen == 0 or (absent_is_zero and not part.needs_raw)):
            of_part = 0.0
        if seen is None:
            why = "no data for total"
        elif of_part is None:
            why = f"no data for {role} where total has some; {part.needs_raw or _ZERO}"
        else:
            why = _why_wrong(seen, of_part, role)
        if why or seen is None or of_part is None:
            unknown.setdefault(why, []).append(start)
            found.append(Slice(asked.slo, start, asked.width, 0, 0, asked.width, False, evidence))
            continue
        count, number = round(seen), min(round(of_part), round(seen))
        has_fraction = not (_is_whole(seen) and _is_whole(of_part))
        is_estimated = total.estimated or part.estimated or has_fraction
        good = number if role == "good" else count - number
        bounds = _bounds(part, start, number, count, role)
        if total.estimated or not _is_whole(seen):
            bounds = None
        found.append(Slice(asked.slo, start, asked.width, good, count, 0, is_estimated, evidence, bounds))
    first, last = (starts[0], starts[-1]) if absent_is_zero else (min(total.values), max(total.values))
    kept = tuple(one for one in found if first <= one.start <= last)
    for why, at in unknown.items():
        if count := sum(first <= one <= last for one in at):
            notes.append(f"{quantity(count, 'slice')} without counts: {why}")
    return Sliced(kept, (), tuple(notes))


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) <= 1e-7 * max(1.0, value)


def _bounds(part: Points, start: int, number: int, count: int, role: str) -> tuple[int, int] | None:
    """Return the fewest and the most good requests of a slice; None without bounds. Absent bounds exclude nothing."""
    if part.fewest is None or part.most is None:
        return None
    low = min(max(floor(part.fewest.get(start, 0.0)), 0), number)
    high = max(min(ceil(part.most.get(start, float(count))), count), number)
    return (low, high) if role == "good" else (count - high, count - low)


def _why_wrong(total: float, part: float, role: str) -> str:
    if not (isfinite(total) and isfinite(part)) or total < 0 or part < 0 or total >= 1 << 53:
        return "a count is negative or no number"
    # Interpolated counts can be a little above the total.
    if part > total + max(1.0, total * 1e-3):
        return f"more {role} requests than all requests"
    return ""

"""Watches the rows of probes while a run goes on: `stop_when`, and objectives with `abort=True`. Pure.

A timer of each `stop_when` runs while consecutive samples are beyond its limit. A sample within the limit resets the
timer to 0. A gap pauses the timer; it does not reset it. For a histogram, the timer runs only if the whole bucket of
the percentile is beyond the limit, and is reset only if the whole bucket is within the limit.

    sample                                    | timer
    beyond the limit, after one beyond it     | runs on, if no sample is missing between them
    beyond the limit, after a gap             | paused in the gap
    beyond the limit, after one within it     | starts at 0; for a rate at the length of its interval
    within the limit                          | reset to 0
    unknown: a gap, a restart, no values      | paused
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Final

from loadgen.measure.objectives.objective import describe
from loadgen.measure.objectives.words import time_text
from loadgen.outside_text import one_line
from loadgen.probes.limits.evidence import GAP_PERIODS, pieces_of
from loadgen.probes.limits.judge import Keeps, judge_objective, keeps_of
from loadgen.probes.limits.limit_text import StopRule, number_text, parse_stop, with_unit
from loadgen.probes.limits.objective import ProbeObjective
from loadgen.probes.limits.row_names import keys_of, names_of
from loadgen.probes.points import PERCENTILES, Point
from loadgen.probes.recorded import ProbeState, Recorded
from loadgen.probes.rows import Row
from loadgen.probes.spec import ProbeSpec
from loadgen.units import NS_PER_S, format_duration

__all__ = ["Danger", "ProbeWatch", "StopWatch"]

_BLIND_NS: Final = 2 * NS_PER_S
"""A shorter time without samples is no note."""
_DEFAULT: Final = PERCENTILES.index(95.0)


@dataclass(frozen=True, slots=True)
class Danger:
    """Why a run has to end. is_objective: a broken objective with `abort=True`, and not `stop_when`."""

    text: str
    is_objective: bool = False


@dataclass(slots=True)
class _Held:
    """For how long the condition has held of one row."""

    upto_ns: int
    """The time of the last point that was taken, from T0."""
    every_ns: int
    """The usual distance of its points."""
    held_ns: int = 0
    is_held: bool = False
    """Whether the last known sample was beyond the limit."""
    is_in_gap: bool = False
    has_said: bool = False
    """Whether a note about the gap was given since the condition holds."""


class StopWatch:
    """Watches one `stop_when`. name: of the probe. row: the key of the row, without labels."""

    def __init__(self, name: str, rule: StopRule, row: str = "") -> None:
        self._name, self._rule, self._row = name, rule, row or rule.row
        self._rows: dict[str, _Held] = {}
        self._blind_ns = 0
        """The time between samples that could be judged."""
        self.notes: list[str] = []
        """Sentences for the operator; the caller takes them."""

    @property
    def has_row(self) -> bool:
        """Return whether its row was ever read under load."""
        return bool(self._rows)

    def blind_until(self, until_ns: int) -> int:
        """Return for how long the condition could not be checked up to a time after T0, ns."""
        newest_ns = max((one.upto_ns + one.every_ns for one in self._rows.values()), default=0)
        return self._blind_ns + max(0, until_ns - newest_ns)

    def look(self, state: ProbeState, t0_ns: int, end_ns: int | None) -> Danger | None:
        """Take the new points of the probe, and return the danger if the condition has held for long enough.

        end_ns: the end of the load, from T0; later points are not judged.
        """
        for key in keys_of(self._row, state.points.points):
            row, points = state.points.rows[key], state.points.points[key]
            held = self._rows.get(key)
            first = _first_after(points, t0_ns + (-1 if held is None else held.upto_ns))
            if held is None and first < len(points):
                held = self._rows[key] = _Held(points[first].at_ns - t0_ns, state.spacing(key).interval_ns)
            for point in points[first:]:
                at_ns = point.at_ns - t0_ns
                if end_ns is not None and at_ns >= end_ns:
                    break
                assert held is not None
                held.every_ns = state.spacing(key).interval_ns
                self._take(held, row, point, at_ns)
                if held.is_held and held.held_ns >= self._rule.for_ns:
                    at_text = time_text((at_ns + point.length_ns) / NS_PER_S)
                    part = "" if key == self._row else f", row {one_line(key, 120)}"
                    text = f"target in danger: {self._name} {self._rule.text}{part} ({_shown(row, point)} at {at_text})"
                    return Danger(text)
        return None

    def _take(self, held: _Held, row: Row, point: Point, at_ns: int) -> None:
        side = self._side(row, point)
        away_ns, held.upto_ns = at_ns - held.upto_ns, at_ns
        is_interval = row.kind != "gauge"
        is_gap = (point.length_ns if is_interval else away_ns) > GAP_PERIODS * held.every_ns or side is None
        if is_gap:
            self._blind_ns += point.length_ns if is_interval else away_ns
        if (side is None or (is_gap and held.is_held)) and held.is_held and not held.has_said:
            held.has_said = True
            so_far = format_duration(held.held_ns)
            self.notes.append(
                f"stop_when of probe {self._name}: samples were missing while its condition held, for {so_far} so"
                " far; the time stood still"
            )
        if side is None:
            held.is_in_gap = True
            return
        if not side:
            held.held_ns, held.has_said = 0, False
        elif is_interval:
            held.held_ns += 0 if is_gap else point.length_ns
        elif held.is_held and not is_gap and not held.is_in_gap:
            held.held_ns += away_ns
        held.is_held, held.is_in_gap = side, False

    def _side(self, row: Row, point: Point) -> bool | None:
        """Return whether a point is beyond the limit; None if that is unknown."""
        rule, limit = self._rule, self._rule.bound.in_unit(row.unit)
        if limit is None:
            return None
        if row.kind != "histogram":
            if point.value is None:
                return None
            value = point.value * row.scale
            return value > limit if rule.operator == ">" else value < limit
        if not point.bounds:
            return None
        low, high = point.bounds[_DEFAULT if rule.q is None else PERCENTILES.index(rule.q)]
        low, high = low * row.scale, high * row.scale
        if rule.operator == ">":
            return True if low >= limit else False if high <= limit else None
        return True if high <= limit and high < inf else False if low >= limit else None


class ProbeWatch:
    """Watches all probes of a run. Call `look` after each record; it takes only new points.

    Args:
        specs: the probes that are read here, with their `stop_when`.
        objectives: of the plan; those with `abort=True` are watched.
        from_ns, end_ns: begin and end of the measured time, ns from T0. end_ns None: it is not known before.
    """

    def __init__(
        self,
        specs: Iterable[ProbeSpec],
        objectives: Iterable[ProbeObjective] = (),
        from_ns: int = 0,
        end_ns: int | None = None,
    ) -> None:
        self.objectives = tuple(objectives)
        self.from_ns, self.end_ns = from_ns, end_ns
        self._stops: dict[str, StopWatch] = {}
        for spec in specs:
            rule, _ = parse_stop(spec.stop_when) if spec.stop_when else (None, [])
            if rule is not None:
                known = names_of(spec).find(rule.row)
                self._stops[spec.name] = StopWatch(spec.name, rule, "" if known is None else known.key)
        self._aborts = {one: from_ns for one in self.objectives if one.abort}
        """The time up to which each objective was judged."""
        self._is_over = False

    def __bool__(self) -> bool:
        return bool(self._stops or self._aborts)

    @property
    def keeps(self) -> Keeps:
        """Return which rows must keep the buckets of their histograms."""
        return keeps_of(self.objectives)

    def look(self, recorded: Recorded) -> Danger | None:
        """Return why the run has to end, once; None if it may go on."""
        if self._is_over or recorded.t0_ns is None or not self:
            return None
        found = self._look(recorded, recorded.t0_ns)
        self._is_over = found is not None
        return found

    def take_notes(self) -> list[str]:
        """Return the new sentences for the operator."""
        found = [note for stop in self._stops.values() for note in stop.notes]
        for stop in self._stops.values():
            stop.notes.clear()
        return found

    def last_notes(self, until_ns: int) -> list[str]:
        """Return a sentence for each `stop_when` that could not watch the whole load. until_ns: now, ns from T0."""
        until_ns = until_ns if self.end_ns is None else min(until_ns, self.end_ns)
        found = []
        for name, stop in self._stops.items():
            if not stop.has_row:
                found.append(f"stop_when of probe {name} was never checked: there were no samples of its row")
            elif (blind_ns := stop.blind_until(until_ns)) >= _BLIND_NS:
                blind = format_duration(blind_ns)
                found.append(f"stop_when of probe {name} could not be checked for {blind}: samples were missing")
        return found

    def _look(self, recorded: Recorded, t0_ns: int) -> Danger | None:
        for name, stop in self._stops.items():
            state = recorded.probes.get(name)
            if state is not None and (danger := stop.look(state, t0_ns, self.end_ns)) is not None:
                return danger
        for objective, upto_ns in self._aborts.items():
            state = recorded.probes.get(objective.probe)
            newest_ns = None if state is None else _newest_ns(state, objective, t0_ns)
            if newest_ns is None or state is None:
                continue
            end_ns = newest_ns if self.end_ns is None else min(newest_ns, self.end_ns)
            # The windows that begin after this have not been judged yet, or end with the newest samples.
            begin_ns = max(self.from_ns, upto_ns - objective.window_ns)
            self._aborts[objective] = max(upto_ns, end_ns - state.every_ns)
            for result in judge_objective(objective, recorded, begin_ns, end_ns, is_over=False, is_tail=True):
                if result.verdict == "failed":
                    when = time_text(end_ns / NS_PER_S)
                    text = f"stopped at {when}: SLO {result.objective} is broken: {describe(result)}"
                    return Danger(text, is_objective=True)
        return None


def _newest_ns(state: ProbeState, objective: ProbeObjective, t0_ns: int) -> int | None:
    """Return the end of the newest piece of the rows of an objective, ns from T0; None without any."""
    keys = keys_of(objective.row, (key for key, points in state.points.points.items() if points))
    ends = [pieces[-1].end_ns for key in keys if (pieces := pieces_of(state, key, t0_ns, _LATE_NS))]
    return max(ends, default=None)


_LATE_NS: Final = 1 << 62
"""A time after all points: only the last one is taken."""


def _first_after(points: list[Point], at_ns: int) -> int:
    """Return the index of the first point after a time. New points are few, so it counts from the end."""
    index = len(points)
    while index and points[index - 1].at_ns > at_ns:
        index -= 1
    return index


def _shown(row: Row, point: Point) -> str:
    """Return the value of a point with its unit."""
    if row.kind != "histogram" or not point.bounds:
        return with_unit(number_text((point.value or 0.0) * row.scale), row.unit)
    low, high = point.bounds[_DEFAULT]
    return (
        f"p95 at least {with_unit(number_text(low * row.scale), row.unit)}"
        if high == inf
        else (f"p95 at most {with_unit(number_text(high * row.scale), row.unit)}")
    )

"""Compute the planned rate or users of an interval, to compare them with the achieved ones."""

from __future__ import annotations

from loadgen.dsl.plans.spec import PlanSpec
from loadgen.report.charts.timeline_data import Planned

__all__ = ["planned_by"]

_PARTS = 10
"""Sample points of an interval for its mean rate: exact within a ramp, within 5 % if the rate jumps."""


def planned_by(spec: PlanSpec, until_ns: int | None = None) -> Planned:
    """Return a function that gives the planned iterations/s, or the users at the end, of an interval.

    `spec` has the loads as they were at the end of the run. From `until_ns` on the loads were changed in an unknown
    way, so the function returns None for later intervals.
    """

    def planned(start_ns: int, end_ns: int) -> tuple[float | None, float | None]:
        if until_ns is not None and end_ns > until_ns:
            return None, None
        if not spec.is_open:
            return None, spec.level_at(end_ns - 1)
        length = (end_ns - start_ns) // _PARTS
        return sum(spec.rate_at(start_ns + length * n + length // 2) for n in range(_PARTS)) / _PARTS, None

    return planned

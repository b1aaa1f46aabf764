"""What a plan wanted in an interval, to be held against what was done in it."""

from __future__ import annotations

from loadgen.dsl.plans.spec import PlanSpec
from loadgen.report.charts.timeline import Planned

__all__ = ["planned_by"]

_PARTS = 10
"""Of an interval, for the mean of its rate: exact within a ramp, within 5 % where it jumps."""


def planned_by(spec: PlanSpec, until_ns: int | None = None) -> Planned:
    """spec: with its loads as they were in the end. until_ns: from then on they were others, which nobody knows."""

    def planned(start_ns: int, end_ns: int) -> tuple[float | None, float | None]:
        if until_ns is not None and end_ns > until_ns:
            return None, None
        if not spec.is_open:
            return None, spec.level_at(end_ns - 1)
        length = (end_ns - start_ns) // _PARTS
        return sum(spec.rate_at(start_ns + length * n + length // 2) for n in range(_PARTS)) / _PARTS, None

    return planned

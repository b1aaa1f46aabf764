"""Stages, the linear stretches from which every profile is built, and exact arithmetic on them.

Times are integer nanoseconds; values are iterations/s, users, or the playback speed of recorded times.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache

import msgspec

from loadgen.units import NS_PER_S

__all__ = ["MAX_DURATION_NS", "MAX_RATE_PER_S", "MAX_USERS", "Stage", "between", "exact", "highest", "length"]

MAX_RATE_PER_S = 1e8
MAX_DURATION_NS = 366 * 86_400 * NS_PER_S
MAX_USERS = 10_000_000
"""Limits that only a typing error exceeds. They also keep arrival numbers below 2^53 and times within int64."""


@lru_cache(maxsize=4096)
def exact(value: float) -> Fraction:
    """Return the simplest fraction that rounds to `value` in float64: 1/10 for 0.1.

    So "1000/h" for an hour is exactly 1,000 arrivals, and not 1,001 because 1000/3600 was rounded.
    """
    whole = Fraction(value)
    for digits in range(18):
        simple = whole.limit_denominator(10**digits)
        if float(simple) == value:
            return simple
    return whole


class Stage(msgspec.Struct, frozen=True):
    """A linear stretch of a load from value `start` to value `end` within `duration_ns`.

    A stage with duration 0 is a vertical jump; it contains no arrivals.
    """

    start: float
    end: float
    duration_ns: int

    def at(self, t_ns: int) -> Fraction:
        """Return the exact value `t_ns` after the stage begins; 0 <= t_ns < duration_ns."""
        return between(exact(self.start), exact(self.end), t_ns, self.duration_ns)

    def times(self, factor: Fraction) -> Stage:
        """Return a copy of the stage with both values multiplied by `factor`."""
        return Stage(float(exact(self.start) * factor), float(exact(self.end) * factor), self.duration_ns)


def between(start: Fraction, end: Fraction, passed_ns: int, duration_ns: int) -> Fraction:
    """Return the exact value on the line from `start` to `end` after `passed_ns` of `duration_ns`."""
    return start if start == end else start + (end - start) * Fraction(passed_ns, duration_ns)


def length(stages: Iterable[Stage]) -> int:
    """Return the total duration of the stages in ns."""
    return sum(stage.duration_ns for stage in stages)


def highest(stages: Iterable[Stage]) -> float:
    """Return the highest value of all stages that have a duration; 0 if there are none."""
    return max((max(stage.start, stage.end) for stage in stages if stage.duration_ns), default=0.0)

"""A stage: a linear stretch of a load, and exact arithmetic on it. What every profile is made of.

Times are integer nanoseconds; values are iterations/s, users, or the speed of what was recorded.
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
"""Beyond these a profile is a slip of the pen. They also keep n below 2^53 and times within int64."""


@lru_cache(maxsize=4096)
def exact(value: float) -> Fraction:
    """The simplest fraction that is `value` in float64: 0.1 is 1/10, not 3602879701896397/36028797018963968.

    So "1000/h" for an hour is 1,000 arrivals, not 1,001 by the rounding of 1000/3600.
    """
    whole = Fraction(value)
    for digits in range(18):
        simple = whole.limit_denominator(10**digits)
        if float(simple) == value:
            return simple
    return whole


class Stage(msgspec.Struct, frozen=True):
    """A linear stretch of a load: from `start` to `end` (iterations/s or users) within `duration_ns`.

    A duration of 0 is a vertical jump. It holds nothing of its own.
    """

    start: float
    end: float
    duration_ns: int

    def at(self, t_ns: int) -> Fraction:
        """Its value `t_ns` after it begins, exact; 0 <= t_ns < duration_ns."""
        return between(exact(self.start), exact(self.end), t_ns, self.duration_ns)

    def times(self, factor: Fraction) -> Stage:
        """As long, and so many times as high."""
        return Stage(float(exact(self.start) * factor), float(exact(self.end) * factor), self.duration_ns)


def between(start: Fraction, end: Fraction, passed_ns: int, duration_ns: int) -> Fraction:
    """On the straight line from `start` to `end`, when `passed_ns` of `duration_ns` have gone by."""
    return start if start == end else start + (end - start) * Fraction(passed_ns, duration_ns)


def length(stages: Iterable[Stage]) -> int:
    """How long they last in all, ns."""
    return sum(stage.duration_ns for stage in stages)


def highest(stages: Iterable[Stage]) -> float:
    """The highest value that lasts; 0 of nothing."""
    return max((max(stage.start, stage.end) for stage in stages if stage.duration_ns), default=0.0)

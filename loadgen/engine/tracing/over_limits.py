"""The threshold above which an ok request counts as slow (`over`): the objective's, or the p95 of the time before.

Weights of exemplars are right with any threshold, so an estimate is good enough. It must be known before the interval
begins, because a threshold that depends on the requests that it divides would bias the draws.

The p95 is that of up to `_KEPT` values of each of the last 30 intervals. The values are taken at equal distances, so
600 values leave a standard error of 0.9 percentage points of the level. It is computed again for a few series at each
flip, because sorting takes 30 µs a series, and the loop must turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.objectives.terms import Objective

__all__ = ["NEVER_NS", "OverLimits", "RecentValues", "is_of_tail"]

NEVER_NS: Final = 1 << 62
_INTERVALS: Final = 30
_KEPT: Final = 20
_FEWEST: Final = 20
"""Fewest values of which a p95 is taken."""
_LEAST_PERCENTILE: Final = 90.0
"""An objective on a lower percentile has no tail as its subject."""
_AT_ONCE: Final = 16
"""Most series whose p95 is computed at one flip: 0.5 ms together."""


class RecentValues:
    """Response times of one series in the last intervals, and the p95 of them."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: deque[list[int]] = deque(maxlen=_INTERVALS)

    def add(self, values_ns: list[int]) -> None:
        """Add the ok response times of one interval."""
        if values_ns:
            self._values.append(values_ns[:: max(1, len(values_ns) // _KEPT)][:_KEPT])

    def p95_ns(self) -> int | None:
        """Return the p95; None if there are too few values."""
        ordered = sorted(chain.from_iterable(self._values))
        return None if len(ordered) < _FEWEST else ordered[len(ordered) * 95 // 100]


class OverLimits:
    """The thresholds of one worker's series.

    objectives: the plan's. region: the agent's; objectives may be limited to others.
    """

    def __init__(self, objectives: Iterable[Objective] = (), region: str = "") -> None:
        self._objectives = [one for one in objectives if is_of_tail(one) and one.region in (None, region)]
        self._recent: dict[SeriesKey, RecentValues] = {}
        self._next = 0

    def of_objectives(self, key: SeriesKey) -> int | None:
        """Return the lowest limit of the objectives on a high percentile of this series, in ns; None without any."""
        return min((int(one.limit) for one in self._objectives if one.covers(key)), default=None)

    def learn(self, series: Sequence[tuple[SeriesKey, list[int]]]) -> dict[SeriesKey, int]:
        """Add one interval, and return new thresholds in ns of some of the series.

        series: those without objectives, each with the ok response times of the interval in ns.
        """
        found: dict[SeriesKey, int] = {}
        for key, values_ns in series:
            recent = self._recent.get(key)
            if recent is None:
                recent = self._recent[key] = RecentValues()
            recent.add(values_ns)
        turn = self._next
        for at in range(min(_AT_ONCE, len(series))):
            key = series[(turn + at) % len(series)][0]
            p95_ns = self._recent[key].p95_ns()
            if p95_ns is not None:
                found[key] = p95_ns
        self._next = (turn + _AT_ONCE) % max(1, len(series))
        return found


def is_of_tail(one: Objective) -> bool:
    """Return whether an objective limits the slow response times: a percentile from 90 on, or the maximum."""
    is_percentile = one.kind == "percentile" and one.q >= _LEAST_PERCENTILE
    return (is_percentile or one.kind == "maximum") and one.metric == "response" and one.is_upper and not one.of

"""Whether an objective on slow requests is breached, as one worker sees it in its own response times. Pure.

A worker looks at its own series instead of waiting for a command: it needs no message, and a slow region is seen that
the whole fleet's percentile hides. It may be wrong without harm: a boost changes how many traces there are, and no
weight (docs/decisions/116-sampling-by-rate-and-our-own-spans.md).

An objective counts as breached if in the last 30 intervals more of the worker's values are above its limit than it
allows, and at least 3 of them; of an objective on the maximum, at least one. A long series is looked at in up to 500
values of each interval, at equal distances.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from loadgen.engine.tracing.over_limits import is_of_tail
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.objectives.terms import Objective

__all__ = ["Breaches"]

_INTERVALS: Final = 30
_LOOKED_AT: Final = 500
_FEWEST: Final = 3


class Breaches:
    """The objectives of one worker. region: the agent's; objectives may be limited to others."""

    def __init__(self, objectives: Iterable[Objective] = (), region: str = "") -> None:
        self._objectives = [one for one in objectives if is_of_tail(one) and one.region in (None, region)]
        self._covered: dict[SeriesKey, tuple[int, ...]] = {}
        self._counts: list[deque[tuple[float, float]]] = [deque(maxlen=_INTERVALS) for _ in self._objectives]
        """By objective and interval: (values, values above the limit)."""

    def learn(self, series: Sequence[tuple[SeriesKey, list[int]]]) -> bool:
        """Add one interval, and return whether an objective is breached.

        series: each with the ok response times of the interval in ns.
        """
        sums = [[0.0, 0.0] for _ in self._objectives]
        for key, values_ns in series:
            for number in self._of(key):
                some = values_ns[:: max(1, len(values_ns) // _LOOKED_AT)]
                limit_ns = self._objectives[number].limit
                if some:
                    above = sum([value > limit_ns for value in some])
                    sums[number][0] += len(values_ns)
                    sums[number][1] += above * len(values_ns) / len(some)
        is_breached = False
        for objective, counts, of_interval in zip(self._objectives, self._counts, sums, strict=True):
            counts.append((of_interval[0], of_interval[1]))
            all_, all_above = sum(one[0] for one in counts), sum(one[1] for one in counts)
            is_maximum = objective.kind == "maximum"
            allowed = 0.0 if is_maximum else all_ * (1 - objective.q / 100)
            is_breached = is_breached or all_above > max(allowed, (1 if is_maximum else _FEWEST) - 0.5)
        return is_breached

    def _of(self, key: SeriesKey) -> tuple[int, ...]:
        found = self._covered.get(key)
        if found is None:
            found = tuple(number for number, one in enumerate(self._objectives) if one.covers(key))
            self._covered[key] = found
        return found

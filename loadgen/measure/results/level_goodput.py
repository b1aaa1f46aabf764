"""Goodput of each level of a load: the share of good requests among the offered ones, and its 95 % interval.

Requests of one level resemble their neighbours: a slow second has many bad ones. So the interval is that of an
objective on goodput (`sure_values.share_of`): the level's time is cut into five batches, and the spread of their bad
requests shows how many independent requests would have the same spread. An interval for independent requests, such as
Wilson's, would be too narrow; this one is never narrower than that of Clopper and Pearson for the same numbers.

A request is counted in the interval of time in which it ended, as everywhere. The time of a level therefore goes from
the first to the last end of a request. A few late ends would leave the last batches almost empty, so this time is
limited: it is at most 1.05 times the time in which 98 % of the requests ended. Later requests count in its last
interval.

A level gets no interval if its time is less than ten intervals of time, if it has fewer than ten requests, or if a
batch has no requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.measure.deltas.series_key import GOODPUT_TAG, LEVEL_TAG, OK, SeriesKey
from loadgen.measure.objectives.terms import LOST
from loadgen.measure.statistics.mean_of_batches import BATCHES
from loadgen.measure.statistics.objective_bins import Binned
from loadgen.measure.statistics.sure_values import refused, share_of
from loadgen.units import NS_PER_S

__all__ = ["NOT_KEPT", "GoodShare", "OfferedByInterval"]

Floats = npt.NDArray[np.float64]

NOT_KEPT: Final = "not kept"
"""The reason for no interval if the counts of each interval of time are not known."""
_MOST_BINS: Final = 300
"""Longer levels have several intervals of time in one bin, as a run has (`Batches.bins`)."""
_IN_TIME: Final = 0.98
_LATER: Final = 1.05
"""The time of a level is at most this times the time by which `_IN_TIME` of its requests have ended."""


@dataclass(frozen=True, slots=True)
class GoodShare:
    """The 95 % interval of a goodput. low, high: 0 to 1; None if the level has no interval.

    text: the data behind the interval, such as "5 batches of 20.0 s"; without one the reason, such as "too short".
    """

    low: float | None
    high: float | None
    text: str


class OfferedByInterval:
    """The offered requests of each level, by the number of the interval of time in which they ended.

    Missed iterations and those that were cut off count as bad requests, if their journey has such requests.
    """

    __slots__ = ("_lost", "_own", "interval_ns")

    def __init__(self, interval_ns: int = NS_PER_S) -> None:
        self.interval_ns = interval_ns
        self._own: dict[tuple[str, str, str], dict[int, list[int]]] = {}
        """By (level, limits, journey) and interval: requests, bad ones, and the sum of their values in µs."""
        self._lost: dict[tuple[str, str], dict[int, list[int]]] = {}
        """By (level, journey) and interval: the same of lost iterations, all of them bad."""

    def add(self, k: int, key: SeriesKey, n: int, total_us: int) -> None:
        """Add n values of a series that ended in interval `k`, and their sum; series of other kinds are left out."""
        if key.warmup:
            return
        if key.kind == "goodput":
            tags = dict(key.tags)
            if LEVEL_TAG in tags:
                of = self._own.setdefault((tags[LEVEL_TAG], tags.get(GOODPUT_TAG, ""), key.journey), {})
                _add(of, k, n, 0 if key.outcome == OK else n, total_us)
        elif key.kind == "journey" and key.metric == "response" and key.outcome in LOST:
            tags = dict(key.tags)
            if LEVEL_TAG in tags:
                _add(self._lost.setdefault((tags[LEVEL_TAG], key.journey), {}), k, n, n, total_us)

    def share(self, level: str, limits: str, good: int, of: int) -> GoodShare:
        """Return the interval of the goodput of a level.

        limits: as in the tag of the series. good, of: the numbers of good and of all requests of the level.
        """
        found, length = self._binned(level, limits)
        if why := refused(found):
            return GoodShare(None, None, why)
        bad = share_of(found, (of - good, of))
        length_s = length * self.interval_ns / NS_PER_S / BATCHES
        return GoodShare(round(1 - bad.high, 6), round(1 - bad.low, 6), f"{BATCHES} batches of {length_s:.1f} s")

    def _binned(self, level: str, limits: str) -> tuple[Binned, int]:
        """Return the bins of a level, and how many intervals of time they cover."""
        rows: list[tuple[int, list[int]]] = []
        for (of_level, of_limits, journey), own in self._own.items():
            if (of_level, of_limits) == (level, limits):
                rows += [*own.items(), *self._lost.get((level, journey), {}).items()]
        if not rows:
            nothing = np.zeros(0)
            return Binned(nothing, nothing, nothing, 0.0, 0.0), 0
        at = np.array([k for k, _ in rows])
        values = np.array([row for _, row in rows], dtype=np.float64)
        at -= at.min()
        by_time = _sums(at, values[:, 0], 0).cumsum()
        in_time = int(np.searchsorted(by_time, _IN_TIME * by_time[-1])) + 1
        length = min(len(by_time), ceil(in_time * _LATER))
        bins = -(-length // -(-length // _MOST_BINS))
        within = np.minimum(at, length - 1) * bins // length
        count, bad, total = (_sums(within, values[:, column], bins) for column in range(3))
        return Binned(count, bad, total, float(count.sum()), float(total.sum())), length


def _sums(at: npt.NDArray[np.int64], values: Floats, bins: int) -> Floats:
    return np.bincount(at, values, bins).astype(np.float64)


def _add(to: dict[int, list[int]], k: int, n: int, bad: int, total_us: int) -> None:
    row = to.setdefault(k, [0, 0, 0])
    row[0] += n
    row[1] += bad
    row[2] += total_us

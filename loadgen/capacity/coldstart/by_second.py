"""Reads the response times of a run by second: p95 of windows, and which instances answered when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.histograms.histogram import SLOTS, Histogram, percentile
from loadgen.report.run_as_dataframes import Run
from loadgen.units import NS_PER_S

__all__ = ["WINDOWS", "Seconds", "read_seconds"]

WINDOWS: Final = (1, 2, 5, 10, 15, 30)
"""Lengths of windows in s; the shortest with enough requests is taken."""
_MOST_S: Final = 86400
_MOST_INSTANCES: Final = 10_000


@dataclass(slots=True)
class Seconds:
    """The requests of a run by second from T0. All histograms are of response times, censored ones apart."""

    observed: list[Histogram]
    censored: list[Histogram]
    first_good: dict[str, int] = field(default_factory=dict)
    """By the value of the tag that names an instance: the second of its first good answer."""

    def __len__(self) -> int:
        return len(self.observed)

    def count(self, start_s: int, end_s: int) -> int:
        """Return the number of requests in a range of seconds."""
        return sum(one.total for one in (*self.observed[start_s:end_s], *self.censored[start_s:end_s]))

    def p95_ms(self, start_s: int, end_s: int) -> float | None:
        """Return p95 of all requests in a range of seconds, ms: one percentile of all of them, not a mean."""
        return _p95(_joined(self.observed[start_s:end_s]), _joined(self.censored[start_s:end_s]))

    def window_s(self, least: int) -> int | None:
        """Return the shortest window whose median has at least `least` requests; None: the longest has fewer."""
        counts = np.array([a.total + b.total for a, b in zip(self.observed, self.censored, strict=True)])
        for length in WINDOWS:
            if len(counts) >= length:
                sums = np.convolve(counts, np.ones(length), "valid")
                if np.median(sums) >= least:
                    return length
        return None

    def rolling_p95_ms(self, window_s: int) -> NDArray[np.float64]:
        """Return p95 of the window that begins in each second, ms: (seconds,); NaN without requests."""
        found = np.full(len(self), np.nan)
        for second in range(len(self)):
            value = self.p95_ms(second, second + window_s)
            if value is not None:
                found[second] = value
        return found


def read_seconds(run: Run, tag: str = "") -> Seconds:
    """Read a run once. tag: the tag whose values name instances; "": none.

    A request belongs to the second in which it ended. Cost: 50 ms per 1,000 deltas.
    """
    seconds = Seconds([], [])
    keys: dict[tuple[str, int], list[SeriesKey]] = {}
    for _, delta in run.deltas():
        known = keys.setdefault((delta.agent, delta.epoch), [])
        known.extend(delta.new_series)
        second = delta.start_ns // NS_PER_S
        index = np.frombuffer(delta.index, dtype="<u4").astype(np.int64)
        if not 0 <= second < _MOST_S or not len(index):
            continue
        counts = np.frombuffer(delta.count, dtype="<u4").astype(np.int64)
        series, slots = np.divmod(index, SLOTS)
        while len(seconds) <= second:
            seconds.observed.append(Histogram())
            seconds.censored.append(Histogram())
        for number in np.unique(series).tolist():
            key = known[number]
            if key.kind != "request" or key.metric != "response":
                continue
            of = series == number
            side = seconds.censored if key.censored else seconds.observed
            side[second].add(slots[of], counts[of])
            if tag and key.outcome == "ok":
                value = dict(key.tags).get(tag, "")
                if value and len(seconds.first_good) < _MOST_INSTANCES:
                    seconds.first_good[value] = min(second, seconds.first_good.get(value, second))
    return seconds


def _joined(parts: Sequence[Histogram]) -> Histogram:
    whole = Histogram()
    for one in parts:
        if one.total:
            whole.add_histogram(one)
    return whole


def _p95(observed: Histogram, censored: Histogram) -> float | None:
    if not observed.total + censored.total:
        return None
    value = percentile(observed, censored, 95.0)
    return None if value is None else value.ms

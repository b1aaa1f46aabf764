"""The ends of requests, and the number in flight, in each interval of a load with levels.

The figures of levels in `summary.json` and the check that ends a run after a saturated level use them. They come from
deltas or stored intervals (cells) after a run, and windows while the run goes on.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Protocol

import numpy as np

from loadgen.measure.deltas.delta import COUNTER_NAMES, Delta
from loadgen.measure.deltas.series_key import LEVEL_TAG, OK, TOKEN_NS, SeriesKey
from loadgen.measure.merging.queries import Window
from loadgen.measure.merging.stored_interval import Cell
from loadgen.measure.results.level_goodput import OfferedByInterval
from loadgen.measure.statistics.saturation import POINT_S, Slope, is_saturated, means_of_parts, slope_of
from loadgen.units import NS_PER_MS, NS_PER_S, NS_PER_US

__all__ = ["EndedByInterval", "LevelSpan"]


class LevelSpan(Protocol):
    """A level of a load, and when it begins to count and ends; times from T0 (`loadgen/profiles/levels.py`)."""

    @property
    def text(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def settled_ns(self) -> int: ...
    @property
    def end_ns(self) -> int: ...


_STARTED, _FINISHED = COUNTER_NAMES.index("requests_started"), COUNTER_NAMES.index("requests_finished")


class EndedByInterval:
    """Counts of each interval (by its number) of a load with levels.

    requests, tokens: number of requests that ended ok, and of their output tokens. ttft_us, ttft_count: sum and number
    of their times to the first token. more_in_flight: growth of the number of requests in flight, of all loads.
    offered: the requests that goodput counts, by level.
    """

    __slots__ = (
        "_keys",
        "_names",
        "interval_ns",
        "more_in_flight",
        "offered",
        "requests",
        "tokens",
        "ttft_count",
        "ttft_us",
    )

    def __init__(self, interval_ns: int = NS_PER_S) -> None:
        self.interval_ns = interval_ns
        self.requests: dict[int, int] = {}
        self.tokens: dict[int, int] = {}
        self.ttft_us: dict[int, int] = {}
        self.ttft_count: dict[int, int] = {}
        self.more_in_flight: dict[int, int] = {}
        self.offered = OfferedByInterval(interval_ns)
        self._keys: dict[tuple[str, int], list[SeriesKey]] = {}
        self._names: list[SeriesKey] = []

    def add(self, delta: Delta) -> None:
        """Add one delta. Call this in the order in which the deltas were merged."""
        keys = self._keys.setdefault((delta.agent, delta.epoch), [])
        keys.extend(delta.new_series)
        k = (delta.start_ns + delta.end_ns) // 2 // self.interval_ns
        for one in delta.stats:
            self._count(k, keys[one.series], one.n, one.sum_ns // TOKEN_NS)
        _add(self.more_in_flight, k, delta.counters.requests_started - delta.counters.requests_finished)

    def add_cell(self, cell: Cell) -> None:
        """Add one cell (a stored interval); call this in the order of the file."""
        self._names.extend(key for _, key in cell.names)
        k = (cell.start_ns + cell.end_ns) // 2 // self.interval_ns
        for series, n, sum_us in zip(
            *map(np.ndarray.tolist, (cell.stats.series, cell.stats.n, cell.stats.sum_us)), strict=True
        ):
            self._count(k, self._names[series], n, sum_us)
        for counters in cell.counters.values():
            _add(self.more_in_flight, k, counters[_STARTED] - counters[_FINISHED])

    def take_window(self, window: Window) -> None:
        """Replace what is known of an interval for saturation by its window: the requests in flight, and ttft.

        Later deltas of the interval change the window, so it can be taken again. `requests`, `tokens` and `offered`
        stay.
        Cost: 0.25 ms (timeit on a busy machine, one series with ttft).
        """
        counters = window.counters()
        self.more_in_flight[window.k] = counters.requests_started - counters.requests_finished
        own = [number for number, _ in window.matching("ttft by level", _is_ttft)]
        ttft = window.sum_of(own)
        self.ttft_count[window.k], self.ttft_us[window.k] = ttft.total, ttft.sum_ns // TOKEN_NS

    def _count(self, k: int, key: SeriesKey, n: int, total: int) -> None:
        """Add n values of a series. total: their sum, in µs or in tokens."""
        if key.kind != "request":
            self.offered.add(k, key, n, total)
            return
        if not _is_of_level(key):
            return
        if key.metric == "response":
            _add(self.requests, k, n)
        elif key.metric == "output_tokens":
            _add(self.tokens, k, total)
        elif _is_ttft("", key):
            _add(self.ttft_count, k, n)
            _add(self.ttft_us, k, total)

    def within(self, span: LevelSpan) -> tuple[list[int], list[int]]:
        """Return (requests, tokens) of each interval that lies wholly in a level after it has settled."""
        of = self._intervals(span)
        return [self.requests.get(k, 0) for k in of], [self.tokens.get(k, 0) for k in of]

    def slopes(self, span: LevelSpan) -> tuple[Slope | None, Slope | None]:
        """Return the slopes of the requests in flight and of ttft (ms) in a level after it has settled.

        Each is None if the level is too short. ttft is also None without requests to AI models.
        """
        of, interval_s = self._intervals(span), self.interval_ns / NS_PER_S
        in_flight = self._in_flight(of)[1:]
        ttft_ms = [self.ttft_us.get(k, 0) * NS_PER_US / NS_PER_MS for k in of]
        counts = [self.ttft_count.get(k, 0) for k in of]
        step_s = max(1, round(POINT_S / interval_s)) * interval_s
        return (
            slope_of(means_of_parts(in_flight, [1] * len(of), interval_s), step_s),
            slope_of(means_of_parts(ttft_ms, counts, interval_s), step_s),
        )

    def is_saturated(self, span: LevelSpan) -> bool | None:
        """Return whether both slopes of a level are up; None if one of them is unknown."""
        return is_saturated(*self.slopes(span))

    def in_flight(self, span: LevelSpan) -> tuple[float, int]:
        """Return the mean number of requests in flight in a level after it has settled, and of how many intervals.

        The mean is weighted by time: in each interval it is that of the numbers at its begin and its end. (0, 0) if no
        interval lies wholly in the level.
        """
        at_edges = self._in_flight(self._intervals(span))
        parts = [(first + last) / 2 for first, last in pairwise(at_edges)]
        return sum(parts) / len(parts) if parts else 0.0, len(parts)

    def known_share(self, span: LevelSpan) -> float:
        """Return the share of a level's intervals of which anything was added, 0 to 1."""
        of = self._intervals(span)
        return sum(k in self.more_in_flight for k in of) / len(of) if of else 0.0

    def _in_flight(self, of: range) -> list[int]:
        """Return the requests in flight at the begin of the first of these intervals, and at the end of each."""
        before = sum(more for k, more in self.more_in_flight.items() if k < of.start)
        return list(accumulate((self.more_in_flight.get(k, 0) for k in of), initial=before))

    def _intervals(self, span: LevelSpan) -> range:
        return range(-(-span.settled_ns // self.interval_ns), span.end_ns // self.interval_ns)


def _add(to: dict[int, int], k: int, n: int) -> None:
    to[k] = to.get(k, 0) + n


def _is_of_level(key: SeriesKey) -> bool:
    return key.kind == "request" and key.outcome == OK and any(name == LEVEL_TAG for name, _ in key.tags)


def _is_ttft(_region: str, key: SeriesKey) -> bool:
    return key.metric == "ttft" and not key.censored and _is_of_level(key)

"""Counts the events of each objective in bins of the measured time. Objectives on any metric get intervals from them.

A bin is one of at most 300 equal parts of the measured time. For each objective and journey it has three numbers:

    count   events: values, iterations or requests
    bad     events that are bad for the objective, if it limits a share of events
    total   the sum of the values in ns; for a trend, 1 µs stands for its resolution

An event belongs to the bin in which it ended, and a value of a custom metric to the bin in which it was recorded. Both
times are known to an interval of one second, as in the batches of `batch_means.py`. The bins count the same events as
`objectives/whole_run_values.py`; tests/measure/test_sure_values.py compares both.

Plain objectives (`Objective.is_plain`) have no bins: their intervals come from the batches' histograms. A run that has
only plain objectives pays nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from loadgen.measure.deltas.custom import CHECK, CustomStats
from loadgen.measure.deltas.series_key import OK, SeriesKey
from loadgen.measure.histograms.counts_of_all_series import Stats
from loadgen.measure.histograms.histogram import SLOTS, Counts, slot_of_us
from loadgen.measure.objectives.terms import ALL_CHECKS, FAILED_VALUES, LOST, Objective, TagSelector, exact, is_judged
from loadgen.units import NS_PER_US

__all__ = ["MOST_DELTAS", "Binned", "ObjectiveBins", "needs_customs"]

Floats = npt.NDArray[np.float64]

_COUNT, _BAD, _TOTAL = range(3)
MOST_DELTAS: Final = 500_000
"""Checks and rates of runs with more deltas have no interval: to read all deltas again would delay the end of a run."""


@dataclass(frozen=True, slots=True)
class Binned:
    """The numbers of one objective and journey: three arrays of shape (bins,), and the sums over the whole run.

    The sums are larger than those of the arrays if the batches begin after a ramp of the load.
    """

    count: Floats
    bad: Floats
    total: Floats
    whole_count: float
    whole_total: float

    @property
    def used(self) -> slice:
        """Return which bins are those from the first to the last one with an event."""
        has = np.flatnonzero(self.count)
        return slice(has[0], has[-1] + 1) if len(has) else slice(0, 0)

    def part(self, used: slice) -> Binned:
        """Return some of the bins, as of a level, which is a part of the run."""
        return Binned(self.count[used], self.bad[used], self.total[used], self.whole_count, self.whole_total)


@dataclass(frozen=True, slots=True)
class _Role:
    """The meaning of a series for one objective.

    row: index in the sums. is_bad: whether its values are bad. With `limit_slot`, this holds for values up to this
    slot, and the opposite for the others.
    """

    row: int
    series: int
    is_bad: bool
    limit_slot: int | None = None


def needs_customs(objectives: Iterable[Objective]) -> bool:
    """Return whether an interval of an objective needs the custom metrics of each interval, which only deltas have."""
    return any(one.kind == "ratio" and one.of_kind is not None and not one.window_ns for one in objectives)


class ObjectiveBins:
    """The bins of all objectives of a run that are not plain and cover the whole run.

    objectives: the plan's `slos`, in order. bins: number of bins.

    Memory: 2.4 kB for 100 bins of an objective and journey. Cost: 20 µs an interval and objective, measured with 5
    series each.
    """

    __slots__ = ("_customs", "_limited", "_objectives", "_plain", "_roles", "_row_of", "_sums", "_tested", "bins")

    def __init__(self, objectives: Sequence[Objective], bins: int) -> None:
        self.bins = bins
        self._objectives = [
            (index, one) for index, one in enumerate(objectives) if not one.is_plain and not one.window_ns
        ]
        self._row_of: dict[tuple[int, str], int] = {}
        """By (index of the objective, journey); "" for an objective that is not limited to journeys."""
        self._sums = np.zeros((0, 3, bins + 1))
        """The last column has what is in no bin."""
        self._roles: list[_Role] = []
        self._plain = np.zeros((3, 0), dtype=np.int64)
        """Roles whose values are all alike: row, series, bad."""
        self._limited = np.zeros((4, 0), dtype=np.int64)
        """The others: row, series, bad, limit slot."""
        self._tested = 0
        self._customs: dict[tuple[str, str, tuple[TagSelector, ...]], Floats] = {}
        """By (metric, region, tags of an objective): values and hits of rates, shape (2, bins + 1)."""

    # -- adding -----------------------------------------------------------------------------

    def add(
        self, names: Sequence[tuple[str, SeriesKey]], bin_: int | None, index: Counts, counts: Counts, stats: Stats
    ) -> None:
        """Add the histograms of an interval. names: of all series by number. bin_: None: the time is in no bin."""
        if not self._objectives:
            return
        self._read(names)
        if not self._roles or not len(index):
            return
        at = self.bins if bin_ is None else bin_
        rows = len(self._sums)
        # Deltas of several agents are added together, so a series may occur several times.
        n = np.bincount(stats.series, stats.n, len(names))
        ns = np.bincount(stats.series, stats.sum_us * float(NS_PER_US) + stats.sum_rest_ns, len(names))
        row, series, bad = self._plain
        self._sums[:, _COUNT, at] += np.bincount(row, n[series], rows)
        self._sums[:, _BAD, at] += np.bincount(row, n[series] * bad, rows)
        self._sums[:, _TOTAL, at] += np.bincount(row, ns[series], rows)
        row, series, bad, slot = self._limited
        if not len(row):
            return
        order = np.argsort(index, kind="stable")
        below = np.concatenate(([0], np.cumsum(counts[order])))
        ends = np.searchsorted(index[order], [series * SLOTS, series * SLOTS + slot + 1, (series + 1) * SLOTS])
        within, beyond = below[ends[1]] - below[ends[0]], below[ends[2]] - below[ends[1]]
        self._sums[:, _COUNT, at] += np.bincount(row, within + beyond, rows)
        self._sums[:, _BAD, at] += np.bincount(row, np.where(bad, within, beyond), rows)
        self._sums[:, _TOTAL, at] += np.bincount(row, ns[series], rows)

    def add_customs(self, region: str, stats: Iterable[CustomStats], bin_: int | None) -> None:
        """Add the rates (custom metrics and checks) of one agent and interval that an objective limits."""
        for one in stats:
            if one.kind == "rate" and one.n and not one.warmup:
                for tags in self._tags_of_objectives(one):
                    sums = self._customs.setdefault((one.name, region, tags), np.zeros((2, self.bins + 1)))
                    sums[:, self.bins if bin_ is None else bin_] += one.n, one.total

    def _tags_of_objectives(self, stats: CustomStats) -> set[tuple[TagSelector, ...]]:
        """Return the tags of each objective that limits a rate and covers its row `stats`, each once."""
        return {
            one.tags
            for _, one in self._objectives
            if one.kind == "ratio"
            and (one.of == stats.name or (one.of == ALL_CHECKS and stats.name.startswith(CHECK)))
            and one.has_tags(stats.tags)
        }

    def _read(self, names: Sequence[tuple[str, SeriesKey]]) -> None:
        """Find the roles of new series."""
        if self._tested == len(names):
            return
        for number in range(self._tested, len(names)):
            region, key = names[number]
            if key.warmup:
                continue
            for index, objective in self._objectives:
                if objective.region in (None, region):
                    self._roles += self._roles_of(index, objective, number, key)
        self._tested = len(names)
        if len(self._row_of) > len(self._sums):
            more = np.zeros((len(self._row_of) - len(self._sums), 3, self.bins + 1))
            self._sums = np.concatenate((self._sums, more))
        plain = [(one.row, one.series, one.is_bad) for one in self._roles if one.limit_slot is None]
        limited = [(o.row, o.series, o.is_bad, o.limit_slot) for o in self._roles if o.limit_slot is not None]
        self._plain = np.array(plain, dtype=np.int64).reshape(-1, 3).T
        self._limited = np.array(limited, dtype=np.int64).reshape(-1, 4).T

    def _roles_of(self, index: int, one: Objective, number: int, key: SeriesKey) -> list[_Role]:
        if one.of_kind == "trend":
            if not one.covers_trend(key):
                return []
            row, limit_us = self._row(index, ""), int(exact(one.limit) / exact(one.resolution or 1))
            is_known = not key.censored
        else:
            if key.outcome in LOST and key.metric == "response" and one.covers_lost(key):
                return [_Role(self._row(index, key.journey), number, is_bad=True)]
            if one.of_kind is not None or not one.covers(key) or not is_judged(key.outcome):
                return []
            row = self._row(index, "" if one.of else key.journey)
            limit_us = int(one.limit // NS_PER_US)
            is_known = not key.censored and (one.metric not in FAILED_VALUES or key.outcome == OK)
        if one.kind == "goodput":
            return [_Role(row, number, is_bad=key.outcome != OK)]
        if one.kind == "error_ratio":
            if key.metric != "response":
                return []
            is_bad = key.outcome != OK if one.outcome is None else key.outcome == one.outcome
            return [_Role(row, number, is_bad == one.is_upper)]
        if one.kind in ("throughput", "total"):
            if one.counts_tokens:
                has_tokens = key.metric == one.metric and key.outcome == OK
                return [_Role(row, number, is_bad=False)] if has_tokens else []
            has_ended = key.metric == "response" and key.outcome not in LOST
            return [_Role(row, number, is_bad=False)] if has_ended else []
        is_own = key.kind == "trend" or key.metric == one.metric
        if one.kind != "percentile":
            return [_Role(row, number, is_bad=False)] if is_own else []
        # With "<", values above the limit are bad; with ">" they are good.
        beyond = one.is_upper
        if is_own and is_known:
            return [_Role(row, number, not beyond, slot_of_us(limit_us))]
        if key.kind != "trend" and one.metric in FAILED_VALUES:
            failed = key.metric == FAILED_VALUES[one.metric] and key.outcome != OK
            late = key.metric == one.metric and key.outcome == OK and key.censored
            return [_Role(row, number, beyond)] if failed or late else []
        return [_Role(row, number, beyond)] if is_own else []

    def _row(self, index: int, journey: str) -> int:
        return self._row_of.setdefault((index, journey), len(self._row_of))

    # -- results ----------------------------------------------------------------------------

    def of(self, index: int, journey: str | None) -> Binned | None:
        """Return the bins of an objective for a journey (None: all together); None if there are no data.

        index: its position in the plan's `slos`.
        """
        rows = [row for (of, name), row in self._row_of.items() if of == index and journey in (None, name)]
        if not rows:
            return None
        return _binned(*self._sums[rows].sum(axis=0))

    def of_rate(
        self, name: str, region: str | None, *, hits_are_bad: bool, tags: tuple[TagSelector, ...] = ()
    ) -> Binned | None:
        """Return the bins of a rate or a check; None if its values were not read.

        region: None: all regions. tags: those of the objective.
        """
        found = [
            sums
            for (of, where, selected), sums in self._customs.items()
            if of == name and region in (None, where) and selected == tags
        ]
        if not found:
            return None
        n, hits = np.sum(found, axis=0)
        return _binned(n, hits if hits_are_bad else n - hits, hits)


def _binned(count: Floats, bad: Floats, total: Floats) -> Binned:
    return Binned(count[:-1], bad[:-1], total[:-1], float(count.sum()), float(total.sum()))

"""Confidence intervals of a whole run's percentiles, from batch means.

Response times of neighbouring seconds are alike. An interval that treats requests or seconds as
independent is far too narrow: i.i.d. order statistics cover the truth in 33 to 60 % of runs instead
of 95. Batch means are robust against that. The measured time is cut into 5 batches of equal length.
The percentile of each batch comes from its own merged histogram, interpolated within the slot. Their
spread gives the standard error of the whole run's percentile, on the scale of logarithms:

    log p +- t * sqrt(s^2 / 5) * sqrt((1 + 1.6 rho) / (1 - 0.4 rho)),    t = 2.776 (4 degrees of freedom)

where s^2 is the variance of the five. The last factor corrects for the correlation rho of
neighbouring batches (`correlation.py`): with 5 batches whose neighbours correlate, the variance of
their mean is (s'^2 / 5) (1 + 1.6 rho), and the expectation of s^2 is s'^2 (1 - 0.4 rho). The
correction uses the upper end of the plausible values of rho, between 0.08 and 0.8. Runs that look
independent by chance are those whose batches are close by chance, so a run of few intervals gets
wider intervals: by 6 / n, for n intervals.

Where the density at the percentile is low (9 of 1,000 requests are slow: is p99 fast or slow?),
the logarithms of five batches are no sample of a normal distribution. So there is a second interval
on the scale of ranks, [Q(q - h), Q(q + h)]. Q is the quantile function of the run, and h the larger
of two errors of the share of values at or below the run's percentile: that of the batches' shares,
with the same factors, and 1.96 sqrt(q (1 - q) / n) of n independent values. The result is the
smallest interval that contains both, but it never ends above the largest value.

Instead of an interval the result may be
- "too short": fewer than 10 intervals were measured, so no correlation can be seen.
- "too few samples": fewer than 10 values are expected beyond the percentile, so p99 needs 1,000 values and
  p99.9 10,000; or a batch has less than one.
- "censored": in the run or in a batch the percentile falls among values of which only a bound is known.

docs/how-often-wrong.md has the coverage for many kinds of runs of 20, 60 and 300 s, with the command that counted it.

A single second has a count and no interval.

Sources: batch means: A. M. Law, "Simulation Modeling and Analysis", ch. 9; t quantile: any table, .975 at 4 d.f.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import exp, log, nan, sqrt
from typing import Final, Literal

import numpy as np

from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.series_key import OK, Kind, SeriesKey
from loadgen.measure.histograms.counts_of_all_series import Stats, Store
from loadgen.measure.histograms.histogram import SLOTS, Counts, Histogram, highest_us, lowest_us, slot_of_us
from loadgen.measure.histograms.interpolated_percentiles import Ranked, all_values, mean_us, percentiles_us
from loadgen.measure.histograms.sparse_rows import SparseRows
from loadgen.measure.merging.epochs import Next
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.queries import ALL, Measured, Row
from loadgen.measure.merging.stored_interval import Cell
from loadgen.measure.objectives.terms import Objective, SloResult, is_judged
from loadgen.measure.statistics.bad_share_interval import ShareInterval, dispersion_of, share_interval
from loadgen.measure.statistics.correlation import Rho, neighbours_rho
from loadgen.measure.statistics.mean_of_batches import (
    BATCHES,
    LEAST_INTERVALS,
    LEAST_RHO,
    MOST_RHO,
    T_QUANTILE,
    half_length,
)
from loadgen.measure.statistics.objective_bins import MOST_DELTAS, Binned, ObjectiveBins
from loadgen.measure.statistics.sure_values import judged
from loadgen.measure.statistics.warmup import LOG_US, Recount
from loadgen.units import NS_PER_S, NS_PER_US

__all__ = [
    "BATCHES",
    "CENSORED",
    "LEAST_RHO",
    "MOST_RHO",
    "TOO_FEW",
    "TOO_SHORT",
    "T_QUANTILE",
    "Batches",
    "Error",
    "Interval",
    "Why",
]

Why = Literal["", "too short", "too few samples", "censored"]
TOO_SHORT: Final = "too short"
TOO_FEW: Final = "too few samples"
CENSORED: Final = "censored"

Z_QUANTILE: Final = 1.96
BEYOND: Final = 10
"""Least number of values expected beyond a percentile, for it to have an interval."""

SLOW_VALUES: Final = 100
"""With fewer bad values, their clusters are judged by this many of the slowest values."""
_MIDDLE: Final = 50.0
"""The percentile that decides whether a mean or a ratio has an error at all."""
_MOST_BINS: Final = 300
"""Most bins of the measured time. Longer runs have several intervals in one: a correlation over less than a 60th of a
batch does not matter.
"""
_MOST_GROUPS: Final = 6_000
"""Most rows by region that have intervals: the first that were seen. Each takes 5 kB of memory."""
_COARSE_BITS: Final = 4
"""16 buckets for each doubling, 4.4 % wide: enough to see at what times a percentile is exceeded."""
_COARSE: Final = np.maximum(np.floor(LOG_US / log(2) * (1 << _COARSE_BITS)), 0).astype(np.int64)
_COARSE_BUCKETS: Final = int(_COARSE[-1]) + 1


@dataclass(frozen=True, slots=True)
class Interval:
    """The 95 % interval of a percentile or a ratio; without an interval, the reason."""

    low: float | None = None
    """ms, or a ratio."""
    high: float | None = None
    why: Why = ""


@dataclass(frozen=True, slots=True)
class Error:
    """The standard error within the run of a logarithm or a ratio; without one, the reason."""

    value: float | None = None
    why: Why = ""


class Batches(Recount):
    """A merge that also keeps its batches. Feed it all deltas of a run in the order in which they were merged.

    The object is a complete merge of these deltas, so it can replace the merge of the live run.

    Args:
        start_ns, end_ns: the measured time, from the end of the warm-up to the end of the load. Iterations that end
            later (the drain) belong to the last batch: they were due in the run.
        steady_ns: the batches begin here instead of at `start_ns`, after the last ramp of the load.
        recount: everything that ended at or before `start_ns` is warm-up (`warmup.Recount`).
        objectives: the plan's `slos`. Those on any metric need bins of their own (`objective_bins.py`).

    Memory: six stores; 5 kB a row and region, and 100 kB a row whose values spread over four doublings.
    """

    __slots__ = (
        "_batch",
        "_batches",
        "_bin",
        "_cell_of",
        "_cells",
        "_global_of",
        "_group_of",
        "_groups",
        "_is_steady",
        "_levels",
        "_n",
        "_of_objectives",
        "_rhos",
        "_rows_at",
        "_used_cells",
        "bins",
        "end_ns",
        "start_ns",
    )

    def __init__(
        self,
        start_ns: int,
        end_ns: int,
        interval_ns: int = NS_PER_S,
        n: int = BATCHES,
        *,
        recount: bool = False,
        steady_ns: int = 0,
        objectives: Sequence[Objective] = (),
    ) -> None:
        super().__init__(interval_ns, start_ns if recount else 0)
        start_ns = max(start_ns, steady_ns)
        self.start_ns, self.end_ns = start_ns, max(end_ns, start_ns + 1)
        intervals = max(1, (self.end_ns - start_ns) // interval_ns)
        self.bins = -(-intervals // -(-intervals // _MOST_BINS))
        """Number of equal parts of the measured time in which autocorrelation is searched; at most 300."""
        self._batches = [Measured(self._catalogue, [Store()]) for _ in range(n)]
        self._batch = self._bin = 0
        self._is_steady = True
        """Whether what is added now belongs to a batch: false before the batches begin."""
        self._groups: dict[tuple[str, Row], int] = {}
        """Numbers of (region, row). Rows over all regions have numbers of their own, see `_global_of`."""
        self._group_of: Counts = np.zeros(0, dtype=np.int64)
        """Series number -> group of its region; -1 if the series holds no measured response times."""
        self._global_of: Counts = np.zeros(0, dtype=np.int64)
        """Series number -> group over all regions."""
        self._n = np.zeros((16, self.bins), dtype=np.int64)
        self._levels = np.zeros((16, self.bins))
        """Sum of the logarithms of the values, by group and bin."""
        self._cell_of = np.full((16, _COARSE_BUCKETS), -1, dtype=np.int32)
        self._cells = np.zeros((64, self.bins), dtype=np.uint32)
        self._used_cells = 0
        self._rhos: dict[tuple[int, float | None], Rho] = {}
        self._of_objectives = ObjectiveBins(objectives, self.bins)

    def __repr__(self) -> str:
        return f"<Batches: {self.text}, {self.counters().requests_finished:,} requests>"

    @property
    def length_s(self) -> float:
        """Return the length of one batch in seconds."""
        return (self.end_ns - self.start_ns) / len(self._batches) / NS_PER_S

    @property
    def text(self) -> str:
        """Return the number and length of the batches as a text such as "5 batches of 24.0 s"."""
        return f"{len(self._batches)} batches of {self.length_s:.1f} s"

    # -- adding -----------------------------------------------------------------------------

    def _add_interval(
        self, start_ns: int, end_ns: int, deltas: int, pairs: SparseRows, stats: Stats, values: int
    ) -> None:
        self._at(start_ns, end_ns)
        super()._add_interval(start_ns, end_ns, deltas, pairs, stats, values)

    def add_cells(self, live: Merge, cells: Iterable[Cell]) -> None:
        """Add a finished run from its cells (the stored sums of intervals) instead of its deltas.

        live: the merge of the deltas that the cells were made of. Data of single agents are taken from it.

        Cost: 0.3 ms for a cell of 40 series.
        """
        self._take_agents(live)
        numbers = np.zeros(0, dtype=np.int64)
        for cell in cells:
            if cell.names:
                own = [self._catalogue.number(*name) for name in cell.names]
                numbers = np.concatenate((numbers, np.array(own, dtype=np.int64)))
            self._at(cell.start_ns, cell.end_ns)
            self._is_before = cell.end_ns <= self.cut_ns
            series, slots = np.divmod(cell.index, SLOTS)
            stats = replace(cell.stats, series=numbers[cell.stats.series])
            self._add(numbers[series] * SLOTS + slots, cell.counts, stats)
            for region, counters in cell.counters.items():
                self._count(region, counters)

    def _at(self, start_ns: int, end_ns: int) -> None:
        """Select the batch and the bin to which the next `_add` adds its counts, measured in [start_ns, end_ns)."""
        # An interval belongs to the batch of its middle, so that inexact edges do not move it to the neighbour.
        at = (start_ns + end_ns) // 2 - self.start_ns
        length = self.end_ns - self.start_ns
        self._is_steady = at >= 0
        self._batch = min(max(at * len(self._batches) // length, 0), len(self._batches) - 1)
        self._bin = min(max(at * self.bins // length, 0), self.bins - 1)

    def _add(self, index: Counts, counts: Counts, stats: Stats) -> None:
        super()._add(index, counts, stats)
        if self._is_before:
            return
        names = self._catalogue.names
        self._of_objectives.add(names, self._bin if self._is_steady else None, index, counts, stats)
        if not self._is_steady or not len(index):
            return
        self._batches[self._batch]._add(index, counts, stats)
        self._rhos.clear()
        self._add_groups()
        numbers, slots = np.divmod(index, SLOTS)
        own = self._group_of[numbers]
        has_group = own >= 0
        if not has_group.any():
            return
        own, slots, counts = own[has_group], slots[has_group], counts[has_group]
        everywhere = self._global_of[numbers][has_group]
        size = len(self._groups)
        for groups in (own, everywhere):
            self._n[:size, self._bin] += np.bincount(groups, counts, size).astype(np.int64)
            self._levels[:size, self._bin] += np.bincount(groups, counts * LOG_US[slots], size)
        self._add_coarse(everywhere, _COARSE[slots], counts)

    @property
    def reads_customs(self) -> bool:
        """Whether the run is small enough to read the rates of each interval from its deltas at its end."""
        deltas = sum(epoch.next_seq for agent in self.agents() for epoch in self.epochs(agent))
        return deltas <= MOST_DELTAS

    def add_customs(self, deltas: Iterable[tuple[str, Delta]]) -> None:
        """Add the rates and checks of each interval, which the cells of a run do not have. Cost: decoding the deltas.

        deltas: (region, delta) in the order in which they were merged.
        """
        for region, delta in deltas:
            self._add_custom(region, delta)

    def _merge_own(self, one: Next) -> None:
        super()._merge_own(one)
        self._add_custom(one.region, one.delta)

    def _add_custom(self, region: str, delta: Delta) -> None:
        if delta.custom and delta.end_ns > self.cut_ns:
            self._at(delta.start_ns, delta.end_ns)
            self._of_objectives.add_customs(region, delta.custom, self._bin if self._is_steady else None)

    def _add_groups(self) -> None:
        names = self._catalogue.names
        known = len(self._group_of)
        if known == len(names):
            return
        own, everywhere = [], []
        for region, key in names[known:]:
            row = Row(key.kind, key.journey, key.step, key.request)
            is_left_out = len(self._groups) >= _MOST_GROUPS and (region, row) not in self._groups
            if key.metric != "response" or key.warmup or is_left_out:
                own.append(-1)
                everywhere.append(-1)
                continue
            everywhere.append(self._groups.setdefault((ALL, row), len(self._groups)))
            own.append(self._groups.setdefault((region, row), len(self._groups)))
        self._group_of = np.concatenate((self._group_of, np.array(own, dtype=np.int64)))
        self._global_of = np.concatenate((self._global_of, np.array(everywhere, dtype=np.int64)))
        size = len(self._groups)
        self._n, self._levels = _with_rows(self._n, size), _with_rows(self._levels, size)
        self._cell_of = _with_rows(self._cell_of, size, fill=-1)

    def _add_coarse(self, groups: Counts, buckets: Counts, counts: Counts) -> None:
        flat, at = np.unique(groups * _COARSE_BUCKETS + buckets, return_inverse=True)
        table = self._cell_of.reshape(-1)
        new = flat[table[flat] < 0]
        if len(new):
            table[new] = np.arange(self._used_cells, self._used_cells + len(new), dtype=np.int32)
            self._used_cells += len(new)
            self._cells = _with_rows(self._cells, self._used_cells)
        sums = np.bincount(at.reshape(-1), counts, len(flat)).astype(np.uint32)
        self._cells[table[flat], self._bin] += sums

    # -- results ----------------------------------------------------------------------------

    def interval(self, row: Row, q: float, outcome: str = ALL, region: str = ALL) -> Interval:
        """Return the confidence interval (ms) of percentile `q` (0 to 100) of the response times of a row.

        A row is a journey, a step or a request. Without an interval, the result has the reason.
        """
        return self.intervals(row, (q,), outcome, region)[0]

    def intervals(self, row: Row, qs: Sequence[float], outcome: str = ALL, region: str = ALL) -> list[Interval]:
        """Return the confidence interval (ms) of each percentile in `qs` (0 to 100) of the response times of a row.

        Cost: about 3 ms for five, with 7,500 values in 300 intervals (process time).
        """
        return [_rounded(ends) for ends in self._ends(self._parts(row, outcome, region), row, qs, region)]

    def errors(self, row: Row, qs: Sequence[float | None], outcome: str = ALL, region: str = ALL) -> list[Error]:
        """Return, for each percentile in `qs`, the standard error of its logarithm, from the row's response times.

        That is the length of its confidence interval on the scale of logarithms, divided by two quantiles of Student's
        t. None in `qs` stands for the mean instead of a percentile. An error that is unknown comes with the reason.
        """
        parts = self._parts(row, outcome, region)
        found = self._ends(parts, row, [_MIDDLE if q is None else q for q in qs], region)
        means = [mean_us(*part) for part in parts[1:]]
        return [
            Error(why=ends)
            if isinstance(ends, str)
            else self._of_logs(means, self._rho([row], region, _MIDDLE))
            if q is None
            else Error(log(ends[1] / ends[0]) / 2 / T_QUANTILE)
            for q, ends in zip(qs, found, strict=True)
        ]

    def _parts(self, row: Row, outcome: str, region: str) -> list[tuple[Histogram, Histogram]]:
        """Return the observed and the censored values of a row: those of the run, then those of each batch."""
        return [part.select_row(row, outcome, region=region) for part in (self, *self._batches)]

    def _ends(
        self, parts: Sequence[tuple[Histogram, Histogram]], row: Row, qs: Sequence[float], region: str
    ) -> list[tuple[float, float] | Why]:
        """Return both ends in µs of the confidence interval of each percentile in `qs`, or why it is missing."""
        totals = [observed.total + censored.total for observed, censored in parts]
        whys = [self._refused(totals, [row], region, q) for q in qs]
        if all(whys):
            return list(whys)
        values = zip(*(percentiles_us(*part, qs) for part in parts), strict=True)
        batches = [Ranked(all_values(*part)) for part in parts[1:]]
        observed, censored = parts[0]
        found: list[tuple[float, float] | Why] = []
        for q, why, of_q in zip(qs, whys, values, strict=True):
            known = [value for value in of_q if value is not None]
            if why or len(known) < len(of_q):
                found.append(why or CENSORED)
                continue
            rho = self._rho([row], region, q)
            shares = [batch.rank_of(known[0]) / batch.total for batch in batches]
            half = self._half_of_share(shares, q, totals[0], rho)
            of_ranks = percentiles_us(observed, censored, (max(q - half, 0.0), min(q + half, 100.0)))
            found.append(self._joined(known, of_ranks, rho, None if censored.total else observed.max_ns))
        return found

    def ratio_error(self, row: Row, region: str = ALL) -> Error:
        """Return the standard error of the row's error ratio (not of its logarithm).

        The result has no value if nothing went wrong, or with a reason if the data do not suffice.
        """
        (good, n), *parts = [_judged_row(part, row, region) for part in (self, *self._batches)]
        why = self._refused([n, *(of for _, of in parts)], [row], region, _MIDDLE)
        if why or good == n:
            return Error(why=why)
        ratios = [(of - ok) / of for ok, of in parts]
        return Error(self._half(ratios, self._rho([row], region, _MIDDLE)) / T_QUANTILE)

    def levels(self, row: Row) -> list[float]:
        """Return, for each batch in order, the mean logarithm of the row's response times in µs; nan without values."""
        group = self._groups.get((ALL, row))
        if group is None:
            return [nan] * len(self._batches)
        at = np.arange(self.bins) * len(self._batches) // self.bins
        n, sums = (np.bincount(at, of[group, : self.bins], len(self._batches)) for of in (self._n, self._levels))
        return [float(s / m) if m else nan for s, m in zip(sums, n, strict=True)]

    def of_objective(self, objective: Objective, result: SloResult) -> Interval:
        """Return the confidence interval of the value that an objective limits, in ms or as a ratio.

        The percentile is that of all due iterations or requests, with the bad above every value. An error ratio has the
        interval of its bad share (`bad_share`); if nothing was bad it is from 0 to 3 / n (rule of three). An objective
        over sliding windows has no interval.
        """
        kind, region = objective.kind_of_series, objective.region or ALL
        names = (kind, result.journey, objective.step, objective.request)
        rows = self._rows_of(objective, result)
        if objective.window_ns or not rows or not result.count:
            return Interval(why=TOO_FEW)
        if objective.kind == "error_ratio":
            if result.good == result.count:
                return Interval(0.0, round(min(1.0, 3 / result.count), 9))
            share = self.bad_share(objective, result)
            return Interval(round(share.low, 9), round(share.high, 9))
        counts = [_judged(batch, names, region) for batch in (self, *self._batches)]
        q = objective.q
        why = self._refused([n for _, n in counts], rows, region, q)
        if why:
            return Interval(why=why)
        ranked = [Ranked(one.select(*names, outcome=OK, region=region)[0]) for one in (self, *self._batches)]
        known = [one.at_us(q * n / 100) for one, (_, n) in zip(ranked, counts, strict=True) if q * n / 100 <= one.total]
        if len(known) < len(ranked):
            return Interval(why=CENSORED)
        rho, due = self._rho(rows, region, q), counts[0][1]
        shares = [one.rank_of(known[0]) / n for one, (_, n) in zip(ranked[1:], counts[1:], strict=True)]
        half = self._half_of_share(shares, q, due, rho)
        ranks = (max(q - half, 0.0) * due / 100, min(q + half, 100.0) * due / 100)
        ends = [ranked[0].at_us(rank) if rank <= ranked[0].total else None for rank in ranks]
        ok, _ = self.select(*names, outcome=OK, region=region)
        return _rounded(self._joined(known, ends, rho, ok.max_ns if ok.total == due else None))

    def bad_share(self, objective: Objective, result: SloResult) -> ShareInterval:
        """Return the 95 % interval of the share of bad iterations or requests, for an objective over the whole run.

        There is always an interval, also for short runs. If the batches begin after a ramp, they show the dispersion,
        and the interval is for all due iterations or requests.

        A percentile with few bad values takes the dispersion of the slowest values of its rows, if that is larger:
        three bad values show nothing about their clusters, and the slowest hundred do.
        """
        kind, region = objective.kind_of_series, objective.region or ALL
        names = (kind, result.journey, objective.step, objective.request)
        rows = self._rows_of(objective, result)
        counts = [_good_and_judged(batch, objective, names, region) for batch in self._batches]
        bad, of = [n - good for good, n in counts], [n for _, n in counts]
        wrong = result.count - result.good
        slow = max(result.allowed, min(0.5, SLOW_VALUES / max(1, result.count)))
        is_latency = objective.kind == "percentile"
        least = self._dispersion_of_slow(rows, slow) if is_latency and wrong < SLOW_VALUES else None
        at = 100 * (1 - slow) if is_latency else _MIDDLE
        # Too short a run shows no correlation.
        is_shown = self.bins >= LEAST_INTERVALS and self._rhos_of(rows, region, at)
        rho = self._rho(rows, region, at) if is_shown else MOST_RHO
        return share_interval(bad, of, rho=rho, intervals=self.bins, least=least, whole=(wrong, result.count))

    def of_value(self, objective: Objective, index: int, result: SloResult) -> SloResult:
        """Return the result of an objective on any metric over the whole run, with its interval and whether it is sure.

        index: its position in the plan's `slos`.
        """
        found: Binned | None
        if objective.kind == "ratio" and not self.reads_customs:
            found = None
        elif objective.kind == "ratio":
            found = self._of_objectives.of_rate(
                objective.of, objective.region, hits_are_bad=objective.is_upper, tags=objective.tags
            )
        else:
            found = self._of_objectives.of(index, result.journey)
        least = None
        wrong = result.count - result.good
        if objective.kind == "percentile" and wrong < SLOW_VALUES:
            least = self._dispersion_of_slow_values(objective, result)
        return judged(result, objective, found, self._intervals_of_bins(), least)

    # -- computation --------------------------------------------------------------------------

    def _rows_of(self, objective: Objective, result: SloResult) -> list[Row]:
        """Return the rows that a result of a plain objective covers."""
        return [
            row
            for row in self.rows(objective.kind_of_series, objective.region or ALL)
            if result.journey in (None, row.journey)
            and objective.step in (None, row.step)
            and objective.request in (None, row.request)
        ]

    def _intervals_of_bins(self) -> Counts:
        """Return for each bin how many whole intervals of the run have their middle in it."""
        first, end = -(-self.start_ns // self.interval_ns), self.end_ns // self.interval_ns
        middles = np.arange(first, end) * self.interval_ns + self.interval_ns // 2 - self.start_ns
        at = np.clip(middles * self.bins // (self.end_ns - self.start_ns), 0, self.bins - 1)
        found: Counts = np.bincount(at, minlength=self.bins)
        return found

    def _dispersion_of_slow_values(self, objective: Objective, result: SloResult) -> float | None:
        """Return the dispersion between batches of the values at the bad end of an objective on any metric.

        A few bad values do not show whether bad values cluster. The 100 values at the bad end do.
        """
        share = max(result.allowed, min(0.5, SLOW_VALUES / max(1, result.count)))
        numbers = self._matching_numbers(objective, result)
        whole = self.sum_of(numbers)
        if not whole.total:
            return None
        rank = share if not objective.is_upper else 1 - share
        limit_us = whole.value_at_rank_us(min(whole.total, max(1, round(rank * whole.total))))
        bad, n = [], []
        for batch in self._batches:
            one = batch.sum_of(numbers)
            within = one.count_at_most_us(limit_us)
            bad.append(one.total - within if objective.is_upper else within)
            n.append(one.total)
        return dispersion_of(bad, n)

    def _matching_numbers(self, objective: Objective, result: SloResult) -> list[int]:
        def test(region: str, key: SeriesKey) -> bool:
            if key.warmup or key.censored or objective.region not in (None, region):
                return False
            if objective.of_kind == "trend":
                return objective.covers_trend(key)
            is_own = key.metric == objective.metric and result.journey in (None, key.journey)
            return is_own and objective.covers(key) and is_judged(key.outcome)

        return [number for number, _ in self.matching((objective, result.journey, "all outcomes"), test)]

    def _dispersion_of_slow(self, rows: Sequence[Row], share: float) -> float | None:
        """Return the dispersion between batches of the slowest `share` of the values of each row; the largest one."""
        found: list[float] = []
        at = np.arange(self.bins) * len(self._batches) // self.bins
        for group in [self._groups[ALL, row] for row in rows if (ALL, row) in self._groups]:
            n = np.bincount(at, self._n[group, : self.bins], len(self._batches))
            slow = np.bincount(at, self._exceedances(group, 100 * (1 - share))[: self.bins], len(n)) + n * share
            if (one := dispersion_of(slow.tolist(), n.tolist())) is not None:
                found.append(one)
        return max(found, default=None)

    def _refused(self, counts: Sequence[int], rows: Sequence[Row], region: str, q: float) -> Why:
        """Return why the data allow no confidence interval of percentile `q`; "" if they allow one.

        counts: number of values of the run, then of each batch.
        """
        # 1e-9, because 10,000 values have 9.9999... beyond p99.9 in floats.
        beyond = [n * min(q, 100 - q) / 100 + 1e-9 for n in counts]
        if beyond[0] < BEYOND or min(beyond) < 1:
            return TOO_FEW
        if self.bins < LEAST_INTERVALS:
            return TOO_SHORT
        return "" if self._rhos_of(rows, region, q) else TOO_FEW

    def _rho(self, rows: Sequence[Row], region: str, q: float) -> float:
        """Return the correlation of neighbouring batches (rho) by which an interval over these rows is corrected.

        The result is the largest estimate of all rows, between LEAST_RHO and MOST_RHO.
        """
        found = [max(level.upper, tail.upper) for level, tail in self._rhos_of(rows, region, q)]
        return min(MOST_RHO, max(LEAST_RHO, *found))

    def _rhos_of(self, rows: Sequence[Row], region: str, q: float) -> list[tuple[Rho, Rho]]:
        """Return for each row two estimated correlations of neighbouring batches (rho).

        The first is that of the row's level in the region. The second is that of the number of values above percentile
        `q`, over all regions.
        """
        return [
            (self._rho_at(self._groups[region, row]), self._rho_at(self._groups[ALL, row], q))
            for row in rows
            if (region, row) in self._groups and (ALL, row) in self._groups
        ]

    def _rho_at(self, group: int, q: float | None = None) -> Rho:
        """Return the estimated correlation of neighbouring batches (rho) of a group, a numbered (region, row).

        The estimate comes from the number of values above percentile `q`, or for None from the group's level.
        """
        known = self._rhos.get((group, q))
        if known is None:
            series = self._level(group) if q is None else self._exceedances(group, q)
            known = self._rhos[group, q] = neighbours_rho(series, len(self._batches))
        return known

    def _level(self, group: int) -> np.ndarray:
        """Return for each bin how far its sum of logarithms is from the sum expected at the mean of the whole run.

        group: number of a (region, row).
        """
        n, sums = self._n[group], self._levels[group]
        level: np.ndarray = sums - n * (sums.sum() / max(1, n.sum()))
        return level

    def _exceedances(self, group: int, q: float) -> np.ndarray:
        """Return for each bin (an interval) how many values exceed the run's percentile `q`, less the expected number.

        group: number of a (region, row).
        """
        cells = self._cell_of[group]
        buckets = np.flatnonzero(cells >= 0)
        counts = self._cells[cells[buckets]].astype(np.float64)
        by_bucket = counts.sum(axis=1)
        total = by_bucket.sum()
        below = np.cumsum(by_bucket)
        # The part of each bucket above the percentile: all, nothing, or the fraction that makes the share right.
        above = np.clip((below - q / 100 * total) / np.maximum(by_bucket, 1), 0, 1)
        exceeding: np.ndarray = above @ counts - self._n[group] * (above @ by_bucket / max(1.0, total))
        return exceeding

    def _joined(
        self, values_us: Sequence[float], of_ranks: Sequence[float | None], rho: float, largest_ns: int | None
    ) -> tuple[float, float] | Why:
        """Return both ends in µs of a percentile's confidence interval, which contains that of logarithms and of ranks.

        Args:
            values_us: the percentile of the run, then of each batch.
            of_ranks: both ends of the interval on the scale of ranks, in µs. None: only a lower bound is known. Then
                there is no interval, and the reason is "censored".
            rho: correlation of neighbouring batches, for which the length is corrected.
            largest_ns: the largest value of the run, above which no interval ends; None: unknown.
        """
        low_us, high_us = of_ranks
        if low_us is None or high_us is None:
            return CENSORED
        # A value of 0 µs has no logarithm; it stands for at most half a µs.
        run_us, *batches_us = (max(value, 0.5) for value in values_us)
        half = self._half([log(value) for value in batches_us], rho)
        low_us, high_us = min(max(low_us, 0.5), run_us * exp(-half)), max(high_us, run_us * exp(half))
        if largest_ns is not None:
            high_us = min(high_us, max(run_us, largest_ns / 1_000))
        slot = slot_of_us(round(run_us))
        # Values in one slot cannot be distinguished, so no interval is narrower than the slot.
        return min(low_us, max(0.5, float(lowest_us(slot)))), max(high_us, float(highest_us(slot)))

    def _half_of_share(self, shares: Sequence[float], q: float, n: int, rho: float) -> float:
        """Return half the length of the 95 % interval of percentile `q` on the scale of ranks, in percent.

        Args:
            shares: of each batch, the share of its values at or below the run's percentile.
            q: 0 to 100.
            n: the number of values of the run.
            rho: correlation of neighbouring batches.
        """
        independent = Z_QUANTILE * sqrt(q / 100 * (1 - q / 100) / n)
        return 100 * max(self._half(shares, rho), independent)

    def _of_logs(self, values_us: Sequence[float | None], rho: float) -> Error:
        """Return the standard error of the logarithm of a percentile or mean, from the value of each batch in µs.

        If any of them is None (only a lower bound is known), there is no error, and the reason is "censored".
        """
        known = [log(max(value, 0.5)) for value in values_us if value is not None]
        return Error(self._half(known, rho) / T_QUANTILE) if len(known) == len(values_us) else Error(why=CENSORED)

    def _half(self, values: Sequence[float], rho: float) -> float:
        """Return half the length of the 95 % interval of the mean of `values`, one for each batch.

        rho: correlation of neighbouring batches, for which the length is corrected.
        """
        return half_length(values, rho, self.bins)


def _rounded(ends_us: tuple[float, float] | Why) -> Interval:
    """Return an interval in ms, to whole µs."""
    if isinstance(ends_us, str):
        return Interval(why=ends_us)
    return Interval(round(ends_us[0] / 1_000, 3), round(ends_us[1] / 1_000, 3))


def _judged(measured: Measured, names: tuple[Kind, str | None, str | None, str | None], region: str) -> tuple[int, int]:
    """Return (number of ok, number of all judged) of the matching iterations or requests in a region.

    Skipped ones and faults of the scenario's code are not judged. names: kind, journey, step, request; None: any.
    """
    outcomes = measured.outcomes(*names, region=region)
    return outcomes.get(OK, 0), sum(n for outcome, n in outcomes.items() if is_judged(outcome))


def _good_and_judged(
    measured: Measured, objective: Objective, names: tuple[Kind, str | None, str | None, str | None], region: str
) -> tuple[int, int]:
    """Return (number of good, number of all judged) iterations or requests of an objective, as `evaluate` counts them.

    names: kind, journey, step, request; None: any.
    """
    ok, n = _judged(measured, names, region)
    if objective.kind == "error_ratio":
        return ok, n
    observed, _ = measured.select(*names, outcome=OK, region=region)
    return observed.count_at_most_us(int(objective.limit // NS_PER_US)), n


def _judged_row(measured: Measured, row: Row, region: str) -> tuple[int, int]:
    outcomes = measured.row_outcomes(row, region)
    return outcomes.get(OK, 0), sum(n for outcome, n in outcomes.items() if is_judged(outcome))


def _with_rows(old: np.ndarray, rows: int, fill: int = 0) -> np.ndarray:
    if rows <= len(old):
        return old
    grown = np.full((max(rows, len(old) * 3 // 2), *old.shape[1:]), fill, dtype=old.dtype)
    grown[: len(old)] = old
    return grown

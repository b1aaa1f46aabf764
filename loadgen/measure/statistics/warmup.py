"""Finds the end of a run's warm-up after the run, and counts the run again from there.

A run of a plan with `warmup="auto"` cannot mark iterations as warm-up, because the length of the warm-up is not known
yet. So all iterations are measured. After the run, this module finds the cut, which is the end of the warm-up. It
compares the levels of the intervals: a level is the mean logarithm of the response times in one interval. Then each
delta that ended at or before the cut counts as warm-up, and all other deltas count as measured, also one that spans
the cut. So the time at which a response ended decides, to within one interval. (If a plan gives the length of its
warm-up, the due time decides.) No count is lost: both parts together contain everything.

The rule is MSER (marginal standard error): cut where the standard error of the mean of the rest is lowest, within the
first half of the run. (In the second half few points are left, and their standard error is small by chance.) MSER
alone cuts a part off most steady runs, and often cuts far behind the warm-up. So the cut is the first point whose error
equals the lowest one within chance, and only if the cut part differs clearly from the rest. If the rest still changes,
the run had not become steady. Then nothing is cut, and the reason contains that.
`tests/statistics/test_warmup.py` counts how often and how far the cut is wrong.

In a run with requests to AI models the response time depends on the length of the answers. So two other signals replace
the response times of journeys with such requests: the time to the first token, and output tokens/s. The latest cut of
all signals counts, and the reason names the signal that decided.

Sources: K. P. White, "An effective truncation heuristic for bias reduction in
simulation output", Simulation 69 (1997); of five means each ("MSER-5"): K. P. White, M. J. Cobb
and S. C. Spratt, "A comparison of five steady-state truncation heuristics", WSC 2000.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final, NamedTuple

import numpy as np

from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.delta import Delta, StatsColumns
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.series_key import COLD_TAG, OK, TOKEN_NS, SeriesKey, Tags
from loadgen.measure.histograms.counts_of_all_series import Stats
from loadgen.measure.histograms.histogram import SLOTS, Counts, highest_us, lowest_us
from loadgen.measure.histograms.sparse_rows import SparseRows, pairs_of
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.stored_interval import Cell
from loadgen.units import NS_PER_S, format_duration

__all__ = [
    "LOG_US",
    "OUTPUT_TOKENS",
    "RESPONSE_TIMES",
    "TTFT",
    "Cut",
    "Levels",
    "Recount",
    "Signal",
    "find_cut",
    "find_cut_of",
    "found_cut",
    "found_cut_in_cells",
]

LOG_US: Final = np.log((lowest_us(np.arange(SLOTS)) + highest_us(np.arange(SLOTS))) / 2 + 0.5)
"""Natural logarithm of the middle of each slot of a histogram, in µs, plus half a µs, because 0 has no logarithm."""

_GROUP: Final = 5
_LEAST_POINTS: Final = 20
_TOLERANCE: Final = 1.5
"""The squared standard error of a point may exceed the lowest one by about this number of its own standard errors and
still counts as equal."""
_CLEAR: Final = 3.0
"""Two means differ clearly if they differ by more than this number of standard errors. The cut part must differ clearly
from the rest, and the halves of the rest must not."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The end of the warm-up, and the reason for it."""

    cut_ns: int
    """From T0; 0: nothing is cut."""
    why: str
    """A sentence for the report."""


class Signal(NamedTuple):
    """A signal whose levels show the warm-up.

    name: for sentences. more, less: words for a level above or below another. is_log: true if levels are logarithms.
    """

    name: str
    more: str = "longer"
    less: str = "shorter"
    is_log: bool = True


RESPONSE_TIMES: Final = Signal("response times")
TTFT: Final = Signal("times to the first token")
OUTPUT_TOKENS: Final = Signal("output tokens/s", "higher", "lower", is_log=False)

_Rows = dict[tuple[str | Tags | None, ...], dict[int, tuple[int, float]]]
"""For each name and interval: the number of values, and the sum of their logarithms."""


class Levels:
    """Computes the levels of each interval from the deltas of a run, for each signal.

    Levels of times are mean logarithms. Each name is compared with its own mean over the run. Names are journeys for
    response times, and requests for times to the first token. Levels of output tokens are tokens/s.
    """

    __slots__ = ("_asking", "_journeys", "_keys", "_names", "_tokens", "_ttft", "interval_ns")

    def __init__(self, interval_ns: int = NS_PER_S) -> None:
        self.interval_ns = interval_ns
        self._keys: dict[tuple[str, int], list[SeriesKey]] = {}
        self._names: list[SeriesKey] = []
        self._journeys: _Rows = {}
        self._ttft: _Rows = {}
        self._tokens: dict[int, int] = {}
        self._asking: set[str] = set()
        """Journeys with requests to AI models."""

    def add(self, delta: Delta) -> None:
        """Add the values of one delta. Call this in the order in which the deltas were merged."""
        keys = self._keys.setdefault((delta.agent, delta.epoch), [])
        keys.extend(delta.new_series)
        index = np.frombuffer(delta.index, dtype="<u4").astype(np.int64)
        if not len(index):
            return
        counts = np.frombuffer(delta.count, dtype="<u4").astype(np.int64)
        k = (delta.start_ns + delta.end_ns) // 2 // self.interval_ns
        self._add(k, keys, index, counts)
        if self._asking:
            stats = StatsColumns.of(delta.stats)
            self._add_tokens(k, keys, zip(stats.series, (ns // TOKEN_NS for ns in stats.sum_ns), strict=True))

    def add_cell(self, cell: Cell) -> None:
        """Add the values of one cell (a stored interval); call this in the order of the file."""
        self._names.extend(key for _, key in cell.names)
        if len(cell.index):
            k = (cell.start_ns + cell.end_ns) // 2 // self.interval_ns
            self._add(k, self._names, cell.index, cell.counts)
            if self._asking:
                # 1 µs stands for one token.
                sums = zip(cell.stats.series.tolist(), cell.stats.sum_us.tolist(), strict=True)
                self._add_tokens(k, self._names, sums)

    def _add(self, k: int, keys: Sequence[SeriesKey], index: Counts, counts: Counts) -> None:
        series, slots = np.divmod(index, SLOTS)
        n = np.bincount(series, counts, len(keys))
        sums = np.bincount(series, counts * LOG_US[slots], len(keys))
        for number in np.flatnonzero(n).tolist():
            key = keys[number]
            if key.kind == "journey" and key.metric == "response":
                row = self._journeys.setdefault((key.journey,), {})
            elif key.kind == "request" and key.metric == "ttft":
                self._asking.add(key.journey)
                if key.outcome != OK:
                    continue
                # Cold requests are a part of the warm-up, so they are compared with the others of their name.
                tags = tuple(tag for tag in key.tags if tag[0] != COLD_TAG)
                row = self._ttft.setdefault((key.journey, key.step, key.request, tags), {})
            else:
                continue
            before = row.get(k, (0, 0.0))
            row[k] = (before[0] + int(n[number]), before[1] + float(sums[number]))

    def _add_tokens(self, k: int, keys: Sequence[SeriesKey], sums: Iterable[tuple[int, int]]) -> None:
        for series, tokens in sums:
            key = keys[series]
            if key.metric == "output_tokens" and key.kind == "request" and key.outcome == OK:
                self._tokens[k] = self._tokens.get(k, 0) + tokens

    def series(self, end_ns: int) -> np.ndarray:
        """Return the level of response times for each interval that begins before `end_ns`: (n,) float64.

        A level is the mean logarithm of the response times in the interval, after each journey's mean over the run was
        subtracted; NaN if no iteration ended in the interval.
        """
        return self._relative(self._journeys.values(), end_ns)

    def signals(self, end_ns: int) -> dict[Signal, np.ndarray]:
        """Return the levels of each signal of the run, for each interval that begins before `end_ns`.

        Levels of times are as in `series`. Levels of tokens are tokens/s, only for whole intervals.
        """
        if not self._asking:
            return {RESPONSE_TIMES: self.series(end_ns)}
        found = {TTFT: self._relative(self._ttft.values(), end_ns)}
        if self._tokens:
            # Only whole intervals: the rate of a part would be too low.
            counts = [self._tokens.get(k, 0) for k in range(end_ns // self.interval_ns)]
            found[OUTPUT_TOKENS] = np.array(counts, dtype=float) / (self.interval_ns / NS_PER_S)
        others = [row for (journey, *_), row in self._journeys.items() if journey not in self._asking]
        return found | ({RESPONSE_TIMES: self._relative(others, end_ns)} if others else {})

    def _relative(self, rows: Iterable[dict[int, tuple[int, float]]], end_ns: int) -> np.ndarray:
        length = max(0, -(-end_ns // self.interval_ns))
        n, deviation = np.zeros(length), np.zeros(length)
        for row in rows:
            own = {k: values for k, values in row.items() if k < length}
            total = sum(count for count, _ in own.values())
            mean = sum(s for _, s in own.values()) / total if total else 0.0
            for k, (count, s) in own.items():
                n[k] += count
                deviation[k] += s - count * mean
        with np.errstate(invalid="ignore"):
            levels: np.ndarray = np.where(n > 0, deviation / n, np.nan)
        return levels


def found_cut(deltas: Iterable[tuple[str, Delta]], end_ns: int, interval_ns: int = NS_PER_S) -> Cut:
    """Find the end of a run's warm-up from its deltas, and return it with the reason. The cut is 0 without a warm-up.

    Args:
        deltas: (region, delta) of each delta of the run, in the order in which they were merged.
        end_ns: end of the load; iterations that end in the drain are ignored.
    """
    levels = Levels(interval_ns)
    for _, delta in deltas:
        levels.add(delta)
    return find_cut_of(levels.signals(end_ns), interval_ns)


def found_cut_in_cells(cells: Iterable[Cell], end_ns: int, interval_ns: int = NS_PER_S) -> Cut:
    """Find the end of a run's warm-up from its cells, the stored intervals of `stored_interval.py`; see `found_cut`."""
    levels = Levels(interval_ns)
    for cell in cells:
        levels.add_cell(cell)
    return find_cut_of(levels.signals(end_ns), interval_ns)


def find_cut_of(signals: Mapping[Signal, np.ndarray], interval_ns: int = NS_PER_S) -> Cut:
    """Find the end of the warm-up from several signals: it is the latest of their cuts.

    The reason names the signal that decided, and the result of each other signal.

    signals: at least one, each with its levels (see `find_cut`).
    """
    if len(signals) == 1:
        ((signal, levels),) = signals.items()
        return find_cut(levels, interval_ns, signal)
    cuts = {signal: _found(levels, interval_ns, signal) for signal, levels in signals.items()}
    first = max(cuts, key=lambda signal: cuts[signal].cut_ns)  # of equal cuts, the first
    found = cuts[first]
    if not found.cut_ns:
        return Cut(0, f"nothing was cut: {'; '.join(cut.why for cut in cuts.values())}")
    others = [cut.why for signal, cut in cuts.items() if signal is not first]
    return Cut(found.cut_ns, f"{found.why}. This signal decided; {'; '.join(others)}")


def find_cut(levels: np.ndarray, interval_ns: int = NS_PER_S, of: Signal = RESPONSE_TIMES) -> Cut:
    """Find the time from which on the levels of one signal are steady: the end of the warm-up.

    The cut is at 0 if the levels were steady from the start, did not become steady, or are too few.

    Args:
        levels: (n,) float64, the level of each interval in order; NaN if unknown. Any unit, because only differences
            count.
        of: the signal. The reason contains its name.
    """
    found = _found(levels, interval_ns, of)
    return found if found.cut_ns else replace(found, why=f"nothing was cut: {found.why}")


def _found(levels: np.ndarray, interval_ns: int, of: Signal) -> Cut:
    """Return the cut of `find_cut`, with a reason that does not begin with "nothing was cut"."""
    known = np.flatnonzero(~np.isnan(levels))
    group = min(_GROUP, len(known) // _LEAST_POINTS)
    if group < 1:
        kind = "" if of is RESPONSE_TIMES else f" with {of.name}"
        return Cut(0, f"{len(known)} intervals{kind} are too few to find a warm-up in")
    whole = len(known) // group * group
    means = levels[known[:whole]].reshape(-1, group).mean(axis=1)
    points = len(means)
    # Sums over the points that remain after cutting d points, for all d at once.
    left = np.arange(points, 0, -1)
    sums, squares = np.cumsum(means[::-1])[::-1], np.cumsum(means[::-1] ** 2)[::-1]
    spread = np.maximum(squares - sums**2 / left, 0.0)
    squared_error = (spread / left**2)[: points // 2 + 1]
    # Try the first d that is as good as the best except for chance: the best is often far behind the warm-up.
    near = squared_error <= squared_error.min() * (1 + _TOLERANCE / np.sqrt(points))
    tried = (int(np.argmax(near)), int(np.argmin(squared_error)))
    if tried[0] == 0:
        return Cut(0, f"{of.name} were steady from the start")
    d = next((d for d in tried if _is_steady(means, d)), None)
    if d is None:
        return Cut(0, f"{of.name} had not become steady by half of the run")
    rest = means[d:]
    change = float(means[:d].mean() - rest.mean())
    if not _differ(means[:d], rest):
        return Cut(0, f"{of.name} were steady from the start, within chance")
    cut_ns = int(known[d * group - 1] + 1) * interval_ns
    share = abs(np.expm1(change) if of.is_log else change / rest.mean() if rest.any() else np.inf)
    how = f"{share * 100:.0f} % {of.more if change > 0 else of.less}"
    return Cut(cut_ns, f"until {format_duration(cut_ns)} {of.name} were {how} than after it (MSER-{group})")


def _is_steady(means: np.ndarray, d: int) -> bool:
    """Return whether the points from position `d` on are steady: the means of their halves agree within chance.

    A drift of at most a quarter of the change at the cut `d` is steady, too.
    """
    half = d + (len(means) - d) // 2
    drift = abs(float(means[d:half].mean() - means[half:].mean()))
    change = abs(float(means[:d].mean() - means[d:].mean()))
    return drift <= change / 4 or not _differ(means[d:half], means[half:])


def _differ(part: np.ndarray, rest: np.ndarray) -> bool:
    """Return whether the means of `part` and `rest` differ by more than chance, judged by the noise of `rest`."""
    error = float(np.sqrt(_variance_of_mean(rest) * (1 + len(rest) / len(part))))
    return abs(float(part.mean() - rest.mean())) > _CLEAR * error


def _variance_of_mean(rest: np.ndarray) -> float:
    """Return the variance of the mean of autocorrelated points.

    The estimate comes from the means of ten equal parts, or of single points if there are fewer than ten.
    """
    parts = np.array_split(rest, min(10, len(rest)))
    means = np.array([part.mean() for part in parts])
    return float(means.var(ddof=1)) / len(means)


class Recount(Merge):
    """A merge that counts each delta that ended at or before `cut_ns` as warm-up, and has no windows.

    Add all deltas of a run in the order in which they were merged. Series that the agents marked as warm-up stay
    marked.
    """

    __slots__ = ("_is_before", "_twin_of", "cut_ns")

    def __init__(self, interval_ns: int = NS_PER_S, cut_ns: int = 0) -> None:
        super().__init__(interval_ns)
        self.cut_ns = cut_ns
        self._is_before = False
        self._twin_of: Counts = np.zeros(0, dtype=np.int64)

    def _due_of(self, delta: Delta) -> tuple[DueCounts, ...]:
        if not self.cut_ns:
            return delta.due
        return tuple(one for one in delta.due if (one.k + 1) * self.interval_ns > self.cut_ns)

    def _custom_of(self, delta: Delta) -> tuple[CustomStats, ...]:
        if delta.end_ns > self.cut_ns:
            return delta.custom
        return tuple(replace(one, warmup=True) for one in delta.custom)

    def _add_interval(
        self, start_ns: int, end_ns: int, deltas: int, pairs: SparseRows, stats: Stats, values: int
    ) -> None:
        """Add counts directly to the sums of the run, and return None: a recount has no sums of intervals."""
        self._is_before = end_ns <= self.cut_ns
        self._add(*pairs_of(pairs, stats.series), stats)

    def _take_agents(self, live: Merge) -> None:
        """Take over the data that a cut does not change from `live`, a merge of the same deltas.

        These are agents, losses, health, custom metrics and exemplars. Due counts are taken over from the cut on.
        Custom metrics keep the whole run: a run whose objectives need them apart is counted from its deltas.
        """
        self._epochs, self._losses, self._latest = live._epochs, live._losses, live._latest
        self.fitness, self.worker_fitness = live.fitness, live.worker_fitness
        self.custom, self.exemplars = live.custom, live.exemplars
        self.due = live.due.since(self.cut_ns // self.interval_ns) if self.cut_ns else live.due

    def _window(self, k: int) -> None:
        """Return None for every interval: a recount has no windows."""
        return

    def _add(self, index: Counts, counts: Counts, stats: Stats) -> None:
        """Add histogram counts to the sums of the run, to series marked as warm-up if they ended before the cut."""
        if not self._is_before:
            super()._add(index, counts, stats)
            return
        twins = self._twins_of(stats.series)
        pair_twins = self._twin_of[index // SLOTS]
        slots = index % SLOTS
        own = twins == stats.series
        if own.any():  # the agent has a warm-up of its own: its series may be the twins of others, so it is added first
            pair_own = pair_twins == index // SLOTS
            self._stores[0].add(index[pair_own], counts[pair_own], _part(stats, own))
            counts = counts[~pair_own]
            stats, twins = _part(stats, ~own), twins[~own]
            pair_twins, slots = pair_twins[~pair_own], slots[~pair_own]
        super()._add(pair_twins * SLOTS + slots, counts, replace(stats, series=twins))

    def _twins_of(self, numbers: Counts) -> Counts:
        """Return, for each series number, the number of the same series marked as warm-up; it is created if needed."""
        names = self._catalogue.names
        while len(self._twin_of) < len(names):
            known = len(self._twin_of)
            new = [self._catalogue.number(r, replace(key, warmup=True)) for r, key in names[known:]]
            self._twin_of = np.concatenate((self._twin_of, np.array(new, dtype=np.int64)))
        return self._twin_of[numbers]


def _part(stats: Stats, wanted: np.ndarray) -> Stats:
    return Stats(*(getattr(stats, field.name)[wanted] for field in fields(stats)))

"""What a run had measured when an interval was complete, as a value for all of its outputs.

Counts go from the start of the run to the end of interval k and never fall: they are the sum of all that was merged,
less what belongs to later intervals. What comes late for an interval that was told already is in the next snapshot,
so the last one, which holds all, equals the summary. Levels (users, lag) are of the interval.

A snapshot is made on the loop that merges, a few series at a time; what has not changed is the same value as before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np

from loadgen.measure.deltas.delta import Counters, Health
from loadgen.measure.deltas.series import OTHER, Kind, SeriesKey
from loadgen.measure.histograms.histogram import SLOTS, Counts, Histogram
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.queries import Window
from loadgen.sinks.buckets import BUCKETS, buckets_of, in_buckets

__all__ = ["MAX_SERIES", "Labels", "Levels", "RunName", "Series", "Snapshot", "SnapshotMaker"]

MAX_SERIES: Final = 1_000
"""Of one run. What is first seen after so many is summed up in "(other)", of its kind and region."""
AT_ONCE: Final = 40
"""Series between two turns of the loop."""


@dataclass(frozen=True, slots=True)
class RunName:
    """Which run it is."""

    run_id: str
    plan: str
    """ "checkout", or "checkout:spike" where the plan has a name of its own."""
    placement: Literal["embedded", "fleet"]


@dataclass(frozen=True, slots=True)
class Labels:
    """What a series is of. Without its tags: series that differ in them only are one here."""

    kind: Kind
    journey: str
    step: str | None
    request: str | None
    outcome: str
    region: str
    warmup: bool
    """Was due within the warm-up, which the figures of the summary leave out."""


@dataclass(frozen=True, slots=True)
class Series:
    """Response times of one series since the start of the run."""

    labels: Labels
    buckets: Counts
    """How many values each bucket has (`buckets.py`), not cumulated. Never written to."""
    count: int
    """Of all buckets."""
    censored: int
    sum_ns: int
    """With what is censored at its bound, so the truth is at least this."""
    recent: tuple[Histogram, Histogram] | None = None
    """Observed and censored values of the interval; None where there are none."""


@dataclass(frozen=True, slots=True)
class Levels:
    """Of all agents of a region in the interval: sums, and the worst of any."""

    agents: int = 0
    """That reported it."""
    unfit: int = 0
    """Of those, how many were not fit to measure."""
    users: int = 0
    in_flight: int = 0
    waiting: int = 0
    generator_lag_p99_s: float = 0.0
    loop_lag_p99_s: float = 0.0
    cpu_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    run: RunName
    k: int
    """Which interval; -1 where none was complete."""
    started_ns: int
    """T0, Unix time."""
    end_ns: int
    """From T0: counts are of what ended before."""
    is_final: bool
    """All is merged, and this is what the summary says."""
    series: tuple[Series, ...]
    counters: Mapping[str, Counters]
    """By region."""
    levels: Mapping[str, Levels]
    """By region."""

    @property
    def time_ns(self) -> int:
        """The end as Unix time."""
        return self.started_ns + self.end_ns


@dataclass(slots=True)
class _Group:
    """Numbers of the series that are one here."""

    row: int
    observed: list[int] = field(default_factory=list)
    censored: list[int] = field(default_factory=list)
    all: list[int] = field(default_factory=list)


class SnapshotMaker:
    """Makes the snapshots of one run, in the order of its intervals.

    What an interval adds is sorted into buckets for all series at once. Only where that does not come to the count of
    the merge, since something came late, a series is summed up anew (bench/outputs.py).

    Args:
        with_recent: also the histograms of the interval.
    """

    def __init__(self, run: RunName, max_series: int = MAX_SERIES, *, with_recent: bool = True) -> None:
        self._run, self._max_series, self._with_recent = run, max_series, with_recent
        self._groups: dict[Labels, _Group] = {}
        self._row_of: Counts = np.zeros(0, dtype=np.int64)
        """By number of the catalogue, the row of its group; -1: it concerns nobody."""
        self._is_bound: Counts = np.zeros(0, dtype=np.int64)
        """By number, 1 where it is censored."""
        self._newest = -1
        self._last: dict[Labels, Series] = {}
        self.is_full = False
        """Some series are in "(other)"."""

    def steps(
        self, merge: Merge, window: Window | None, started_ns: int, end_ns: int, *, is_final: bool = False
    ) -> Iterator[Snapshot | None]:
        """None some times, when the loop may have a turn, and at last the snapshot.

        Args:
            window: the interval that is complete; None: all that was merged counts, and there are no levels.
        """
        self._find(merge)
        added = None
        if window is not None and window.k > self._newest:  # else it is in what is known already
            added, self._newest = self._added(window), window.k
        later = _later(merge, window)
        made: list[Series] = []
        for n, (labels, group) in enumerate(self._groups.items()):
            if n and n % AT_ONCE == 0:
                yield None
                later = _later(merge, window)  # what came meanwhile may have begun another
            series = self._series(labels, group, merge, window, added, later)
            if series is not None:
                made.append(series)
        later = _later(merge, window)
        counters = {region: _less(merge.counters(region), region, later) for region in merge.regions()}
        levels = dict.fromkeys(counters, Levels()) | ({} if window is None else dict(_levels(merge, window)))
        k = -1 if window is None else window.k
        yield Snapshot(self._run, k, started_ns, end_ns, is_final, tuple(made), counters, levels)

    def _find(self, merge: Merge) -> None:
        """The groups of series that are new."""
        rows, bounds = [], []
        for number, (region, key) in enumerate(merge.names[len(self._row_of) :], len(self._row_of)):
            row = -1
            if key.metric == "response":
                group = self._group(region, key)
                (group.censored if key.censored else group.observed).append(number)
                group.all.append(number)
                row = group.row
            rows.append(row)
            bounds.append(int(key.censored))
        if rows:
            self._row_of = np.concatenate((self._row_of, np.array(rows, dtype=np.int64)))
            self._is_bound = np.concatenate((self._is_bound, np.array(bounds, dtype=np.int64)))

    def _group(self, region: str, key: SeriesKey) -> _Group:
        labels = Labels(key.kind, key.journey, key.step, key.request, key.outcome, region, key.warmup)
        if labels not in self._groups and len(self._groups) >= self._max_series:
            self.is_full = True
            step = None if key.kind == "journey" else OTHER
            request = OTHER if key.kind == "request" else None
            labels = Labels(key.kind, OTHER, step, request, OTHER, region, key.warmup)
        return self._groups.setdefault(labels, _Group(len(self._groups)))

    def _added(self, window: Window) -> _Added:
        """What the interval has of each group."""
        index, counts, stats = window.sparse()
        numbers = index // SLOTS
        rows, shape = self._row_of[numbers], (len(self._groups), BUCKETS)
        bucket = np.where(self._is_bound[numbers], BUCKETS - 1, buckets_of(index % SLOTS))
        mine = rows >= 0
        flat = np.bincount((rows * BUCKETS + bucket)[mine], weights=counts[mine], minlength=shape[0] * shape[1])
        buckets = flat.astype(np.int64).reshape(shape)
        sum_ns, censored = np.zeros(shape[0], dtype=np.int64), np.zeros(shape[0], dtype=np.int64)
        rows = self._row_of[stats.series]
        mine = rows >= 0
        np.add.at(sum_ns, rows[mine], (stats.sum_us * 1_000 + stats.sum_rest_ns)[mine])
        np.add.at(censored, rows[mine], (stats.n * self._is_bound[stats.series])[mine])
        return _Added(buckets, buckets.sum(axis=1), censored, sum_ns)

    def _series(
        self,
        labels: Labels,
        group: _Group,
        merge: Merge,
        window: Window | None,
        added: _Added | None,
        later: Sequence[Window],
    ) -> Series | None:
        after = [one for one in later if one.count_of(group.all)]
        count = merge.count_of(group.all) - sum(one.count_of(group.all) for one in after)
        if not count:
            return None
        last, row = self._last.get(labels), group.row
        recent = None
        if self._with_recent and window is not None and window.count_of(group.all):
            recent = window.sum_of(group.observed), window.sum_of(group.censored)
        if last is not None and last.count == count:  # counts only grow, so nothing has changed
            if recent is None and last.recent is None:
                return last
            made = replace(last, recent=recent)
        elif added is not None and (0 if last is None else last.count) + added.count[row] == count:
            made = Series(labels, added.buckets[row], count, int(added.censored[row]), int(added.sum_ns[row]), recent)
            if last is not None:
                made = replace(
                    made,
                    buckets=last.buckets + made.buckets,
                    censored=last.censored + made.censored,
                    sum_ns=last.sum_ns + made.sum_ns,
                )
        else:
            made = _summed(labels, group, count, merge, after, recent)
        self._last[labels] = made
        return made


@dataclass(frozen=True, slots=True)
class _Added:
    """Of one interval, by row of the groups."""

    buckets: np.ndarray
    """(n_groups, BUCKETS)"""
    count: Counts
    censored: Counts
    sum_ns: Counts


def _summed(
    labels: Labels,
    group: _Group,
    count: int,
    merge: Merge,
    after: Sequence[Window],
    recent: tuple[Histogram, Histogram] | None,
) -> Series:
    observed, bounds = merge.sum_of(group.observed), merge.sum_of(group.censored)
    buckets, censored, sum_ns = in_buckets(observed, bounds.total), bounds.total, observed.sum_ns + bounds.sum_ns
    for one in after:
        observed, bounds = one.sum_of(group.observed), one.sum_of(group.censored)
        buckets -= in_buckets(observed, bounds.total)
        censored -= bounds.total
        sum_ns -= observed.sum_ns + bounds.sum_ns
    return Series(labels, buckets, count, censored, sum_ns, recent)


def _later(merge: Merge, window: Window | None) -> list[Window]:
    return [] if window is None else [one for one in merge.windows() if one.k > window.k]


def _less(counters: Counters, region: str, later: Sequence[Window]) -> Counters:
    for one in later:
        counters = counters - one.counters(region)
    return counters


def _levels(merge: Merge, window: Window) -> Iterator[tuple[str, Levels]]:
    by_region: dict[str, list[Health]] = {}
    for agent, health in window.health.items():
        by_region.setdefault(merge.epochs(agent)[-1].region, []).append(health)
    for region, healths in by_region.items():
        yield (
            region,
            Levels(
                agents=len(healths),
                unfit=sum(bool(one.unfit) for one in healths),
                users=sum(one.users for one in healths),
                in_flight=sum(one.in_flight for one in healths),
                waiting=sum(one.waiting for one in healths),
                generator_lag_p99_s=max(one.generator_lag_p99_us for one in healths) / 1e6,
                loop_lag_p99_s=max(one.loop_lag_p99_us for one in healths) / 1e6,
                cpu_share=max(one.cpu_share for one in healths),
            ),
        )

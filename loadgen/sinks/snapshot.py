"""Snapshots: all figures of a run at the end of an interval, as a value for its live outputs.

Counts start at the start of the run, end with interval k, and never fall: they are the sum of all merged deltas minus
those of later intervals. Deltas that arrive late for an interval are included in the next snapshot. So the last
snapshot, which includes all deltas, equals the summary. Levels (users, lag) belong to the interval.

Requests to AI models, calls with messages and pages have further series, one for each of their metrics. These series
are in `Snapshot.more`, so that a sum over the response times in `Snapshot.series` counts each request once.

Values with tags are in two series: in the one of their row, which adds up all tags, and in a tagged one. Outputs send
tagged series under names of their own, so that a sum over the other names counts each value once.

A snapshot is made on the event loop that merges, a few series at a time. An unchanged series is the same object again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final, Literal

import numpy as np

from loadgen.measure.deltas.delta import Counters, Health
from loadgen.measure.deltas.series_key import (
    CLS_NS,
    OTHER,
    PAGE_METRICS,
    STREAM_METRICS,
    Kind,
    Metric,
    SeriesKey,
    Tags,
)
from loadgen.measure.histograms.histogram import SLOTS, Counts, Histogram
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.queries import Window
from loadgen.sinks.buckets import BUCKETS, buckets_of, in_buckets
from loadgen.units import NS_PER_S

__all__ = [
    "EMPTY",
    "MAX_SERIES",
    "MORE_METRICS",
    "TAG_LABEL",
    "Labels",
    "Levels",
    "RunName",
    "Series",
    "Snapshot",
    "SnapshotMaker",
]

MAX_SERIES: Final = 1_000
"""The most series of one run; further new series are added up in the "(other)" of their kind and region. A run may
also have this many tagged series in addition, and this many of requests to AI models.
"""
TAG_LABEL: Final = "tag_"
"""The beginning of the label of a tag. No label of ours begins with it."""
EMPTY: Final = "(empty)"
"""Replaces an empty value of a tag, such as a missing header: in outputs an empty label equals a missing one."""
MORE_METRICS: Final[dict[Metric, str]] = {
    **{metric: f"stream_{metric}" for metric in STREAM_METRICS},
    "first_message": "message_first",
    "message_gap": "message_gap",
    "answer": "message_answer",
    "message_age": "message_age",
    **{metric: f"page_{metric}" for metric in PAGE_METRICS},
    "ttfb": "request_ttfb",
}
"""The metrics of requests besides their response times that outputs have, and their names there."""
AT_ONCE: Final = 40
"""The number of series between two turns of the event loop."""


@dataclass(frozen=True, slots=True)
class RunName:
    """The names of a run."""

    run_id: str
    plan: str
    """The title: "checkout", or "checkout:spike" if the plan has its own name."""
    placement: Literal["embedded", "fleet"]


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a series. Without `tags` it adds up all tags; with them it is a tagged series."""

    kind: Kind
    journey: str
    step: str | None
    request: str | None
    outcome: str
    region: str
    warmup: bool
    """Whether the values were due within the warm-up, which the summary leaves out."""
    tags: Tags = ()
    """For a tagged series: (name of the tag, value). If the plan has several loads, the load is a tag, too."""
    metric: Metric = "response"
    """For a series in `Snapshot.more`, the metric of its values: a time, a number of tokens of 1 µs each, or `cls`."""

    @property
    def what(self) -> str:
        """The kind of the series in the names of outputs: "request", "tagged_request", "stream_ttft", "message_gap"."""
        if self.metric != "response":
            return MORE_METRICS[self.metric]
        return f"tagged_{self.kind}" if self.tags else self.kind

    @property
    def per_s(self) -> float:
        """What a second in the histogram stands for: 1 second, or for `cls` a score of 100."""
        return NS_PER_S / CLS_NS if self.metric == "cls" else 1.0


@dataclass(frozen=True, slots=True)
class Series:
    """The response times of one series since the start of the run, or another metric of its requests."""

    labels: Labels
    buckets: Counts
    """The number of values in each bucket (`buckets.py`), not cumulative. Never modified."""
    count: int
    """The number of values in all buckets."""
    censored: int
    """The number of values of which only a lower bound is known."""
    sum_ns: int
    """The sum of all values. Censored values count with their lower bound, so the true sum is at least this."""
    recent: tuple[Histogram, Histogram] | None = None
    """The observed and the censored values of the interval; None if it has none."""


@dataclass(frozen=True, slots=True)
class Levels:
    """The levels of a region in the interval: sums over its agents; for lags and CPU the worst agent."""

    agents: int = 0
    """Agents that reported in the interval."""
    unfit: int = 0
    """Agents that reported and were not able to measure validly."""
    users: int = 0
    in_flight: int = 0
    waiting: int = 0
    http_connections: int = 0
    websockets: int = 0
    tcp_connections: int = 0
    generator_lag_p99_s: float = 0.0
    loop_lag_p99_s: float = 0.0
    read_lag_p99_s: float = 0.0
    """0 if the plan does not ask for the kernel's clock."""
    cpu_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The figures of a run at the end of an interval."""

    run: RunName
    k: int
    """The number of the interval; -1 in the last snapshot."""
    started_ns: int
    """T0 as Unix time."""
    end_ns: int
    """The time after T0 up to which the figures count."""
    is_final: bool
    """Whether this is the last snapshot, which equals the summary."""
    series: tuple[Series, ...]
    counters: Mapping[str, Counters]
    """Counters since the start of the run, by region."""
    levels: Mapping[str, Levels]
    """Levels in the interval, by region."""
    tagged: tuple[Series, ...] = ()
    """The tagged series. Together they contain those values of `series` that have tags."""
    tag_labels: Mapping[str, str] = field(default_factory=dict)
    """By the name of a tag, its label in outputs. New ones are appended while the run goes on."""
    more: tuple[Series, ...] = ()
    """The other metrics of requests, over all tags: of AI models, of messages, and of pages in browsers."""

    @property
    def all_series(self) -> Iterator[Series]:
        """Yield all series: response times, tagged ones, and other metrics."""
        yield from self.series
        yield from self.tagged
        yield from self.more

    @property
    def time_ns(self) -> int:
        """Return the end of the snapshot's time span, as Unix time in ns."""
        return self.started_ns + self.end_ns


@dataclass(slots=True)
class _Group:
    """The catalogue numbers of all series that have the same labels."""

    row: int
    observed: list[int] = field(default_factory=list)
    censored: list[int] = field(default_factory=list)
    all: list[int] = field(default_factory=list)

    def add(self, number: int, key: SeriesKey) -> int:
        """Add a catalogue number, and return the row of the group."""
        (self.censored if key.censored else self.observed).append(number)
        self.all.append(number)
        return self.row


class SnapshotMaker:
    """Makes the snapshots of one run, in the order of its intervals.

    The values of an interval are sorted into buckets for all series at once. If the result for a series differs from
    the merge's count, because deltas arrived late, only that series is added up again (bench/outputs.py).

    Args:
        with_recent: also provide the histograms of the interval (`Series.recent`).
    """

    def __init__(self, run: RunName, max_series: int = MAX_SERIES, *, with_recent: bool = True) -> None:
        self._run, self._max_series, self._with_recent = run, max_series, with_recent
        self._groups: dict[Labels, _Group] = {}
        self._row_of: Counts = np.zeros(0, dtype=np.int64)
        """For each catalogue number: the row of its group; -1 if the outputs do not show the series."""
        self._tagged_row_of: Counts = np.zeros(0, dtype=np.int64)
        """The same for tagged series: the row of its group by tags; -1 if it has none."""
        self._tagged = 0
        """The number of groups with tags."""
        self._more = 0
        """The number of groups of other metrics."""
        self._tag_labels: dict[str, str] = {}
        self._is_bound: Counts = np.zeros(0, dtype=np.int64)
        """For each catalogue number: 1 if its values are censored."""
        self._newest = -1
        self._last: dict[Labels, Series] = {}
        self.is_full = False
        """Whether some series are in "(other)"."""

    def steps(
        self, merge: Merge, window: Window | None, started_ns: int, end_ns: int, *, is_final: bool = False
    ) -> Iterator[Snapshot | None]:
        """Make a snapshot of a run's figures in small steps. Yield None whenever the event loop may run other tasks,
        and at last the snapshot.

        Args:
            window: the complete interval; None to count everything that was merged, without levels.
        """
        self._find(merge)
        added = None
        if window is not None and window.k > self._newest:  # older intervals are already counted
            added, self._newest = self._added(window), window.k
        later = _later(merge, window)
        made: list[Series] = []
        tagged: list[Series] = []
        more: list[Series] = []
        for n, (labels, group) in enumerate(self._groups.items()):
            if n and n % AT_ONCE == 0:
                yield None
                later = _later(merge, window)  # deltas that were merged meanwhile may have opened another interval
            series = self._series(labels, group, merge, window, added, later)
            if series is not None:
                (more if labels.metric != "response" else tagged if labels.tags else made).append(series)
        later = _later(merge, window)
        counters = {region: _less(merge.counters(region), region, later) for region in merge.regions()}
        levels = dict.fromkeys(counters, Levels()) | ({} if window is None else dict(_levels(merge, window)))
        k = -1 if window is None else window.k
        yield Snapshot(
            self._run,
            k,
            started_ns,
            end_ns,
            is_final,
            tuple(made),
            counters,
            levels,
            tuple(tagged),
            dict(self._tag_labels),
            tuple(more),
        )

    def _find(self, merge: Merge) -> None:
        """Assign the merge's new series to groups. A group combines all series that outputs show under the same labels,
        observed and censored values.
        """
        rows, tagged_rows, bounds = [], [], []
        for number, (region, key) in enumerate(merge.names[len(self._row_of) :], len(self._row_of)):
            row = tagged_row = -1
            if key.metric == "response":
                row = self._group(region, key).add(number, key)
                if key.tags:
                    tagged_row = self._tagged_group(region, key).add(number, key)
            elif key.metric in MORE_METRICS:
                row = self._group_of_metric(region, key).add(number, key)
            rows.append(row)
            tagged_rows.append(tagged_row)
            bounds.append(int(key.censored))
        if rows:
            self._row_of = np.concatenate((self._row_of, np.array(rows, dtype=np.int64)))
            self._tagged_row_of = np.concatenate((self._tagged_row_of, np.array(tagged_rows, dtype=np.int64)))
            self._is_bound = np.concatenate((self._is_bound, np.array(bounds, dtype=np.int64)))

    def _group(self, region: str, key: SeriesKey) -> _Group:
        labels = Labels(key.kind, key.journey, key.step, key.request, key.outcome, region, key.warmup)
        own = len(self._groups) - self._tagged - self._more
        if labels not in self._groups and own >= self._max_series:
            self.is_full = True
            labels = _other(labels)
        return self._groups.setdefault(labels, _Group(len(self._groups)))

    def _group_of_metric(self, region: str, key: SeriesKey) -> _Group:
        names = (key.kind, key.journey, key.step, key.request, key.outcome, region, key.warmup)
        labels = Labels(*names, metric=key.metric)
        if labels not in self._groups and self._more >= self._max_series:
            self.is_full = True
            labels = _other(labels)
        found = self._groups.get(labels)
        if found is None:
            self._more += 1
            found = self._groups[labels] = _Group(len(self._groups))
        return found

    def _tagged_group(self, region: str, key: SeriesKey) -> _Group:
        tags = tuple((name, value or EMPTY) for name, value in key.tags)
        for name, _ in tags:
            if name not in self._tag_labels:
                self._tag_labels[name] = _label(name, self._tag_labels.values())
        labels = Labels(key.kind, key.journey, key.step, key.request, key.outcome, region, key.warmup, tags)
        if labels not in self._groups and self._tagged >= self._max_series:
            self.is_full = True
            labels = _other(labels)
        found = self._groups.get(labels)
        if found is None:
            self._tagged += 1
            found = self._groups[labels] = _Group(len(self._groups))
        return found

    def _added(self, window: Window) -> _Added:
        """Return the values that one interval adds to each group: counts a bucket, totals, censored values and sums."""
        index, counts, stats = window.sparse()
        numbers, shape = index // SLOTS, (len(self._groups), BUCKETS)
        bucket = np.where(self._is_bound[numbers], BUCKETS - 1, buckets_of(index % SLOTS))
        buckets = np.zeros(shape, dtype=np.int64)
        sum_ns, censored = np.zeros(shape[0], dtype=np.int64), np.zeros(shape[0], dtype=np.int64)
        for row_of in (self._row_of, self._tagged_row_of) if self._tagged else (self._row_of,):
            rows = row_of[numbers]
            mine = rows >= 0
            flat = np.bincount((rows * BUCKETS + bucket)[mine], weights=counts[mine], minlength=shape[0] * shape[1])
            buckets += flat.astype(np.int64).reshape(shape)
            rows = row_of[stats.series]
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
        if last is not None and last.count == count:  # counts only grow, so an equal count means no change
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
    """The values of one interval for each group, by row."""

    buckets: np.ndarray
    """(n_groups, BUCKETS)"""
    count: Counts
    censored: Counts
    sum_ns: Counts


def _other(labels: Labels) -> Labels:
    """Return the labels of the series that adds up the series beyond the limit, of the same kind, region and tags."""
    step = None if labels.kind == "journey" else OTHER
    request = OTHER if labels.kind == "request" else None
    tags = tuple((name, OTHER) for name, _ in labels.tags)
    return Labels(labels.kind, OTHER, step, request, OTHER, labels.region, labels.warmup, tags, labels.metric)


def _label(name: str, taken: Collection[str]) -> str:
    """Return the label of a tag: its name in the characters that all outputs permit, with a number if it is taken."""
    label = TAG_LABEL + re.sub(r"[^A-Za-z0-9_]", "_", name)
    numbered = (f"{label}_{n}" for n in count(2))
    while label in taken:
        label = next(numbered)
    return label


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
                http_connections=sum(one.http_connections for one in healths),
                websockets=sum(one.websockets for one in healths),
                tcp_connections=sum(one.tcp_connections for one in healths),
                generator_lag_p99_s=max(one.generator_lag_p99_us for one in healths) / 1e6,
                read_lag_p99_s=max(0 if one.reads is None else one.reads.read_lag_p99_us for one in healths) / 1e6,
                loop_lag_p99_s=max(one.loop_lag_p99_us for one in healths) / 1e6,
                cpu_share=max(one.cpu_share for one in healths),
            ),
        )

"""One agent's measurements of one interval, as a value.

Histograms travel sparse: (index, count) pairs of the HdrHistogram layout. Series are numbered once
for each (agent, epoch): the first delta that uses a series carries its key, and ids count up from 0
in the order of these keys. Counters add up over intervals, agents and regions; health values do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Final, overload

import msgspec

from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.exemplar import Exemplar, Failure
from loadgen.measure.deltas.exemplar_rows import decode_rows
from loadgen.measure.deltas.kept_stream import KeptStream
from loadgen.measure.deltas.load_counts import FirstArrival, LoadCounts
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.read_health import ReadHealth
from loadgen.measure.deltas.sampled_sums import SampledSums
from loadgen.measure.deltas.sampling_counts import SamplingCounts
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.deltas.stream_health import StreamHealth
from loadgen.measure.deltas.worker_loss import Loss
from loadgen.measure.histograms.packed_counts import PackedCounts, unpack

__all__ = [
    "COUNTER_NAMES",
    "Counters",
    "Delta",
    "Health",
    "SeriesStats",
    "StatsColumns",
    "WorkerHealth",
    "unpacked",
]


@dataclass(slots=True)
class Counters:
    """Exact counts that add up. Mutable: the recorder counts in one instance, and deltas carry copies."""

    requests_started: int = 0
    requests_finished: int = 0
    requests_errors: int = 0
    requests_pool_limited: int = 0
    """Requests started in iterations that had to wait for a free user."""
    iterations_due: int = 0
    iterations_started: int = 0
    iterations_finished: int = 0
    iterations_missed: int = 0
    """Iterations that were due and never started."""
    iterations_cut_off: int = 0
    """Iterations that were started, and stopped by the drain."""
    iterations_errors: int = 0
    """Iterations that finished with an outcome other than ok, script faults included."""
    script_faults: int = 0
    bytes_received: int = 0

    def __add__(self, other: Counters) -> Counters:
        return Counters(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def __sub__(self, other: Counters) -> Counters:
        return Counters(**{f.name: getattr(self, f.name) - getattr(other, f.name) for f in fields(self)})

    def copy(self) -> Counters:
        """Return an independent copy of these counters."""
        return self + Counters()


COUNTER_NAMES: Final = tuple(f.name for f in fields(Counters))


class Health(msgspec.Struct, frozen=True, gc=False):
    """The state of the load generator in one interval: values of one worker, or the worst of several.

    A controller decodes 1,000 of these a second. A frozen dataclass of this size takes 2.3 µs to build, a Struct 0.2
    µs.
    """

    users: int = 0
    """Users alive at the end of the interval."""
    in_flight: int = 0
    """Iterations running at the end of the interval."""
    waiting: int = 0
    """Due iterations that wait for a free user at the end of the interval."""
    http_connections: int = 0
    """Open connections at the end of the interval: HTTP of all versions, in use or idle."""
    websockets: int = 0
    tcp_connections: int = 0
    """Of `user.tcp`."""
    loop_lag_p50_us: int = 0
    loop_lag_p99_us: int = 0
    loop_lag_max_us: int = 0
    generator_lag_p99_us: int = 0
    response_p99_us: int = 0
    """p99 of the response times of all journeys that ended in the interval; the generator lag is compared with it."""
    cpu_share: float = 0.0
    """CPU time of the worker / wall time of the interval."""
    rss_bytes: int = 0
    steal_share: float = 0.0
    """Share of the machine's CPU time in the interval that its host gave to other machines."""
    gc_max_us: int = 0
    """The longest pause for garbage collection."""
    fds: int = 0
    """Open file descriptors; `fd_limit` is the most that may be open."""
    fd_limit: int = 0
    ports: int = 0
    """Local ports in use towards the busiest remote address; `port_limit` is how many exist. Both are 0 if unknown."""
    port_limit: int = 0
    memory_free_bytes: int = 0
    """Free memory of the machine, or of the control group that limits us."""
    unacked: int = 0
    """Deltas that the agent holds and the controller has not acknowledged."""
    oldest_ms: int = 0
    """Age of the oldest iteration in flight."""
    unfit: tuple[str, ...] = ()
    """Reasons why the measurements of this interval cannot be trusted; empty if they can."""
    notes: tuple[str, ...] = ()
    """Other remarks for the operator, such as a scenario line that blocked the loop."""
    intervals: int = 0
    """Number of intervals that were joined into this one (`join_deltas.join`); 0 if it was not joined.

    A joined value holds the later state and the worst measurements.
    """
    unfit_intervals: int = 0
    """Number of the joined intervals that were unfit."""
    streams: StreamHealth | None = None
    """The reads of streams of AI models; None without reads, or if the agent has an older version."""
    reads: ReadHealth | None = None
    """The clock of answers and the read lag; None if the plan does not ask for the kernel's clock."""

    @property
    def lag_p99_us(self) -> int:
        """Return the lag that decides whether the interval was fit.

        This lag is the larger of two: the generator lag, and the read lag (without the kernel's clock, the loop's).
        """
        reads = self.reads
        late_us = reads.read_lag_p99_us if reads is not None and reads.is_by_kernel else self.loop_lag_p99_us
        return max(self.generator_lag_p99_us, late_us)

    @property
    def counted(self) -> tuple[int, int]:
        """Return (number of intervals that this value covers, number of them in which the generator was unfit)."""
        return (self.intervals, self.unfit_intervals) if self.intervals else (1, int(bool(self.unfit)))


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """The state of one worker of an agent in one interval."""

    worker: int
    """Index of the worker slot, from 0."""
    iterations_started: int = 0
    health: Health = field(default_factory=Health)


@dataclass(frozen=True, slots=True)
class SeriesStats:
    """Exact count, sum, least and greatest value of one series in one interval.

    series: the agent's id of the series. n: number of values, equal to the sum of the series' bucket counts.
    """

    series: int
    n: int
    sum_ns: int
    min_ns: int
    max_ns: int


class StatsColumns(Sequence[SeriesStats]):
    """A sequence of SeriesStats, stored as columns of equal length, as it travels on the wire.

    Rows are built only when they are read. The merge reads columns only, because 46 rows cost 40 µs.
    """

    __slots__ = ("max_ns", "min_ns", "n", "series", "sum_ns")

    def __init__(
        self,
        series: Sequence[int],
        n: Sequence[int],
        sum_ns: Sequence[int],
        min_ns: Sequence[int],
        max_ns: Sequence[int],
    ) -> None:
        """Store five columns of equal length, one element for each series. Raise ValueError if their lengths differ."""
        self.series, self.n, self.sum_ns, self.min_ns, self.max_ns = series, n, sum_ns, min_ns, max_ns
        if any(len(column) != len(series) for column in self.columns):
            raise ValueError(f"columns of statistics differ in length: {[len(column) for column in self.columns]}")

    @classmethod
    def of(cls, stats: Sequence[SeriesStats]) -> StatsColumns:
        """Return the statistics of several series as a StatsColumns; `stats` itself if it is one already."""
        if isinstance(stats, StatsColumns):
            return stats
        return cls(
            [one.series for one in stats],
            [one.n for one in stats],
            [one.sum_ns for one in stats],
            [one.min_ns for one in stats],
            [one.max_ns for one in stats],
        )

    @property
    def columns(self) -> tuple[Sequence[int], ...]:
        """Return the five columns in the order of SeriesStats: series, n, sum_ns, min_ns and max_ns."""
        return self.series, self.n, self.sum_ns, self.min_ns, self.max_ns

    def __len__(self) -> int:
        return len(self.series)

    def __iter__(self) -> Iterator[SeriesStats]:
        return map(SeriesStats, *self.columns)

    @overload
    def __getitem__(self, at: int) -> SeriesStats: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[SeriesStats, ...]: ...
    def __getitem__(self, at: int | slice) -> SeriesStats | tuple[SeriesStats, ...]:
        return tuple(self)[at]

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, (StatsColumns, tuple)) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


@dataclass(slots=True, unsafe_hash=True)
class Delta:
    """One agent's histograms and counts for one interval; `seq` has no gaps within an epoch.

    No code changes a delta. It is not frozen, because a frozen one takes 3 to 4 µs more to build, and a controller
    builds 1,000 a second.

    index: u32 little endian, strictly increasing: series id * SLOTS + slot (loadgen.measure.histograms.histogram).
    count: u32 little endian, one for each entry of `index`, never 0.
    start_ns, end_ns: on the run's clock, 0 = T0. The delta holds everything that *ended* within [start, end).
    """

    agent: str
    epoch: int
    seq: int
    start_ns: int
    end_ns: int
    new_series: tuple[SeriesKey, ...] = ()
    index: bytes = b""
    count: bytes = b""
    stats: Sequence[SeriesStats] = ()
    counters: Counters = field(default_factory=Counters)
    health: Health = field(default_factory=Health)
    run_id: str = ""
    due: tuple[DueCounts, ...] = ()
    custom: tuple[CustomStats, ...] = ()
    exemplars: tuple[Exemplar, ...] = ()
    failures: tuple[Failure, ...] = ()
    workers: tuple[WorkerHealth, ...] = ()
    """For an agent of several workers: the state of each. `health` then covers all workers together."""
    losses: tuple[Loss, ...] = ()
    """Workers that died, and earlier losses again once their replacement is known."""
    sampling: tuple[SamplingCounts, ...] = ()
    """In plans whose share of traces changes: the decisions under each threshold that was in force."""
    loads: tuple[LoadCounts, ...] = ()
    """Counts by load of the plan; loads with only zeros are left out."""
    first_arrivals: tuple[FirstArrival, ...] = ()
    """First arrivals of the share changes that the agent applied in the interval."""
    streams: tuple[KeptStream, ...] = ()
    """Event lists of streams of AI models that ended in the interval."""
    streams_left_out: int = 0
    """Streams of the interval that were chosen and are not in `streams`, because of a limit."""
    packed: PackedCounts | None = None
    """The histograms as the controller receives them: `index`, `count` and `stats` are empty then. None in all other
    places, because `codec.decode` unpacks them.
    """
    exemplar_rows: bytes = b""
    """Exemplars as the controller receives them (`exemplar_rows.py`). `exemplars` is empty then; the merge decodes
    them. Empty in all other places, because `codec.decode` decodes them.
    """
    sampled: tuple[SampledSums, ...] = ()
    """In plans with tracing: the response times of sampled and of other requests, sorted by series."""

    @property
    def has_values(self) -> bool:
        """Return whether any histogram has a value."""
        return bool(self.index) if self.packed is None else bool(self.packed.gaps)


def unpacked(delta: Delta) -> Delta:
    """Return the delta with `index`, `count`, `stats` and `exemplars`; the same object if it has them.

    Raises:
        ValueError: the packed histograms have more or fewer pairs than their series.
        WireError: an exemplar cannot be read, is impossible or too long.
    """
    if delta.exemplar_rows:
        found = decode_rows(delta.exemplar_rows, f"delta {delta.seq} of {delta.agent}")
        delta = replace(delta, exemplars=delta.exemplars + found, exemplar_rows=b"")
    if delta.packed is None:
        return delta
    index, count, columns = unpack(delta.packed)
    return replace(delta, index=index, count=count, stats=StatsColumns(*columns), packed=None)

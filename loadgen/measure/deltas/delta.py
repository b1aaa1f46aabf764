"""One agent's measurement of one interval, as a value.

What travels is sparse: (index, count) pairs of the HdrHistogram layout. Series
are interned once for each (agent, epoch): the first delta that uses a series
brings its key, and ids count up from 0 in the order in which keys were brought.
Counters add up over intervals, agents and regions; health does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Final, overload

import msgspec

from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.due_counts import DueCounts
from loadgen.measure.deltas.exemplar import Exemplar, Failure
from loadgen.measure.deltas.load_counts import FirstArrival, LoadCounts
from loadgen.measure.deltas.series import SeriesKey
from loadgen.measure.deltas.worker_loss import Loss

__all__ = ["COUNTER_NAMES", "Counters", "Delta", "Health", "SeriesStats", "StatsColumns", "WorkerHealth"]


@dataclass(slots=True)
class Counters:
    """Exact counts that add up. Mutable: the recorder counts in one, deltas carry copies."""

    requests_started: int = 0
    requests_finished: int = 0
    requests_errors: int = 0
    requests_pool_limited: int = 0
    """Started in iterations that had to wait for a free user."""
    iterations_due: int = 0
    iterations_started: int = 0
    iterations_finished: int = 0
    iterations_missed: int = 0
    """Due and never started."""
    iterations_cut_off: int = 0
    """Started, and stopped by the drain."""
    iterations_errors: int = 0
    """Finished with an outcome other than ok, script faults included."""
    script_faults: int = 0
    bytes_received: int = 0

    def __add__(self, other: Counters) -> Counters:
        return Counters(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def __sub__(self, other: Counters) -> Counters:
        return Counters(**{f.name: getattr(self, f.name) - getattr(other, f.name) for f in fields(self)})

    def copy(self) -> Counters:
        return self + Counters()


COUNTER_NAMES: Final = tuple(f.name for f in fields(Counters))


class Health(msgspec.Struct, frozen=True, gc=False):
    """How fit the generator was in one interval. Values of one worker, or the worst of several.

    A controller reads 1,000 a second, and a frozen dataclass of so many fields takes 2.3 µs to make; this 0.2.
    """

    users: int = 0
    """Users alive at the end of the interval."""
    in_flight: int = 0
    """Iterations running at the end of the interval."""
    waiting: int = 0
    """Iterations due that wait for a free user, at the end of the interval."""
    loop_lag_p50_us: int = 0
    loop_lag_p99_us: int = 0
    loop_lag_max_us: int = 0
    generator_lag_p99_us: int = 0
    response_p99_us: int = 0
    """p99 of the journeys' response times that ended in the interval; what the lag is held against."""
    cpu_share: float = 0.0
    """CPU time of the worker / wall time of the interval."""
    rss_bytes: int = 0
    steal_share: float = 0.0
    """Of the machine's CPU time in the interval, what its host gave to others."""
    gc_max_us: int = 0
    """The longest pause for garbage collection."""
    fds: int = 0
    """File descriptors open, and how many may be."""
    fd_limit: int = 0
    ports: int = 0
    """Local ports in use towards the busiest remote address, and how many there are; 0 where it is not known."""
    port_limit: int = 0
    memory_free_bytes: int = 0
    """Of the machine, or of the group that limits us."""
    unacked: int = 0
    """Deltas that the agent holds and the controller has not acknowledged."""
    oldest_ms: int = 0
    """Age of the oldest iteration in flight."""
    unfit: tuple[str, ...] = ()
    """Why this second of this worker cannot be trusted; empty when it can."""
    notes: tuple[str, ...] = ()
    """What else a person should know: a scenario line that blocked the loop, names over the cap."""
    intervals: int = 0
    """Of how many intervals it is the later state and the worst, where they were joined (`coarse.join`); else 0."""
    unfit_intervals: int = 0
    """How many of those were unfit."""

    @property
    def counted(self) -> tuple[int, int]:
        """Of how many intervals it speaks, and how many of them were unfit."""
        return (self.intervals, self.unfit_intervals) if self.intervals else (1, int(bool(self.unfit)))


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """How fit one worker of an agent was in one interval."""

    worker: int
    """From 0."""
    iterations_started: int = 0
    health: Health = field(default_factory=Health)


@dataclass(frozen=True, slots=True)
class SeriesStats:
    """Of one series in one interval; n equals the sum of the series' bucket counts."""

    series: int
    n: int
    sum_ns: int
    min_ns: int
    max_ns: int


class StatsColumns(Sequence[SeriesStats]):
    """The same of many series, as it travels: columns of one length, each as its field is called.

    A row is made when it is asked for. Who reads the deltas of a fleet asks for none: 46 rows cost 40 µs.
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
        """Raises ValueError: they are not of one length."""
        self.series, self.n, self.sum_ns, self.min_ns, self.max_ns = series, n, sum_ns, min_ns, max_ns
        if any(len(column) != len(series) for column in self.columns):
            raise ValueError(f"statistics of {[len(column) for column in self.columns]} series")

    @classmethod
    def of(cls, stats: Sequence[SeriesStats]) -> StatsColumns:
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
        """In the order of the fields of SeriesStats."""
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


@dataclass(frozen=True, slots=True)
class Delta:
    """One agent's histograms and counts for one interval; `seq` has no gaps within an epoch.

    index: u32 little endian, strictly increasing: series id * SLOTS + slot (loadgen.measure.histograms.histogram).
    count: u32 little endian, as many as `index`, none 0.
    start_ns, end_ns: on the run's clock, 0 = T0. What *ended* within [start, end) is in it.
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
    """Of an agent of several workers, each by itself; `health` is then that of all together."""
    losses: tuple[Loss, ...] = ()
    """Workers that died, and those of which it is known by now who went on."""
    loads: tuple[LoadCounts, ...] = ()
    """By load of the plan; loads without a count are left out."""
    first_arrivals: tuple[FirstArrival, ...] = ()
    """Of changes of shares that the agent applied in the interval."""

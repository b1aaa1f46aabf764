"""Checks that a delta is well-formed: possible values, and counts that agree with sums.

A delta that contradicts itself is rejected as a whole: nothing of it is merged. For many deltas, `check_all` checks
all of them at once, and the caller uses `check_delta` for each only if that fails. A delta that passes `check_all`
would also pass `check_delta`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final, get_args

import numpy as np

from loadgen.errors import WireError
from loadgen.measure.deltas.custom import check_custom
from loadgen.measure.deltas.delta import COUNTER_NAMES, Delta, SeriesStats, StatsColumns, unpacked
from loadgen.measure.deltas.exemplar import check_exemplars
from loadgen.measure.deltas.join_successive_deltas import MAX_INTERVALS
from loadgen.measure.deltas.kept_stream import check_streams
from loadgen.measure.deltas.limits import MOST_VALUES, SAME_VERSION
from loadgen.measure.deltas.load_counts import check_loads, is_only_load
from loadgen.measure.deltas.outcomes_by_due_interval import check_due
from loadgen.measure.deltas.sampled_sums import check_sampled
from loadgen.measure.deltas.sampling_counts import check_sampling
from loadgen.measure.deltas.series_key import Kind, Metric
from loadgen.measure.deltas.worker_loss import check_losses
from loadgen.measure.histograms.counts_of_all_series import Stats
from loadgen.measure.histograms.histogram import MAX_NS, SLOTS, Counts
from loadgen.measure.histograms.packed_counts import COLUMNS, PackedCounts, pack
from loadgen.measure.histograms.sparse_rows import SparseRows, rows_of

__all__ = ["MAX_SERIES", "MAX_WORKERS", "Wellformed", "check_all", "check_delta", "check_fields", "counter_values"]

MAX_SERIES: Final = (1 << 32) // SLOTS
"""Most series of one agent that the u32 index can hold: 182,361."""

MAX_WORKERS: Final = 1_024
"""Most workers of one agent."""

_MANY: Final = (1 << 63) // (MAX_NS + 1)
"""Most values whose sum fits into 64 bits of ns, even if each is an hour."""

_RANGE_BITS: Final = 32
"""Bits for the id of a series; the bits above hold the position of its delta in a batch."""

counter_values: Final = attrgetter(*COUNTER_NAMES)
_KINDS: Final = frozenset(get_args(Kind))
_METRICS: Final = frozenset(get_args(Metric))


@dataclass(frozen=True, slots=True)
class Wellformed:
    """Several deltas that passed all checks, concatenated. Series are still numbered by each agent's own ids."""

    pairs: SparseRows
    """The rows of `stats`."""
    stats: Stats
    rows: Counts
    """(n_deltas,) number of rows of `stats` that each delta has."""

    def by_numbers(self, numbers: Sequence[Counts]) -> Stats:
        """Return `stats` in which each agent's own series ids are replaced by the numbers of the whole run.

        numbers: for each delta, an array that maps the agent's id of a series to its number in the run.
        """
        firsts = np.cumsum([0, *map(len, numbers[:-1])])
        return replace(self.stats, series=np.concatenate(numbers)[self.stats.series + np.repeat(firsts, self.rows)])


def check_all(deltas: Sequence[Delta], known: Sequence[int]) -> Wellformed | None:
    """HOT, called with up to 60 deltas: check the histogram counts and sums of all deltas at once.

    Returns the concatenated deltas if all are sound. Returns None if at least one is not, or needs a slower check; the
    caller then checks each by itself with `check_delta`. The fields that `check_fields` checks are not checked here.

    known: for each delta, the number of series of its agent, with those that the delta adds.
    """
    packed = [one for delta in deltas if (one := packed_of(delta)) is not None]
    if len(packed) < len(deltas):
        return None
    table = np.frombuffer(b"".join([one.rows for one in packed]), dtype="<i8").reshape(-1, COLUMNS)
    series, n, sum_ns, min_ns, max_ns = np.ascontiguousarray(table.T)
    rows = np.array([len(one.pairs) for one in packed]) // 2
    lengths = np.frombuffer(b"".join([one.pairs for one in packed]), dtype="<u2").astype(np.int64)
    gaps = np.frombuffer(b"".join([one.gaps for one in packed]), dtype="<u2")
    counts = _counts_of(packed)
    if not len(gaps) and not len(series):
        nothing = SparseRows(gaps, counts, series, series)
        return Wellformed(nothing, Stats(series, n, sum_ns, sum_ns, min_ns, max_ns), rows)
    if not len(gaps) or not len(series) or not lengths.min():
        return None
    if n.min() <= 0 or n.max() > _MANY or int(n.sum()) > MOST_VALUES:
        return None
    ends = lengths.cumsum()
    starts = ends - lengths
    # The pairs of the rows of each delta must be those that came with it.
    has_rows, of_deltas = rows > 0, np.cumsum([len(one.gaps) for one in packed]) // 2
    if ends[-1] != len(gaps) or (ends[rows.cumsum()[has_rows] - 1] != of_deltas[has_rows]).any():
        return None
    # A row has less than 2^16 pairs and distances, so 4 bytes hold the sum.
    lasts = np.add.reduceat(gaps, starts, dtype=np.uint32)
    keys = series + np.repeat(np.arange(len(deltas)) << _RANGE_BITS, rows)
    is_sound = (
        lasts.max() < SLOTS
        # Within a row, slots must grow: only its first gap may be 0. Then its last slot is its greatest.
        and np.count_nonzero(gaps) == len(gaps) - np.count_nonzero(gaps[starts] == 0)
        and np.count_nonzero(counts) == len(counts)
        and (np.add.reduceat(counts, starts, dtype=np.int64) == n).all()
        and series.min() >= 0
        and series.max() < MAX_SERIES
        and (keys[1:] > keys[:-1]).all()
        and (series < np.repeat(known, rows)).all()
        and min_ns.min() >= 0
        and (min_ns <= max_ns).all()
        and max_ns.max() <= MAX_NS
        and (n * min_ns <= sum_ns).all()
        and (sum_ns <= n * max_ns).all()
    )
    if not is_sound:
        return None
    sum_us, rest_ns = np.divmod(sum_ns, 1_000)
    pairs = SparseRows(gaps, counts, starts, lasts.astype(np.int64))
    return Wellformed(pairs, Stats(series, n, sum_us, rest_ns, min_ns, max_ns), rows)


def packed_of(delta: Delta) -> PackedCounts | None:
    """Return the packed histograms of a delta; None if they contradict themselves, so that they cannot be packed."""
    return delta.packed or pack(delta.index, delta.count, StatsColumns.of(delta.stats).columns)


def _counts_of(packed: Sequence[PackedCounts]) -> Counts:
    """Return the counts of all deltas, in the smallest type that holds all of them."""
    widths = {one.count_bytes for one in packed}
    if len(widths) == 1:
        return np.frombuffer(b"".join([one.counts for one in packed]), dtype=f"<u{widths.pop()}")
    return np.concatenate([np.frombuffer(one.counts, dtype=f"<u{one.count_bytes}") for one in packed])


def check_delta(delta: Delta, known: int) -> Wellformed:
    """Check every field of one delta, and return its histogram counts as arrays.

    Raise WireError if a field is impossible by itself, or contradicts another one.

    known: number of series that the agent sent before this delta.
    """
    check_fields(delta, known)
    name = f"delta {delta.seq} of {delta.agent}"
    try:
        delta = unpacked(delta)
    except ValueError as exc:
        raise WireError(f"{name} has packed histograms that contradict themselves: {exc}", hint=SAME_VERSION) from exc
    if len(delta.index) != len(delta.count) or len(delta.index) % 4:
        raise WireError(
            f"{name} has {len(delta.index)} bytes of index and {len(delta.count)} of counts", hint=SAME_VERSION
        )
    index = np.frombuffer(delta.index, dtype="<u4").astype(np.int64)
    counts = np.frombuffer(delta.count, dtype="<u4").astype(np.int64)
    stats = _stats(name, delta.stats)
    lengths = _lengths(name, known + len(delta.new_series), index, counts, stats)
    starts = lengths.cumsum() - lengths
    return Wellformed(rows_of(index, counts, starts, stats.series), stats, np.array([len(stats.n)]))


def check_fields(delta: Delta, known: int) -> tuple[int, ...]:
    """HOT: check all fields of a delta except histogram counts and sums, and raise WireError if one is impossible.

    Returns its counters in the order of COUNTER_NAMES.

    known: number of series that the agent sent before this delta.
    """
    counters: tuple[int, ...] = counter_values(delta.counters)
    if not _is_usual(delta, counters):
        _check_each_field(delta, known, counters)
    return counters


def _is_usual(delta: Delta, counters: tuple[int, ...]) -> bool:
    """Return whether the delta has no fields but those of nearly every delta, and these are possible.

    The calls of `_check_each_field` and the name for its messages would cost 5 µs.
    """
    health, loads = delta.health, delta.loads
    return not (
        not 0 <= delta.start_ns <= delta.end_ns
        or delta.new_series
        or min(counters) < 0
        or delta.due
        or delta.custom
        or delta.exemplars
        or delta.failures
        or delta.losses
        or delta.sampling
        or delta.streams
        or delta.streams_left_out
        or delta.sampled
        or delta.first_arrivals
        or delta.workers
        or not 0 <= health.unfit_intervals <= health.intervals <= MAX_INTERVALS
        or health.streams is not None
        or (health.reads is not None and not health.reads.is_possible(MAX_INTERVALS))
        or len(loads) > 1
        or (loads and not is_only_load(loads[0], delta.counters.iterations_started, delta.counters.iterations_missed))
    )


def _check_each_field(delta: Delta, known: int, counters: tuple[int, ...]) -> None:
    name = f"delta {delta.seq} of {delta.agent}"
    if not 0 <= delta.start_ns <= delta.end_ns:
        raise WireError(f"{name} has an impossible interval: {delta.start_ns} to {delta.end_ns} ns", hint=SAME_VERSION)
    known += len(delta.new_series)
    if known > MAX_SERIES:
        raise WireError(f"{name} brings the agent to {known:,} series, more than {MAX_SERIES:,}", hint=SAME_VERSION)
    for key in delta.new_series:
        if key.kind not in _KINDS or key.metric not in _METRICS:
            raise WireError(f"{name} has an unknown kind of series: {key.kind} {key.metric}", hint=SAME_VERSION)
    if min(counters) < 0:
        raise WireError(f"{name} has a negative counter: {delta.counters}", hint=SAME_VERSION)
    # Most deltas have none of the others, and the calls would cost 1 µs.
    if delta.due:
        check_due(name, delta.due)
    if delta.custom:
        check_custom(name, delta.custom)
    if delta.exemplars or delta.failures:
        check_exemplars(name, delta.exemplars, delta.failures)
    if delta.losses:
        check_losses(name, delta.losses)
    if delta.sampling:
        check_sampling(name, delta.sampling)
    if delta.streams or delta.streams_left_out:
        check_streams(name, delta.streams, delta.streams_left_out)
    if delta.sampled:
        check_sampled(name, delta.sampled, known)
    if delta.loads or delta.first_arrivals:
        counted = delta.counters
        check_loads(name, delta.loads, delta.first_arrivals, counted.iterations_started, counted.iterations_missed)
    if len(delta.workers) > MAX_WORKERS or any(one.iterations_started < 0 for one in delta.workers):
        raise WireError(
            f"{name} has more than {MAX_WORKERS:,} workers, or a worker with a negative count", hint=SAME_VERSION
        )
    for health in (delta.health, *(one.health for one in delta.workers)):
        if not 0 <= health.unfit_intervals <= health.intervals <= MAX_INTERVALS:
            raise WireError(
                f"{name} has impossible numbers of intervals: {health.intervals:,}, "
                f"{health.unfit_intervals:,} of them unfit",
                hint=SAME_VERSION,
            )
        if health.reads is not None and not health.reads.is_possible(MAX_INTERVALS):
            raise WireError(f"{name} has an impossible read lag: {health.reads}", hint=SAME_VERSION)
        if health.streams is not None and not health.streams.is_possible(MAX_INTERVALS):
            raise WireError(f"{name} has impossible numbers of reads: {health.streams}", hint=SAME_VERSION)


def _lengths(name: str, known: int, index: Counts, counts: Counts, stats: Stats) -> Counts:
    """Return, for each series of `stats`, how many (index, count) pairs belong to it.

    Raise WireError if the pairs are invalid or do not add up to the numbers of values in `stats`. Only the begin and
    end of each series are searched: 46 series are less work than 2,000 pairs.

    name: names the delta in the error message. known: number of the agent's series, with those that the delta adds.
    """
    series, n = stats.series, stats.n
    if not len(index):
        if len(series):
            raise WireError(f"{name} has sums that do not match its counts", hint=SAME_VERSION)
        return series
    if (index[1:] <= index[:-1]).any():
        raise WireError(f"{name} has indices that do not increase", hint=SAME_VERSION)
    if int(index[-1]) >= known * SLOTS:
        raise WireError(
            f"{name} counts series {int(index[-1]) // SLOTS}, but only {known} are known", hint=SAME_VERSION
        )
    if not counts.all():
        raise WireError(f"{name} has a count of 0", hint=SAME_VERSION)
    starts, ends = np.searchsorted(index, (series * SLOTS, (series + 1) * SLOTS))
    lengths: Counts = ends - starts
    is_all = len(series) and lengths.all() and int(lengths.sum()) == len(index)
    if not is_all or not np.array_equal(np.add.reduceat(counts, starts), n):
        raise WireError(f"{name} has sums that do not match its counts", hint=SAME_VERSION)
    return lengths


def _stats(name: str, stats: Sequence[SeriesStats]) -> Stats:
    """Return the statistics of a delta's series as arrays, sorted by series; raise WireError if one is impossible.

    `name` names the delta in the error message.
    """
    columns = StatsColumns.of(stats)
    try:
        table = np.array(columns.columns, dtype=np.int64)
    except OverflowError:
        return _long_stats(name, stats)
    series, n, sum_ns, min_ns, max_ns = table
    if len(series) and int(n.max()) > _MANY:
        return _long_stats(name, stats)
    is_possible = (min_ns >= 0) & (min_ns <= max_ns) & (max_ns <= MAX_NS) & (n >= 0)
    if not (is_possible & (n * min_ns <= sum_ns) & (sum_ns <= n * max_ns)).all():
        raise WireError(
            f"{name} has impossible sums: {next(one for one in stats if not _is_possible(one))}", hint=SAME_VERSION
        )
    if (series[1:] <= series[:-1]).any():
        series, n, sum_ns, min_ns, max_ns = table[:, np.argsort(series, kind="stable")]
    sum_us, rest_ns = np.divmod(sum_ns, 1_000)
    return Stats(series, n, sum_us, rest_ns, min_ns, max_ns)


def _long_stats(name: str, stats: Sequence[SeriesStats]) -> Stats:
    """Return the same as `_stats`, with Python integers, for sums or products that may not fit into 64 bits."""
    for one in stats:
        if not _is_possible(one):
            raise WireError(f"{name} has impossible sums: {one}", hint=SAME_VERSION)
    rows = sorted((s.series, s.n, *divmod(s.sum_ns, 1_000), s.min_ns, s.max_ns) for s in stats)
    try:
        columns = np.array(rows, dtype=np.int64).reshape(-1, 6).T
    except OverflowError:
        raise WireError(f"{name} has sums that do not fit into 64 bits", hint=SAME_VERSION) from None
    return Stats(*columns)


def _is_possible(s: SeriesStats) -> bool:
    """Return whether `n` values between the least and the greatest value of `s` can have the sum of `s`."""
    return 0 <= s.min_ns <= s.max_ns <= MAX_NS and 0 <= s.n * s.min_ns <= s.sum_ns <= s.n * s.max_ns

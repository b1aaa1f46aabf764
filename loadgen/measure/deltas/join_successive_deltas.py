"""Joins two successive deltas of one agent into one delta of a longer interval.

Only resolution in time is lost. Counts, sums, due counts, failures and losses are those of both
deltas, and the number of intervals and of unfit ones is kept. If both together have more exemplars
than a delta may carry, the slowest of each series are kept before others. Kept streams beyond their
limit are counted.

Pure. Joining two deltas of 40 series with 1,000 pairs costs 0.4 ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from heapq import nlargest
from itertools import chain, islice, zip_longest
from random import Random
from typing import Final

import msgspec
import numpy as np

from loadgen.measure.deltas.custom import CustomStats, sum_custom
from loadgen.measure.deltas.delta import Delta, Health, SeriesStats, WorkerHealth
from loadgen.measure.deltas.exemplar import MAX_EXEMPLARS, MAX_FAILURES, Exemplar, ExemplarTable
from loadgen.measure.deltas.kept_stream import fits_in_delta
from loadgen.measure.deltas.limits import FIRST_ARRIVALS_IN_DELTA
from loadgen.measure.deltas.load_counts import joined_loads
from loadgen.measure.deltas.outcomes_by_due_interval import MAX_DUE_ROWS, DueCounts
from loadgen.measure.deltas.read_health import reads_in_time
from loadgen.measure.deltas.run_fitness import cause_of
from loadgen.measure.deltas.sampled_sums import add_sampled
from loadgen.measure.deltas.sampling_counts import added_up
from loadgen.measure.deltas.series_key import OK
from loadgen.measure.deltas.stream_health import in_time
from loadgen.measure.deltas.worker_loss import MAX_LOSSES, Loss

__all__ = ["MAX_INTERVALS", "fitting_exemplars", "join"]

MAX_INTERVALS: Final = 100_000
"""Most intervals that one delta may be joined from: more than a day at one a second."""
_MAX_NOTES: Final = 100
_MAX_REASONS: Final = 20
"""Both limits are those of `run_fitness.Fitness`."""
_MAX_COUNT: Final = (1 << 32) - 1


def join(first: Delta, second: Delta) -> Delta | None:
    """Return one delta that covers the intervals of both, with the seq of `first`; None if they must stay separate.

    They must stay separate if there is a gap in time between them, because the joined delta would claim that the gap
    was measured. They also stay separate if the result would exceed a limit of deltas: a bucket beyond 32 bits, or too
    many failures, losses or rows of due counts.
    """
    if not first.start_ns <= second.start_ns <= first.end_ns:
        return None
    failures = first.failures + second.failures
    due, losses = _due(first, second), _losses(first, second)
    if len(first.first_arrivals) + len(second.first_arrivals) > FIRST_ARRIVALS_IN_DELTA:
        return None
    streams = (*first.streams, *second.streams)
    taken = fits_in_delta(streams)  # the others are left out: they must not keep a full backlog from being joined
    counted = _intervals(first)[0] + _intervals(second)[0]
    if len(failures) > MAX_FAILURES or len(due) > MAX_DUE_ROWS or len(losses) > MAX_LOSSES or counted > MAX_INTERVALS:
        return None
    index, count = _buckets(first, second)
    if len(count) and int(count.max()) > _MAX_COUNT:
        return None
    return replace(
        first,
        end_ns=max(first.end_ns, second.end_ns),
        new_series=first.new_series + second.new_series,
        index=index.astype("<u4").tobytes(),
        count=count.astype("<u4").tobytes(),
        stats=_stats(first, second),
        counters=first.counters + second.counters,
        health=_health(first, second),
        due=due,
        custom=_customs(first, second),
        exemplars=fitting_exemplars((*first.exemplars, *second.exemplars)),
        failures=failures,
        workers=_workers(first, second),
        losses=losses,
        sampling=added_up((*first.sampling, *second.sampling)),
        loads=joined_loads(first.loads, second.loads) if _has_time(second) else first.loads,
        first_arrivals=first.first_arrivals + second.first_arrivals,
        streams=streams[:taken],
        streams_left_out=first.streams_left_out + second.streams_left_out + len(streams) - taken,
        sampled=add_sampled((*first.sampled, *second.sampled)),
    )


# -- sums ----------------------------------------------------------------------------------------


def _buckets(first: Delta, second: Delta) -> tuple[np.ndarray, np.ndarray]:
    """Return the summed histogram counts of both deltas as two int64 arrays: (sorted index, count for each index).

    Series ids belong to the agent, so the same id means the same series in both deltas.
    """
    indices = [np.frombuffer(delta.index, dtype="<u4").astype(np.int64) for delta in (first, second)]
    counts = [np.frombuffer(delta.count, dtype="<u4").astype(np.int64) for delta in (first, second)]
    index, place = np.unique(np.concatenate(indices), return_inverse=True)
    count = np.zeros(len(index), dtype=np.int64)
    np.add.at(count, place, np.concatenate(counts))
    return index, count


def _stats(first: Delta, second: Delta) -> tuple[SeriesStats, ...]:
    found = {stats.series: stats for stats in first.stats}
    for s in second.stats:
        had = found.get(s.series)
        if had is not None:
            least, most = min(had.min_ns, s.min_ns), max(had.max_ns, s.max_ns)
            s = SeriesStats(s.series, had.n + s.n, had.sum_ns + s.sum_ns, least, most)
        found[s.series] = s
    return tuple(found[series] for series in sorted(found))


def _due(first: Delta, second: Delta) -> tuple[DueCounts, ...]:
    """Return the joined due counts: good and bad counts of both added up, overdue and undecided ones only of `second`.

    Overdue and undecided counts are a snapshot of running iterations, so the later delta replaces the earlier one.
    """
    ended: dict[tuple[int, str, int], DueCounts] = {
        (one.objective, one.journey, one.k): replace(one, overdue=0, undecided=0)
        for one in first.due
        if one.good or one.bad
    }
    for one in second.due:
        key = (one.objective, one.journey, one.k)
        had = ended.get(key)
        ended[key] = (
            one
            if had is None
            else replace(
                one,
                good=had.good + one.good,
                bad=had.bad + one.bad,
                total=had.total + one.total,
                bounds=had.bounds + one.bounds,
            )
        )
    return tuple(ended.values())


def _customs(first: Delta, second: Delta) -> tuple[CustomStats, ...]:
    found = {(one.name, one.warmup, one.tags): one for one in first.custom}
    for one in second.custom:
        row = one.name, one.warmup, one.tags
        had = found.get(row)
        found[row] = one if had is None else sum_custom(had, one)
    return tuple(found.values())


def _losses(first: Delta, second: Delta) -> tuple[Loss, ...]:
    """Return the lost workers of both deltas. If both contain the same loss, the version of `second` is returned."""
    return tuple({loss.place: loss for loss in (*first.losses, *second.losses)}.values())


# -- exemplars ------------------------------------------------------------------------------------


def fitting_exemplars(both: Sequence[Exemplar], *, by_series: bool = True) -> tuple[Exemplar, ...]:
    """Return all exemplars if there are at most MAX_EXEMPLARS, and otherwise a selection of that many.

    The selection takes exemplars from all series in turn, from each series at most as many as a run stores; without
    `by_series` it takes the first ones. Those with a weight (`stands_for`) are thinned by chance instead, and their
    weights grow by as much as their number shrinks.
    """
    if len(both) <= MAX_EXEMPLARS:
        return tuple(both)
    weighted = [one for one in both if one.stands_for]
    plain: Sequence[Exemplar] = [one for one in both if not one.stands_for]
    if by_series:
        plain = _by_turns(plain)
    room = max(MAX_EXEMPLARS - len(plain), MAX_EXEMPLARS // 2)
    if len(weighted) > room:
        # Seeded by the exemplars, so that joining the same deltas again gives the same delta.
        seed = sum(one.at_ns ^ one.response_ns for one in weighted)
        kept = Random(seed).sample(weighted, room)  # noqa: S311  # no secret depends on it
        scale = len(weighted) / room
        weighted = [msgspec.structs.replace(one, stands_for=one.stands_for * scale) for one in kept]
    return (*plain[: MAX_EXEMPLARS - len(weighted)], *weighted)


def _by_turns(both: Sequence[Exemplar]) -> tuple[Exemplar, ...]:
    """Return at most MAX_EXEMPLARS: of each series at most as many as a run stores, and one of each in turn."""
    by_series: dict[tuple[str, str, str], list[Exemplar]] = {}
    for one in both:
        by_series.setdefault((one.journey, one.step, one.request), []).append(one)
    kept = [_of_series(some) for some in by_series.values()]
    by_turns = (one for one in chain.from_iterable(zip_longest(*kept)) if one is not None)
    return tuple(islice(by_turns, MAX_EXEMPLARS))


def _of_series(some: Sequence[Exemplar]) -> list[Exemplar]:
    """Return those exemplars of one series that are kept if a joined delta has too many, most important first.

    First come the slowest, then failed and random ones. The number of each kind is that of a run's ExemplarTable.
    Exemplars of the warm-up are left out.
    """
    measured = [one for one in some if not one.warmup]
    slowest = nlargest(
        ExemplarTable.SLOWEST, (one for one in measured if one.outcome == OK), key=lambda one: one.response_ns
    )
    failed = _spread([one for one in measured if one.outcome != OK], ExemplarTable.FAILED)
    random = _spread([one for one in measured if one.outcome == OK and one.why == "random"], ExemplarTable.RANDOM)
    return list(dict.fromkeys((*slowest, *failed, *random)))


def _spread(some: Sequence[Exemplar], most: int) -> list[Exemplar]:
    """Return at most `most` elements of a sequence, at equal distances from each other; all if there are no more."""
    if len(some) <= most:
        return list(some)
    return [some[k * len(some) // most] for k in range(most)]


# -- health --------------------------------------------------------------------------------------


def _intervals(delta: Delta) -> tuple[int, int]:
    """Return (number of intervals that the delta covers, number of them in which the generator was unfit).

    The result is (0, 0) for a delta that only reports a lost worker.
    """
    return delta.health.counted if _has_time(delta) else (0, 0)


def _has_time(delta: Delta) -> bool:
    """Return whether the delta measured an interval; False if it only reports a lost worker."""
    return delta.end_ns > delta.start_ns or bool(delta.index)


def _health(first: Delta, second: Delta) -> Health:
    if not _has_time(second):
        return first.health
    if not _has_time(first):
        return second.health
    return _in_time(first.health, second.health)


def _in_time(first: Health, second: Health) -> Health:
    """Return the joined health of two successive intervals.

    The result has the state of `second` (such as users), the worst measurements of both, and the numbers of intervals
    added up.
    """

    def worst(name: str) -> int:
        return int(max(getattr(first, name), getattr(second, name)))

    # descriptors and their limit must come from the same interval
    fullest = max(first, second, key=lambda one: one.fds / max(1, one.fd_limit))
    (intervals, unfit), (more, more_unfit) = first.counted, second.counted
    return msgspec.structs.replace(
        second,
        loop_lag_p50_us=worst("loop_lag_p50_us"),
        loop_lag_p99_us=worst("loop_lag_p99_us"),
        loop_lag_max_us=worst("loop_lag_max_us"),
        generator_lag_p99_us=worst("generator_lag_p99_us"),
        response_p99_us=worst("response_p99_us"),
        cpu_share=max(first.cpu_share, second.cpu_share),
        rss_bytes=worst("rss_bytes"),
        steal_share=max(first.steal_share, second.steal_share),
        gc_max_us=worst("gc_max_us"),
        fds=fullest.fds,
        fd_limit=fullest.fd_limit,
        ports=worst("ports"),
        port_limit=worst("port_limit"),
        memory_free_bytes=min((one.memory_free_bytes for one in (first, second) if one.memory_free_bytes), default=0),
        unacked=worst("unacked"),
        oldest_ms=worst("oldest_ms"),
        unfit=_reasons((*first.unfit, *second.unfit)),
        notes=tuple(islice(dict.fromkeys((*first.notes, *second.notes)), _MAX_NOTES)),
        intervals=intervals + more,
        unfit_intervals=unfit + more_unfit,
        streams=in_time(first.streams, second.streams),
        reads=reads_in_time(first.reads, second.reads),
    )


def _reasons(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the reasons for unfit intervals without repeats, at most 20.

    If there are more, the first reason of each kind of cause is kept before others.
    """
    once = list(dict.fromkeys(texts))
    if len(once) <= _MAX_REASONS:
        return tuple(once)
    firsts: dict[str, str] = {}
    for text in once:
        firsts.setdefault(cause_of(text), text)
    return tuple(islice(dict.fromkeys((*firsts.values(), *once)), _MAX_REASONS))


def _workers(first: Delta, second: Delta) -> tuple[WorkerHealth, ...]:
    found = {one.worker: one for one in first.workers}
    for one in second.workers:
        had = found.get(one.worker)
        found[one.worker] = (
            one
            if had is None
            else WorkerHealth(
                one.worker, had.iterations_started + one.iterations_started, _in_time(had.health, one.health)
            )
        )
    return tuple(found[worker] for worker in sorted(found))

"""Adds the deltas of all agents up, each exactly once.

Only counts are merged, never percentiles, so a percentile asked of the merge is
the one of all values of the fleet. A delta is (agent, epoch, seq): it is merged
only when `seq` is the next of the agent's newest epoch. A malformed delta
changes nothing.

Nothing here does I/O or reads a clock; times are on the run's clock, 0 = T0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import Enum
from itertools import islice
from typing import Final

import msgspec
import numpy as np

from loadgen.errors import WireError
from loadgen.measure.deltas.custom import CustomTable
from loadgen.measure.deltas.delta import COUNTER_NAMES, Counters, Delta, Health
from loadgen.measure.deltas.due_counts import DueCounts, DueTable
from loadgen.measure.deltas.exemplar import ExemplarTable
from loadgen.measure.deltas.generator_health import Fitness
from loadgen.measure.deltas.numbering import is_merged
from loadgen.measure.deltas.series import Kind, SeriesKey
from loadgen.measure.deltas.validate import Wellformed, check_all, check_delta, check_said, counter_values
from loadgen.measure.deltas.worker_loss import Loss
from loadgen.measure.histograms.histogram import Counts
from loadgen.measure.histograms.series_counts import Stats, Store
from loadgen.measure.merging.epochs import Epoch, Next
from loadgen.measure.merging.interval_sum import Sum, add_up
from loadgen.measure.merging.queries import ALL, Catalogue, Measured, Window, add_all
from loadgen.units import NS_PER_S

__all__ = ["Accepted", "Epoch", "Merge", "check_invariant"]

KEPT_WINDOWS: Final = 30
_LEAST_WINDOWS: Final = 3
_WINDOW_BYTES: Final = 96 << 20
"""With very many series fewer windows are kept, so that the controller stays within its memory."""
_AT_ONCE: Final = 20
_MOST_OPEN: Final = 8
"""Intervals of which sums are open: of a fleet that is in time it is two."""
_MOST_SPARE: Final = 2
_PATIENCE_NS: Final = NS_PER_S * 3 // 2
"""An interval that ended longer ago is shown although not every agent has reported it."""


class Accepted(Enum):
    """What became of a delta. Only MERGED changed anything; GAP asks the agent to go back to `next_seq`."""

    MERGED = "merged"
    DUPLICATE = "duplicate"
    GAP = "gap"
    OLD_EPOCH = "old epoch"


class Merge(Measured):
    """All of a run. Not thread-safe: one loop accepts and asks."""

    __slots__ = (
        "_epochs",
        "_latest",
        "_losses",
        "_oldest",
        "_open",
        "_pages",
        "_spare",
        "_windows",
        "custom",
        "due",
        "exemplars",
        "fitness",
        "interval_ns",
        "kept",
        "worker_fitness",
    )

    def __init__(self, interval_ns: int = NS_PER_S) -> None:
        super().__init__(Catalogue(), [Store()])
        self.interval_ns = interval_ns
        self.fitness: dict[str, Fitness] = {}
        """By agent, over its epochs."""
        self.worker_fitness: dict[str, dict[int, Fitness]] = {}
        """By agent and worker, of agents of several workers."""
        self.kept: list[Sum] | None = None
        """The closed sums of what was merged since somebody last took them away; None: nobody does."""
        self._losses: dict[str, dict[tuple[int, int, int], Loss]] = {}
        self.due = DueTable()
        self.custom = CustomTable()
        self.exemplars = ExemplarTable()
        self._epochs: dict[str, dict[int, Epoch]] = {}
        self._windows: dict[int, Window] = {}
        self._open: dict[tuple[int, int], Sum] = {}
        """By [start, end). The first of `_stores` has all that is in no open sum, the others are theirs."""
        self._pages = 0
        """That the sum closed last had."""
        self._spare: list[Store] = []
        """Empty ones, to be used again."""
        self._latest: int = -1
        self._oldest = 0
        """No window before it can be whole: what was merged before it is known in sums only."""

    def __repr__(self) -> str:
        finished = self.counters().requests_finished
        return f"<Merge of {len(self._epochs)} agents, {finished:,} requests, interval {self._latest}>"

    # -- taking in --------------------------------------------------------------------------

    def next_seq(self, agent: str, epoch: int) -> int:
        """The seq that would be merged next: 0 for an epoch that is new."""
        found = self._epochs.get(agent, {}).get(epoch)
        return found.next_seq if found is not None else 0

    def accept(self, region: str, delta: Delta) -> Accepted:
        """Merge the delta if it is the next one. Who has several gives them to `accept_all`.

        Raises:
            WireError: it is malformed; nothing has changed.
        """
        (found,) = self.accept_all(((region, delta),))
        if isinstance(found, WireError):
            raise found
        return found

    def accept_all(self, deltas: Sequence[tuple[str, Delta]]) -> list[Accepted | WireError]:
        """HOT on the controller: of (region, delta) each as `accept`, in turn; an error stands where it would raise.

        A dozen of one interval together cost half of what they cost one by one (bench/merge.py).
        """
        found: list[Accepted | WireError] = [Accepted.MERGED] * len(deltas)
        batch: dict[str, Next] = {}
        for place, (region, delta) in enumerate(deltas):
            if delta.agent in batch:  # the one before it decides whether it is the next
                self._accept_batch(batch.values(), found)
                batch.clear()
            one = self._is_next(place, region, delta)
            if isinstance(one, Next):
                batch[delta.agent] = one
            else:
                found[place] = one
        self._accept_batch(batch.values(), found)
        return found

    def read(self, deltas: Iterable[tuple[str, Delta]]) -> None:
        """Accept all of (region, delta). Raises what `accept` raises."""
        for _ in self.accept_each(deltas):
            pass

    def accept_each(self, deltas: Iterable[tuple[str, Delta]]) -> Iterator[tuple[str, Delta, Accepted]]:
        """Accept all of (region, delta), some at a time, and say of each what became of it.

        Raises:
            WireError: one is malformed; those before it are merged.
        """
        coming = iter(deltas)
        while some := tuple(islice(coming, _AT_ONCE)):
            for (region, delta), accepted in zip(some, self.accept_all(some), strict=True):
                if isinstance(accepted, WireError):
                    raise accepted
                yield region, delta, accepted

    def _is_next(self, place: int, region: str, delta: Delta) -> Next | Accepted | WireError:
        epochs = self._epochs.get(delta.agent, {})
        newest = max(epochs, default=-1)
        if delta.epoch < newest:
            return Accepted.OLD_EPOCH
        epoch = epochs.get(delta.epoch) or Epoch(delta.agent, delta.epoch, region)
        if delta.seq != epoch.next_seq:
            return Accepted.DUPLICATE if delta.seq < epoch.next_seq else Accepted.GAP
        try:
            check_said(delta, len(epoch._numbers))
            self._check_new(region, delta, epoch)
        except WireError as error:
            return error
        return Next(place, region, delta, epoch, counter_values(delta.counters))

    def _check_new(self, region: str, delta: Delta, epoch: Epoch) -> None:
        if not delta.new_series:
            return
        single = [key for key in delta.new_series if not is_merged(key)]  # the others may come any number of times
        known = {self._catalogue.numbers.get((region, key), key) for key in single}
        if len(known) != len(single) or not known.isdisjoint(epoch._numbers.tolist()):
            raise WireError(f"delta {delta.seq} of {delta.agent} brings a series that it brought before")

    def _accept_batch(self, batch: Iterable[Next], found: list[Accepted | WireError]) -> None:
        """Of as many agents."""
        by_interval: dict[tuple[int, int], list[Next]] = {}
        for one in batch:
            by_interval.setdefault(one.interval, []).append(one)
        for some in by_interval.values():
            checked = check_all([one.delta for one in some], [one.known for one in some])
            if checked is not None:
                self._merge(some, checked)
                continue
            for one in some:
                try:
                    checked = check_delta(one.delta, len(one.epoch._numbers))
                except WireError as error:
                    found[one.place] = error
                else:
                    self._merge((one,), checked)

    def _merge(self, batch: Sequence[Next], checked: Wellformed) -> None:
        """All are of one interval. Nothing in here can fail."""
        for one in batch:
            self._know(one)
        index, stats = checked.by_numbers([one.epoch._numbers for one in batch])
        ends = np.cumsum(checked.rows)
        recorded = _parts(stats.n, ends)
        request_values = _parts(np.where(self._catalogue.requests[stats.series], stats.n, 0), ends)
        for one, values, requests in zip(batch, recorded, request_values, strict=True):
            one.epoch.recorded += values
            one.epoch.request_values += requests
            self._merge_own(one)
        self._merge_interval(batch, index, checked.counts, stats, sum(recorded))

    def _know(self, one: Next) -> None:
        epoch, delta = one.epoch, one.delta
        self._epochs.setdefault(delta.agent, {})[delta.epoch] = epoch
        if delta.new_series:
            new = [self._catalogue.number(one.region, key) for key in delta.new_series]
            epoch._numbers = np.concatenate((epoch._numbers, np.array(new, dtype=np.int64)))

    def _merge_own(self, one: Next) -> None:
        """What does not depend on other agents."""
        epoch, delta = one.epoch, one.delta
        epoch.next_seq += 1
        epoch._counters = add_up(epoch._counters, one.counters)
        epoch.cover(delta.start_ns, delta.end_ns)
        if one.has_time:
            epoch.count_loads(delta)
        self.due.add(delta.agent, self._due_of(delta))
        if delta.custom:
            self.custom.add(one.region, delta.agent, delta.custom)
        self.exemplars.add(one.region, delta.agent, delta.exemplars)
        for loss in delta.losses:
            self._losses.setdefault(delta.agent, {})[delta.epoch, *loss.place] = loss
        if one.has_time:
            self._add_fitness(delta)

    def _due_of(self, delta: Delta) -> tuple[DueCounts, ...]:
        return delta.due

    def _add_fitness(self, delta: Delta) -> None:
        fitness = self.fitness.get(delta.agent)
        if fitness is None:
            fitness = self.fitness[delta.agent] = Fitness()
        fitness.add(delta.health, delta.counters, delta.start_ns, delta.end_ns)
        by_worker = self.worker_fitness.setdefault(delta.agent, {}) if delta.workers else {}
        for one in delta.workers:
            started = Counters(iterations_started=one.iterations_started)
            by_worker.setdefault(one.worker, Fitness()).add(one.health, started, delta.start_ns, delta.end_ns)

    # -- intervals --------------------------------------------------------------------------

    def _merge_interval(self, batch: Sequence[Next], index: Counts, counts: Counts, stats: Stats, values: int) -> None:
        """All of the batch, which is of one interval."""
        start_ns, end_ns = batch[0].interval
        counters: dict[str, list[int]] = {}
        for one in batch:
            before = counters.get(one.region)
            counters[one.region] = list(one.counters) if before is None else add_up(before, one.counters)
        for region, some in counters.items():
            self._count(region, some)
        timed = [one for one in batch if one.has_time]
        window = self._show(timed, counters if len(timed) == len(batch) else None) if timed else None
        added = self._add_interval(start_ns, end_ns, len(batch), index, counts, stats, values)
        if added is None:
            return
        for region, some in counters.items():
            added.count(region, some)
        if window is not None and not any(one is added for one in window.sums):
            window.sums.append(added)
            window._stores.append(added.store)

    def _add_interval(
        self, start_ns: int, end_ns: int, deltas: int, index: Counts, counts: Counts, stats: Stats, values: int
    ) -> Sum | None:
        """To the sum of the interval, which is returned."""
        added = self._open.get((start_ns, end_ns))
        if added is not None and not added.has_room(values):
            self._close(added)
            added = None
        if added is None:
            if len(self._open) >= _MOST_OPEN:
                self.close()
            store = self._spare.pop() if self._spare else Store(np.uint32, self._pages)
            added = self._open[start_ns, end_ns] = Sum(start_ns, end_ns, store)
            self._stores.append(added.store)
        added.add(index, counts, stats, values, deltas)
        return added

    def close(self, before_ns: int | None = None) -> None:
        """Sums of intervals that ended by `before_ns`, or all, go into those of the run. 4 ms for 1,000 agents.

        What comes for such an interval afterwards begins a new sum.
        """
        for one in tuple(self._open.values()):
            if before_ns is None or one.end_ns <= before_ns:
                self._close(one)

    def _close(self, one: Sum) -> None:
        del self._open[one.start_ns, one.end_ns]
        self._stores[:] = [store for store in self._stores if store is not one.store]
        self._stores[0].add_store(one.store)
        self._pages = one.store.pages
        one.is_free = self.kept is None
        if self.kept is not None:
            self.kept.append(one)
        window = self._windows.get(self._intervals(*one.interval)[1])
        if window is None:
            return
        # A window of one store is asked in a fraction of the time of one of several.
        base = next((s for s in window.sums if s.is_free and s is not one and s.has_room(one.values)), None)
        if base is not None and one in window.sums:
            base.join(one)
            window.sums.remove(one)
            window._stores.remove(one.store)

    @property
    def waiting(self) -> int:
        """How many deltas were merged since the sums were last taken away."""
        return sum(one.deltas for some in (self.kept or (), self._open.values()) for one in some)

    def _show(self, batch: Sequence[Next], counters: dict[str, list[int]] | None) -> Window | None:
        """The windows that a batch of one interval speaks of tell of it; the last, which has the values, is returned.

        counters: by region, of all of the batch, where they are known.
        """
        first, last = self._intervals(*batch[0].interval)
        shared = [one for one in batch if one.delta.health.intervals > 1] if last > first else []
        rest = {}
        for one in shared:
            # How much was done is told of each interval alike, how long it took of the last.
            rest[one.place] = tuple(count // (last - first + 1) for count in one.counters)
        window = None
        for k in range(max(first, last - KEPT_WINDOWS), last + 1):
            window = self._window(k)
            if window is None:
                continue
            window.revision += len(batch)
            health, workers = window.health, window.workers
            for one in batch:
                delta = one.delta
                before = health.get(delta.agent)
                health[delta.agent] = delta.health if before is None else _together(before, delta.health)
                if delta.workers:
                    workers[delta.agent] = delta.workers
            if k < last:
                for one in shared:
                    window._count(one.region, rest[one.place])
            elif not shared and counters is not None:
                for region, some in counters.items():
                    window._count(region, some)
            else:
                for one in batch:
                    told = rest.get(one.place)
                    left = (
                        one.counters
                        if told is None
                        else tuple(
                            count - part * (last - first) for count, part in zip(one.counters, told, strict=True)
                        )
                    )
                    window._count(one.region, left)
        return window

    def _intervals(self, start_ns: int, end_ns: int) -> tuple[int, int]:
        """First and last that deltas of [start, end) speak of; a quarter of slack for edges that are not exact."""
        length, slack = self.interval_ns, self.interval_ns // 4
        first = max(0, (start_ns + slack) // length)
        return first, max(first, (end_ns + slack) // length - 1)

    def _window(self, k: int) -> Window | None:
        """The window of interval `k`, made if need be; None when it is older than what is kept."""
        window = self._windows.get(k)
        if window is None and k > self._latest - KEPT_WINDOWS and k >= self._oldest:
            self._latest = max(self._latest, k)
            self.close((self._latest - 1) * self.interval_ns)
            self._forget()
            window = self._windows[k] = Window(self._catalogue, k, self.interval_ns)
        return window

    def _forget(self) -> None:
        """Drop the windows that are too old or too many; stores of theirs are used again."""
        kept = sorted(self._windows)
        size_bytes = sum(store.size_bytes for window in self._windows.values() for store in window._stores)
        while kept and (
            kept[0] <= self._latest - KEPT_WINDOWS or (size_bytes > _WINDOW_BYTES and len(kept) >= _LEAST_WINDOWS)
        ):
            dropped = self._windows.pop(kept.pop(0))
            size_bytes -= sum(store.size_bytes for store in dropped._stores)
            sums, dropped.sums, dropped._stores = dropped.sums, [], []  # who still holds the window sees it empty
            for one in sums:
                if one.is_free and len(self._spare) < _MOST_SPARE:
                    one.store.clear()
                    self._spare.append(one.store)

    # -- asking -----------------------------------------------------------------------------

    def agents(self) -> tuple[str, ...]:
        """Agents of which anything was merged, sorted."""
        return tuple(sorted(self._epochs))

    def epochs(self, agent: str) -> tuple[Epoch, ...]:
        """The agent's registrations of which anything was merged, oldest first."""
        return tuple(epoch for _, epoch in sorted(self._epochs.get(agent, {}).items()))

    def counters(self, region: str = ALL, agent: str | None = None) -> Counters:
        """Exact counts: of all, of a region, of an agent over its epochs, or of what an agent did in a region."""
        if agent is None:
            return super().counters(region)
        return Counters(*add_all(e._counters for e in self.epochs(agent) if region in (ALL, e.region)))

    def has_series(self, region: str, key: SeriesKey) -> bool:
        """Whether anybody has brought the series there."""
        return (region, key) in self._catalogue.numbers

    def losses(self, agent: str) -> tuple[Loss, ...]:
        """Workers of the agent that died, in the order in which it told of them."""
        return tuple(self._losses.get(agent, {}).values())

    def window(self, k: int) -> Window | None:
        """The interval [k L, (k + 1) L), while it is kept."""
        return self._windows.get(k)

    def windows(self) -> list[Window]:
        """Those that are kept, oldest first: up to 30."""
        return [self._windows[k] for k in sorted(self._windows)]

    def latest_window(self, live: Collection[str] | None = None, clock_ns: int | None = None) -> Window | None:
        """The newest interval that all of `live` reported, or that ended more than 1.5 s before `clock_ns`.

        Args:
            live: agents that still report; without it all that ever did.
            clock_ns: now, on the run's clock; without it only what all reported counts.
        """
        wanted = set(self._epochs if live is None else live)
        for k in sorted(self._windows, reverse=True):
            window = self._windows[k]
            is_late = clock_ns is not None and clock_ns - window.end_ns > _PATIENCE_NS
            if is_late or wanted <= window.health.keys():
                return window
        return None


def _parts(values: Counts, ends: Counts) -> list[int]:
    """The sums of the parts of `values` that end before each of `ends`."""
    upto = np.concatenate(([0], np.cumsum(values)))[np.concatenate(([0], ends))]
    found: list[int] = np.diff(upto).tolist()
    return found


def _together(before: Health, health: Health) -> Health:
    """Two parts of one interval: the later state, and what was wrong in either."""
    unfit, notes = dict.fromkeys((*before.unfit, *health.unfit)), dict.fromkeys((*before.notes, *health.notes))
    return msgspec.structs.replace(health, unfit=tuple(unfit), notes=tuple(notes))


def check_invariant(merge: Merge) -> list[str]:
    """What does not add up, in words; empty when all does (DESIGN 6.10, guarantee G5).

    Sum of the histograms' counts == request counter == sum over regions == sum
    over agents, and likewise for iterations. Counted anew from the buckets, not from kept totals.
    """
    wrong: list[str] = []

    def same(what: str, *found: tuple[str, int]) -> None:
        if len({count for _, count in found}) > 1:
            wrong.append(f"{what}: " + ", ".join(f"{count:,} {where}" for where, count in found))

    def in_buckets(kind: Kind, region: str) -> int:
        return sum(h.total for warm in (False, True) for h in merge.select(kind, region=region, warmup=warm))

    for region in (ALL, *merge.regions()):
        counters, where = merge.counters(region), "" if region == ALL else f" in {region}"
        same(
            f"finished requests{where}",
            ("in histograms", in_buckets("request", region)),
            ("counted", counters.requests_finished),
        )
        ended = counters.iterations_finished + counters.iterations_missed + counters.iterations_cut_off
        same(f"iterations{where}", ("in histograms", in_buckets("journey", region)), ("counted", ended))
    total = merge.counters()
    by_agent = [merge.counters(agent=agent) for agent in merge.agents()]
    for name in COUNTER_NAMES:
        same(name, ("over regions", getattr(total, name)), ("over agents", sum(getattr(c, name) for c in by_agent)))
    for agent in merge.agents():
        values = sum(epoch.request_values for epoch in merge.epochs(agent))
        counted = merge.counters(agent=agent).requests_finished
        same(f"finished requests of {agent}", ("in histograms", values), ("counted", counted))
    return wrong

"""Adds up the deltas of all agents, each exactly once.

Only counts are merged, never percentiles, so a percentile of the merge is the percentile of all
values of the fleet. A delta is identified by (agent, epoch, seq). It is merged only if `seq` is the
next of the agent's newest epoch. A malformed delta changes nothing.

This module does no I/O and reads no clock; times are on the run's clock, 0 = T0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from enum import Enum
from itertools import islice
from operator import attrgetter
from typing import Final

import msgspec
import numpy as np

from loadgen.errors import WireError
from loadgen.measure.deltas.custom import CustomStats, CustomTable
from loadgen.measure.deltas.delta import COUNTER_NAMES, Counters, Delta, Health
from loadgen.measure.deltas.exemplar import ExemplarRow, ExemplarState, ExemplarTable
from loadgen.measure.deltas.exemplar_rows import checked_rows
from loadgen.measure.deltas.limits import SAME_VERSION
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts, DueState, DueTable
from loadgen.measure.deltas.run_fitness import Fitness
from loadgen.measure.deltas.series_key import Kind, SeriesKey
from loadgen.measure.deltas.series_numbering import is_merged
from loadgen.measure.deltas.validate import Wellformed, check_all, check_delta, check_fields
from loadgen.measure.deltas.worker_loss import Loss
from loadgen.measure.histograms.counts_of_all_series import DENSE_SERIES, Stats, Store, StoreState
from loadgen.measure.histograms.histogram import Counts
from loadgen.measure.histograms.sparse_rows import SparseRows
from loadgen.measure.merging.epochs import Epoch, EpochState, Next
from loadgen.measure.merging.interval_sum import Sum, add_up
from loadgen.measure.merging.queries import ALL, Catalogue, Measured, Window, WindowState, add_all
from loadgen.units import NS_PER_S

__all__ = ["Accepted", "Epoch", "Merge", "MergeState", "check_invariant"]

KEPT_WINDOWS: Final = 30
_LEAST_WINDOWS: Final = 3
_FROZEN_WINDOWS: Final = 5
"""Windows in a checkpoint: the newest, of which some deltas may be still to come."""
_WINDOW_BYTES: Final = 96 << 20
"""With very many series fewer windows are kept, so that the controller stays within its memory."""
_AT_ONCE: Final = 60
_MOST_OPEN: Final = 8
"""Intervals whose sums are open at the same time. A fleet that reports in time needs two."""
_MOST_SPARE: Final = 2
_PATIENCE_NS: Final = NS_PER_S * 3 // 2
"""An interval that ended longer ago is shown even if some agents have not reported it."""


class Accepted(Enum):
    """The result of a delta. Only MERGED changed anything; GAP asks the agent to resend from `next_seq`."""

    MERGED = "merged"
    DUPLICATE = "duplicate"
    GAP = "gap"
    OLD_EPOCH = "old epoch"


class MergeState(msgspec.Struct, frozen=True, array_like=True):
    """A Merge as values, for a checkpoint.

    Left out are all windows except the newest, because readers have read the older ones, and each agent's newest
    exemplars, which only live views show.
    """

    interval_ns: int
    names: list[tuple[str, SeriesKey]]
    store: StoreState
    by_region: dict[str, list[int]]
    epochs: list[EpochState]
    fitness: dict[str, Fitness]
    worker_fitness: dict[str, dict[int, Fitness]]
    losses: list[tuple[str, int, Loss]]
    """(agent, epoch, loss) of each."""
    due: DueState
    custom: list[tuple[str, str, CustomStats]]
    exemplars: ExemplarState
    latest: int
    windows: list[WindowState]


class Merge(Measured):
    """The merged measurements of a whole run. Not thread-safe: one event loop adds deltas and queries."""

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
        """By agent, over all its epochs."""
        self.worker_fitness: dict[str, dict[int, Fitness]] = {}
        """By agent and worker; only for agents of several workers."""
        self.kept: list[Sum] | None = None
        """Closed sums that the owner of this merge has not collected yet; None if no owner collects them."""
        self._losses: dict[str, dict[tuple[int, int, int], Loss]] = {}
        self.due = DueTable()
        self.custom = CustomTable()
        self.exemplars = ExemplarTable()
        self._epochs: dict[str, dict[int, Epoch]] = {}
        self._windows: dict[int, Window] = {}
        self._open: dict[tuple[int, int], Sum] = {}
        """Open sums by [start, end). `_stores[0]` holds everything that is in no open sum; the other stores belong to
        open sums.
        """
        self._pages = 0
        """Number of pages of the sum that was closed last: the size of the next one."""
        self._spare: list[Store] = []
        """Empty stores for reuse."""
        self._latest: int = -1
        self._oldest = 0
        """Intervals before this one have no window: after a checkpoint their deltas are known in sums only."""

    def __repr__(self) -> str:
        finished = self.counters().requests_finished
        return f"<Merge of {len(self._epochs)} agents, {finished:,} requests, interval {self._latest}>"

    # -- checkpoints ------------------------------------------------------------------------

    def freeze(self) -> MergeState:
        """Return the contents of this merge as a value for a checkpoint. All sums of single intervals are closed first.

        The value shares lists and dicts with this merge, so encode it before the next delta is merged.
        """
        self.close()
        return MergeState(
            self.interval_ns,
            self._catalogue.names,
            self._stores[0].state(),
            self._by_region,
            [epoch.freeze() for epochs in self._epochs.values() for epoch in epochs.values()],
            self.fitness,
            self.worker_fitness,
            [(agent, epoch, one) for agent, some in self._losses.items() for (epoch, *_), one in some.items()],
            self.due.state(),
            self.custom.state(),
            self.exemplars.state(),
            self._latest,
            [window.freeze() for window in self.windows()[-_FROZEN_WINDOWS:]],
        )

    @staticmethod
    def thaw(state: MergeState) -> Merge:
        """Return a new merge with the contents that `freeze` returned."""
        made = Merge(state.interval_ns)
        for region, key in state.names:
            made._catalogue.number(region, key)
        made._stores[0].take_state(state.store)
        made._by_region = state.by_region
        for epoch in state.epochs:
            made._epochs.setdefault(epoch.agent, {})[epoch.epoch] = Epoch.thaw(epoch)
        made.fitness, made.worker_fitness = state.fitness, state.worker_fitness
        for agent, number, loss in state.losses:
            made._losses.setdefault(agent, {})[number, *loss.place] = loss
        made.due.take_state(state.due)
        made.custom.take_state(state.custom)
        made.exemplars.take_state(state.exemplars)
        made._latest = state.latest
        made._oldest = min((window.k for window in state.windows), default=state.latest + 1)
        for window in state.windows:
            made._windows[window.k] = Window.thaw(made._catalogue, window, made.interval_ns)
        return made

    # -- merging ----------------------------------------------------------------------------

    def next_seq(self, agent: str, epoch: int) -> int:
        """Return the sequence number of the next delta to merge of this agent and epoch: 0 if none was merged yet."""
        found = self._epochs.get(agent, {}).get(epoch)
        return found.next_seq if found is not None else 0

    def accept(self, region: str, delta: Delta) -> Accepted:
        """Merge one delta if it is the next one of its agent, and return what happened to it.

        A delta that is merged already, leaves a gap or has an old epoch is not merged. The result names the case. For
        several deltas `accept_all` is cheaper.

        Raises:
            WireError: the delta is malformed; nothing has changed.
        """
        (found,) = self.accept_all(((region, delta),))
        if isinstance(found, WireError):
            raise found
        return found

    def accept_all(self, deltas: Sequence[tuple[str, Delta]]) -> list[Accepted | WireError]:
        """HOT on the controller: merge several (region, delta) in order, and return each result as in `accept`.

        A malformed delta gives a WireError in the list instead of an exception. 60 deltas of one interval together
        cost less than half of what they cost one by one.
        """
        found: list[Accepted | WireError] = [Accepted.MERGED] * len(deltas)
        batch: dict[str, Next] = {}
        for place, (region, delta) in enumerate(deltas):
            if delta.agent in batch:  # whether this one is the next depends on the result of the one before
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
        """Merge all (region, delta) pairs, in order.

        Raises:
            WireError: a delta is malformed; the deltas before it are merged.
        """
        for _ in self.accept_each(deltas):
            pass

    def accept_each(self, deltas: Iterable[tuple[str, Delta]]) -> Iterator[tuple[str, Delta, Accepted]]:
        """Merge (region, delta) pairs in order, and yield (region, delta, result of `accept`) for each.

        The deltas are merged some at a time, so deltas after the yielded one may be merged already.

        Raises:
            WireError: a delta is malformed; the deltas before it are merged.
        """
        coming = iter(deltas)
        while some := tuple(islice(coming, _AT_ONCE)):
            for (region, delta), accepted in zip(some, self.accept_all(some), strict=True):
                if isinstance(accepted, WireError):
                    raise accepted
                yield region, delta, accepted

    def _is_next(self, place: int, region: str, delta: Delta) -> Next | Accepted | WireError:
        """Check whether a delta can be merged now. Return a `Next` if so.

        Otherwise return why not: an `Accepted` for a repeated, early or outdated delta, a WireError for a malformed
        one.

        place: the delta's position in the list of results.
        """
        agent, number, seq = delta.agent, delta.epoch, delta.seq
        epochs = self._epochs.get(agent)
        # A delta of an older registration is late: the newer registration has closed it.
        if epochs and number < max(epochs):
            return Accepted.OLD_EPOCH
        # A new epoch is stored only by `_register`, once its delta has passed all checks: a rejected delta changes
        # nothing.
        epoch = (epochs and epochs.get(number)) or Epoch(agent, number, region)
        if seq != epoch.next_seq:
            return Accepted.DUPLICATE if seq < epoch.next_seq else Accepted.GAP
        known = len(epoch._numbers)
        try:
            counters = check_fields(delta, known)
            if delta.new_series:
                self._check_new(region, delta, epoch)
                known += len(delta.new_series)
        except WireError as error:
            return error
        interval = start_ns, end_ns = delta.start_ns, delta.end_ns
        return Next(place, region, delta, epoch, counters, interval, known, start_ns != end_ns or delta.has_values)

    def _check_new(self, region: str, delta: Delta, epoch: Epoch) -> None:
        """Raise WireError if the delta announces a series as new that its agent has sent before.

        Series that stand for several, merged into `(other)`, may be announced again.
        """
        # merged series may be sent any number of times
        single = [key for key in delta.new_series if not is_merged(key)]
        known = {self._catalogue.numbers.get((region, key), key) for key in single}
        if len(known) != len(single) or not known.isdisjoint(epoch._numbers.tolist()):
            raise WireError(
                f"delta {delta.seq} of {delta.agent} has a new series that the agent sent before", hint=SAME_VERSION
            )

    def _accept_batch(self, batch: Iterable[Next], found: list[Accepted | WireError]) -> None:
        """Check deltas of different agents, and merge the sound ones.

        For each other delta, write its WireError to its position in `found`.
        """
        by_interval: dict[tuple[int, int], list[Next]] = {}
        for one in batch:
            by_interval.setdefault(one.interval, []).append(one)
        for some in by_interval.values():
            checked = _checked_together(some)
            if checked is not None:
                sound = self._add_exemplars(some, found)
                if 0 < len(sound) < len(some):
                    checked = _checked_together(sound)
                if sound and checked is not None:  # it was not None with the others, so it is not None without them
                    self._merge(sound, checked)
                continue
            for one in some:
                try:
                    checked = check_delta(one.delta, len(one.epoch._numbers))
                except WireError as error:
                    found[one.place] = error
                else:
                    if self._add_exemplars((one,), found):
                        self._merge((one,), checked)

    def _add_exemplars(self, batch: Sequence[Next], found: list[Accepted | WireError]) -> list[Next]:
        """Add the exemplars of deltas whose other fields are sound, and return those with sound exemplars.

        For each other delta, write its WireError to its position in `found`.
        """
        sound = []
        for one in batch:
            delta = one.delta
            rows: Sequence[ExemplarRow] = ()
            if delta.exemplar_rows:
                try:
                    rows = checked_rows(delta.exemplar_rows, f"delta {delta.seq} of {delta.agent}")
                except WireError as error:
                    found[one.place] = error
                    continue
            if delta.exemplars:
                self.exemplars.add(one.region, delta.agent, delta.exemplars)
            self.exemplars.add_rows(one.region, delta.agent, rows)
            sound.append(one)
        return sound

    def _merge(self, batch: Sequence[Next], checked: Wellformed) -> None:
        """Merge several checked deltas of the same interval into the run, all but their exemplars.

        This cannot fail, so a delta is merged as a whole or not at all.
        """
        for one in batch:
            if one.delta.new_series or not one.epoch.next_seq:
                self._register(one)
        near = _by_region(batch)
        stats = checked.by_numbers([one.epoch._numbers for one in near])
        ends = np.cumsum(checked.rows)
        recorded = _parts(stats.n, ends)
        request_values = _parts(np.where(self._catalogue.requests[stats.series], stats.n, 0), ends)
        for one, values, requests in zip(near, recorded, request_values, strict=True):
            one.epoch.recorded += values
            one.epoch.request_values += requests
        for one in batch:
            self._merge_own(one)
        self._merge_interval(batch, checked.pairs, stats, sum(recorded))

    def _register(self, one: Next) -> None:
        """Register the epoch to which a delta belongs, and give its new series numbers in the run's catalogue."""
        epoch, delta = one.epoch, one.delta
        self._epochs.setdefault(delta.agent, {})[delta.epoch] = epoch
        if delta.new_series:
            new = [self._catalogue.number(one.region, key) for key in delta.new_series]
            epoch._numbers = np.concatenate((epoch._numbers, np.array(new, dtype=np.int64)))

    def _merge_own(self, one: Next) -> None:
        """Merge all parts of a delta except its histograms and exemplars: its epoch's counters, due counts, health.

        Custom metrics and lost workers are merged here, too.
        """
        epoch, delta = one.epoch, one.delta
        epoch.next_seq += 1
        epoch._counters = add_up(epoch._counters, one.counters)
        epoch.cover(*one.interval)
        if one.has_time:
            epoch.count_loads(delta)
        # Also without any rows: the agent's last snapshot of running iterations is then over.
        self.due.add(delta.agent, self._due_of(delta))
        if delta.custom:
            self.custom.add(one.region, delta.agent, self._custom_of(delta))
        for loss in delta.losses:
            self._losses.setdefault(delta.agent, {})[delta.epoch, *loss.place] = loss
        if one.has_time:
            self._add_fitness(delta)

    def _due_of(self, delta: Delta) -> tuple[DueCounts, ...]:
        """Return those due counts of a delta that are merged: here all; `Recount` leaves out the warm-up's."""
        return delta.due

    def _custom_of(self, delta: Delta) -> tuple[CustomStats, ...]:
        """Return the custom metrics of a delta as they are merged; `Recount` marks those of the warm-up."""
        return delta.custom

    def _add_fitness(self, delta: Delta) -> None:
        fitness = self.fitness.get(delta.agent)
        if fitness is None:
            fitness = self.fitness[delta.agent] = Fitness()
        fitness.add(delta.health, delta.counters, delta.start_ns, delta.end_ns)
        if not delta.workers:
            return
        by_worker = self.worker_fitness.setdefault(delta.agent, {})
        for one in delta.workers:
            started = Counters(iterations_started=one.iterations_started)
            by_worker.setdefault(one.worker, Fitness()).add(one.health, started, delta.start_ns, delta.end_ns)

    # -- intervals --------------------------------------------------------------------------

    def _merge_interval(self, batch: Sequence[Next], pairs: SparseRows, stats: Stats, values: int) -> None:
        """Add deltas of the same interval to the run's counters, to the window of the interval, and to its sum.

        pairs, stats: the histograms of all these deltas, with series numbers of the catalogue. values: number of values
        in them.
        """
        start_ns, end_ns = batch[0].interval
        by_region: dict[str, list[tuple[int, ...]]] = {}
        for one in batch:
            by_region.setdefault(one.region, []).append(one.counters)
        counters = {region: list(map(sum, zip(*some, strict=True))) for region, some in by_region.items()}
        for region, some in counters.items():
            self._count(region, some)
        timed = [one for one in batch if one.has_time]
        window = self._update_windows(timed, counters if len(timed) == len(batch) else None) if timed else None
        added = self._add_interval(start_ns, end_ns, len(batch), pairs, stats, values)
        if added is None:
            return
        for region, some in counters.items():
            added.count(region, some)
        if window is not None and not any(one is added for one in window.sums):
            window.sums.append(added)
            window._stores.append(added.store)

    def _add_interval(
        self, start_ns: int, end_ns: int, deltas: int, pairs: SparseRows, stats: Stats, values: int
    ) -> Sum | None:
        """Add histogram counts to the open sum of the interval [start_ns, end_ns), and return that sum.

        The sum is created if needed. deltas, values: number of deltas and of values that are added. `Recount` overrides
        this and returns None.
        """
        added = self._open.get((start_ns, end_ns))
        if added is not None and not added.has_room(values):
            self._close(added)
            added = None
        if added is None:
            if len(self._open) >= _MOST_OPEN:
                self.close()
            is_dense = len(self._catalogue.names) <= DENSE_SERIES
            store = self._spare.pop() if self._spare else Store(np.uint32, self._pages, is_dense=is_dense)
            added = self._open[start_ns, end_ns] = Sum(start_ns, end_ns, store)
            self._stores.append(added.store)
        added.add(pairs, stats, values, deltas)
        return added

    def close(self, before_ns: int | None = None) -> None:
        """Close the sums of single intervals that ended by `before_ns` (None: all), and add them to the run's sum.

        A delta that arrives later for such an interval begins a new sum. Cost: 4 ms for 1,000 agents.

        After all are closed, and until the next delta, no counts wait to be added. Then queries change nothing, so
        several threads may query at the same time.
        """
        for one in tuple(self._open.values()):
            if before_ns is None or one.end_ns <= before_ns:
                self._close(one)

    def _close(self, one: Sum) -> None:
        """Close the sum of one interval: add it to the sum of the run, and hand it to the owner if `kept` is a list."""
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
        # A query of a window with one store takes a fraction of the time of one with several.
        base = next((s for s in window.sums if s.is_free and s is not one and s.has_room(one.values)), None)
        if base is not None and one in window.sums:
            base.join(one)
            window.sums.remove(one)
            window._stores.remove(one.store)

    @property
    def waiting(self) -> int:
        """Return the number of merged deltas in sums that the owner of this merge has not collected yet."""
        return sum(one.deltas for some in (self.kept or (), self._open.values()) for one in some)

    def _update_windows(self, batch: Sequence[Next], counters: dict[str, list[int]] | None) -> Window | None:
        """Add health and counters of deltas of one interval to the windows of that time, and return the last window.

        The caller adds the histograms to the returned window. None: the interval is older than all kept windows.

        counters: the deltas' summed counters by region; None if `batch` leaves out deltas that cover no time.
        """
        first, last = self._intervals(*batch[0].interval)
        # Joined deltas (`join_deltas.join`), not those that are long because the agent's loop was blocked.
        shared = [one for one in batch if one.delta.health.intervals > 1] if last > first else []
        rest = {}
        for one in shared:
            # A joined delta's counters are spread evenly over its intervals; its histograms go to the last one.
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
                    spread = rest.get(one.place)
                    left = (
                        one.counters
                        if spread is None
                        else tuple(
                            count - part * (last - first) for count, part in zip(one.counters, spread, strict=True)
                        )
                    )
                    window._count(one.region, left)
        return window

    def _intervals(self, start_ns: int, end_ns: int) -> tuple[int, int]:
        """Return the numbers of the first and the last interval that the time [start_ns, end_ns) covers.

        Edges may be off by a quarter of an interval.
        """
        length, slack = self.interval_ns, self.interval_ns // 4
        first = max(0, (start_ns + slack) // length)
        return first, max(first, (end_ns + slack) // length - 1)

    def _window(self, k: int) -> Window | None:
        """Return the window of interval number `k`, created if needed; None if the interval is too old."""
        window = self._windows.get(k)
        if window is None and k > self._latest - KEPT_WINDOWS and k >= self._oldest:
            self._latest = max(self._latest, k)
            # The newest two intervals stay open: some agents report an interval while others still report the one
            # before.
            self.close((self._latest - 1) * self.interval_ns)
            self._forget()
            window = self._windows[k] = Window(self._catalogue, k, self.interval_ns)
        return window

    def _forget(self) -> None:
        """Remove windows that are too old, or that take too much memory, and keep their stores for reuse."""
        kept = sorted(self._windows)
        size_bytes = sum(store.size_bytes for window in self._windows.values() for store in window._stores)
        while kept and (
            kept[0] <= self._latest - KEPT_WINDOWS or (size_bytes > _WINDOW_BYTES and len(kept) >= _LEAST_WINDOWS)
        ):
            dropped = self._windows.pop(kept.pop(0))
            size_bytes -= sum(store.size_bytes for store in dropped._stores)
            # whoever still holds the window now sees it empty
            sums, dropped.sums, dropped._stores = dropped.sums, [], []
            for one in sums:
                if one.is_free and len(self._spare) < _MOST_SPARE:
                    one.store.clear()
                    self._spare.append(one.store)

    # -- queries ----------------------------------------------------------------------------

    def agents(self) -> tuple[str, ...]:
        """Return the names of all agents of which deltas were merged, sorted."""
        return tuple(sorted(self._epochs))

    @property
    def agent_count(self) -> int:
        """Return the number of agents of which deltas were merged."""
        return len(self._epochs)

    def epochs(self, agent: str) -> tuple[Epoch, ...]:
        """Return the epochs (registrations) of an agent of which deltas were merged, oldest first."""
        epochs = self._epochs.get(agent, {})
        return tuple(epochs.values() if len(epochs) < 2 else map(epochs.__getitem__, sorted(epochs)))

    def counters(self, region: str = ALL, agent: str | None = None) -> Counters:
        """Return the exact counters of the run, limited to a region, to an agent, or to both if they are given.

        Those of an agent are added up over all its epochs.
        """
        if agent is None:
            return super().counters(region)
        return Counters(*add_all(e._counters for e in self.epochs(agent) if region in (ALL, e.region)))

    def has_series(self, region: str, key: SeriesKey) -> bool:
        """Return whether any agent of the region has sent a series with this key."""
        return (region, key) in self._catalogue.numbers

    def losses(self, agent: str) -> tuple[Loss, ...]:
        """Return the lost workers that the agent has reported, in the order of its first report of each."""
        return tuple(self._losses.get(agent, {}).values())

    def window(self, k: int) -> Window | None:
        """Return the window (all agents' measurements) of interval number `k`; None if it is not kept."""
        return self._windows.get(k)

    def windows(self) -> list[Window]:
        """Return the kept windows, oldest first: those of the newest intervals, at most 30."""
        return [self._windows[k] for k in sorted(self._windows)]

    def latest_window(self, live: Collection[str] | None = None, clock_ns: int | None = None) -> Window | None:
        """Return the window of the newest interval that all of `live` have reported, or that is overdue.

        An interval is overdue if it ended more than 1.5 s before `clock_ns`. None: there is no such interval.

        Args:
            live: names of the agents that still report; None: all agents with merged deltas.
            clock_ns: now, on the run's clock; None: no interval is overdue.
        """
        wanted: Set[str] = self._epochs.keys() if live is None else live if isinstance(live, Set) else set(live)
        for k in sorted(self._windows, reverse=True):
            window = self._windows[k]
            is_late = clock_ns is not None and clock_ns - window.end_ns > _PATIENCE_NS
            if is_late or wanted <= window.health.keys():
                return window
        return None


def _checked_together(batch: Sequence[Next]) -> Wellformed | None:
    near = _by_region(batch)
    return check_all([one.delta for one in near], [one.known for one in near])


def _by_region(batch: Sequence[Next]) -> list[Next]:
    """Return the deltas sorted by region: the arrays of a batch have this order.

    Deltas of a region count in the same series, so their counts are still in the cache.
    """
    return sorted(batch, key=attrgetter("region"))


def _parts(values: Counts, ends: Counts) -> list[int]:
    """Return the sums of consecutive parts of `values`. `ends[i]` is the position after the last element of part i."""
    upto = np.concatenate(([0], np.cumsum(values)))[np.concatenate(([0], ends))]
    found: list[int] = np.diff(upto).tolist()
    return found


def _together(before: Health, health: Health) -> Health:
    """Return the health of an agent that reported one interval twice: the later state, and all reasons and notes."""
    unfit, notes = dict.fromkeys((*before.unfit, *health.unfit)), dict.fromkeys((*before.notes, *health.notes))
    return msgspec.structs.replace(health, unfit=tuple(unfit), notes=tuple(notes))


def check_invariant(merge: Merge) -> list[str]:
    """Check that the totals of a merge agree with each other. Return each contradiction as text; an empty list if none.

    The sum of the histograms' counts must equal the counter of requests, the sum over regions and the sum over agents,
    and likewise for iterations. The counts are taken from the buckets, not from stored totals.
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

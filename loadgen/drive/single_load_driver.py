"""Drives one worker's share of one load of a plan: its arrivals, its users and its pace.

A plan has one or several loads, each with its own beginning. They share the recorder, the connection settings and the
drain. Everything else belongs to a single load, so several loads are as exact as one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from loadgen.dsl.data.feed import open_feed
from loadgen.dsl.plans.plan import Plan
from loadgen.dsl.plans.plan_loads import DrivenLoad
from loadgen.dsl.users.leveled_life import LevelTags
from loadgen.dsl.users.user_runner import BoundJourney
from loadgen.dsl.users.worker_tally import WorkerTally
from loadgen.engine.load.busy_wait import NO_BUSY_WAIT, BusyWait
from loadgen.engine.load.clock import MonotonicClock, sleep_to
from loadgen.engine.load.load_models import ClosedDrive, CountedDrive, Drive, Mark, OpenDrive
from loadgen.engine.load.rendezvous import END_GRACE_S, Points
from loadgen.engine.load.share import RandomMix, RowIndex, Share
from loadgen.engine.load.share_changes import Deal
from loadgen.engine.load.user_iterations import Life, UserPool
from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.load_counts import Ending, FirstArrival, LoadCounts
from loadgen.profiles.profile import IterationProfile, OpenProfile, UserProfile
from loadgen.profiles.stage import Stage
from loadgen.units import NS_PER_MS, NS_PER_S

__all__ = ["MAX_USERS", "PRECONNECTED_NOTE", "LaneDrive", "bind"]

MAX_USERS = 10_000
"""Most users of one load in one worker when the plan does not set `max_users`."""

PRECONNECTED_NOTE: Final = (
    "open loads opened their connections before arrivals needed them, so most requests include no connect time; "
    "write Http(preconnect=False) in the plan to open them when they are needed"
)
_GUESS_NS: Final = 3 * NS_PER_MS
"""Response time for which connections are opened ahead. With slower targets the pool opens more when it runs out."""
_PRECONNECT_NS: Final = 1 * NS_PER_S
"""How long before the load begins its connections are opened."""


class LaneDrive:
    """Drives a worker's share of one load, from its beginning until no more iterations are started.

    The drain after that is done by the worker's `Drive`.

    Args:
        load: index of the load within the plan.
        index, weights: index of this agent in `weights`, and the relative shares of all agents.
        worker, workers: number of this worker, and how many the agent has.
        new_life: makes the scenario's side of one more user of this load.
        levels: by which the iterations of this load are split; None: it has no levels.
        points: the rendez-vous of the plan; the end of the load releases the users of this load.
        warmup_ns: warm-up of the plan, from T0.
        max_lateness_ns: lateness after which an arrival is missed instead of started; None: never.
        busy_wait: which waits for a due time are too short to sleep.
        preconnect: connections of an open load are opened before its arrivals need them.
        marks: progress memory; a counted load stores there how many iterations it has started, and continues from
            the number that an earlier process stored.
    """

    def __init__(
        self,
        lane: DrivenLoad,
        load: int,
        *,
        index: int,
        weights: Sequence[float],
        worker: int = 0,
        workers: int = 1,
        seed: int,
        recorder: Recorder,
        new_life: Callable[[], Life],
        points: Points,
        warmup_ns: int,
        max_lateness_ns: int | None,
        busy_wait: BusyWait = NO_BUSY_WAIT,
        preconnect: bool = False,
        marks: memoryview[int] | None = None,
        levels: LevelTags | None = None,
    ) -> None:
        self.name = lane.name
        self._levels = levels
        self.drain_ns = lane.drain_ns
        """How long iterations may continue after the end of this load; None: as the plan says."""
        self.journeys = tuple(one.name for one in lane.journeys)
        self._profile = lane.profile
        self._load, self._points, self._busy_wait = load, points, busy_wait
        self._recorder = recorder
        self._counted = 0, 0
        """Started and missed iterations that `take_counts` has returned."""
        self._ending = Ending.UNSAID
        self._from_ns = 0
        self._since_ns: int | None = None
        self._is_taken_over = False
        self._is_over = False
        self._has_unique_rows = any(one.feed is not None and one.feed.is_unique for one in lane.journeys)
        self._after_ns = lane.after_ns
        # With a random mix, arrivals are shared as if there were one journey; n decides which journey it is.
        chance = RandomMix(seed, load, lane.weights) if lane.random else None
        mix = [1.0] if lane.random else lane.weights
        self._share = Share.of(index, weights, mix, worker, workers, lane.max_users)
        self._deal = Deal(self._share, lane.max_users)
        tags = recorder.merged((), lane.series_tags)
        measured, warm = (
            [recorder.journey_series(name, warmup, tags) for name in self.journeys] for warmup in (False, True)
        )
        most = MAX_USERS if lane.max_users is None else self._share.most_users(lane.max_users)
        self.pool = UserPool(
            new_life,
            recorder,
            (measured, warm),
            max_users=most,
            max_lateness_ns=max_lateness_ns,
            load=load,
            reserve=self._reserve() if preconnect else 0,
            tags_at=None if levels is None else levels.at,
        )
        self._mark = Mark(marks, load)
        skipped = WorkerTally.of(recorder).skipped_cycles
        self._drive = self._new_drive(lane, chance, new_life, warmup_ns - lane.after_ns, skipped)
        self._moved = asyncio.Event()
        """Set when the end of the load has changed."""
        self._leave_ns: int | None = None
        """Time from the load's beginning from which arrivals belong to other agents; None: never."""
        self._clock: MonotonicClock | None = None
        self.start_skew_ns = 0
        """Time from the load's planned beginning until it really began."""

    @property
    def is_open(self) -> bool:
        """Whether this is an open load, whose arrivals have due times."""
        return isinstance(self._drive, OpenDrive)

    @property
    def next_start_ns(self) -> int:
        """When the start loop is due to start an arrival, on `perf_counter_ns`; 0 if it does not wait for one."""
        return self._clock.wakes_ns if self.is_open and self._clock is not None else 0

    @property
    def left_out(self) -> str:
        """Text that names the part of this load that a replacement process cannot continue, and why; else empty.

        An arrival with a due time is driven by the process of that time, and a counted load stores how many iterations
        were started. Only the lost process knew which unique rows its users took.
        """
        profile = self._profile
        if isinstance(profile, OpenProfile) or not self._share.owns_users(
            profile.peak if isinstance(profile, UserProfile) else profile.users
        ):
            return ""
        whose = f"of load {self.name}" if self.name else "of the load"
        if not isinstance(profile, UserProfile):
            if self._mark.kept is not None:
                return ""
            return f"the rest {whose}'s iterations: it is unknown which of them were started"
        return f"the users {whose}: their rows must not be used again" if self._has_unique_rows else ""

    @property
    def ending(self) -> Ending:
        """Why the load ended; UNSAID while it is running."""
        return self._ending

    def take_counts(self) -> LoadCounts:
        """Return the load's counts: iterations started and missed since the last call, and those waiting now.

        They also contain the number of users that are present now.
        """
        pool, (started, missed) = self.pool, self._counted
        self._counted = pool.started, pool.missed
        users = self._drive.present(self._clock.elapsed_ns()) if self._clock is not None else 0
        waiting = pool.due - pool.started - pool.missed
        return LoadCounts(self._load, pool.started - started, pool.missed - missed, waiting, users)

    async def give_up(self, before_ns: int) -> None:
        """Count arrivals as missed that were due before `before_ns` after T0 and not started. Call it after a stop."""
        if self._clock is not None:
            await self._drive.give_up(self._clock.t0_ns, before_ns - self._after_ns)

    async def run(self, t0_ns: int, stop: asyncio.Event, from_ns: int = 0, since_ns: int = 0) -> asyncio.Task[None]:
        """Start this load's due iterations until its planned end, or until `stop` is set.

        Return the task that drives the load, which the caller cancels or awaits in the drain.

        Args:
            t0_ns: T0 of the plan on `perf_counter_ns`.
            stop: ends the starts.
            from_ns: time after T0 from which this process drives a share of another process; 0 for the whole load.
                The part that `left_out` names is not driven.
            since_ns: time after T0 since which the share belongs to this process. Arrivals that were due between
                then and `from_ns` count as missed.
        """
        self._from_ns = max(0, from_ns - self._after_ns)
        self._since_ns = since_ns - self._after_ns if since_ns else None
        self._is_taken_over = from_ns > 0
        # Each load has its own clock, because a clock's alarm serves only one waiter.
        clock = self._clock = MonotonicClock(t0_ns + self._after_ns, self._busy_wait)
        if self._levels is not None:
            self._levels.times.t0_ns = clock.t0_ns
        driving = asyncio.create_task(self._driven(clock, stop))
        await self._until_begun(clock, stop)
        self.start_skew_ns = max(0, clock.elapsed_ns() - self._from_ns)
        self._ending = await self._until_end(clock, stop, driving)
        self._is_over = True
        self._points.end(self._load, 0.0 if stop.is_set() else END_GRACE_S)
        if driving.done():
            driving.result()
        return driving

    def adjust(self, at_ns: int, stages: Sequence[Stage]) -> bool:
        """Replace the load's curve from `at_ns` after T0 on, or from now on if that time is over, by these stages.

        It may be called before `run`. Return False if the load has ended and the change has no effect.
        """
        if self._is_over:
            return False
        self._drive.adjust(max(0, at_ns - self._after_ns), stages)
        if self._levels is not None:
            self._levels.times.adjust(max(0, at_ns - self._after_ns), stages)
        self._moved.set()
        return True

    def reassign(self, number: int, at_ns: int, weights: tuple[float, ...]) -> bool:
        """Split the load by new weights of the agents from `at_ns` after T0 on. It may be called before `run`.

        A load whose shares cannot move (`stays`) ignores the change. Return False if the load has ended.
        """
        if self._is_over:
            return False
        if not isinstance(self._drive, CountedDrive) and not self.stays:
            self._drive.reassign(number, max(0, at_ns - self._after_ns), weights)
        return True

    def leave(self, at_ns: int) -> None:
        """Leave arrivals and users from `at_ns` after T0 on to other agents, so that this share's load ends then.

        Call it once.
        """
        if not self._is_over:
            self._leave_ns = at_ns - self._after_ns
            self._drive.leave(self._leave_ns)
            self._moved.set()

    @property
    def stays(self) -> bool:
        """Whether an agent's share of the load can never move to another agent. See `LaneSpec.stays`."""
        if isinstance(self._profile, IterationProfile):
            return True
        return isinstance(self._profile, UserProfile) and self._has_unique_rows

    async def _until_begun(self, clock: MonotonicClock, stop: asyncio.Event) -> None:
        """Wait until the load begins. Return earlier if `stop` is set, or when this agent leaves."""
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                self._moved.clear()
                begin_ns = _sooner(self._from_ns, self._leave_ns)
                if begin_ns is None or clock.elapsed_ns() >= begin_ns:
                    return
                moved = asyncio.ensure_future(self._moved.wait())
                await _first_of(stopped, own=[moved, asyncio.ensure_future(sleep_to(clock, begin_ns))])
        finally:
            stopped.cancel()

    async def _until_end(self, clock: MonotonicClock, stop: asyncio.Event, driving: asyncio.Task[None]) -> Ending:
        """Wait until the load ends or `stop` is set, and return why it ended.

        A load ends when all iterations that were due by its end have been started. The end may move meanwhile. UNSAID
        means that the drive ended early, which is a bug.
        """
        stopped = asyncio.ensure_future(stop.wait())
        counted = [driving] if isinstance(self._drive, CountedDrive) else []  # a counted load ends by itself
        try:
            while not stop.is_set():
                self._moved.clear()
                end_ns = _sooner(self._drive.end_ns, self._leave_ns)
                if end_ns is not None and clock.elapsed_ns() >= end_ns:
                    through = asyncio.ensure_future(self._drive.through())
                    await _first_of(stopped, driving, own=[through])
                    if through.done() and not through.cancelled():
                        return Ending.LEFT if end_ns == self._leave_ns != self._drive.end_ns else Ending.DONE
                    break
                own: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._moved.wait())]
                if end_ns is not None:
                    own.append(asyncio.ensure_future(sleep_to(clock, end_ns)))
                await _first_of(stopped, *counted, own=own)
                if counted and driving.done() and not stop.is_set():
                    return Ending.DONE
        finally:
            stopped.cancel()
        return Ending.STOPPED if stop.is_set() else Ending.UNSAID

    async def close(self) -> None:
        """End all users of the load, and close their connections."""
        await self.pool.close()
        if self._clock is not None:
            self._clock.close()

    async def _driven(self, clock: MonotonicClock, stop: asyncio.Event) -> None:
        if self._is_taken_over and self.left_out:
            return
        # Not earlier, since the target closes connections that are idle for long.
        await sleep_to(clock, self._from_ns - _PRECONNECT_NS)
        if self.pool.preconnect():
            self._recorder.note(PRECONNECTED_NOTE)
        await self._drive.drive(clock, clock.t0_ns, stop, self._from_ns, self._since_ns)

    def _reserve(self) -> int:
        """Return how many connections are opened ahead: those that this share needs if the target answers in
        `_GUESS_NS`. 0 for closed and counted loads, whose users open their connections as they begin.
        """
        if not isinstance(self._profile, OpenProfile):
            return 0
        of_fleet = 1_000  # enough to see the share of this worker
        rate_per_s = self._profile.peak * self._share.count_below(of_fleet) / of_fleet
        return int(rate_per_s * _GUESS_NS / NS_PER_S)

    def _new_drive(
        self,
        lane: DrivenLoad,
        chance: RandomMix | None,
        new_life: Callable[[], Life],
        warmup_ns: int,
        skipped: Callable[[int], None],
    ) -> Drive:
        profile, share, pool = lane.profile, self._share, self.pool
        if isinstance(profile, UserProfile):
            journey_of = share.journey_of if chance is None else _drawn(chance)
            return ClosedDrive(profile, self._deal, journey_of, new_life, pool, warmup_ns, skipped)
        if isinstance(profile, IterationProfile):
            return CountedDrive(profile, share, chance, new_life, pool, warmup_ns, self._mark)
        return OpenDrive(lane.schedule(), self._deal, chance, pool, warmup_ns, self._mark, self._first_arrival)

    def _first_arrival(self, number: int, n: int) -> None:
        self._recorder.first_arrivals.append(FirstArrival(self._load, number, n))


async def _first_of(*others: asyncio.Future[Any], own: Sequence[asyncio.Future[Any]]) -> None:
    """Wait until any of the futures is done, then cancel those in `own`. The others are left as they are."""
    try:
        await asyncio.wait([*others, *own], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in own:
            one.cancel()


def _sooner(a_ns: int | None, b_ns: int | None) -> int | None:
    """Return the earlier of two times; None means never."""
    return min((one for one in (a_ns, b_ns) if one is not None), default=None)


def bind(plan: Plan, load: int) -> list[BoundJourney]:
    """Return a load's journeys, each with the function that returns the feed's row for an iteration.

    In an open load the row number is the arrival's position among the arrivals that use the feed. In a closed load it
    is the user's number, or with `each="iteration"` the series user, user + users, ... Rows of a load follow those of
    the loads before it in the plan.
    """
    lane = plan.lanes[load]
    bound: list[BoundJourney] = []
    for journey in lane.journeys:
        row: Callable[[int], Any] | None = None
        if journey.feed is not None:
            first = plan.row_offset(load, journey)
            row = open_feed(journey.feed).row
            if isinstance(lane.profile, UserProfile):
                if journey.each == "iteration":
                    row = _striped(row, lane.profile.peak, first)
                elif first:
                    row = _from(row, first)
            elif not lane.random:
                readers = [i for i, other in enumerate(lane.journeys) if other.feed is journey.feed]
                row = _indexed(row, RowIndex(lane.weights, readers), first)
            elif first:
                row = _from(row, first)
        each = isinstance(lane.profile, UserProfile) and journey.each == "iteration"
        bound.append(
            BoundJourney(
                journey.name,
                journey.fn,
                row,
                journey.set_up_fn,
                journey.tear_down_fn,
                journey.state,
                each,
                tuple(fn for _, fn in journey.parts),
            )
        )
    return bound


def _drawn(chance: RandomMix) -> Callable[[int, int], int]:
    return lambda user, i: chance.journey((user << 32) + i)


def _indexed(row: Callable[[int], Any], index: RowIndex, first: int) -> Callable[[int], Any]:
    return lambda n: row(first + index(n))


def _from(row: Callable[[int], Any], first: int) -> Callable[[int], Any]:
    return lambda n: row(first + n)


def _striped(row: Callable[[int], Any], users: int, first: int) -> Callable[[int], Any]:
    """Return a function that returns the row of n = (user << 32) + i, the i-th iteration of a user.

    The user takes every `users`-th row of `row`, from `first` + user on.
    """
    return lambda n: row(first + (n >> 32) + (n & 0xFFFFFFFF) * users)

"""One load of a plan as one worker drives it: its share, its users, its pace.

A plan has one load or several, each with its own beginning. They share the
recorder, the connections' settings and the drain; everything else is a lane's
own, so that what is exact for one load is exact for each of several.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from loadgen.dsl.data.feed import open_feed
from loadgen.dsl.plans.loads import Lane
from loadgen.dsl.plans.plan import Plan
from loadgen.dsl.users.user_runner import BoundJourney
from loadgen.dsl.users.worker_counters import Tally
from loadgen.engine.load.clock import MonotonicClock, sleep_to
from loadgen.engine.load.load_models import ClosedDrive, CountedDrive, Drive, Mark, OpenDrive
from loadgen.engine.load.rendezvous import END_GRACE_S, Points
from loadgen.engine.load.share import RandomMix, RowIndex, Share
from loadgen.engine.load.share_changes import Deal
from loadgen.engine.load.users import Life, UserPool
from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.load_counts import Ending, FirstArrival, LoadCounts
from loadgen.profiles.profile import IterationProfile, OpenProfile, UserProfile
from loadgen.profiles.stage import Stage

__all__ = ["MAX_USERS", "LaneDrive", "bind"]

MAX_USERS = 10_000
"""Users of one load and worker where nothing sets `max_users`."""


class LaneDrive:
    """One load from its beginning to the end of its starts; the drain is the drive's.

    Args:
        load: index of the lane within the plan.
        index, weights: this agent's place among all agents of the fleet, and their shares.
        worker, workers: this worker's place among those of the agent.
        new_life: makes the scenario's side of one more user of this lane.
        points: where users meet; the end of the load lets those of this lane go on.
        warmup_ns: of the plan, from T0.
        marks: where a counted load notes how many iterations it has begun, and finds what a process before it had.
    """

    def __init__(
        self,
        lane: Lane,
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
        marks: memoryview[int] | None = None,
    ) -> None:
        self.name = lane.name
        self.journeys = tuple(one.name for one in lane.journeys)
        self._profile = lane.profile
        self._load, self._points = load, points
        self._recorder = recorder
        self._counted = 0, 0
        """Iterations started and missed that `take_counts` has returned."""
        self._ending = Ending.UNSAID
        self._from_ns = 0
        self._since_ns: int | None = None
        self._is_taken_over = False
        self._is_over = False
        self._has_unique_rows = any(one.feed is not None and one.feed.is_unique for one in lane.journeys)
        self._after_ns = lane.after_ns
        # Drawn by chance, arrivals are dealt as if there were one journey: which it is follows from n.
        chance = RandomMix(seed, load, lane.weights) if lane.random else None
        mix = [1.0] if lane.random else lane.weights
        self._share = Share.of(index, weights, mix, worker, workers, lane.max_users)
        self._deal = Deal(self._share, lane.max_users)
        tags = (("load", lane.name),) if lane.name else ()
        measured, warm = (
            [recorder.journey_series(name, warmup, tags) for name in self.journeys] for warmup in (False, True)
        )
        most = MAX_USERS if lane.max_users is None else self._share.most_users(lane.max_users)
        self.pool = UserPool(
            new_life, recorder, (measured, warm), max_users=most, max_lateness_ns=max_lateness_ns, load=load
        )
        self._mark = Mark(marks, load)
        skipped = Tally.of(recorder).skipped_cycles
        self._drive = self._new_drive(lane, chance, new_life, warmup_ns - lane.after_ns, skipped)
        self._moved = asyncio.Event()
        """The end of the load is another one."""
        self._leave_ns: int | None = None
        """From its beginning: what is due from then on is others'."""
        self._clock: MonotonicClock | None = None
        self.start_skew_ns = 0
        """How long after its beginning the load was really begun."""

    @property
    def is_open(self) -> bool:
        return isinstance(self._drive, OpenDrive)

    @property
    def left_out(self) -> str:
        """What another process cannot go on with where this one ended, and why; empty where it can.

        What is due at a time is driven by whoever is there then, and of a counted load a mark tells how many were
        begun. Which rows users took only the process knew.
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
            return f"the rest {whose}'s iterations: which of them were begun is not known"
        return f"the users {whose}: their rows must not be used again" if self._has_unique_rows else ""

    @property
    def ending(self) -> Ending:
        """Why the load ended; UNSAID while it goes on."""
        return self._ending

    def take_counts(self) -> LoadCounts:
        """What became of the iterations since the last call, and the state now."""
        pool, (started, missed) = self.pool, self._counted
        self._counted = pool.started, pool.missed
        users = self._drive.present(self._clock.elapsed_ns()) if self._clock is not None else 0
        waiting = pool.due - pool.started - pool.missed
        return LoadCounts(self._load, pool.started - started, pool.missed - missed, waiting, users)

    async def give_up(self, before_ns: int) -> None:
        """After a stop: count as missed what was due before `before_ns` after T0 and was not started."""
        if self._clock is not None:
            await self._drive.give_up(self._clock.t0_ns, before_ns - self._after_ns)

    async def run(self, t0_ns: int, stop: asyncio.Event, from_ns: int = 0, since_ns: int = 0) -> asyncio.Task[None]:
        """Start what is due until the planned end, or until `stop`; then the task that still drives, for `end`.

        Args:
            t0_ns: T0 of the plan on `perf_counter_ns`.
            from_ns: from T0; above 0: another process drove this share before, and `left_out` of it is left out.
            since_ns: from T0; above 0: the share is ours since then; what is due before `from_ns` is missed.
        """
        self._from_ns = max(0, from_ns - self._after_ns)
        self._since_ns = since_ns - self._after_ns if since_ns else None
        self._is_taken_over = from_ns > 0
        # One clock a lane: its alarm serves one waiter.
        clock = self._clock = MonotonicClock(t0_ns + self._after_ns)
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
        """From `at_ns` after T0 on, the load is these stages; from now on, where that is over.

        Also before `run`. Returns whether it could: False when nothing is started any more.
        """
        if self._is_over:
            return False
        self._drive.adjust(max(0, at_ns - self._after_ns), stages)
        self._moved.set()
        return True

    def reassign(self, number: int, at_ns: int, weights: tuple[float, ...]) -> bool:
        """From `at_ns` after T0 on, the agents have these weights. Also before `run`.

        Returns whether it could: False when nothing is started any more. A load whose shares stay (`stays`) keeps them.
        """
        if self._is_over:
            return False
        if not isinstance(self._drive, CountedDrive) and not self.stays:
            self._drive.reassign(number, max(0, at_ns - self._after_ns), weights)
        return True

    def leave(self, at_ns: int) -> None:
        """What is due from `at_ns` after T0 on is for others: to this share, the load ends then. Once."""
        if not self._is_over:
            self._leave_ns = at_ns - self._after_ns
            self._drive.leave(self._leave_ns)
            self._moved.set()

    @property
    def stays(self) -> bool:
        """Whether what an agent has of the load is nobody else's, whatever becomes of it. See `LaneSpec.stays`."""
        if isinstance(self._profile, IterationProfile):
            return True
        return isinstance(self._profile, UserProfile) and self._has_unique_rows

    async def _until_begun(self, clock: MonotonicClock, stop: asyncio.Event) -> None:
        """Or until `stop`, or until it is for others to begin it."""
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
        """Return when all due iterations have been started, or on `stop`, with the reason. The end may move meanwhile.

        UNSAID where neither holds: a fault of ours.
        """
        stopped = asyncio.ensure_future(stop.wait())
        counted = [driving] if isinstance(self._drive, CountedDrive) else []  # it ends by itself
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
        """End the users, with their connections."""
        await self.pool.close()
        if self._clock is not None:
            self._clock.close()

    async def _driven(self, clock: MonotonicClock, stop: asyncio.Event) -> None:
        if self._is_taken_over and self.left_out:
            return
        await self._drive.drive(clock, clock.t0_ns, stop, self._from_ns, self._since_ns)

    def _new_drive(
        self,
        lane: Lane,
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
    """Return when one of them is done; those that are ours are cancelled then."""
    try:
        await asyncio.wait([*others, *own], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in own:
            one.cancel()


def _sooner(a_ns: int | None, b_ns: int | None) -> int | None:
    """None: never."""
    return min((one for one in (a_ns, b_ns) if one is not None), default=None)


def bind(plan: Plan, load: int) -> list[BoundJourney]:
    """A lane's journeys with their rows at hand.

    A row is the arrival's place among those that use the feed; in closed loads the user's, or with
    `each="iteration"` a stripe by user: user, user + users, ... Rows of a lane stand behind those of the lanes before.
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
    """Of n = (user << 32) + i, the user's i-th iteration."""
    return lambda n: row(first + (n >> 32) + (n & 0xFFFFFFFF) * users)

"""The load models of a running load, each of which can be changed while it runs.

    OpenDrive      starts arrivals when they are due
    ClosedDrive    keeps users iterating while they are present
    CountedDrive   lets users iterate until all iterations are done

One instance drives one worker's share of one load. Times are ns from the load's beginning. The controller sends changes
of the stages ahead of time. A change that arrives late takes effect at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil
from typing import Final

import numpy as np

from loadgen.engine.load.clock import Clock
from loadgen.engine.load.pace import Cycles, Pace
from loadgen.engine.load.schedule import BLOCK, due_times, own_iterations
from loadgen.engine.load.share import RandomMix, Share
from loadgen.engine.load.share_changes import Change, Deal, Tenure
from loadgen.engine.load.start_loops import Cursor, drive_arrivals, drive_iterations, drive_users
from loadgen.engine.load.user_count_changes import Changes, Crowd, Gate, woken_by
from loadgen.engine.load.user_iterations import Arrival, Life, UserPool
from loadgen.profiles.arrival_due_times import Schedule
from loadgen.profiles.edits import OPEN, is_pause, replaced
from loadgen.profiles.profile import IterationProfile, UserProfile, spans_of
from loadgen.profiles.stage import Stage, exact, length
from loadgen.units import NS_PER_S

__all__ = ["ClosedDrive", "CountedDrive", "Drive", "Mark", "OpenDrive"]


KEPT_NS: Final = 600 * NS_PER_S
"""The old curve is kept for this time before a change. Arrivals that were due earlier cannot be waiting any more."""
_NEAR_NS: Final = 1_000
"""Arrivals due within this time count as due. The time is longer than the rounding of a due time, so none starts twice.
"""


class Mark:
    """The progress of this share, in shared memory that a replacement of this process can read (`shared_progress.py`).

    For an open load: the fleet's first arrival that had not been begun at the last change of the load or its shares.
    For a counted load: the number of this share's iterations that were begun.
    """

    def __init__(self, kept: memoryview[int] | None, load: int) -> None:
        self.kept, self.load = kept, load

    @property
    def done(self) -> int:
        """The stored progress of this share (see the class); 0 if nothing is stored."""
        return self.kept[self.load] if self.kept is not None else 0

    @done.setter
    def done(self, count: int) -> None:
        if self.kept is not None:
            self.kept[self.load] = count


class OpenDrive:
    """Starts each arrival of this share once, even if the curve changes: a change moves due times, not arrival numbers.

    Args:
        mark: arrivals before the mark may have been started; arrivals after it follow the current curve.
        first_arrival: called with (number of the share change, n) for each share change. n is the fleet's first arrival
            for which the change holds. At the end of the load it is called with (0, n): n is the number of arrivals.
    """

    def __init__(
        self,
        schedule: Schedule,
        deal: Deal,
        chance: RandomMix | None,
        pool: UserPool,
        warmup_ns: int,
        mark: Mark,
        first_arrival: Callable[[int, int], None] = lambda number, n: None,
    ) -> None:
        self._schedule, self._deal, self._chance = schedule, deal, chance
        self._pool, self._warmup_ns, self._mark = pool, warmup_ns, mark
        self._first_arrival = first_arrival
        self._following = 0
        """All arrivals of this share before this number were started. A lower bound until the start loop is cancelled.
        """
        self._cursor = Cursor()
        self.end_ns: int | None = schedule.end_ns
        self._changes = Changes()
        self._through = asyncio.Event()
        self._driving: asyncio.Task[None] | None = None
        self._until_ns: int | None = None
        """Arrivals that are due at this time or later belong to other agents."""

    def adjust(self, at_ns: int, stages: Sequence[Stage]) -> None:
        """Replace the load's curve from `at_ns` after its beginning by these stages."""
        self._schedule = self._schedule.replaced(at_ns, stages, at_ns - KEPT_NS)
        self.end_ns = None if is_pause(stages) else self._schedule.end_ns
        self._restart()

    def reassign(self, number: int, at_ns: int, weights: tuple[float, ...]) -> None:
        """Split arrivals by new weights of the agents from `at_ns` on.

        Arrivals that this share takes over, but that were due before this call, count as missed.
        """
        change = Change(number, self._schedule.count_at(max(0, at_ns)), weights)
        self._deal = self._deal.changed(change)
        self._first_arrival(number, change.at)
        most = self._deal.most_users()
        if most is not None:
            self._pool.cap(most)
        self._restart()

    def leave(self, at_ns: int) -> None:
        """Leave arrivals that are due from `at_ns` on to other agents."""
        self._until_ns = at_ns
        self._restart()

    def _restart(self) -> None:
        """Cancel the start loop, so that it begins again with the changed curve or shares."""
        self._through.clear()
        if self._driving is not None:
            self._driving.cancel()
        self._changes.wake()

    async def through(self) -> None:
        """Wait until all arrivals of this share up to the load's end have been started."""
        await self._through.wait()

    async def drive(
        self, clock: Clock, t0_ns: int, stop: asyncio.Event, from_ns: int, since_ns: int | None = None
    ) -> None:
        """Start this share's arrivals when they are due, until `stop` is set.

        It does not return after the last arrival, because the load may be extended.

        Args:
            since_ns: this share's arrivals that are due from here to `from_ns` count as missed. None: arrivals before
                `from_ns` do not belong to this share.
        """
        if since_ns is not None:
            self._following = self._schedule.count_at(max(0, since_ns))
            await clock.sleep_until(from_ns)  # before that time some of them are not due, and cannot be missed yet
            self._miss_due(self._schedule.count_at(max(0, since_ns)), self._schedule.count_at(from_ns), t0_ns)
        with woken_by(stop, self._changes):
            await self._drive(clock, t0_ns, stop, from_ns)

    def present(self, now_ns: int) -> int:
        """Return 0: users are only counted in closed loads."""
        return 0

    async def give_up(self, t0_ns: int, before_ns: int) -> None:
        """Count as missed this share's arrivals that were due before `before_ns` and not started.

        Call it after a stop.
        """
        if self._driving is not None:
            self._driving.cancel()
            await asyncio.wait([self._driving])
        if self._cursor.is_through:
            return
        first = self._following if self._cursor.n is None else max(self._following, self._cursor.n)
        until_ns = before_ns if self._until_ns is None else min(before_ns, self._until_ns)
        self._miss_due(first, self._schedule.count_at(max(0, until_ns)), t0_ns)

    def _miss_due(self, first: int, end: int, t0_ns: int) -> None:
        """Count this share's arrivals with fleet numbers from `first` to `end` - 1 as missed."""
        for block in due_times(self._schedule, self._deal, self._chance, from_n=first, until_n=end):
            for due_ns, n, journey in zip(block.due_ns, block.n, block.journey, strict=True):
                self._pool.miss(Arrival(t0_ns + due_ns, n, journey, due_ns < self._warmup_ns))

    async def _drive(self, clock: Clock, t0_ns: int, stop: asyncio.Event, from_ns: int) -> None:
        """Run the start loop until `stop` is set, and run it again with new due times after each change."""
        done = max(self._mark.done, self._schedule.count_at(from_ns)) if from_ns > 0 else 0
        driven = self._deal
        while not stop.is_set():
            self._following = done
            changed, schedule, cursor = self._changes.next, self._schedule, Cursor()
            self._cursor = cursor
            if self._deal is not driven:
                self._miss(driven, self._deal, done, t0_ns)
                driven = self._deal
            until_n = None if self._until_ns is None else schedule.count_at(max(0, self._until_ns))
            blocks = due_times(schedule, driven, self._chance, from_n=done, until_n=until_n)
            driving = drive_arrivals(blocks, clock, t0_ns, self._pool, stop, self._warmup_ns, cursor)
            self._driving = asyncio.create_task(driving)
            # `wait` returns normally when the start loop was cancelled, which is how a change reaches this loop
            # (`_restart`).
            try:
                await asyncio.wait([self._driving])
            finally:
                self._driving.cancel()
            following = cursor.n  # the first of our arrivals that was not begun
            if not self._driving.cancelled():
                self._driving.result()
                if stop.is_set():  # it has not started all
                    return
                following = schedule.total() if until_n is None else min(until_n, schedule.total())
                self._following = following
                # All arrivals were started, and no change came meanwhile: the load waits for one.
                if not changed.is_set():
                    if until_n is None:
                        self._first_arrival(0, following)
                    self._through.set()
                    await changed.wait()
            if following is not None:  # an arrival before it may become ours by a share change if it is not due yet
                due = schedule.count_at(max(0, clock.elapsed_ns() + _NEAR_NS))
                done = max(done, min(following, due))
            self._mark.done = done

    def _miss(self, before: Deal, after: Deal, done: int, t0_ns: int) -> None:
        """Count arrivals as missed if a share change gave them to this share after they were due.

        The fleet's arrivals before number `done` are due already. Starting them now would cause a burst.
        """
        first = after.changes[len(before.changes)].at
        had = [n for n, _ in before.blocks(first, done, BLOCK)]
        known = np.concatenate(had) if had else np.empty(0, dtype=np.int64)
        for n, journey in after.blocks(first, done, BLOCK):
            if self._chance is not None:
                journey = self._chance.journeys(n)
            due_ns = self._schedule.due_ns(n)
            for k in np.flatnonzero(~np.isin(n, known)).tolist():
                due = int(due_ns[k])
                self._pool.miss(Arrival(t0_ns + due, int(n[k]), int(journey[k]), due < self._warmup_ns))


class ClosedDrive:
    """Keeps this share's users iterating while the plan has them present. During a pause the same users stay.

    Args:
        skipped: called with the number of cycles that a paced user skipped.
    """

    def __init__(
        self,
        profile: UserProfile,
        deal: Deal,
        journey_of: Callable[[int, int], int],
        new_life: Callable[[], Life],
        pool: UserPool,
        warmup_ns: int,
        skipped: Callable[[int], None] = lambda cycles: None,
    ) -> None:
        self._profile, self._skipped = profile, skipped
        self._stages, self._deal, self._journey_of = profile.stages, deal, journey_of
        self._new_life, self._pool, self._warmup_ns = new_life, pool, warmup_ns
        self.end_ns: int | None = profile.duration_ns
        self._crowd: Crowd | None = None
        self._changes = Changes()
        self._cycles = self._new_cycles()
        self._tenures: Mapping[int, Tenure] = {}
        """This share's users, and the times in which each belongs to it."""
        self._until_ns: int | None = None
        """From this time on, all users belong to other agents."""

    def adjust(self, at_ns: int, stages: Sequence[Stage]) -> None:
        """Replace the load's curve of users from `at_ns` after its beginning by these stages."""
        self._stages = replaced(self._stages, at_ns, stages)
        self._cycles = self._new_cycles()
        self.end_ns = None if is_pause(stages) else length(self._stages)
        self._change(at_ns)

    def reassign(self, number: int, at_ns: int, weights: tuple[float, ...]) -> None:
        """Split users by new weights of the agents from `at_ns` on.

        Users that this share loses finish their iteration. Users that it takes over start as new users.
        """
        self._deal = self._deal.changed(Change(number, at_ns, weights))
        self._change(at_ns)

    def leave(self, at_ns: int) -> None:
        """Start no iteration from `at_ns` on, because other agents have all users then."""
        self._until_ns = at_ns
        self._change(max(0, at_ns))

    def _change(self, at_ns: int) -> None:
        if self._crowd is not None:
            self._crowd.change(at_ns, self._users(), self._spans, is_held=self.end_ns is None)
        self._changes.wake()

    async def through(self) -> None:
        """Return at once: a closed load has no due iterations left at its end."""

    async def give_up(self, t0_ns: int, before_ns: int) -> None:
        """Do nothing: an iteration of a closed load is not due before its user begins it."""

    def present(self, now_ns: int) -> int:
        """Return the number of this share's users that are present at `now_ns` after T0."""
        return 0 if self._crowd is None else self._crowd.present(now_ns)

    async def drive(
        self, clock: Clock, t0_ns: int, stop: asyncio.Event, from_ns: int, since_ns: int | None = None
    ) -> None:
        """Keep this share's users iterating while the plan has them present, until `stop` is set.

        The method goes on when all have left, because a change may bring users back.
        """
        self._crowd = Crowd(self._users(), self._spans, from_ns)
        self._crowd.is_held = self.end_ns is None
        every_ns = self._profile.pace_ns
        pace = Pace(every_ns, self._first_cycle_ns, self._skipped) if every_ns else None
        with woken_by(stop, self._changes):
            while not stop.is_set():
                changed = self._changes.next
                await drive_users(
                    self._crowd, self._journey_of, self._new_life, clock, self._pool, stop, self._warmup_ns, pace
                )
                if not stop.is_set():
                    await changed.wait()

    def _users(self) -> Sequence[int]:
        """Return the numbers of all users that are ever this share's, and store the times in which each is."""
        peak = max((max(exact(s.start), exact(s.end)) for s in self._stages if s.duration_ns), default=0)
        self._tenures = self._deal.tenures(ceil(peak))
        return tuple(self._tenures)

    def _spans(self, user: int) -> Iterator[tuple[int, int]]:
        tenure = self._tenures.get(user, ())
        for start_ns, end_ns in spans_of(self._stages, user):
            for since_ns, until_ns in tenure:
                begin_ns = max(start_ns, since_ns)
                over_ns = min(end for end in (end_ns, until_ns, self._until_ns) if end is not None)
                if begin_ns < over_ns:
                    yield begin_ns, over_ns

    def _new_cycles(self) -> Cycles | None:
        every_ns = self._profile.pace_ns
        return Cycles(self._stages, every_ns, is_spread=self._profile.is_spread) if every_ns else None

    def _first_cycle_ns(self, user: int, from_ns: int) -> int | None:
        return None if self._cycles is None else self._cycles.first_ns(user, from_ns)


class CountedDrive:
    """Lets this share's users run its iterations. The load can be paused. Its duration depends on the target.

    Args:
        mark: stores the number of this share's iterations that were begun.
    """

    end_ns = None

    def __init__(
        self,
        profile: IterationProfile,
        share: Share,
        chance: RandomMix | None,
        new_life: Callable[[], Life],
        pool: UserPool,
        warmup_ns: int,
        mark: Mark,
    ) -> None:
        self._profile, self._share, self._chance = profile, share, chance
        self._new_life, self._pool, self._warmup_ns, self._mark = new_life, pool, warmup_ns, mark
        self._stages: tuple[Stage, ...] = (OPEN,)
        self._changes = Changes()
        self._gate = Gate()

    def adjust(self, at_ns: int, stages: Sequence[Stage]) -> None:
        """Pause or continue the load from `at_ns` on: a stage of value 0 is a pause."""
        self._stages = replaced(self._stages, at_ns, stages)
        self._changes.wake()

    def leave(self, at_ns: int) -> None:
        """Do nothing: no other agent runs the iterations of a counted load that have not begun."""

    async def through(self) -> None:
        """Return at once: the iterations of a counted load have no due times to wait for."""

    async def give_up(self, t0_ns: int, before_ns: int) -> None:
        """Do nothing: an iteration of a counted load is not due before its user begins it."""

    def present(self, now_ns: int) -> int:
        """Return 0: users are only counted in closed loads."""
        return 0

    async def drive(
        self, clock: Clock, t0_ns: int, stop: asyncio.Event, from_ns: int, since_ns: int | None = None
    ) -> None:
        """Let this share's users run its iterations until all have begun, or until `stop` is set."""
        self._set_gate(clock)
        keeping = asyncio.create_task(self._keep_gate(clock, stop))
        done = self._mark.done
        own = own_iterations(self._profile, self._share, self._chance, done)
        if self._mark.kept is not None:
            own = _marked(own, self._mark.kept, self._mark.load, done)
        users = len(self._share.owns_users(self._profile.users))
        most = self._profile.per_user or None
        try:
            await drive_iterations(
                own, users, self._new_life, clock, self._pool, stop, self._warmup_ns, self._gate, most
            )
        finally:
            keeping.cancel()

    async def _keep_gate(self, clock: Clock, stop: asyncio.Event) -> None:
        with woken_by(stop, self._changes):
            while not stop.is_set():
                await self._changes.until(clock, self._set_gate(clock))
        self._gate.open()

    def _set_gate(self, clock: Clock) -> int | None:
        """Open or shut the gate as the current stage requires.

        Return the end of the stage, or None if it is the last one.
        """
        now_ns, end_ns = max(0, clock.elapsed_ns()), 0
        for stage in self._stages:
            end_ns += stage.duration_ns
            if now_ns < end_ns:
                self._open(stage)
                return None if stage is self._stages[-1] else end_ns
        self._gate.shut()
        return None

    def _open(self, stage: Stage) -> None:
        if stage.start:
            self._gate.open()
        else:
            self._gate.shut()


Drive = OpenDrive | ClosedDrive | CountedDrive


def _marked(own: Iterator[tuple[int, int]], marks: memoryview[int], load: int, done: int) -> Iterator[tuple[int, int]]:
    """Yield the iterations of `own`, and store their count in shared memory before each one.

    So a replacement process never begins an iteration again that may have begun.
    """
    for count, one in enumerate(own, done + 1):
        marks[load] = count
        yield one

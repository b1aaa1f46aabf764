"""A fleet that drives an open load through the real `OpenDrive`, by a clock that jumps; and what it then reports.

plan = Played(profile, mix=(1.0,), weights=(1.0, 2.0))
plan.scale(at_ns, stages); plan.share(at_ns, weights)
agents = [await plan.drive(index, heard_late_ns=...) for index in range(...)]
merge = merged(agents)
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

from loadgen.engine.load.load_models import Mark, OpenDrive
from loadgen.engine.load.share import Share
from loadgen.engine.load.share_changes import Deal
from loadgen.engine.load.user_iterations import Arrival, UserPool
from loadgen.measure.deltas.delta import Counters, Delta
from loadgen.measure.deltas.load_counts import FirstArrival, LoadCounts
from loadgen.measure.merging.merge import Merge
from loadgen.profiles.profile import ArrivalProfile
from loadgen.profiles.stage import Stage
from loadgen_controller.core.shares import Assignment, Reassigned
from loadgen_controller.judging.iterations_due_by_plan import Basis, LoadChange, PlannedLoad, ShareChange

__all__ = ["Driven", "Played", "merged"]

S, MS = 1_000_000_000, 1_000_000


class _Clock:
    """Jumps to where it is sent, and on the way lets the agent get its messages."""

    def __init__(self, messages: Sequence[tuple[int, Callable[[], None]]]) -> None:
        self.now_ns, self.messages = 0, list(messages)

    def elapsed_ns(self) -> int:
        return self.now_ns

    def deliver(self, until_ns: int) -> bool:
        if not self.messages or self.messages[0][0] > until_ns:
            return False
        at_ns, act = self.messages.pop(0)
        self.now_ns = max(self.now_ns, at_ns)
        act()
        return True

    async def sleep_until(self, at_ns: int) -> None:
        await asyncio.sleep(0)
        if self.deliver(at_ns):
            await asyncio.sleep(3600)  # the drive is cancelled here, as it waits
        self.now_ns = max(self.now_ns, at_ns)

    def close(self) -> None: ...


@dataclass
class Driven:
    """What one agent did: (n, when) of each arrival that it started or counted as missed."""

    interval_ends_ns = sys.maxsize

    index: int
    started: list[tuple[int, int]] = field(default_factory=list)
    missed: list[tuple[int, int]] = field(default_factory=list)
    firsts: list[FirstArrival] = field(default_factory=list)
    clock: _Clock | None = None

    def arrive(self, arrival: Arrival, *, is_at_once: bool = False) -> None:
        assert self.clock is not None
        self.started.append((arrival.n, self.clock.now_ns))

    def miss(self, arrival: Arrival) -> None:
        assert self.clock is not None
        self.missed.append((arrival.n, self.clock.now_ns))

    def cap(self, most: int) -> None: ...

    def until(self, ns: int) -> Driven:
        """What is known of it when its data ends there."""
        kept = Driven(self.index, firsts=self.firsts)
        kept.started = [one for one in self.started if one[1] < ns]
        kept.missed = [one for one in self.missed if one[1] < ns]
        return kept

    @property
    def count(self) -> int:
        return len(self.started) + len(self.missed)


@dataclass
class Played:
    """A plan of one open load, with the changes that its agents get. Agents that join later have weight 0 at first."""

    profile: ArrivalProfile
    weights: tuple[float, ...]
    mix: tuple[float, ...] = (1.0,)
    changes: list[LoadChange | ShareChange] = field(default_factory=list)

    def scale(self, at_ns: int, stages: tuple[Stage, ...]) -> None:
        self.changes.append(LoadChange(0, at_ns, stages))

    def share(self, at_ns: int, weights: tuple[float, ...]) -> None:
        number = 2 + sum(isinstance(one, ShareChange) for one in self.changes)
        self.changes.append(ShareChange(number, at_ns, weights))

    @property
    def basis(self) -> Basis:
        load = PlannedLoad("", 0, self.profile, self.mix)
        return Basis((load,), tuple(self.changes), counting=self.assignment.agents)

    @property
    def assignment(self) -> Assignment:
        names = tuple(f"agent-{index}" for index in range(len(self.weights)))
        shares = [one for one in self.changes if isinstance(one, ShareChange)]
        changes = tuple(Reassigned(one.number, one.at_ns, one.weights) for one in shares)
        return Assignment(names, ("eu",) * len(names), self.weights, changes)

    async def drive(
        self,
        index: int,
        late_ns: Sequence[int] = (),
        *,
        from_ns: int = 0,
        since_ns: int | None = None,
        leaves_ns: int | None = None,
        ignores: int | None = None,
    ) -> Driven:
        """One agent, to the end of its starts.

        Args:
            late_ns: of each change, how long after it holds the agent gets it; below 0: before.
            from_ns, since_ns: of one that joins.
            leaves_ns: it leaves arrivals from then on to others.
            ignores: a change (its place in the list) that it never gets: a planted fault.
        """
        seen, stop = Driven(index), asyncio.Event()
        drive = OpenDrive(
            self.profile.schedule(),
            Deal(Share.of(index, self.weights, self.mix)),
            None,
            cast(UserPool, seen),
            0,
            Mark(None, 0),
            lambda number, n: seen.firsts.append(FirstArrival(0, number, n)),
        )

        def act(one: LoadChange | ShareChange) -> None:
            if isinstance(one, LoadChange):
                drive.adjust(one.at_ns, one.stages)
            else:
                drive.reassign(one.number, one.at_ns, one.weights)

        messages: list[tuple[int, Callable[[], None]]] = []
        heard_ns = 0
        for place, one in enumerate(self.changes):
            if place != ignores:
                late = late_ns[place] if place < len(late_ns) else -300 * MS
                heard_ns = max(heard_ns, one.at_ns + late)  # in their order
                messages.append((heard_ns, lambda one=one: act(one)))  # type: ignore[misc]
        if leaves_ns is not None:
            messages = sorted([*messages, (max(0, leaves_ns - 700 * MS), lambda: drive.leave(leaves_ns))], key=_when)
        clock = seen.clock = _Clock(messages)
        while clock.deliver(from_ns):
            pass
        clock.now_ns = from_ns
        driving = asyncio.create_task(drive.drive(clock, 0, stop, from_ns, since_ns))
        while clock.messages or not drive._through.is_set():
            if drive._through.is_set():
                clock.deliver(1 << 62)  # a message that comes when it has nothing left to wait for
            await asyncio.sleep(0)
        driving.cancel()
        return seen


def _when(message: tuple[int, Callable[[], None]]) -> int:
    return message[0]


def merged(agents: Sequence[Driven], ends_ns: int | Sequence[int]) -> Merge:
    """What the agents report each second, merged: until one time, or each until its own."""
    merge = Merge()
    for at, agent in enumerate(agents):
        end_ns = ends_ns if isinstance(ends_ns, int) else ends_ns[at]
        waits = {False: sorted(at for _, at in agent.started), True: sorted(at for _, at in agent.missed)}
        for seq in range(max(1, -(-end_ns // S))):
            counts = [sum(1 for at in waits[missed] if seq * S <= at < (seq + 1) * S) for missed in (False, True)]
            started, missed = counts
            is_last = seq == max(1, -(-end_ns // S)) - 1
            delta = Delta(
                f"agent-{agent.index}",
                1,
                seq,
                seq * S,
                (seq + 1) * S,
                counters=Counters(
                    iterations_due=started + missed,
                    iterations_started=started,
                    iterations_finished=started,
                    iterations_missed=missed,
                ),
                loads=(LoadCounts(0, started, missed),) if started or missed else (),
                first_arrivals=tuple(agent.firsts) if is_last else (),
            )
            merge.accept("eu", delta)
    return merge

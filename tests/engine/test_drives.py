"""Loads that are changed while they are driven: each arrival once and on time, users as many as there are to be.

Agents are driven by a clock that jumps, through the real `drive_arrivals`, and hear of each change when the test says.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from loadgen.engine.load.clock import Clock
from loadgen.engine.load.load_models import ClosedDrive, CountedDrive, Mark, OpenDrive
from loadgen.engine.load.share import Share
from loadgen.engine.load.share_changes import Deal
from loadgen.engine.load.user_iterations import Arrival, Life, UserPool
from loadgen.engine.recording.recorder import Recorder
from loadgen.errors import UsageError
from loadgen.profiles.arrival_due_times import Listed, Schedule, Timeline
from loadgen.profiles.edits import PAUSE, Course
from loadgen.profiles.given_arrival_times import TimedProfile
from loadgen.profiles.profile import ArrivalProfile, IterationProfile, Profile, UserProfile
from loadgen.profiles.stage import Stage
from tests.support.examples import examples
from tests.support.jump_loop import LoopClock, in_no_time
from tests.support.lives import QuickLife

S, MS = 1_000_000_000, 1_000_000
Told = tuple[int, tuple[Stage, ...]]
"""From when on, which stages."""


# -- open loads, by a clock that jumps ---------------------------------------------------------


class Listening:
    """A clock that jumps, and on its way to where it is sent lets the agent hear what is said to it."""

    def __init__(self, said: Sequence[tuple[int, Callable[[], None]]], late_ns: int = 0) -> None:
        self.now_ns = -MS
        self.said, self.late_ns = list(said), late_ns

    def elapsed_ns(self) -> int:
        return self.now_ns

    def hear(self, until_ns: int) -> bool:
        """What is said next, if that is before `until_ns`."""
        if not self.said or self.said[0][0] > until_ns:
            return False
        at_ns, act = self.said.pop(0)
        self.now_ns = max(self.now_ns, at_ns)
        act()
        return True

    async def sleep_until(self, at_ns: int) -> None:
        await asyncio.sleep(0)
        if self.hear(at_ns):
            await asyncio.sleep(3600)  # the drive is cancelled here, as it waits
        self.now_ns = max(self.now_ns, at_ns + self.late_ns)

    def close(self) -> None: ...


@dataclass
class Starts:
    """Stands in for a user pool: notes what was started when."""

    interval_ends_ns = sys.maxsize

    clock: Listening | None = None
    seen: list[tuple[int, int, int]] = field(default_factory=list)
    """(n, due, when it was started)"""

    def arrive(self, arrival: Arrival, *, is_at_once: bool = False) -> None:
        assert self.clock is not None
        self.seen.append((arrival.n, arrival.due_ns or 0, self.clock.now_ns))


async def play(
    schedule: Schedule,
    share: Share,
    told: Sequence[Told],
    heard_ns: Sequence[int],
    *,
    late_ns: int = 0,
    dies_at: int | None = None,
    marks: memoryview[int] | None = None,
    from_ns: int = 0,
    known: int = 0,
) -> list[tuple[int, int, int]]:
    """One agent, to the end of its starts, or until it is killed; `known` of what is told it knows before it begins."""
    starts, stop = Starts(), asyncio.Event()
    drive = OpenDrive(schedule, Deal(share), None, cast(UserPool, starts), 0, Mark(marks, 0))
    for one in told[:known]:
        drive.adjust(*one)
    said: list[tuple[int, Callable[[], None]]] = [
        (at_ns, lambda one=one: drive.adjust(*one))  # type: ignore[misc]
        for at_ns, one in zip(heard_ns[known:], told[known:], strict=True)
    ]
    dead = asyncio.Event()
    if dies_at is not None:
        said = sorted([*said, (dies_at, dead.set)], key=lambda one: one[0])
    clock = starts.clock = Listening(said, late_ns)
    if from_ns:
        clock.now_ns = from_ns - MS
    while clock.said and clock.said[0][0] <= clock.now_ns:  # before it begins
        clock.hear(clock.now_ns)
    driving = asyncio.create_task(drive.drive(clock, 0, stop, from_ns))
    try:
        while True:
            waits = [asyncio.ensure_future(dead.wait()), asyncio.ensure_future(drive.through())]
            await asyncio.wait([driving, *waits], return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            if driving.done():
                driving.result()
            if dead.is_set():
                return starts.seen
            if not clock.hear(1 << 62):  # nothing is due any more, and nothing more is said
                return starts.seen
            await asyncio.sleep(0)
    finally:
        driving.cancel()
        await asyncio.wait([driving])


EDITS = ("pause", "resume", "scale", "to rate", "skip", "end")
asked = st.lists(
    st.tuples(st.integers(0, 2 * S), st.sampled_from(EDITS), st.sampled_from([0.25, 0.5, 1.5, 2.0, 3.7])), max_size=7
)
stages = st.lists(
    st.builds(Stage, st.integers(0, 120), st.integers(0, 120), st.integers(1, 3 * S)), min_size=1, max_size=4
).map(tuple)


def edited(profile: Profile, wishes: list[tuple[int, str, float]]) -> tuple[Course, list[Told]]:
    """The load as it was made by those of the wishes that make sense, in order; none stays paused."""
    course, told, at_ns = Course.of(profile), [], 0
    for gap_ns, what, factor in [*wishes, (S, "resume", 1.0)]:
        at_ns += gap_ns
        try:
            match what:
                case "pause":
                    new = course.paused(at_ns)
                case "resume":
                    new = course.resumed(at_ns)
                case "scale":
                    new = course.scaled(at_ns, factor)
                case "to rate":
                    new = course.scaled_to(at_ns, 40 * factor)
                case "skip":
                    new = course.skipped(at_ns)
                case _:
                    new = course.ended(at_ns)
        except UsageError:
            continue
        if new.stages != course.stages:
            told.append(new.rest(at_ns))
        course = new
    return course, told


def in_force(schedule: Schedule, told: Sequence[Told]) -> Schedule:
    for at_ns, rest in told:
        schedule = schedule.replaced(at_ns, rest)
    return schedule


@settings(max_examples=examples(120), deadline=None)
@given(
    stages,
    asked,
    st.sampled_from([[1.0], [1.0, 1.0], [1.0, 2.0, 1.0], [1.0] * 7]),
    st.sampled_from([0, 700_000]),
    st.data(),
)
def test_whoever_hears_when_each_arrival_is_started_once_and_in_the_number_of_the_formula(
    row: tuple[Stage, ...],
    wishes: list[tuple[int, str, float]],
    weights: list[float],
    late_ns: int,
    data: st.DataObject,
) -> None:
    profile = ArrivalProfile((*row, Stage(10, 10, S)))
    schedule = profile.schedule()
    course, told = edited(profile, wishes)
    final = in_force(schedule, told)
    is_exact = all(s.start == s.end for s in profile.stages)
    expected = ArrivalProfile(course.own(), is_edited=True).total()
    assert abs(final.total() - expected) <= (0 if is_exact else 1)  # a ramp that was cut is a float's width off

    seen: list[tuple[int, int, int]] = []
    some_late = False
    for index in range(len(weights)):
        heard_ns, before_ns = [], 0
        for at_ns, _ in told:
            delay_ns = data.draw(st.sampled_from([-300 * MS, -300 * MS, -MS, 5 * MS, 800 * MS]))
            before_ns = max(before_ns, at_ns + delay_ns)
            heard_ns.append(before_ns)
        on_time = all(heard <= at_ns for heard, (at_ns, _) in zip(heard_ns, told, strict=True))
        some_late |= not on_time
        own = asyncio.run(play(schedule, Share.of(index, weights, [1.0]), told, heard_ns, late_ns=late_ns))
        assert all(started >= due for _, due, started in own)  # nothing early
        assert all(a[2] <= b[2] for a, b in pairwise(own))
        if on_time:  # where it heard in good time, each is started when the whole story has it due
            assert [due for _, due, _ in own] == [int(final.due_ns(np.array([n]))[0]) for n, _, _ in own]
        seen += own
    numbers = sorted(n for n, _, _ in seen)
    assert len(set(numbers)) == len(numbers)  # none twice
    assert numbers[: final.total()] == list(range(final.total()))  # none left out
    assert some_late or len(numbers) == final.total()  # who hears late of an end may have begun more


def test_between_a_pause_and_its_end_nothing_is_started() -> None:
    profile = ArrivalProfile((Stage(100, 100, 10 * S),))
    course, told = edited(profile, [(2 * S, "pause", 1), (5 * S, "resume", 1)])
    seen = asyncio.run(play(profile.schedule(), Share.of(0, [1], [1]), told, [at - 300 * MS for at, _ in told]))
    assert [n for n, _, _ in seen] == list(range(1000))
    assert [n for n, due, _ in seen if 2 * S <= due < 7 * S] == []
    assert seen[200][1] == 7 * S
    assert course.end_ns == 15 * S


def test_an_agent_that_hears_late_of_a_pause_has_begun_more_and_begins_as_many_less_afterwards() -> None:
    profile = ArrivalProfile((Stage(100, 100, 10 * S),))
    _, told = edited(profile, [(2 * S, "pause", 1), (5 * S, "resume", 1)])
    seen = asyncio.run(play(profile.schedule(), Share.of(0, [1], [1]), told, [3 * S, 6 * S]))
    assert [n for n, _, _ in seen] == list(range(1000))
    assert [n for n, _, at in seen if 2 * S <= at < 3 * S] == list(range(200, 300))
    assert seen[300][1:] == (8 * S, 8 * S)


def test_one_that_hears_late_of_more_starts_what_is_overdue_at_twice_the_planned_rate() -> None:
    profile = ArrivalProfile((Stage(10, 10, 10 * S),))
    _, told = edited(profile, [(2 * S, "scale", 10.0)])
    seen = asyncio.run(play(profile.schedule(), Share.of(0, [1], [1]), told, [3 * S]))
    assert [n for n, _, _ in seen] == list(range(820))
    late = [at for n, _, at in seen if 30 <= n <= 120]  # due between 2.1 and 3 s; caught up at 3.9 s
    assert late[0] == 3 * S
    for start in late:
        assert sum(start <= at < start + 100 * MS for _, _, at in seen) <= 21
    assert all(at == due for _, due, at in seen if due > 3_900 * MS)
    assert any(at > due for _, due, at in seen if 3_800 * MS < due < 3_880 * MS)


def test_recorded_times_are_each_played_once_at_the_speed_of_the_moment() -> None:
    times = np.sort(np.random.default_rng(7).uniform(0, 10, 500))
    profile = TimedProfile.of(times, "log")
    schedule = Schedule(Timeline(profile.speeds), Listed(times))
    _, told = edited(profile, [(2 * S, "pause", 1), (5 * S, "scale", 2.0), (0, "resume", 1)])
    seen = asyncio.run(play(schedule, Share.of(0, [1], [1]), told, [at - 300 * MS for at, _ in told]))
    assert [n for n, _, _ in seen] == list(range(500))
    played = np.where(times < 2, times, 7 + (times - 2) / 2)
    assert np.allclose([due / S for _, due, _ in seen], played, atol=1e-8)


def test_an_edit_before_the_start_holds_from_the_first_arrival_on() -> None:
    profile = ArrivalProfile((Stage(10, 10, 2 * S),))
    _, told = edited(profile, [(0, "pause", 1), (4 * S, "resume", 1)])
    seen = asyncio.run(play(profile.schedule(), Share.of(0, [1], [1]), told, [-S, 3 * S]))
    assert seen[0] == (0, 4 * S, 4 * S)
    assert len(seen) == 20


def test_a_load_whose_arrivals_are_all_started_goes_on_when_it_gets_more() -> None:
    profile = ArrivalProfile((Stage(100, 100, S), Stage(0, 0, 5 * S)))
    told = [(3 * S, (Stage(50, 50, S),))]
    seen = asyncio.run(play(profile.schedule(), Share.of(0, [1], [1]), told, [3 * S]))
    assert [n for n, _, _ in seen] == list(range(150))
    assert seen[100][1] == 3 * S


@settings(max_examples=examples(60), deadline=None)
@given(stages, asked, st.integers(0, 8 * S), st.integers(0, S), st.sampled_from([-300 * MS, 400 * MS]))
def test_a_process_that_takes_over_starts_nothing_that_was_started(
    row: tuple[Stage, ...], wishes: list[tuple[int, str, float]], dies_ns: int, gap_ns: int, delay_ns: int
) -> None:
    """Also where the one before it had heard late, and begun arrivals that are due later now."""
    profile = ArrivalProfile((*row, Stage(10, 10, S)))
    schedule, share = profile.schedule(), Share.of(0, [1.0, 2.0], [1.0])
    _, told = edited(profile, wishes)
    final = in_force(schedule, told)
    heard_ns = [max(0, at_ns + delay_ns) for at_ns, _ in told]
    marks = memoryview(bytearray(8)).cast("q")
    # One that dies before it hears of what holds already cannot have noted what it began meanwhile.
    assume(not any(at_ns < dies_ns <= heard for (at_ns, _), heard in zip(told, heard_ns, strict=True)))
    first = asyncio.run(play(schedule, share, told, heard_ns, dies_at=dies_ns, marks=marks))
    from_ns = dies_ns + gap_ns + 1
    known = sum(at <= from_ns for at in heard_ns)
    second = asyncio.run(play(schedule, share, told, heard_ns, marks=marks, from_ns=from_ns, known=known))
    numbers = [n for n, _, _ in (*first, *second)]
    assert len(set(numbers)) == len(numbers)
    own = set(share.block(0, share.count_below(final.total()))[0].tolist())
    lost = sorted(own - set(numbers))  # due while nobody was there, as far as the one after it knew
    then = in_force(schedule, told[:known])
    assert all(n < then.total() and int(then.due_ns(np.array([n]))[0]) < from_ns for n in lost)


def test_what_was_begun_late_of_a_pause_is_not_begun_again_by_the_process_that_takes_over() -> None:
    profile, share = ArrivalProfile((Stage(100, 100, 10 * S),)), Share.of(0, [1], [1])
    _, told = edited(profile, [(2 * S, "pause", 1), (5 * S, "resume", 1)])
    heard_ns, marks = [2 * S + 400 * MS, 6 * S], memoryview(bytearray(8)).cast("q")
    first = asyncio.run(play(profile.schedule(), share, told, heard_ns, dies_at=3 * S, marks=marks))
    assert len(first) == 240  # 40 of them due after the pause by now
    assert marks[0] == 240
    second = asyncio.run(play(profile.schedule(), share, told, heard_ns, marks=marks, from_ns=4 * S, known=1))
    assert sorted(n for n, _, _ in (*first, *second)) == list(range(1000))


async def test_one_that_is_stopped_does_not_note_more_than_it_has_started() -> None:
    marks, stop, starts = memoryview(bytearray(8)).cast("q"), asyncio.Event(), Starts()

    class Stopping(Listening):
        async def sleep_until(self, at_ns: int) -> None:
            await super().sleep_until(at_ns)
            if at_ns >= 2 * S:
                stop.set()

    schedule = ArrivalProfile((Stage(100, 100, 10 * S),)).schedule()
    drive = OpenDrive(schedule, Deal(Share.of(0, [1], [1])), None, cast(UserPool, starts), 0, Mark(marks, 0))
    starts.clock = Stopping([])
    async with asyncio.timeout(60):
        await drive.drive(starts.clock, 0, stop, 0)
    assert len(starts.seen) == 200
    assert marks[0] <= 200


def test_a_jump_through_a_pause_costs_nothing_of_the_schedule() -> None:
    timeline = Timeline((Stage(100, 100, 10 * S),)).replaced(2 * S, (PAUSE,))
    assert Schedule(timeline).total() == 200


# -- closed and counted loads ------------------------------------------------------------------


class SlowLife(QuickLife):
    """An iteration takes 2 ms."""

    async def iterate(self, arrival: Arrival, *, pool_limited: bool) -> None:
        self.seen.append(arrival)
        await asyncio.sleep(0.002)


class Room:
    """A pool whose lives note when they begin what."""

    def __init__(self, clock: Clock) -> None:
        self.recorder, self.lives, self.clock = Recorder(), list[SlowLife](), clock
        self.begun: list[tuple[int, int, SlowLife]] = []
        """(when, user, life)"""
        series = [self.recorder.journey_series("j")], [self.recorder.journey_series("j", True)]
        self.pool = UserPool(self.new_life, self.recorder, series, max_users=100)

    def new_life(self) -> Life:
        room = self

        class Noting(SlowLife):
            async def iterate(self, arrival: Arrival, *, pool_limited: bool) -> None:
                user = arrival.row if arrival.row is not None else arrival.n
                room.begun.append((room.clock.elapsed_ns(), user, self))
                await super().iterate(arrival, pool_limited=pool_limited)

        self.lives.append(Noting([]))
        return self.lives[-1]

    def users(self, from_ns: int, to_ns: int) -> set[int]:
        return {user for at_ns, user, _ in self.begun if from_ns <= at_ns < to_ns}


def closed(room: Room, users: int, lasting_ns: int) -> ClosedDrive:
    profile = UserProfile((Stage(users, users, lasting_ns),))
    return ClosedDrive(profile, Deal(Share.of(0, [1], [1])), lambda user, i: 0, room.new_life, room.pool, 0)


@in_no_time
async def test_users_follow_the_level_and_whoever_stays_is_the_same_person() -> None:
    room, stop = Room(LoopClock()), asyncio.Event()
    drive = closed(room, 3, 10 * S)
    driving = asyncio.create_task(drive.drive(room.clock, 0, stop, 0))
    await room.clock.sleep_until(50 * MS)
    more_ns = room.clock.elapsed_ns() + 50 * MS
    drive.adjust(more_ns, (Stage(5, 5, 10 * S),))
    await room.clock.sleep_until(more_ns + 100 * MS)
    less_ns = room.clock.elapsed_ns() + 50 * MS
    drive.adjust(less_ns, (Stage(2, 2, 10 * S),))
    await room.clock.sleep_until(less_ns + 100 * MS)
    stop.set()
    await driving
    room.clock.close()
    assert room.users(0, more_ns) == {0, 1, 2}
    assert room.users(more_ns, less_ns) == {0, 1, 2, 3, 4}
    assert room.users(less_ns, 1 << 62) == {0, 1}
    assert len(room.lives) == 5
    assert room.recorder.counters.iterations_started == room.recorder.counters.iterations_finished == len(room.begun)


@in_no_time
async def test_over_a_pause_nobody_begins_and_everybody_stays_who_they_are() -> None:
    room, stop = Room(LoopClock()), asyncio.Event()
    drive = closed(room, 4, 10 * S)
    driving = asyncio.create_task(drive.drive(room.clock, 0, stop, 0))
    await room.clock.sleep_until(30 * MS)
    paused_ns = room.clock.elapsed_ns() + 30 * MS
    drive.adjust(paused_ns, (PAUSE,))
    await room.clock.sleep_until(paused_ns + 80 * MS)
    resumed_ns = room.clock.elapsed_ns() + 30 * MS
    known_end_ns = drive.end_ns
    drive.adjust(resumed_ns, (Stage(4, 4, 10 * S),))
    await room.clock.sleep_until(resumed_ns + 60 * MS)
    stop.set()
    await driving
    room.clock.close()
    assert room.users(paused_ns, resumed_ns) == set()
    assert room.users(0, paused_ns) == room.users(resumed_ns, 1 << 62) == {0, 1, 2, 3}
    assert len(room.lives) == 4
    assert all(life.closed for life in room.lives)
    assert (known_end_ns, drive.end_ns) == (None, resumed_ns + 10 * S)
    for user in range(4):  # iterations of a person are counted on
        own = [at for at, who, _ in room.begun if who == user]
        assert len(own) == len(set(own))


@in_no_time
async def test_who_has_left_comes_back_with_the_same_row_and_the_next_iteration() -> None:
    room, stop = Room(LoopClock()), asyncio.Event()
    drive = closed(room, 2, 40 * MS)
    driving = asyncio.create_task(drive.drive(room.clock, 0, stop, 0))
    await room.clock.sleep_until(90 * MS)
    async with asyncio.timeout(60):
        while room.pool.users:  # until all have left
            await asyncio.sleep(0.002)
        drive.adjust(40 * MS, (Stage(2, 2, 3600 * S),))
        while not all(life.seen for life in room.lives[2:4]) or len(room.lives) < 4:
            await asyncio.sleep(0.002)
    stop.set()
    await driving
    room.clock.close()
    assert len(room.lives) == 4
    numbers = [arrival.n for life in room.lives for arrival in life.seen]
    assert len(set(numbers)) == len(numbers)
    assert {arrival.row for life in room.lives for arrival in life.seen} == {0, 1}


@pytest.mark.parametrize("is_marked", [True, False])
@in_no_time
async def test_a_counted_load_begins_nothing_while_it_is_paused_and_does_all_in_the_end(is_marked: bool) -> None:
    room, stop = Room(LoopClock()), asyncio.Event()
    marks = memoryview(bytearray(8)).cast("q") if is_marked else None
    profile = IterationProfile(200, 4)
    drive = CountedDrive(profile, Share.of(0, [1], [1]), None, room.new_life, room.pool, 0, Mark(marks, 0))
    driving = asyncio.create_task(drive.drive(room.clock, 0, stop, 0))
    await room.clock.sleep_until(20 * MS)
    paused_ns = room.clock.elapsed_ns() + 20 * MS
    drive.adjust(paused_ns, (PAUSE,))
    await room.clock.sleep_until(paused_ns + 60 * MS)
    done = len(room.begun)
    assert 0 < done < 200
    if marks is not None:
        assert marks[0] == done  # nothing is taken that is not begun
    resumed_ns = room.clock.elapsed_ns() + 20 * MS
    drive.adjust(resumed_ns, (Stage(1, 1, 10 * S),))
    async with asyncio.timeout(60):
        await driving
    room.clock.close()
    # Its gate is shut by a timer of the loop, so what begins just then may be a tick late.
    assert not [at for at, _, _ in room.begun if paused_ns + 10 * MS < at < resumed_ns]
    assert sorted(user for _, user, _ in room.begun) == list(range(200))


@in_no_time
async def test_a_paused_load_stops() -> None:
    for make in ("closed", "counted"):
        room, stop = Room(LoopClock()), asyncio.Event()
        drive: ClosedDrive | CountedDrive
        if make == "closed":
            drive = closed(room, 3, 10 * S)
        else:
            one = Share.of(0, [1], [1])
            drive = CountedDrive(IterationProfile(10**6, 3), one, None, room.new_life, room.pool, 0, Mark(None, 0))
        drive.adjust(0, (PAUSE,))
        driving = asyncio.create_task(drive.drive(room.clock, 0, stop, 0))
        await asyncio.sleep(0.02)
        assert not room.begun
        stop.set()
        async with asyncio.timeout(60):
            await driving
        room.clock.close()


@dataclass
class Missing(Starts):
    missed: list[tuple[int, int]] = field(default_factory=list)
    """(n, due)"""

    def miss(self, arrival: Arrival) -> None:
        self.missed.append((arrival.n, arrival.due_ns or 0))


async def reassigned(
    index: int,
    weights: list[float],
    changes: Sequence[tuple[int, int, tuple[float, ...]]],
    *,
    from_ns: int = 0,
    leaves: tuple[int, int] | None = None,
) -> Missing:
    """One agent of those with `weights`, over 10 s of 100/s.

    changes: (heard, holds from, weights).
    leaves: (told, from when on) it leaves what is due to others.
    """
    starts, stop = Missing(), asyncio.Event()
    schedule = ArrivalProfile((Stage(100, 100, 10 * S),)).schedule()
    drive = OpenDrive(schedule, Deal(Share.of(index, weights, [1])), None, cast(UserPool, starts), 0, Mark(None, 0))
    said: list[tuple[int, Callable[[], None]]] = [
        (heard_ns, lambda number=number, at_ns=at_ns, now=now: drive.reassign(number, at_ns, now))  # type: ignore[misc]
        for number, (heard_ns, at_ns, now) in enumerate(changes, 1)
    ]
    if leaves is not None:
        said = sorted([*said, (leaves[0], lambda: drive.leave(leaves[1]))], key=lambda one: one[0])
    clock = starts.clock = Listening(said, 0)
    while clock.hear(from_ns):
        pass
    clock.now_ns = from_ns
    driving = asyncio.create_task(drive.drive(clock, 0, stop, from_ns))
    while clock.said or not drive._through.is_set():
        if drive._through.is_set():
            clock.hear(60 * S)  # what comes when it has nothing left to wait for
        await asyncio.sleep(0)
    driving.cancel()
    return starts


async def test_what_a_lost_agent_had_is_started_by_the_others_from_the_instant_on_and_nothing_twice() -> None:
    lost = (2 * S, 3 * S, (1.0, 0.0, 2.0))
    first, third = [await reassigned(index, [1, 1, 2], [lost]) for index in (0, 2)]
    numbers = sorted(n for n, _, _ in (*first.seen, *third.seen))
    assert len(set(numbers)) == len(numbers)
    assert [n for n in numbers if n >= 300] == list(range(300, 1000))
    theirs = Share.of(1, [1, 1, 2], [1]).block(0, Share.of(1, [1, 1, 2], [1]).count_below(300))[0].tolist()
    assert sorted(set(range(300)) - set(numbers)) == theirs
    assert all(at == due for _, due, at in first.seen)
    assert not first.missed


@given(
    told_ns=st.integers(0, 8 * S),
    lead_ns=st.integers(MS, 1 * S),
    late_ns=st.one_of(st.none(), st.integers(-1 * S, 3 * S)),
    changed_ns=st.integers(0, 9 * S),
)
@settings(max_examples=examples(40), deadline=None)
def test_whoever_leaves_and_the_others_start_each_arrival_once_whatever_the_one_that_leaves_hears(
    told_ns: int, lead_ns: int, late_ns: int | None, changed_ns: int
) -> None:
    """late_ns: after it had left it hears that others have its share; None: never. Before that another one is lost."""
    at_ns, weights = told_ns + lead_ns, [2.0, 1.0, 1.0, 2.0]
    if changed_ns <= at_ns:
        heard = [
            (max(0, changed_ns - MS), changed_ns, (2.0, 1.0, 1.0, 0.0)),
            (max(told_ns, changed_ns - MS), at_ns, (0.0, 1.0, 1.0, 0.0)),
        ]
    else:
        heard = [(told_ns, at_ns, (0.0, 1.0, 1.0, 2.0)), (changed_ns - MS, changed_ns, (0.0, 1.0, 1.0, 0.0))]
    own = [one for one in heard if one[1] < at_ns]
    if late_ns is not None:
        own += [(max(0, at_ns + late_ns, heard_ns), when, now) for heard_ns, when, now in heard if when >= at_ns]

    async def all_of_them() -> list[Missing]:
        leaver = await reassigned(0, weights, own, leaves=(told_ns, at_ns))
        others = [await reassigned(index, weights, heard) for index in (1, 2)]
        gone = await reassigned(3, weights, heard, leaves=(0, changed_ns))
        return [leaver, *others, gone]

    found = asyncio.run(all_of_them())
    assert sorted(n for one in found for n, _, _ in one.seen) == list(range(1000))
    assert all(due < at_ns for _, due, _ in found[0].seen)
    assert not any(one.missed for one in found)


@in_no_time
async def test_users_of_one_that_leaves_begin_nothing_from_then_on() -> None:
    room, stop = Room(LoopClock()), asyncio.Event()
    drive = ClosedDrive(
        UserProfile((Stage(4, 4, 60 * S),)),
        Deal(Share.of(0, [1, 1], [1])),
        lambda user, i: 0,
        room.new_life,
        room.pool,
        0,
    )
    driving = asyncio.create_task(drive.drive(room.clock, 0, stop, 0))
    await room.clock.sleep_until(30 * MS)
    left_ns = room.clock.elapsed_ns() + 30 * MS
    drive.leave(left_ns)
    await room.clock.sleep_until(left_ns + 50 * MS)
    assert {row for _, row, _ in room.begun} == {0, 2}
    assert max(at for at, _, _ in room.begun) < left_ns + 20 * MS
    assert room.pool.users == 0
    stop.set()
    await driving
    room.clock.close()


async def test_who_hears_late_of_a_loss_misses_what_was_due_by_then_and_starts_nothing_of_it_in_a_burst() -> None:
    on_time = await reassigned(0, [1, 1, 2], [(2 * S, 3 * S, (1.0, 0.0, 2.0))])
    late = await reassigned(0, [1, 1, 2], [(5 * S, 3 * S, (1.0, 0.0, 2.0))])
    assert all(at == due for _, due, at in late.seen)
    assert sorted([n for n, _, _ in late.seen] + [n for n, _ in late.missed]) == [n for n, _, _ in on_time.seen]
    assert all(3 * S <= due < 5 * S for _, due in late.missed)
    assert late.missed


async def test_one_that_joins_takes_part_from_the_instant_on_and_the_others_have_as_much_less() -> None:
    joined = (2 * S, 4 * S, (1.0, 1.0, 2.0))
    two = [await reassigned(index, [1, 1, 0], [joined]) for index in (0, 1)]
    third = await reassigned(2, [1, 1, 0], [(0, *joined[1:])], from_ns=4 * S)
    numbers = sorted(n for one in (*two, third) for n, _, _ in one.seen)
    assert numbers == list(range(1000))
    assert min(due for _, due, _ in third.seen) >= 4 * S
    assert len(third.seen) == pytest.approx(300, abs=5)


@in_no_time
async def test_users_of_a_lost_agent_are_there_again_as_new_persons_and_nobody_elses_leaves() -> None:
    room, stop = Room(LoopClock()), asyncio.Event()
    profile = UserProfile((Stage(6, 6, 60 * S),))
    deal = Deal(Share.of(0, [1, 1], [1]))
    drive = ClosedDrive(profile, deal, lambda user, i: 0, room.new_life, room.pool, 0)
    driving = asyncio.create_task(drive.drive(room.clock, 0, stop, 0))
    await room.clock.sleep_until(30 * MS)
    assert {row for _, row, _ in room.begun} == {0, 2, 4}
    before = room.pool.users
    drive.reassign(1, room.clock.elapsed_ns() + 30 * MS, (1.0, 0.0))
    changed_ns = room.clock.elapsed_ns() + 30 * MS
    await room.clock.sleep_until(changed_ns + 60 * MS)
    assert {row for _, row, _ in room.begun} == {0, 1, 2, 3, 4, 5}
    assert min(at for at, row, _ in room.begun if row in (1, 3, 5)) >= changed_ns - 30 * MS
    assert (before, room.pool.users) == (3, 6)
    stop.set()
    await driving
    room.clock.close()


class Misses(Starts):
    """Notes misses, too."""

    def __init__(self, clock: Listening) -> None:
        super().__init__(clock)
        self.missed: list[tuple[int, int, int]] = []

    def miss(self, arrival: Arrival) -> None:
        assert self.clock is not None
        self.missed.append((arrival.n, arrival.due_ns or 0, self.clock.now_ns))


def late_joiner(until_ns: int) -> tuple[OpenDrive, Misses]:
    """A share of ten arrivals a second that is ours since 1 s, of which we are told at 1.2 s."""
    pool = Misses(Listening([], 0))
    pool.clock.now_ns = until_ns  # type: ignore[union-attr]
    schedule = ArrivalProfile((Stage(10, 10, 3 * S),)).schedule()
    return OpenDrive(schedule, Deal(Share.of(0, [1.0], [1.0])), None, cast(UserPool, pool), 0, Mark(None, 0)), pool


async def test_a_late_joiner_misses_no_arrival_before_it_is_due() -> None:
    """Seen in a soak of four agents: waits below 0 ended its worker."""
    drive, pool = late_joiner(1_200 * MS)
    assert pool.clock is not None
    driving = asyncio.create_task(drive.drive(pool.clock, 0, asyncio.Event(), 1_500 * MS, S))
    await drive.through()
    driving.cancel()
    assert [n for n, _, _ in pool.missed] == [10, 11, 12, 13, 14]
    assert all(at_ns >= due_ns for _, due_ns, at_ns in pool.missed)
    assert [n for n, _, _ in pool.seen] == list(range(15, 30))


async def test_a_late_joiner_that_is_stopped_before_it_begins_misses_what_was_due_by_then_and_is_its_own() -> None:
    drive, pool = late_joiner(1_200 * MS)
    assert pool.clock is not None
    driving = asyncio.create_task(drive.drive(pool.clock, 0, asyncio.Event(), 1_500 * MS, S))
    await asyncio.sleep(0)  # it waits for its time
    await drive.give_up(0, 1_250 * MS)
    driving.cancel()
    assert [n for n, _, _ in pool.missed] == [10, 11, 12]
    assert pool.seen == []

"""Users that keep a pace: each begins once a cycle, evenly over the fleet, and nobody makes up for what was skipped."""

from __future__ import annotations

import asyncio
from collections import Counter
from fractions import Fraction
from time import perf_counter_ns
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.engine.load.clock import Clock, MonotonicClock
from loadgen.engine.load.load_models import ClosedDrive
from loadgen.engine.load.pace import Cycles, Pace, next_cycle
from loadgen.engine.load.share import Share
from loadgen.engine.load.share_changes import Deal
from loadgen.engine.load.start_loops import drive_users
from loadgen.engine.load.user_count_changes import Changes, Crowd
from loadgen.engine.load.user_iterations import Arrival, UserPool
from loadgen.engine.recording.recorder import Recorder
from loadgen.profiles.edits import PAUSE
from loadgen.profiles.profile import UserProfile
from loadgen.profiles.stage import Stage
from tests.engine.test_drives import MS, Room
from tests.support.clock import JumpClock
from tests.support.examples import examples
from tests.support.lives import QuickLife

S = 1_000_000_000
AGENTS = (1, 2, 3, 7)


@pytest.mark.parametrize(
    ("due", "now", "then"),  # every 10
    [
        (0, 3, (10, 0)),
        (0, 10, (10, 0)),
        (0, 11, (20, 1)),
        (0, 20, (20, 1)),
        (0, 25, (30, 2)),
        (7, 8, (17, 0)),
        (7, 1007, (1007, 99)),
    ],
)
def test_who_overruns_a_cycle_waits_for_the_next_that_is_to_come(due: int, now: int, then: tuple[int, int]) -> None:
    assert next_cycle(due, 10, now) == then


def begins(cycles: Cycles, user: int, from_ns: int = 0) -> list[int]:
    """All cycles of a user."""
    found: list[int] = []
    at_ns = cycles.first_ns(user, from_ns)
    while at_ns is not None:
        found.append(at_ns)
        at_ns = cycles.first_ns(user, at_ns + 1)
    return found


@given(st.integers(1, 30), st.integers(1, 20 * S), st.integers(1, 8), st.sampled_from(AGENTS), st.integers(1, 2))
@settings(max_examples=examples(80), deadline=None)
def test_a_constant_number_of_users_begins_at_a_constant_rate_over_all_agents_and_workers(
    users: int, every_ns: int, turns: int, agents: int, workers: int
) -> None:
    cycles = Cycles((Stage(users, users, turns * every_ns),), every_ns)
    parts = [
        [
            at
            for user in Share.of(agent, [1.0] * agents, [1.0], worker, workers).owns_users(users)
            for at in begins(cycles, user)
        ]
        for agent in range(agents)
        for worker in range(workers)
    ]
    # users / every, for all of the duration: the k-th of the fleet begins at k·every/users, to the ns.
    wanted = [int(Fraction(k * every_ns, users)) for k in range(users * turns)]
    assert sorted(at for part in parts for at in part) == wanted


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=examples(60), deadline=None)
def test_users_that_come_together_are_spread_and_those_that_were_there_go_on(
    first: int, more: int, hold_s: int, later_s: int, every_s: int
) -> None:
    stages = (Stage(first, first, hold_s * S), Stage(first + more, first + more, later_s * S))
    cycles = Cycles(stages, every_s * S)
    for user in range(first):
        assert begins(cycles, user) == [
            int(Fraction(user * every_s * S, first)) + k * every_s * S
            for k in range((hold_s + later_s) // every_s + 1)
            if int(Fraction(user * every_s * S, first)) + k * every_s * S < (hold_s + later_s) * S
        ]
    for k in range(more):
        begin = hold_s * S + int(Fraction(k * every_s * S, more))
        found = begins(cycles, first + k)
        assert found[:1] == ([begin] if begin < (hold_s + later_s) * S else [])


def test_users_that_came_up_a_ramp_begin_when_they_come_and_are_even_by_that() -> None:
    stages = (Stage(0, 60, 30 * S), Stage(60, 60, 60 * S))
    cycles = Cycles(stages, 10 * S)
    assert [begins(cycles, user)[0] for user in (0, 1, 30)] == [1, S // 2 + 1, 15 * S + 1]
    at = Counter(one // S for user in range(60) for one in begins(cycles, user))
    assert {at[second] for second in range(30, 90)} == {6}  # 60 users, every 10 s


@given(st.integers(1, 12), st.integers(S // 4, 5 * S), st.integers(0, 30 * S))
@settings(max_examples=examples(60), deadline=None)
def test_whoever_takes_over_from_a_time_keeps_the_cycles(users: int, every_ns: int, from_ns: int) -> None:
    cycles = Cycles((Stage(0, users, 3 * S), Stage(users, users, 9 * S), Stage(users, 1, 5 * S)), every_ns)
    for user in range(users):
        whole = begins(cycles, user)
        assert cycles.first_ns(user, from_ns) == next((at for at in whole if at >= from_ns), None)
        assert all((at - whole[0]) % every_ns == 0 for at in whole)


def test_without_spread_all_begin_at_once() -> None:
    cycles = Cycles((Stage(3, 3, 5 * S),), 2 * S, is_spread=False)
    assert [begins(cycles, user) for user in range(3)] == [[0, 2 * S, 4 * S]] * 3


def test_a_user_that_goes_and_comes_again_begins_new_cycles() -> None:
    cycles = Cycles((Stage(1, 1, 3 * S), Stage(0, 0, 4 * S), Stage(2, 2, 3 * S)), 2 * S)
    assert begins(cycles, 0) == [0, 2 * S, 7 * S, 9 * S]
    assert begins(cycles, 1) == [8 * S]
    assert begins(cycles, 2) == []


# -- driven ----------------------------------------------------------------------------------------


class Jumping(Changes):
    """Waiting takes no time."""

    async def until(self, clock: Clock, at_ns: int | None) -> None:
        await asyncio.sleep(0)
        assert at_ns is not None
        jump = cast(JumpClock, clock)
        jump.now_ns = max(jump.now_ns, at_ns)


async def driven(
    took_ns: list[int], every_ns: int, lasting_ns: int, now_ns: int = 0
) -> tuple[list[int], list[int], Recorder]:
    """One user whose iterations take so long, by turns: when each began; what it skipped."""
    clock, seen, at, skipped = JumpClock(), list[Arrival](), list[int](), list[int]()
    clock.now_ns = now_ns

    class Taking(QuickLife):
        async def iterate(self, arrival: Arrival, *, pool_limited: bool) -> None:
            at.append(clock.now_ns)
            clock.now_ns += took_ns[len(at) % len(took_ns)]
            self.seen.append(arrival)

    recorder = Recorder()
    series = [recorder.journey_series("j")], [recorder.journey_series("j", True)]
    pool = UserPool(lambda: Taking(seen), recorder, series, max_users=10)
    crowd = Crowd([0], lambda user: [(0, lasting_ns)])
    crowd.changes = Jumping()
    cycles = Cycles((Stage(1, 1, lasting_ns),), every_ns)
    pace = Pace(every_ns, cycles.first_ns, skipped.append)
    await drive_users(crowd, lambda user, i: 0, pool._new_life, clock, pool, asyncio.Event(), 0, pace)
    assert [arrival.n for arrival in seen] == list(range(len(seen)))
    return at, skipped, recorder


async def test_a_paced_user_begins_once_a_cycle_however_long_iterations_take() -> None:
    at, skipped, recorder = await driven([3, 10, 0], 10, 100)
    assert at == list(range(0, 100, 10))
    assert skipped == []
    assert recorder.counters.iterations_finished == 10


async def test_a_user_whose_first_cycle_is_heard_of_late_begins_it_at_once_and_keeps_its_cycles() -> None:
    at, skipped, _ = await driven([1], 10, 50, now_ns=3)
    assert at == [3, 10, 20, 30, 40]
    assert skipped == []


async def test_an_overrun_skips_cycles_and_counts_them_and_is_never_followed_by_a_burst() -> None:
    at, skipped, _ = await driven([25, 1], 10, 100)
    assert at == [0, 10, 40, 50, 80, 90]
    assert skipped == [2, 2, 2]


async def test_who_is_slower_than_its_pace_begins_as_often_as_it_can_in_whole_cycles() -> None:
    at, skipped, _ = await driven([11], 10, 100)
    assert at == [0, 20, 40, 60, 80]
    assert sum(skipped) == 5


async def test_a_closed_load_that_is_paced_begins_nothing_early_and_one_a_cycle() -> None:
    """By the real clock: whatever the machine does, no user begins before its cycle or twice in one."""
    room, stop = Room(MonotonicClock(perf_counter_ns())), asyncio.Event()
    profile = UserProfile((Stage(4, 4, 300 * MS),), pace_ns=60 * MS)
    drive = ClosedDrive(profile, Deal(Share.of(0, [1], [1])), lambda user, i: 0, room.new_life, room.pool, 0)
    driving = asyncio.create_task(drive.drive(room.clock, 0, stop, 0))
    while room.clock.elapsed_ns() < 320 * MS:
        await asyncio.sleep(0.005)
    stop.set()
    await driving
    room.clock.close()
    for user in range(4):
        turns = [(at_ns - user * 15 * MS) // (60 * MS) for at_ns, who, _ in room.begun if who == user]
        assert turns == sorted(set(turns))
        assert turns[0] >= 0
        assert len(turns) <= 5


async def test_after_a_pause_the_users_are_spread_anew() -> None:
    profile = UserProfile((Stage(4, 4, 100 * S),), pace_ns=8 * S)
    drive = ClosedDrive(
        profile, Deal(Share.of(0, [1], [1])), lambda user, i: 0, lambda: QuickLife([]), cast(UserPool, None), 0
    )
    drive.adjust(20 * S, (PAUSE,))
    assert drive._first_cycle_ns(0, 18 * S) is None
    drive.adjust(33 * S, (Stage(4, 4, 50 * S),))
    assert [drive._first_cycle_ns(user, 21 * S) for user in range(4)] == [33 * S, 35 * S, 37 * S, 39 * S]
    drive.adjust(50 * S, (Stage(8, 8, 50 * S),))
    assert [drive._first_cycle_ns(user, 50 * S) for user in (0, 1, 4, 5)] == [57 * S, 51 * S, 50 * S, 52 * S]

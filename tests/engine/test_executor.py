"""Driving loads: nothing early, nothing lost, everything that is due in one tick at once."""

from __future__ import annotations

import asyncio
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.engine.load.schedule import due_times
from loadgen.engine.load.share import Share
from loadgen.engine.load.start_loops import drive_arrivals, drive_iterations, drive_users
from loadgen.engine.load.user_count_changes import Crowd
from loadgen.engine.load.user_iterations import Arrival, Life, UserPool
from loadgen.engine.recording.recorder import Recorder
from loadgen.profiles.profile import ArrivalProfile
from loadgen.profiles.stage import Stage
from tests.support.clock import JumpClock
from tests.support.lives import QuickLife

S = 1_000_000_000


class StartLog:
    """Stands in for a user pool: notes what was started when."""

    interval_ends_ns = sys.maxsize

    def __init__(self, clock: JumpClock) -> None:
        self.clock = clock
        self.started: list[tuple[Arrival, int]] = []

    def arrive(self, arrival: Arrival, *, is_at_once: bool = False) -> None:
        self.started.append((arrival, self.clock.elapsed_ns()))


@given(
    rates=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), min_size=1, max_size=4),
    late_ns=st.sampled_from([0, 700_000, 3_000_000, 40_000_000]),
    agents=st.integers(1, 4),
)
def test_drive_starts_everything_of_its_share_and_nothing_before_it_is_due(
    rates: list[tuple[int, int]], late_ns: int, agents: int
) -> None:
    if not any(max(pair) for pair in rates):
        rates = [(1, 1)]
    profile = ArrivalProfile(tuple(Stage(a, b, S) for a, b in rates))
    seen: list[int] = []
    for index in range(agents):
        clock = JumpClock(late_ns)
        log = StartLog(clock)
        share = Share.of(index, [1.0] * agents, [1.0])
        asyncio.run(drive_arrivals(due_times(profile, share), clock, 5, log, asyncio.Event(), S // 2))  # type: ignore[arg-type]
        assert all(now >= (a.due_ns or 0) - 5 for a, now in log.started)
        assert all(a.warmup == ((a.due_ns or 0) - 5 < S // 2) for a, _ in log.started)
        seen += [a.n for a, _ in log.started]
        if late_ns == 3_000_000:  # what fell due while asleep is started in one tick: fewer naps than starts
            assert clock.sleeps <= 1 + profile.duration_ns // late_ns
    assert sorted(seen) == list(range(profile.total()))


def quick_pool(seen: list[Arrival]) -> tuple[UserPool, Recorder, list[QuickLife]]:
    recorder, lives = Recorder(), []

    def new() -> Life:
        lives.append(QuickLife(seen))
        return lives[-1]

    series = [recorder.journey_series("j")], [recorder.journey_series("j", True)]
    return UserPool(new, recorder, series, max_users=10), recorder, lives


@pytest.mark.parametrize("users", [1, 3])
async def test_counted_iterations_are_each_done_once_by_users_that_share_them(users: int) -> None:
    seen: list[Arrival] = []
    pool, recorder, lives = quick_pool(seen)
    clock = JumpClock()
    clock.now_ns = 0
    own = iter([(n, 0) for n in range(100)])
    await drive_iterations(own, users, pool._new_life, clock, pool, asyncio.Event(), 0)
    assert sorted(a.n for a in seen) == list(range(100))
    assert len(lives) == users
    assert all(life.closed for life in lives)
    assert recorder.counters.iterations_finished == 100


async def test_no_user_does_more_than_its_number_of_iterations_however_fast_it_is() -> None:
    seen: list[Arrival] = []
    pool, _, lives = quick_pool(seen)
    by_life = [0, 0, 0]

    class CountingLife(QuickLife):
        async def iterate(self, arrival: Arrival, *, pool_limited: bool) -> None:
            by_life[lives.index(self)] += 1
            if lives.index(self) == 2:  # the slow one
                await asyncio.sleep(0.001)
            self.seen.append(arrival)

    def new() -> Life:
        lives.append(CountingLife(seen))
        return lives[-1]

    clock = JumpClock()
    clock.now_ns = 0
    own = iter([(n, 0) for n in range(15)])
    await drive_iterations(own, 3, new, clock, pool, asyncio.Event(), 0, most=5)
    assert by_life == [5, 5, 5]
    assert sorted(a.n for a in seen) == list(range(15))


async def test_closed_users_stop_at_the_end_of_their_span_and_keep_their_row() -> None:
    seen: list[Arrival] = []
    pool, recorder, _ = quick_pool(seen)

    class Ticking(JumpClock):
        def elapsed_ns(self) -> int:
            self.now_ns += 100_000
            return self.now_ns

    crowd = Crowd([7], lambda user: [(0, S // 100)])
    await drive_users(crowd, lambda user, i: 0, pool._new_life, Ticking(), pool, asyncio.Event(), 0)
    assert 20 < len(seen) < 200
    assert {a.row for a in seen} == {7}
    assert all(a.due_ns is None for a in seen)
    assert recorder.counters.iterations_finished == len(seen)


async def test_a_stop_ends_closed_users_after_their_iteration() -> None:
    seen: list[Arrival] = []
    pool, recorder, _ = quick_pool(seen)
    stop, clock = asyncio.Event(), JumpClock()
    clock.now_ns = 0
    asyncio.get_running_loop().call_later(0.01, stop.set)
    crowd = Crowd(range(3), lambda user: [(0, 3600 * S)])
    await drive_users(crowd, lambda user, i: 0, pool._new_life, clock, pool, stop, 0)
    assert recorder.counters.iterations_started == recorder.counters.iterations_finished == len(seen)

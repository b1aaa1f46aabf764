"""Users: what is recorded of an iteration, who waits, and what the drain does."""

from __future__ import annotations

import asyncio
from time import perf_counter_ns

from loadgen.engine.load.user_iterations import OPENS_A_TURN, Arrival, UserPool
from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.delta import Delta
from tests.support.turns import turns

MS = 1_000_000


class ScriptedLife:
    """Runs for as long as its gate is closed."""

    def __init__(self, gate: asyncio.Event, resists: bool = False) -> None:
        self.gate, self.resists = gate, resists
        self.begun_ns = self.ended_ns = self.idle_ns = self.set_up_ns = 0
        self.outcome, self.censored = "ok", False
        self.tags, self.noted, self.spans = (), None, None
        self.limited: list[bool] = []
        self.ran: list[int] = []
        """Numbers of the arrivals that began."""
        self.connects: asyncio.Event | None = None

    async def preconnect(self) -> None:
        if self.connects is not None:
            await self.connects.wait()

    async def iterate(self, arrival: Arrival, *, pool_limited: bool) -> None:
        self.limited.append(pool_limited)
        self.ran.append(arrival.n)
        self.begun_ns = perf_counter_ns()
        while True:
            try:
                await self.gate.wait()
                break
            except asyncio.CancelledError:
                if not self.resists:
                    raise
        self.ended_ns = perf_counter_ns()

    def idle_until(self, now_ns: int) -> int:
        return self.idle_ns

    def resisted(self) -> None: ...

    async def close(self) -> None: ...


class Bench:
    """A pool with lives that the test holds in its hand."""

    def __init__(
        self, *, max_users: int = 10, max_lateness_ns: int | None = None, resists: bool = False, reserve: int = 0
    ) -> None:
        self.recorder = Recorder()
        self.gate = asyncio.Event()
        self.lives: list[ScriptedLife] = []
        self.resists = resists
        series = [self.recorder.journey_series("j")], [self.recorder.journey_series("j", True)]
        self.pool = UserPool(
            self._new, self.recorder, series, max_users=max_users, max_lateness_ns=max_lateness_ns, reserve=reserve
        )

    def _new(self) -> ScriptedLife:
        self.lives.append(ScriptedLife(self.gate, self.resists))
        return self.lives[-1]

    def arrive(self, n: int, late_ns: int = 0) -> None:
        self.pool.arrive(Arrival(perf_counter_ns() - late_ns, n, 0, False))

    async def settle(self) -> Delta:
        await turns()
        return self.recorder.flip(0, 1)


def rows(delta: Delta) -> dict[tuple[str, str, bool], int]:
    """(outcome, metric, censored) -> count."""
    keys = delta.new_series
    return {(keys[s.series].outcome, keys[s.series].metric, keys[s.series].censored): s.n for s in delta.stats}


async def test_a_free_user_is_taken_again_before_a_new_one_is_made() -> None:
    bench = Bench()
    bench.gate.set()
    for n in range(5):
        bench.arrive(n)
        await turns()
    assert bench.pool.users == 1
    assert rows(await bench.settle())["ok", "response", False] == 5


async def test_arrivals_that_find_all_users_busy_wait_in_due_order_and_are_pool_limited() -> None:
    bench = Bench(max_users=1)
    for n in range(3):
        bench.arrive(n)
    await turns()
    assert (bench.pool.in_flight, bench.pool.waiting) == (1, 2)
    await asyncio.sleep(0.002)
    bench.gate.set()
    await bench.pool.drained()
    delta = await bench.settle()
    assert bench.lives[0].limited == [False, True, True]
    assert delta.counters.iterations_due == delta.counters.iterations_finished == 3
    waits = next(s for s in delta.stats if delta.new_series[s.series].metric == "user_wait")
    assert waits.max_ns >= MS


async def test_lateness_is_in_the_response_time_and_split_into_wait_and_lag() -> None:
    bench = Bench()
    bench.gate.set()
    bench.arrive(0, late_ns=50 * MS)
    delta = await bench.settle()
    stats = {delta.new_series[s.series].metric: s for s in delta.stats}
    assert stats["response"].min_ns >= 50 * MS
    assert stats["generator_lag"].min_ns >= 50 * MS
    assert stats["user_wait"].max_ns == 0


async def test_an_arrival_that_waited_longer_than_max_lateness_is_missed_and_censored() -> None:
    bench = Bench(max_users=1, max_lateness_ns=50_000 * MS)
    bench.arrive(0)
    bench.arrive(1, late_ns=60_000 * MS)
    await asyncio.sleep(0)
    bench.gate.set()
    await bench.pool.drained()
    delta = await bench.settle()
    assert delta.counters.iterations_missed == 1
    assert rows(delta)["missed", "response", True] == 1


async def test_what_the_drain_cuts_off_is_counted_once_and_censored() -> None:
    bench = Bench(max_users=2)
    for n in range(3):
        bench.arrive(n)
    await turns()
    bench.pool.cut_off()
    await bench.pool.drained()
    await bench.pool.close()
    counters = (delta := await bench.settle()).counters
    assert (counters.iterations_due, counters.iterations_started) == (3, 2)
    assert (counters.iterations_finished, counters.iterations_missed, counters.iterations_cut_off) == (0, 1, 2)
    assert rows(delta)["cut off", "response", True] == 2


async def test_a_journey_that_ignores_its_cancellation_does_not_hold_up_the_end() -> None:
    bench = Bench(resists=True)
    bench.arrive(0)
    await turns()
    bench.pool.cut_off()
    await bench.pool.close(patience_s=0.01)
    bench.gate.set()
    await turns()
    assert (await bench.settle()).counters.iterations_finished == 0


async def test_due_equals_finished_missed_and_cut_off_after_any_end() -> None:
    bench = Bench(max_users=3)
    for n in range(10):
        bench.arrive(n)
    await turns()
    bench.gate.set()
    await asyncio.sleep(0)
    bench.pool.cut_off()
    await bench.pool.close()
    c = (await bench.settle()).counters
    assert c.iterations_due == 10 == c.iterations_finished + c.iterations_missed + c.iterations_cut_off


# -- connections ---------------------------------------------------------------------------------


async def test_of_many_arrivals_in_one_turn_a_few_get_a_new_user_and_the_others_use_those_that_become_free() -> None:
    bench = Bench(max_users=1_000)
    bench.gate.set()  # iterations end as soon as the loop turns
    for n in range(500):
        bench.arrive(n)
    assert bench.pool.users == OPENS_A_TURN
    assert bench.pool.waiting == 500 - OPENS_A_TURN
    await bench.pool.drained()
    assert bench.pool.users <= 5 * OPENS_A_TURN
    delta = await bench.settle()
    assert rows(delta)["ok", "user_wait", False] == 500
    assert bench.pool.started == 500
    assert not any(limited for life in bench.lives for limited in life.limited)


async def test_the_wait_of_an_arrival_that_is_held_is_lag_and_no_wait_for_a_user() -> None:
    bench = Bench(max_users=1_000)
    for n in range(3 * OPENS_A_TURN):
        bench.arrive(n, late_ns=50 * MS)
    await turns()
    bench.gate.set()
    await bench.pool.drained()
    delta = await bench.settle()
    waits = [s for s in delta.stats if delta.new_series[s.series].metric == "user_wait"]
    lags = [s for s in delta.stats if delta.new_series[s.series].metric == "generator_lag"]
    assert [s.max_ns for s in waits] == [0]
    assert all(s.min_ns >= 50 * MS for s in lags)


async def test_if_the_target_does_not_answer_each_arrival_gets_a_user_a_few_in_each_turn() -> None:
    bench = Bench(max_users=100)
    for n in range(60):
        bench.arrive(n)
    await turns(60)
    assert bench.pool.users == bench.pool.in_flight == 60
    assert bench.pool.waiting == 0
    bench.pool.cut_off()


async def test_held_arrivals_wait_for_the_target_once_the_limit_of_users_is_reached() -> None:
    bench = Bench(max_users=OPENS_A_TURN + 2)
    for n in range(OPENS_A_TURN + 5):
        bench.arrive(n)
    await turns()
    assert bench.pool.users == OPENS_A_TURN + 2
    assert bench.pool.waiting == 3
    bench.gate.set()
    await bench.pool.drained()
    assert sum(limited for life in bench.lives for limited in life.limited) == 3


async def test_a_raised_limit_adds_a_few_users_in_each_turn_and_arrivals_keep_their_order() -> None:
    bench = Bench(max_users=1)
    for n in range(20):
        bench.arrive(n)
    await turns()

    bench.pool.cap(100)
    assert bench.pool.users == 1 + OPENS_A_TURN
    bench.arrive(20)
    assert bench.pool.users == 1 + OPENS_A_TURN  # it waits behind the others

    await turns(20)
    assert bench.pool.users == bench.pool.in_flight == 21
    assert bench.pool.waiting == 0
    assert [n for life in bench.lives for n in life.ran] == list(range(21))
    assert [limited for life in bench.lives for limited in life.limited] == [False, *[True] * 20]
    bench.pool.cut_off()


async def test_an_arrival_on_time_begins_before_the_loop_turns_and_a_late_one_after_it() -> None:
    bench = Bench(max_users=1)
    bench.gate.set()
    bench.arrive(0)
    await turns()
    seen = []

    for n, is_at_once in ((1, True), (2, False)):
        bench.pool.arrive(Arrival(perf_counter_ns(), n, 0, False), is_at_once=is_at_once)
        seen.append(list(bench.lives[0].ran))  # no await since the arrival
        await turns()

    assert seen == [[0, 1], [0, 1]]
    assert bench.lives[0].ran == [0, 1, 2]
    assert asyncio.current_task() is not None  # the task of the caller is the current one again
    assert bench.pool.in_flight == 0


async def test_users_are_connected_ahead_and_arrivals_use_them_first() -> None:
    bench = Bench(max_users=100, reserve=20)
    bench.pool.preconnect()
    await turns(20)
    assert bench.pool.users == 20
    for n in range(20):
        bench.arrive(n)
    await turns()
    assert bench.pool.users == bench.pool.in_flight == 20
    bench.arrive(20)  # the reserve is used up: a user for it, and a new reserve
    await turns(20)
    assert bench.pool.users == 41
    bench.pool.cut_off()


async def test_no_more_users_than_allowed_are_connected_ahead() -> None:
    bench = Bench(max_users=7, reserve=20)
    bench.pool.preconnect()
    await turns(20)
    assert bench.pool.users == 7


async def test_a_user_that_is_connected_too_late_takes_an_arrival_that_waits() -> None:
    bench = Bench(max_users=1, reserve=1)
    connects = asyncio.Event()

    def new() -> ScriptedLife:
        life = bench._new()
        life.connects = connects
        return life

    bench.pool._new_life = new
    bench.pool.preconnect()
    await turns()
    bench.arrive(0)
    assert bench.pool.waiting == 1
    connects.set()
    bench.gate.set()
    await bench.pool.drained()
    assert bench.pool.started == 1

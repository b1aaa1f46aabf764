"""The words of a user: think, pace, poll, chance, traits, state, how an iteration ends, other targets and clients."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.clients.net.canned_replies import CannedNetwork, reply
from loadgen.dsl.distributions import empirical, lognormal, uniform
from loadgen.dsl.prompts.prompt import prompt, shared_prefix
from loadgen.dsl.users.user import User, UserWith
from loadgen.dsl.users.user_factory import UserFactory, Ways
from loadgen.engine.load.user_iterations import Arrival
from loadgen.engine.recording.recorded_series import Watch
from loadgen.engine.recording.recorder import Recorder
from loadgen.errors import IterationEnded, RequestFailed, UsageError
from loadgen.measure.deltas.series_key import Metric, SeriesKey
from loadgen.redact import Redactor
from tests.support.lives import REPLIES, Bench, JumpTime, bound
from tests.support.turns import turns

MS = 1_000_000


# -- think --------------------------------------------------------------------------------------------


async def test_think_draws_from_a_distribution_with_the_iterations_random_numbers() -> None:
    drawn: list[float] = []

    async def j(user: User) -> None:
        await user.think(lognormal(1.4, 0.8))
        await user.think(empirical([7]))
        await user.think(uniform(-2, -1))
        drawn.append(user.draw(uniform(0, 1)))

    first, again, other = Bench(bound(j)), Bench(bound(j)), Bench(bound(j), seed=8)
    for bench in (first, again, other):
        assert (await bench.run()).outcome == "ok"
    assert first.time.slept_s == again.time.slept_s != other.time.slept_s
    assert first.time.slept_s[1:] == [7, 0]  # what is below 0 is no wait
    assert drawn[0] == drawn[1] != drawn[2]


async def test_think_times_go_together_through_a_trait() -> None:
    async def j(user: User) -> None:
        speed = user.trait("speed", lognormal(0, 0.3))
        await user.think(lognormal(1, 0.1) * speed)
        await user.think(lognormal(1, 0.1) * speed)

    bench = Bench(bound(j))
    await bench.run(300)
    firsts, seconds = bench.time.slept_s[::2], bench.time.slept_s[1::2]
    assert _correlation(firsts, seconds) > 0.7


def _correlation(a: list[float], b: list[float]) -> float:
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    of = [(x - mean_a, y - mean_b) for x, y in zip(a, b, strict=True)]
    return float(sum(x * y for x, y in of) / (sum(x * x for x, _ in of) * sum(y * y for _, y in of)) ** 0.5)


async def test_what_is_no_distribution_says_what_is() -> None:
    async def traits(user: User) -> None:
        user.trait("speed", 3)  # type: ignore[arg-type]

    async def draws(user: User) -> None:
        user.draw((1, 3))  # type: ignore[call-overload]

    async def thinks(user: User) -> None:
        await user.think((1, 3))  # type: ignore[arg-type]

    for fn, said in (
        (traits, "trait needs a distribution, got 3; write lognormal(0, .3)"),
        (draws, "draw needs a distribution, got (1, 3)"),
        (thinks, "write think(1, 3)"),
    ):
        bench = Bench(bound(fn))
        await bench.run()
        assert said in bench.said[0]


@pytest.mark.parametrize("wrong", [uniform(3, 1), empirical([])])
async def test_a_faulty_distribution_is_a_fault_of_the_script_with_its_line(wrong: Any) -> None:
    async def j(user: User) -> None:
        await user.think(wrong)

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "script UsageError"
    assert "test_user.py" in bench.said[0]
    assert wrong.faults[0].hint in bench.said[0]


async def test_think_of_a_distribution_has_no_second_argument() -> None:
    async def j(user: User) -> None:
        await user.think(uniform(1, 2), 3)

    bench = Bench(bound(j))
    await bench.run()
    assert "think: a distribution must be the only argument; write think(lognormal(1.4, .8))" in bench.said[0]


# -- chance: the same on any number of agents ------------------------------------------------------------


async def drawn_by(*, seed: int = 7, load: int = 0, order: list[tuple[int, int | None]], fresh: bool) -> dict[Any, Any]:
    """(n, row) -> (random number, trait) of iterations run in an order."""
    found: dict[Any, Any] = {}

    async def j(user: User) -> None:
        found[at] = user.random.random(), user.trait("speed", lognormal(0, 0.3)), user.trait("age", uniform(18, 80))

    bench = Bench(bound(j), seed=seed, load=load, fresh=fresh)
    for at in order:
        await bench.run(first=at[0], row=at[1])
    return found


async def test_chance_and_traits_follow_from_seed_load_and_arrival_and_not_from_who_runs_it() -> None:
    arrivals: list[tuple[int, int | None]] = [(n, None) for n in range(20)]
    one = await drawn_by(order=arrivals, fresh=True)
    two = await drawn_by(order=arrivals[::2], fresh=True) | await drawn_by(order=arrivals[1::2], fresh=True)
    five: dict[Any, Any] = {}
    for agent in range(5):
        five |= await drawn_by(order=list(reversed(arrivals[agent::5])), fresh=True)
    assert one == two == five
    assert len({values for values in one.values()}) == 20
    assert await drawn_by(order=arrivals, fresh=True, seed=8) != one
    other_load = await drawn_by(order=arrivals, fresh=True, load=1)
    assert all(other_load[at][i] != one[at][i] for at in one for i in range(3))


async def test_in_closed_loads_a_trait_is_the_users_and_a_random_number_the_iterations() -> None:
    order = [(user << 32 | i, user) for i in range(3) for user in (4, 9)]
    found = await drawn_by(order=list(order), fresh=False)
    assert len({values[0] for values in found.values()}) == 6
    assert {len({found[at][1:] for at in order if at[1] == user}) for user in (4, 9)} == {1}
    assert found[order[0]][1:] != found[order[1]][1:]


async def test_a_run_without_a_warm_up_of_the_same_seed_has_other_numbers_for_each_iteration() -> None:
    found = await drawn_by(order=[(n, None) for n in range(1000)], fresh=True)
    assert len({values[0] for values in found.values()}) == 1000


# -- pace -------------------------------------------------------------------------------------------------


async def test_pace_begins_an_iteration_every_so_often_on_a_grid_and_the_wait_is_idle() -> None:
    begun: list[float] = []
    work: Iterator[float] = iter([2, 4, 1])
    bench: Bench

    async def j(user: User) -> None:
        begun.append(bench.time.jumped_ns / 1e9)
        bench.time.work(next(work))
        await user.pace("10s")

    bench = Bench(bound(j), fresh=False)
    await bench.run(3)
    assert begun == pytest.approx([0, 10, 20], abs=0.05)
    assert [round(s) for s in bench.time.slept_s] == [8, 6, 9]
    assert bench.counted() == {}


async def test_an_overrun_skips_cycles_counts_them_and_never_bursts() -> None:
    begun: list[float] = []
    work = iter([25, 1, 1])
    bench: Bench

    async def j(user: User) -> None:
        begun.append(bench.time.jumped_ns / 1e9)
        bench.time.work(next(work))
        await user.pace(10)

    bench = Bench(bound(j), fresh=False)
    await bench.run(3)
    assert begun == pytest.approx([0, 30, 40], abs=0.05)  # the cycles at 10 and 20 are gone
    assert bench.counted() == {"pace: skipped cycles": (1, 2)}


async def test_the_wait_of_a_pace_is_no_response_time() -> None:
    async def j(user: User) -> None:
        await user.pace("500ms")

    bench = Bench(bound(j), fresh=False)
    bench.life._user._sleep = asyncio.sleep
    life = await bench.run()
    assert life.idle_ns >= 490 * MS
    assert life.ended_ns - life.begun_ns - life.idle_ns < 400 * MS


async def test_who_was_away_begins_its_cycles_anew() -> None:
    async def j(user: User) -> None:
        await user.pace("10s")

    bench = Bench(bound(j), fresh=False)
    await bench.run()
    bench.life._user._ended_ns -= 3_600_000_000_000  # the load went down for an hour, and up again
    bench.time.jumped_ns = 0
    await bench.run()
    assert [round(s) for s in bench.time.slept_s] == [10, 10]
    assert bench.counted() == {}


async def test_pace_in_an_open_load_is_noted_once_with_its_line() -> None:
    async def j(user: User) -> None:
        await user.pace("1s")

    bench = Bench(bound(j), fresh=True)
    await bench.run(2)
    (note,) = bench.recorder.take_notes()
    assert note.startswith("test_user.py:")
    assert "in an open load, user.pace only keeps the user busy" in note


@given(st.lists(st.floats(0, 60), min_size=1, max_size=12))
def test_whatever_iterations_take_cycles_begin_on_the_grid_and_all_skipped_ones_are_counted(took: list[float]) -> None:
    begun: list[float] = []
    bench: Bench

    async def j(user: User) -> None:
        begun.append(bench.time.jumped_ns / 1e9)
        bench.time.work(took[len(begun) - 1])
        await user.pace(10)

    async def run() -> None:
        nonlocal bench
        bench = Bench(bound(j), fresh=False)
        await bench.run(len(took))

    asyncio.run(run())
    cycles = [round(at / 10) for at in [*begun, bench.time.jumped_ns / 1e9]]
    assert [at / 10 for at in begun] == pytest.approx(cycles[:-1], abs=0.02)
    assert all(later > earlier for earlier, later in pairwise(cycles))
    skipped = sum(total for _, total in bench.counted().values())
    assert skipped == cycles[-1] - len(took)


@pytest.mark.parametrize(("every", "outcome"), [(0, "script UsageError"), ("soon", "script ValueError")])
async def test_a_pace_that_is_none_is_a_fault(every: Any, outcome: str) -> None:
    async def j(user: User) -> None:
        await user.pace(every)

    bench = Bench(bound(j), fresh=False)
    assert (await bench.run()).outcome == outcome


# -- poll -------------------------------------------------------------------------------------------------

JOB = {
    "GET /job": [
        reply(202, json={"state": "waiting"}),
        reply(202, json={"state": "waiting"}),
        reply(200, json={"state": "done"}),
    ],
    "GET /never": reply(202, json={"state": "waiting"}),
    "GET /bad": reply(500),
}


def is_done(answer: Any) -> bool:
    return bool(answer.json()["state"] == "done")


async def test_a_poll_is_one_sample_for_the_wait_and_the_polls_are_rows_of_their_own() -> None:
    got: list[str] = []

    async def j(user: User) -> None:
        async with user.step("import"):
            answer = await user.poll(
                lambda: user.http.get("/job", name="anything"), until=is_done, every="2s", name="job done"
            )
            got.append(answer.pick("$.state"))
        await user.http.get("/job")

    bench = Bench(bound(j), replies=JOB)
    assert (await bench.run()).outcome == "ok"
    assert got == ["done"]
    assert [round(s) for s in bench.time.slept_s] == [2, 2]
    delta = bench.recorder.flip(0, 1)
    rows = {
        (k.step, k.request): (s.n, round(s.max_ns / 1e9))
        for s in delta.stats
        if (k := delta.new_series[s.series]).metric == "response" and k.kind == "request"
    }
    assert rows == {("import", "job done (poll)"): (3, 0), ("import", "job done"): (1, 4), (None, "GET /job"): (1, 0)}


async def test_a_poll_that_never_ends_is_stopped_by_its_time_out_and_censored_at_it() -> None:
    async def j(user: User) -> None:
        await user.poll(lambda: user.http.get("/never"), until=is_done, every="7s", timeout="20s", name="job")

    bench = Bench(bound(j), replies=JOB)
    life = await bench.run()
    assert (life.outcome, life.censored) == ("timeout", True)
    delta = bench.recorder.flip(0, 1)
    rows = {
        (k.request, k.outcome, k.censored): (s.n, s.max_ns)
        for s in delta.stats
        if (k := delta.new_series[s.series]).metric == "response" and k.kind == "request"
    }
    assert rows[("job", "timeout", True)] == (1, 20_000_000_000)
    assert rows[("job (poll)", "ok", False)][0] == 3  # at 0, 7 and 14 s
    assert bench.said == []


async def test_a_poll_that_timed_out_shows_its_last_answer() -> None:
    async def j(user: User) -> None:
        await user.poll(lambda: user.http.get("/never"), until=is_done, every="7s", timeout="20s", name="job")

    bench = Bench(bound(j), replies=JOB)
    await bench.run()
    (failure,) = bench.recorder.failures.take(0, bench.time.clock())
    assert (failure.request, failure.outcome) == ("job", "timeout")
    assert "GET /never" in failure.sent
    assert "waiting" in failure.received


async def test_the_time_out_of_a_poll_also_stops_a_call_that_hangs() -> None:
    async def hang() -> str:
        await asyncio.sleep(3600)
        return "never"

    async def j(user: User) -> None:
        await user.poll(hang, until=bool, every=0, timeout="20ms", name="job")

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "timeout"
    assert bench.rows() == {("request", None, "job", "timeout"): 1}


async def test_a_time_out_error_of_the_call_itself_is_a_fault_of_the_script() -> None:
    async def late() -> str:
        raise TimeoutError("mine")

    async def j(user: User) -> None:
        await user.poll(late, until=bool, name="job")

    assert (await Bench(bound(j)).run()).outcome == "script TimeoutError"


async def test_a_poll_that_fails_ends_the_wait_with_its_outcome() -> None:
    async def j(user: User) -> None:
        with pytest.raises(IterationEnded):
            await user.poll(lambda: user.http.get("/bad", expect=200), until=is_done, name="job")
        raise RequestFailed("refused")

    bench = Bench(bound(j), replies=JOB)
    assert (await bench.run()).outcome == "refused"
    assert bench.rows() == {
        ("request", None, "job (poll)", "expect status"): 1,
        ("request", None, "job", "expect status"): 1,
    }


async def test_what_runs_beside_a_poll_keeps_its_name() -> None:
    async def j(user: User) -> None:
        await user.gather(
            user.poll(lambda: user.http.get("/job"), until=is_done, every=0, name="job"), user.http.get("/never")
        )

    bench = Bench(bound(j), replies=JOB)
    await bench.run()
    assert bench.rows() == {
        ("request", None, "job (poll)", "ok"): 3,
        ("request", None, "job", "ok"): 1,
        ("request", None, "GET /never", "ok"): 1,
    }


async def test_a_poll_that_is_cut_off_has_no_row_and_leaves_the_user_in_its_place() -> None:
    async def j(user: User) -> None:
        await user.poll(lambda: asyncio.sleep(3600), until=bool, name="job")

    bench = Bench(bound(j))
    task = asyncio.create_task(bench.run())
    await turns()
    task.cancel()
    await asyncio.wait([task])
    assert bench.rows() == {}
    assert bench.recorder.counters.requests_started == 1


async def test_where_not_there_yet_is_a_404_the_call_says_so() -> None:
    async def j(user: User) -> None:
        await user.poll(
            lambda: user.http.get("/order", accept={200, 404}), until=lambda r: r.status_code == 200, name="order"
        )

    bench = Bench(bound(j), replies={"GET /order": [404, 404, 200]})
    assert (await bench.run()).outcome == "ok"
    assert bench.rows() == {("request", None, "order (poll)", "ok"): 3, ("request", None, "order", "ok"): 1}


class Seen:
    """A watch and all watches: what begins, ends and is gone, by name."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.open: set[tuple[str, int]] = set()

    def of(self, key: SeriesKey) -> Watch | None:
        return _Watch(self, key.request or key.kind)

    def of_streams(self, key: SeriesKey) -> None:
        return None

    def saw(self, start_ns: int, custom: Any, trends: Any) -> None: ...

    def take(self, now_ns: int) -> tuple[()]:
        return ()


class _Watch:
    metrics: frozenset[Metric] = frozenset()

    def timed(self, metric: Metric, at_ns: int, value_ns: int, outcome: str) -> None: ...

    def __init__(self, seen: Seen, name: str) -> None:
        self.seen, self.name = seen, name

    def begun(self, at_ns: int, idle_ns: Any = None) -> None:
        self.seen.open.add((self.name, at_ns))

    def ended(self, at_ns: int, response_ns: int, outcome: str) -> None:
        self.seen.open.remove((self.name, at_ns))
        self.seen.told.append((self.name, outcome))

    def gone(self, at_ns: int) -> None:
        self.seen.open.remove((self.name, at_ns))
        self.seen.told.append((self.name, "gone"))


async def test_what_is_watched_begins_and_ends_once_also_when_it_is_polled_or_measured() -> None:
    async def j(user: User) -> None:
        await user.poll(lambda: user.http.get("/job"), until=is_done, name="job")
        async with user.measure("sign"):
            pass
        await user.gather(user.http.get("/job"), user.poll(lambda: asyncio.sleep(3600), until=bool, name="hangs"))

    seen = Seen()
    bench = Bench(bound(j), replies=JOB, recorder=Recorder(watches=seen))
    task = asyncio.create_task(bench.run())
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.wait([task])
    assert seen.open == set()
    assert Counter(seen.told) == {
        ("job (poll)", "ok"): 3,
        ("job", "ok"): 1,
        ("sign", "ok"): 1,
        ("GET /job", "ok"): 1,
        ("hangs", "gone"): 1,
    }


@pytest.mark.parametrize("until", [3, "async"])
async def test_a_poll_says_what_it_needs(until: Any) -> None:
    async def is_so(answer: object) -> bool:
        return True

    async def j(user: User) -> None:
        if until == "async":
            await user.poll(lambda: user.http.get("/"), until=is_so, name="job")
        await user.poll(lambda: 3, until=bool, name="job")  # type: ignore[arg-type,return-value]

    bench = Bench(bound(j))
    await bench.run()
    wanted = "until= is async, so it is always true" if until == "async" else "pass a function that starts the call"
    assert wanted in bench.said[0]


# -- fail, skip, check --------------------------------------------------------------------------------------


async def test_fail_ends_the_iteration_with_its_reason_and_is_no_fault_of_the_script() -> None:
    async def j(user: User) -> None:
        async with user.step("import"):
            user.fail("import failed")

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "fail: import failed"
    assert bench.rows() == {("step", "import", None, "fail: import failed"): 1}
    assert (bench.said, bench.recorder.counters.script_faults) == ([], 0)


async def test_reasons_are_bounded_in_length_and_number_and_a_journey_may_catch_them() -> None:
    async def j(user: User) -> None:
        outcomes: set[str] = set()
        for n in range(1_000):
            try:
                user.fail(f"job {n} failed " + "x" * 200)
            except IterationEnded as ended:
                outcomes.add(ended.outcome)
        assert len(outcomes) == 51
        assert max(map(len, outcomes)) == 106
        assert "fail: (other)" in outcomes

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "ok", bench.said
    assert "do not put numbers or ids into them" in bench.recorder.take_notes()[0]


async def test_the_bounds_are_a_workers_and_not_a_persons() -> None:
    recorder = Recorder()

    async def j(user: User) -> None:
        user.fail(f"reason {user.random.random()}")

    outcomes = set()
    for n in range(60):
        outcomes.add((await Bench(bound(j), recorder=recorder).run(first=n)).outcome)
    assert len(outcomes) == 51


async def test_a_secret_in_a_reason_or_the_name_of_a_check_stays_here() -> None:
    async def j(user: User) -> None:
        user.check("logged in with s3cr3t-canary", True)
        user.fail("no luck with s3cr3t-canary")

    recorder = Recorder(redactor=Redactor(lambda: ["s3cr3t-canary"]))
    bench = Bench(bound(j), recorder=recorder)
    assert "s3cr3t" not in (await bench.run()).outcome
    assert "s3cr3t" not in repr(bench.counted())
    assert "s3cr3t" not in repr(bench.rows())


async def test_skip_ends_the_iteration_and_is_no_error_of_anybody() -> None:
    async def j(user: User) -> None:
        user.skip("sold out")

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "skipped"
    assert bench.said == []


async def test_checks_count_and_never_end_the_iteration() -> None:
    async def j(user: User) -> None:
        assert user.check("has stock", [1]) is True
        assert user.check("has stock", None) is False
        user.check("is quick", True)

    bench = Bench(bound(j))
    assert (await bench.run(2)).outcome == "ok"
    assert bench.counted() == {"check: has stock": (4, 2), "check: is quick": (2, 2)}
    assert bench.counted() == {}


async def test_a_condition_with_a_truth_value_of_its_own_may_be_callable() -> None:
    class Found(list[int]):  # as a tag of BeautifulSoup
        def __call__(self) -> None: ...

    async def j(user: User) -> None:
        assert user.check("has stock", Found([1])) is True
        assert user.check("has stock", Found()) is False

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "ok"


async def test_a_million_names_of_checks_are_bounded_and_noted() -> None:
    async def j(user: User) -> None:
        for n in range(1_000):
            user.check(f"order {n}", True)

    bench = Bench(bound(j))
    await bench.run(5)
    counted = bench.counted()
    assert len(counted) <= 200
    assert sum(n for n, _ in counted.values()) == 5_000
    assert any("names of user.check" in note for note in bench.recorder.take_notes())


async def test_checks_leave_room_for_the_scenarios_own_metrics() -> None:
    class Own:
        def take(self) -> None: ...

    async def j(user: User) -> None:
        for n in range(1_000):
            user.check(f"order {n}", True)

    bench = Bench(bound(j))
    bench.recorder.customs += [Own() for _ in range(190)]
    await bench.run()
    assert len(bench.recorder.customs) <= 200


async def test_now_is_utc_and_follows_the_clock_of_a_trial() -> None:
    seen: list[datetime] = []

    async def j(user: User) -> None:
        seen.append(user.now())
        await user.think(60)
        seen.append(user.now())

    await Bench(bound(j)).run()
    assert seen[0] == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (seen[1] - seen[0]).total_seconds() == pytest.approx(60, abs=0.1)


# -- state ------------------------------------------------------------------------------------------------


class Session:
    def __init__(self) -> None:
        self.visits = 0


async def test_state_is_made_once_a_person_and_lives_as_long() -> None:
    visits: list[int] = []

    async def j(user: UserWith[Session]) -> None:
        user.state.visits += 1
        visits.append(user.state.visits)

    await Bench(bound(j, state=Session), fresh=False).run(3)
    await Bench(bound(j, state=Session), fresh=True).run(3)
    assert visits == [1, 2, 3, 1, 1, 1]


async def test_journeys_that_name_the_same_state_share_it_within_one_person() -> None:
    seen: list[int] = []

    async def j(user: UserWith[Session]) -> None:
        user.state.visits += 1
        seen.append(user.state.visits)

    async def stateless(user: UserWith[Session]) -> None:
        with pytest.raises(UsageError, match="has no state"):
            user.state.visits += 1

    bench = Bench(bound(j, state=Session), bound(j, state=Session), bound(stateless), fresh=False)
    for journey in (0, 1, 2, 0):
        assert (await bench.run(journey=journey)).outcome == "ok", bench.said
    assert seen == [1, 2, 3]


async def test_another_state_of_the_same_type_may_be_assigned_and_stays() -> None:
    visits: list[int] = []

    async def j(user: UserWith[Session]) -> None:
        if not visits:
            user.state = Session()
            user.state.visits = 10
        user.state.visits += 1
        visits.append(user.state.visits)

    await Bench(bound(j, state=Session), fresh=False).run(2)
    assert visits == [11, 12]


async def test_a_state_of_the_wrong_type_is_a_fault_that_says_what_to_do() -> None:
    async def j(user: UserWith[Any]) -> None:
        user.state = "logged in"

    bench = Bench(bound(j, state=Session), fresh=False)
    assert (await bench.run()).outcome == "script UsageError"
    (said,) = bench.said
    assert said.startswith("test_user.py:")
    assert "user.state must be a Session, got 'logged in' of type str; set the attributes of the state" in said


async def test_a_state_that_cannot_be_made_is_a_fault_of_the_iteration() -> None:
    async def j(user: User) -> None:
        raise AssertionError("not reached")

    def broken() -> Session:
        raise OSError("no such thing")

    assert (await Bench(bound(j, state=broken)).run()).outcome == "script OSError"
    nothing = Bench(bound(j, state=lambda: None))
    assert (await nothing.run()).outcome == "script UsageError"


# -- other targets, several calls, other clients --------------------------------------------------------------

TARGETS = {"shop": "http://shop.test", "login": "http://login.test"}


async def test_another_target_has_its_own_headers_and_cookies_on_the_same_connections() -> None:
    hosts: list[tuple[str, bool]] = []

    def answer(request: Any) -> bytes:
        hosts.append((request.headers["host"], "cookie" in request.headers))
        return reply(200, headers={"Set-Cookie": "id=1"})

    async def j(user: User) -> None:
        login = user.to("login")
        assert user.to("login") is login
        await login.post("/token", json={})
        await login.post("/token", json={})
        await user.http.post("/token", json={})
        login.headers["x-a"] = "b"
        assert "x-a" not in user.http.headers
        assert "2 open" in repr(login)
        assert "2 open" in repr(user.http)

    bench = Bench(bound(j), targets=TARGETS, replies={"POST /token": answer})
    assert (await bench.run(2)).outcome == "ok", bench.said
    # A fresh person has no cookies of the one before, at either target.
    assert hosts == [("login.test", False), ("login.test", True), ("shop.test", False)] * 2


@pytest.mark.parametrize(
    ("targets", "hint"),
    [(TARGETS, 'did you mean "login"?'), (None, 'add it to the plan: targets={"api": ..., "login": ...}')],
)
async def test_an_unknown_target_says_which_there_are(targets: Any, hint: str) -> None:
    async def j(user: User) -> None:
        await user.to("logn").get("/")

    bench = Bench(bound(j), targets=targets)
    assert (await bench.run()).outcome == "script UsageError"
    assert f'the plan has no target "logn"; {hint}' in bench.said[0]


async def test_gather_gives_all_answers_in_order_and_keeps_steps_apart() -> None:
    async def part(user: User, name: str) -> str:
        async with user.step(name):
            await user.http.get("/")
            await user.http.get("/json", expect=200)
        return name

    async def j(user: User) -> None:
        async with user.step("page"):
            a, b, page = await user.gather(part(user, "a"), part(user, "b"), user.http.get("/"))
            assert (a, b, page.status_code) == ("a", "b", 200)
            await user.http.get("/json")
        assert await user.gather() == ()

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "ok", bench.said
    requests = {key: n for key, n in bench.rows().items() if key[0] == "request"}
    assert requests == {
        ("request", "page/a", "GET /", "ok"): 1,
        ("request", "page/a", "GET /json", "ok"): 1,
        ("request", "page/b", "GET /", "ok"): 1,
        ("request", "page/b", "GET /json", "ok"): 1,
        ("request", "page", "GET /", "ok"): 1,
        ("request", "page", "GET /json", "ok"): 1,
    }
    assert len(bench.network.requests) == 6


async def test_gathers_and_polls_nest_in_each_other() -> None:
    async def leaf(user: User, name: str) -> str:
        async with user.step(name):
            await user.http.get("/")
            await asyncio.sleep(0)
            await user.http.get("/")
        return name

    async def branch(user: User, name: str) -> tuple[str, ...]:
        async with user.step(name):
            return await user.gather(leaf(user, "x"), leaf(user, "y"))

    async def polled(user: User) -> str:
        return await user.poll(lambda: leaf(user, "poll"), until=bool, name="job")

    async def j(user: User) -> None:
        assert await user.gather(branch(user, "a"), branch(user, "b"), polled(user)) == (("x", "y"), ("x", "y"), "poll")
        await user.http.get("/")

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "ok", bench.said
    requests = {key[1:3]: n for key, n in bench.rows().items() if key[0] == "request"}
    steps = {f"{a}/{b}" for a in "ab" for b in "xy"} | {"poll"}
    assert requests == {(step, "GET /"): 2 for step in steps} | {(None, "job"): 1, (None, "GET /"): 1}


async def test_an_expect_within_gather_decides_its_own_sample() -> None:
    async def checked(user: User, path: str, status: int) -> None:
        answer = await user.http.get(path)
        await asyncio.sleep(0)
        answer.expect(status=status)

    async def j(user: User) -> None:
        await user.gather(*[checked(user, "/missing", 404) for _ in range(3)], checked(user, "/", 200))

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "ok"
    assert bench.rows() == {("request", None, "GET /missing", "ok"): 3, ("request", None, "GET /", "ok"): 1}


async def test_the_first_failure_cancels_the_others_and_is_the_outcome() -> None:
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("cancelled")

    async def j(user: User) -> None:
        await user.gather(slow(), user.http.get("/missing", expect=200), slow())

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "expect status"
    assert ended == ["cancelled"] * 2
    assert bench.said == []


async def test_an_http_error_within_gather_fails_the_step_around_it() -> None:
    async def j(user: User) -> None:
        async with user.step("page"):
            await user.gather(user.http.get("/broken"), user.http.get("/"))

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "http 503"
    assert bench.rows()["step", "page", None, "http 503"] == 1


async def test_gather_that_is_cut_off_takes_its_calls_with_it() -> None:
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("cancelled")

    async def j(user: User) -> None:
        await user.gather(slow(), slow())

    task = asyncio.create_task(Bench(bound(j)).run())
    await turns()
    task.cancel()
    await asyncio.wait([task])
    assert (ended, task.cancelled()) == (["cancelled"] * 2, True)


async def test_thinking_beside_other_calls_is_waited_for_and_never_makes_a_negative_time() -> None:
    async def j(user: User) -> None:
        user._sleep = asyncio.sleep
        await user.gather(user.think("20ms"), user.think("20ms"), user.http.get("/"))

    life = await Bench(bound(j)).run()
    assert life.idle_ns == 0


async def test_gather_of_an_answer_says_that_the_await_is_too_much() -> None:
    async def j(user: User) -> None:
        await user.gather(user.http.get("/"), await user.http.get("/"))  # type: ignore[call-overload]

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "script UsageError"
    assert "remove the `await` within the parentheses" in bench.said[0]
    assert len(bench.said) == 1  # and nothing of a coroutine that was never awaited


class Redis:
    made = 0
    closed: list[str] = []  # noqa: RUF012

    def __init__(self, user: User) -> None:
        self.user = user
        Redis.made += 1

    async def get(self, key: str) -> str:
        async with self.user.measure("GET key"):
            return key

    async def aclose(self) -> None:
        Redis.closed.append("aclose")


class Plain:
    def __init__(self, user: User) -> None: ...

    def close(self) -> None:
        Redis.closed.append("close")


class Broken(Plain):
    def close(self) -> None:
        raise OSError("gone already")


async def test_a_third_partys_client_is_made_once_a_person_and_closed_with_it() -> None:
    async def j(user: User) -> None:
        assert user.client(Redis) is user.client(Redis)
        assert await user.client(Redis).get("a") == "a"
        user.client(Broken)
        user.client(Plain)
        await asyncio.sleep(0)

    Redis.made, Redis.closed = 0, []
    closed = Bench(bound(j), fresh=False)
    await closed.run(3)
    assert (Redis.made, Redis.closed) == (1, [])
    await closed.life.close()
    assert Redis.closed == ["aclose", "close"]
    (said,) = closed.said
    assert said.startswith("closing a client of user.client: test_user.py:")
    assert "OSError: gone already" in said
    fresh = Bench(bound(j), fresh=True)
    await fresh.run(3)
    assert Redis.made == 4
    assert fresh.rows() == {("request", None, "GET key", "ok"): 3}


async def test_a_factory_that_is_async_says_so() -> None:
    async def connect(user: User) -> str:
        return "connected"

    async def j(user: User) -> None:
        await user.client(connect)

    bench = Bench(bound(j))
    await bench.run()
    assert "user.client: connect is async; create the client in a plain function" in bench.said[0]


async def test_a_rehearsal_cuts_idle_times_short_and_waits_between_polls() -> None:
    slept, waited = JumpTime(), JumpTime()

    async def short(wait_s: float) -> None:
        await slept.sleep(0)

    async def j(user: User) -> None:
        await user.think(60)
        await user.poll(lambda: user.http.get("/job"), until=is_done, every="5s", name="job")
        await user.pace("1h")

    user_factory = UserFactory(
        Ways({"": "http://shop.test"}),
        CannedNetwork(JOB),
        None,
        seed=1,
        sleep=short,
        wait=waited.sleep,
        clock=waited.clock,
    )
    life = user_factory.life(Recorder(), [bound(j)], fresh=False, report=print)
    await life.iterate(Arrival(None, 0, 0, False), pool_limited=False)
    assert life.outcome == "ok"
    assert [round(s) for s in waited.slept_s] == [5, 5]
    assert len(slept.slept_s) == 4  # the think, and the pace that does not insist


async def test_a_factory_that_is_another_one_each_time_is_told() -> None:
    async def j(user: User) -> None:
        user.client(lambda user: Plain(user))

    bench = Bench(bound(j), fresh=False)
    await bench.run(101)
    assert "probably each call passes a new factory; pass a class or function defined at module level" in bench.said[-1]


async def test_a_fresh_connection_policy_opens_new_connections_for_each_iteration() -> None:
    async def j(user: User) -> None:
        await user.http.get("/")
        await user.http.get("/")

    for policy, connections in (("kept", 1), ("fresh", 3), ("shared:5", 1)):
        bench = Bench(bound(j), connections=policy, replies=REPLIES)
        assert (await bench.run(3)).outcome == "ok"
        assert bench.network.connections == connections, policy


# -- prompts -------------------------------------------------------------------------------------------


async def test_each_prompt_of_an_iteration_has_a_text_that_a_repeated_run_has_again() -> None:
    texts: list[str] = []

    async def j(user: User) -> None:
        texts.extend(user.text_of(prompt(tokens=20)) for _ in range(2))

    for bench in (Bench(bound(j)), Bench(bound(j)), Bench(bound(j), seed=8)):
        assert (await bench.run()).outcome == "ok"
    assert texts[:2] == texts[2:4]
    assert len(set(texts)) == 4


async def test_a_user_draws_other_prompts_in_its_next_iteration_and_keeps_its_prefix() -> None:
    texts: list[tuple[str, str]] = []

    async def j(user: User) -> None:
        texts.append(
            (user.text_of(shared_prefix("p", tokens=20, groups=1000, per="user")), user.text_of(prompt(tokens=20)))
        )

    bench = Bench(bound(j), fresh=False)
    for user, iteration in ((1, 0), (1, 1), (2, 0)):
        await bench.life.iterate(Arrival(None, user * 2**32 + iteration, 0, False, row=user), pool_limited=False)

    (first, one), (second, other), (stranger, _) = texts
    assert one != other
    assert first == second != stranger


async def test_a_text_is_no_prompt() -> None:
    async def j(user: User) -> None:
        user.text_of("Hello")  # type: ignore[arg-type]

    assert "script UsageError" in (await Bench(bound(j)).run()).outcome


@pytest.mark.parametrize(
    ("targets", "connections"),
    [
        ({"": "http://shop.test"}, 1),
        ({"api": "http://api.test", "login": "http://login.test:81", "docs": "http://api.test/docs"}, 2),
    ],
)
async def test_a_user_is_connected_ahead_to_each_server_of_the_plan_once(
    targets: dict[str, str], connections: int
) -> None:
    bench = Bench(targets=targets)
    await bench.life.preconnect()
    assert bench.network.connections == connections
    await bench.life.close()

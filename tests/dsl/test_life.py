"""A user's life: how iterations end, what counts as response time, who is set up when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from loadgen.clients.http import HttpClient
from loadgen.clients.net.canned_replies import CannedNetwork, reply
from loadgen.clients.pool.pool import ConnectionPool
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.dsl.users.user import User
from loadgen.dsl.users.user_runner import BoundJourney, JourneyLife
from loadgen.engine.load.user_iterations import Arrival
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import ExpectFailed, RequestFailed
from loadgen.measure.deltas.delta import Delta
from tests.support.turns import turns

MS = 1_000_000
REPLIES: Mapping[str, Any] = {
    "GET /": reply(200, text="hello"),
    "GET /missing": reply(404),
    "GET /broken": reply(503),
    "POST /login": reply(200, json={"token": "t"}, headers={"Set-Cookie": "id=1"}),
}


class Bench:
    """One life on canned replies."""

    def __init__(self, *journeys: BoundJourney, fresh: bool = True, sleep: Any = asyncio.sleep) -> None:
        self.recorder = Recorder()
        self.said: list[str] = []
        meter = Meter(self.recorder)
        http = HttpClient(meter, ConnectionPool(CannedNetwork(REPLIES)), "http://shop.test", Timeouts())
        self.user = User(http, meter, seed=7, sleep=sleep)
        self.life = JourneyLife(self.user, journeys, fresh=fresh, report=self.said.append)

    async def run(self, times: int = 1) -> JourneyLife:
        for n in range(times):
            self.life.begun_ns = self.life.ended_ns = self.life.idle_ns = self.life.set_up_ns = 0
            await self.life.iterate(Arrival(None, n, 0, False), pool_limited=False)
        return self.life

    def rows(self) -> dict[tuple[str, str | None, str | None, str], int]:
        """(kind, step, request, outcome) -> count of response times."""
        delta: Delta = self.recorder.flip(0, 1)
        return {
            (k.kind, k.step, k.request, k.outcome): s.n
            for s in delta.stats
            if (k := delta.new_series[s.series]).metric == "response"
        }


def bound(fn: Callable[..., Awaitable[None]], **more: Any) -> BoundJourney:
    return BoundJourney("j", fn, **more)


async def test_steps_nest_and_requests_are_rows_of_the_step_they_are_in() -> None:
    async def j(user: User) -> None:
        await user.http.get("/")
        async with user.step("shop"):
            await user.http.get("/")
            async with user.step("login"):
                await user.http.post("/login", json={})

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "ok"
    assert bench.rows() == {
        ("request", None, "GET /", "ok"): 1,
        ("request", "shop", "GET /", "ok"): 1,
        ("request", "shop/login", "POST /login", "ok"): 1,
        ("step", "shop", None, "ok"): 1,
        ("step", "shop/login", None, "ok"): 1,
    }


async def test_a_failed_expect_ends_the_iteration_its_step_and_its_sample_with_one_outcome() -> None:
    async def j(user: User) -> None:
        async with user.step("home"):
            (await user.http.get("/")).expect(status=201)
        raise AssertionError("not reached")

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "expect status"
    assert bench.rows() == {
        ("request", "home", "GET /", "expect status"): 1,
        ("step", "home", None, "expect status"): 1,
    }


async def test_a_journey_may_catch_what_failed_and_go_on() -> None:
    async def j(user: User) -> None:
        try:
            await user.http.get("/broken", expect=200)
        except (ExpectFailed, RequestFailed):
            await user.http.get("/", expect=200)

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "ok"


async def test_an_http_error_that_is_not_looked_at_fails_step_and_iteration_but_does_not_end_them() -> None:
    reached = []

    async def j(user: User) -> None:
        async with user.step("home"):
            await user.http.get("/broken")
        async with user.step("after"):
            reached.append(True)

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "http 503"
    assert reached
    rows = bench.rows()
    assert rows["step", "home", None, "http 503"] == rows["step", "after", None, "ok"] == 1


async def test_each_step_has_the_failures_of_its_own_requests_and_no_others() -> None:
    async def j(user: User) -> None:
        await user.http.get("/missing")  # nobody looks at it, and it is none of the step's
        async with user.step("well"):
            await user.http.get("/")
        async with user.step("broken"):
            await user.http.get("/broken")
            async with user.step("well"):
                await user.http.get("/")
            async with user.step("missing"):
                await user.http.get("/missing")

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "http 404"  # the first of the iteration
    rows = {key: count for key, count in bench.rows().items() if key[0] == "step"}
    assert rows == {
        ("step", "well", None, "ok"): 1,
        ("step", "broken", None, "http 503"): 1,
        ("step", "broken/well", None, "ok"): 1,
        ("step", "broken/missing", None, "http 404"): 1,
    }


async def test_a_think_that_a_time_out_of_the_journey_ends_is_idle_no_longer() -> None:
    async def j(user: User) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await user.think(30)
        idle_ns = user._idle_ns
        assert idle_ns > 9 * MS
        assert user._idle_until(perf_counter_ns() + 60_000 * MS) == idle_ns

    assert (await Bench(bound(j)).run()).outcome == "ok"


async def test_a_fault_of_the_script_is_told_apart_and_named_with_its_line() -> None:
    async def j(user: User) -> None:
        {}["sku"]  # type: ignore[index]

    bench = Bench(bound(j))
    assert (await bench.run(3)).outcome == "script KeyError"
    assert bench.recorder.counters.script_faults == 3
    assert "test_life.py" in bench.said[0]
    assert "KeyError: 'sku'" in bench.said[0]


async def test_a_fault_is_named_with_its_line_also_in_a_folder_named_loadgen(tmp_path: Path) -> None:
    file = tmp_path / "loadgen" / "shop.py"
    file.parent.mkdir()
    file.write_text("import json\n\nasync def j(user):\n    json.loads('no')\n")
    scope: dict[str, Any] = {"__name__": "shop"}
    exec(compile(file.read_text(), str(file), "exec"), scope)
    bench = Bench(bound(scope["j"]))
    assert (await bench.run()).outcome == "script JSONDecodeError"
    assert bench.said[0].startswith("shop.py:4 in j: JSONDecodeError: ")  # the scenario's line, not json's


async def test_a_journey_that_calls_sys_exit_does_not_end_the_worker() -> None:
    async def j(user: User) -> None:
        raise SystemExit(3)

    assert (await Bench(bound(j)).run()).outcome == "script SystemExit"


async def test_think_is_duration_and_not_response_and_takes_the_iterations_own_random_numbers() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0.02)

    async def j(user: User) -> None:
        async with user.step("home"):
            await user.think(1, 3)
        await user.think("500ms")

    first, again = Bench(bound(j), sleep=sleep), Bench(bound(j), sleep=sleep)
    life = await first.run()
    assert life.idle_ns >= 40 * MS
    delta = first.recorder.flip(0, 1)
    stats = {key.metric: one for key, one in zip(delta.new_series, delta.stats, strict=True)}
    assert stats["duration"].sum_ns - stats["response"].sum_ns >= 20 * MS
    await again.run()
    assert slept[0] == slept[2]
    assert 1 <= slept[0] <= 3
    assert slept[1] == 0.5


async def test_a_fresh_person_has_no_cookies_of_the_one_before() -> None:
    seen: list[int] = []

    async def j(user: User) -> None:
        seen.append(len(user.http.cookies))
        await user.http.post("/login", json={}, expect=200)
        user.http.headers["Authorization"] = "Bearer t"

    bench = Bench(bound(j))
    await bench.run(2)
    assert seen == [0, 0]
    stays = Bench(bound(j), fresh=False)
    await stays.run(2)
    assert seen[2:] == [0, 1]


async def test_set_up_and_tear_down_are_once_a_person_and_no_response_time() -> None:
    order: list[str] = []

    async def sleepy(user: User) -> None:
        order.append("up")
        await asyncio.sleep(0.02)

    async def j(user: User) -> None:
        order.append("go")

    async def down(user: User) -> None:
        order.append("down")

    fresh = Bench(bound(j, set_up=sleepy, tear_down=down))
    life = await fresh.run(2)
    assert order == ["up", "go", "down"] * 2
    assert life.set_up_ns >= 20 * MS
    assert life.idle_ns >= life.set_up_ns
    order.clear()
    kept = Bench(bound(j, set_up=sleepy, tear_down=down), fresh=False)
    await (await kept.run(2)).close()
    assert order == ["up", "go", "go", "down"]


async def test_a_set_up_that_fails_is_the_iterations_outcome_and_the_journey_does_not_begin() -> None:
    async def up(user: User) -> None:
        await user.http.get("/missing", expect=200)

    async def j(user: User) -> None:
        raise AssertionError("not reached")

    bench = Bench(bound(j, set_up=up))
    assert (await bench.run()).outcome == "set-up expect status"
    assert ("request", "(set-up)", "GET /missing", "expect status") in bench.rows()


async def test_rows_that_ran_out_are_a_fault_of_the_scenario() -> None:
    async def j(user: User, row: object) -> None:
        raise AssertionError("not reached")

    bench = Bench(bound(j, row=lambda n: None))
    assert (await bench.run()).outcome == "script rows ran out"
    assert bench.said == [
        f"test_life.py:{j.__code__.co_firstlineno}: journey j has used up the rows of its feed; add rows, or write "
        '`.unique(when_out="cycle")` to begin again'
    ]


async def test_anything_awaited_can_be_measured_as_a_request() -> None:
    async def j(user: User) -> None:
        async with user.measure("sign token"):
            await asyncio.sleep(0)
        async with user.measure("fails"):
            raise ValueError("x")

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "script ValueError"
    assert bench.rows() == {
        ("request", None, "sign token", "ok"): 1,
        ("request", None, "fails", "script ValueError"): 1,
    }


async def test_a_row_is_the_persons_or_with_each_the_iterations() -> None:
    rows: list[int] = []

    async def j(user: User, row: int) -> None:
        rows.append(row)

    for each in (False, True):
        bench = Bench(bound(j, row=lambda index: index * 10, each=each), fresh=False)
        for n in (100, 101):
            await bench.life.iterate(Arrival(None, n, 0, False, row=3), pool_limited=False)
    assert rows == [30, 30, 1000, 1010]


async def test_a_life_that_is_stopped_by_its_owner_lets_that_through_and_counts_no_fault() -> None:
    async def j(user: User) -> None:
        await asyncio.sleep(3600)

    bench = Bench(bound(j))
    task = asyncio.create_task(bench.run())
    await turns()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert (bench.said, bench.recorder.counters.script_faults) == ([], 0)


async def test_a_group_of_exceptions_is_the_outcome_of_what_is_in_it() -> None:
    async def failing(user: User) -> None:
        await user.http.get("/missing", expect=200)

    async def j(user: User) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(failing(user))
            group.create_task(failing(user))

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "expect status"
    assert bench.said == []


async def test_idle_connections_are_closed_before_each_iteration_where_the_plan_wants_fresh_ones() -> None:
    closed: list[int] = []

    async def j(user: User) -> None: ...

    user = Bench(bound(j)).user
    life = JourneyLife(user, [bound(j)], fresh=True, report=print, close_idle=lambda: closed.append(1))
    for n in range(3):
        await life.iterate(Arrival(None, n, 0, False), pool_limited=False)
    assert closed == [1, 1, 1]

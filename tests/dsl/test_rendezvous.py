"""`user.rendezvous`: what a journey sees of it, what is counted and what is no response time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from loadgen.clients.net.canned_replies import reply
from loadgen.dsl.journey import journey
from loadgen.dsl.users.user import User
from loadgen.engine.load.rendezvous import Points
from loadgen.engine.recording.recorder import Recorder
from tests.support.lives import Bench, bound

MS = 1_000_000


async def test_users_go_on_when_so_many_are_there_and_are_told_that_they_met() -> None:
    met: list[bool] = []

    async def j(user: User) -> None:
        met.append(await user.rendezvous("sale opens", users=3))

    points, recorder = Points(), Recorder()
    benches = [Bench(bound(j), recorder=recorder, points=points) for _ in range(3)]
    first = [asyncio.create_task(bench.run()) for bench in benches[:2]]
    await asyncio.sleep(0)
    assert met == []
    await benches[2].run()
    await asyncio.gather(*first)
    assert met == [True] * 3
    assert benches[0].counted() == {"rendezvous: met": (3, 3)}
    points.close()


async def test_the_time_out_lets_a_user_go_on_alone_and_counts_it() -> None:
    async def j(user: User) -> None:
        if not await user.rendezvous("sale opens", users=2, timeout="1ms"):
            user.skip("too few came")

    points = Points()
    bench = Bench(bound(j), points=points)
    assert (await bench.run()).outcome == "skipped"
    assert bench.counted() == {"rendezvous: timed out": (1, 1)}
    points.close()


async def test_the_wait_is_duration_and_no_response_time_of_step_and_journey() -> None:
    async def j(user: User) -> None:
        async with user.step("buy"):
            await user.rendezvous("sale opens", users=2, timeout="50ms")
            await user.http.get("/")

    points = Points()
    bench = Bench(bound(j), points=points)
    life = await bench.run()
    assert life.idle_ns >= 49 * MS  # a timer of the loop may fire a millisecond early
    delta = bench.recorder.flip(0, 1)
    sums = {(k.kind, k.metric): s.sum_ns for s in delta.stats if (k := delta.new_series[s.series]).outcome == "ok"}
    assert sums["step", "duration"] - sums["step", "response"] >= 49 * MS
    points.close()


async def test_what_is_cut_off_while_it_waits_has_waited_and_not_responded() -> None:
    async def j(user: User) -> None:
        await user.rendezvous("sale opens", users=2)

    points = Points()
    bench = Bench(bound(j), points=points)
    running = asyncio.create_task(bench.run())
    await asyncio.sleep(0.03)
    now_ns = bench.life.begun_ns + 60_000 * MS
    assert 30_000 * MS <= bench.life.idle_until(now_ns) <= 60_000 * MS
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    (standing,) = points.standing()
    assert standing.waiting == 0
    points.close()


async def test_the_end_of_the_load_is_no_meeting_and_no_time_out() -> None:
    met: list[bool] = []

    async def j(user: User) -> None:
        met.append(await user.rendezvous("sale opens", users=2))

    points = Points()
    points.end(0)
    bench = Bench(bound(j), points=points)
    await bench.run()
    assert met == [False]
    assert bench.counted() == {}
    points.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": ""}, "rendezvous: invalid name ''"),
        ({"name": "n" * 101}, "rendezvous: invalid name"),
        ({"name": 7}, "rendezvous: invalid name 7"),
        ({"users": 0}, "rendezvous: users=0"),
        ({"users": -3}, "rendezvous: users=-3"),
        ({"users": 2.0}, "rendezvous: users=2.0"),
        ({"users": True}, "rendezvous: users=True"),
        ({"timeout": 0}, "rendezvous: timeout must be above 0"),
        ({"timeout": "soon"}, "soon"),
        ({"timeout": -1}, "-1"),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
async def test_what_is_no_rendezvous_is_a_fault_with_its_line_also_in_a_trial(
    arguments: dict[str, Any], said: str, alone: bool
) -> None:
    given: dict[str, Any] = {"name": "sale opens", "users": 2, "timeout": "30s"} | arguments

    async def j(user: User) -> None:
        await user.rendezvous(given["name"], users=given["users"], timeout=given["timeout"])

    points = None if alone else Points()
    bench = Bench(bound(j), points=points)
    outcome = (await bench.run()).outcome
    assert outcome in ("script UsageError", "script ValueError")
    (text,) = bench.said
    assert said in text
    assert "test_rendezvous.py:" in text
    if points is not None:
        points.close()


async def test_a_user_that_does_something_beside_does_not_wait_with_half_of_itself() -> None:
    async def j(user: User) -> None:
        await user.gather(user.http.get("/"), user.rendezvous("sale opens", users=2))

    bench = Bench(bound(j), points=Points())
    assert (await bench.run()).outcome == "script UsageError"
    assert "rendezvous cannot be called within user.gather" in bench.said[0]


async def test_in_a_trial_nobody_waits() -> None:
    @journey
    async def sale(user: User) -> None:
        assert await user.rendezvous("sale opens", users=1000, timeout="1h")
        await user.http.post("/buy")

    trial = await sale.trial(replies={"POST /buy": reply(201)})
    assert (trial.outcome, trial.thought_s) == ("ok", 0)
    assert [one.name for one in trial.requests] == ["POST /buy"]

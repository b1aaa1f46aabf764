"""Open loads that no core or target can follow: every arrival is counted, users are bounded, and seconds are unfit."""

from __future__ import annotations

import asyncio
from functools import reduce
from operator import add
from pathlib import Path
from time import perf_counter_ns

import pytest

from loadgen.drive.plan_share_driver import Drive
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import Overrides
from loadgen.measure.deltas.delta import Counters, Delta
from tests.support.badserver import bad_server
from tests.support.scenarios import write

pytestmark = pytest.mark.quiet

MS = 1_000_000
MAX_USERS = 300
SCENARIO = """
from loadgen import Plan, User, arrivals, journey

@journey
async def nothing(user: User) -> None:
    pass

@journey
async def one(user: User) -> None:
    await user.http.get("/")

too_fast = Plan(target="http://127.0.0.1:1", load=arrivals("200000/s").hold("10s"), mix=nothing)
silent = Plan(
    target="http://127.0.0.1:1", load=arrivals("10000/s").hold("1s"), mix=one, max_users=300, drain="300ms"
)
"""


async def test_a_rate_that_no_core_can_drive_is_unfit_from_the_first_second_on_and_loses_no_arrival(
    tmp_path: Path,
) -> None:
    deltas: list[Delta] = []
    scenario = load(write(tmp_path, SCENARIO), "too_fast", overrides=Overrides())
    drive = Drive(scenario, seed=7, emit=deltas.append)
    asyncio.get_running_loop().call_later(2, lambda: drive.stop(now=True))

    totals = await drive.run(perf_counter_ns() + 20 * MS)

    assert any("lag p99" in reason for reason in deltas[0].health.unfit)
    assert deltas[0].health.waiting == 0  # late arrivals wait in the plan, not in memory
    counters = totals.counters
    assert 0 < counters.iterations_started < counters.iterations_due
    assert counters.iterations_due == counters.iterations_finished + counters.iterations_missed
    assert counters.iterations_due >= 200_000


async def test_a_target_that_accepts_and_never_answers_gets_no_more_connections_than_users(tmp_path: Path) -> None:
    deltas: list[Delta] = []
    async with bad_server("hang") as url:
        scenario = load(write(tmp_path, SCENARIO), "silent", overrides=Overrides(target=url))
        drive = Drive(scenario, seed=7, interval_ns=100 * MS, emit=deltas.append)
        totals = await drive.run(perf_counter_ns() + 20 * MS)

    counters = reduce(add, (delta.counters for delta in deltas), Counters())
    assert counters == totals.counters
    assert max(delta.health.users for delta in deltas) == MAX_USERS
    assert (counters.iterations_due, counters.iterations_cut_off) == (10_000, MAX_USERS)
    assert counters.iterations_missed == 10_000 - MAX_USERS
    assert counters.requests_started == MAX_USERS

"""Rendez-vous in one process: users of a share meet, and its end lets all of them go."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import perf_counter_ns

from loadgen.drive.plan_share_driver import Drive, Totals
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import Overrides
from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.rendezvous_counts import WaitingAt
from loadgen.target.config import TargetConfig
from loadgen.target.server import serve
from tests.support.scenarios import write

MS = 1_000_000

# `int(...)`: computed, so that more than the load can have is no fault before it starts.
SALE = """\
from loadgen import Load, Plan, User, arrivals, iterations, journey, users

@journey
async def sale(user: User) -> None:
    await user.rendezvous("sale opens", users=int({users}), timeout="{timeout}")
    await user.http.get("/")

plan = Plan(target="http://127.0.0.1:1", {plan})
"""


async def drive(
    folder: Path,
    plan: str,
    *,
    users: int,
    timeout: str = "1h",
    stop_s: float | None = None,
    told: list[tuple[WaitingAt, ...]] | None = None,
    deltas: list[tuple[int, int]] | None = None,
) -> tuple[Totals, dict[str, int]]:
    """The totals, and what was counted; into `deltas` the end of each and how many iterations ended in it."""
    counted: dict[str, int] = {}

    def emit(delta: Delta) -> None:
        custom: tuple[CustomStats, ...] = delta.custom
        for one in custom:
            counted[one.name] = counted.get(one.name, 0) + one.total
        if deltas is not None:
            deltas.append((delta.end_ns, delta.counters.iterations_finished))

    path = write(folder, SALE.format(users=users, timeout=timeout, plan=plan))
    async with serve(TargetConfig(latency=False)) as shop:
        scenario = load(path, overrides=Overrides(target=shop.url))
        one = Drive(scenario, interval_ns=100 * MS, emit=emit, tell=None if told is None else told.append)
        if stop_s is not None:
            asyncio.get_running_loop().call_later(stop_s, one.stop)
        async with asyncio.timeout(60):
            totals = await one.run(perf_counter_ns() + 20 * MS)
    return totals, counted


async def test_users_of_a_counted_load_meet_in_groups_until_it_is_done(tmp_path: Path) -> None:
    totals, counted = await drive(tmp_path, "load=iterations(20, users=10), mix=sale", users=5)
    assert totals.counters.iterations_finished == totals.counters.requests_finished == 20
    assert counted == {"rendezvous: met": 20}


async def test_arrivals_meet_though_the_last_group_is_complete_only_with_the_last_of_them(tmp_path: Path) -> None:
    totals, counted = await drive(tmp_path, 'load=arrivals("100/s").hold("200ms"), mix=sale', users=10)
    assert totals.counters.iterations_finished == 20
    assert counted == {"rendezvous: met": 20}


async def test_the_end_of_the_load_lets_those_go_whom_nobody_joins(tmp_path: Path) -> None:
    totals, counted = await drive(tmp_path, 'load=users(3).hold("1s"), mix=sale', users=4)
    assert totals.counters.iterations_finished == totals.counters.requests_finished == 3
    assert totals.counters.iterations_cut_off == 0
    assert counted == {}


async def test_the_end_of_one_load_lets_its_users_go_while_another_goes_on(tmp_path: Path) -> None:
    finished: list[tuple[int, int]] = []
    plan = 'loads=[Load(sale, users(3).hold("500ms"), name="a"), Load(sale, users(1).hold("1500ms"), name="b")]'
    totals, _ = await drive(tmp_path, plan, users=4, deltas=finished)
    # "a" ends at 0.5 s and lets its three go a second later, "b" its one at 2.5 s; four in all would have met.
    assert sum(count for end_ns, count in finished if end_ns < 2_400 * MS) == 3
    assert (totals.counters.iterations_finished, totals.counters.iterations_cut_off) == (4, 0)


async def test_a_stop_lets_all_go_at_once_and_cuts_nobody_off(tmp_path: Path) -> None:
    totals, counted = await drive(tmp_path, 'load=users(3).hold("1h"), mix=sale', users=4, stop_s=0.2)
    assert (totals.counters.iterations_finished, totals.counters.iterations_cut_off) == (3, 0)
    assert counted == {}


async def test_after_the_time_out_all_go_on(tmp_path: Path) -> None:
    totals, counted = await drive(tmp_path, "load=iterations(3, users=3), mix=sale", users=4, timeout="50ms")
    assert totals.counters.iterations_finished == 3
    assert counted == {"rendezvous: timed out": 3}


async def test_a_share_of_a_fleet_tells_who_waits_and_lets_nobody_go_by_itself(tmp_path: Path) -> None:
    told: list[tuple[WaitingAt, ...]] = []
    totals, counted = await drive(
        tmp_path, "load=iterations(4, users=4), mix=sale", users=2, timeout="100ms", told=told
    )
    assert totals.counters.iterations_finished == 4
    assert counted == {"rendezvous: timed out": 4}
    assert told[0] == (WaitingAt(0, "sale opens", 2, 4, 0),)
    assert told[-1] == (WaitingAt(0, "sale opens", 2, 4, 4),)

"""One share of a plan in this process: from T0 to the totals that its deltas add up to."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from datetime import date
from functools import reduce
from operator import add
from pathlib import Path
from time import perf_counter_ns

import pytest

from loadgen.allowlist import AllowList, Entry
from loadgen.drive.garbage_collection import seldom_collected
from loadgen.drive.plan_share_driver import Drive, Totals
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import Overrides
from loadgen.measure.deltas.delta import Counters, Delta
from loadgen.measure.merging.merge import Merge
from loadgen.profiles.edits import PAUSE
from loadgen.profiles.stage import Stage
from loadgen.target.config import TargetConfig
from loadgen.target.server import serve
from tests.support.scenarios import HEAD, write

pytestmark = pytest.mark.quiet

MS = 1_000_000


async def drive(
    folder: Path, plan: str, *, emit: Callable[[Delta], None], stop_s: float | None = None, now: bool = False
) -> Totals:
    """Run `plan` (the arguments of Plan after the target) against the demo shop, which answers at once."""
    async with serve(TargetConfig(latency=False)) as shop:
        path = write(folder, HEAD + f'plan = Plan(target="http://127.0.0.1:1", mix=browse, {plan})\n')
        one = Drive(load(path, overrides=Overrides(target=shop.url)), seed=7, interval_ns=100 * MS, emit=emit)
        if stop_s is not None:
            asyncio.get_running_loop().call_later(stop_s, lambda: one.stop(now=now))
        totals = await one.run(perf_counter_ns() + 20 * MS)
        assert shop.stats()["requests"] == totals.counters.requests_started
        return totals


def counters_of(deltas: list[Delta]) -> Counters:
    return reduce(add, (delta.counters for delta in deltas), Counters())


@pytest.mark.parametrize(
    ("plan", "due"),
    [
        ('load=arrivals("100/s").hold("500ms")', 50),
        ('load=arrivals().ramp(to="200/s", over="400ms")', 40),
        ('load=arrivals("100/s").poisson(seed=7).hold("500ms")', 44),
        ("load=iterations(30, users=4)", 30),
        ("load=iterations(per_user=6, users=5)", 30),
        ('load=users(3).hold("300ms")', None),
    ],
)
async def test_the_deltas_add_up_to_the_totals(plan: str, due: int | None, tmp_path: Path) -> None:
    deltas: list[Delta] = []
    totals = await drive(tmp_path, plan, emit=deltas.append)
    assert counters_of(deltas) == totals.counters
    assert totals.recorded == sum(stats.n for delta in deltas for stats in delta.stats)
    assert [delta.seq for delta in deltas] == list(range(totals.last_seq + 1))
    assert [a.end_ns for a in deltas[:-1]] == [b.start_ns for b in deltas[1:]]
    assert totals.counters.iterations_due == totals.counters.iterations_finished
    assert due is None or totals.counters.iterations_due == due


async def test_the_collector_looks_at_users_less_often_while_a_load_is_driven_and_as_before_after_it(
    tmp_path: Path,
) -> None:
    before, during = gc.get_threshold(), []

    await drive(tmp_path, 'load=users(3).hold("300ms")', emit=lambda _: during.append(gc.get_threshold()))

    assert gc.get_threshold() == before
    assert during[0][0] > before[0]
    assert during[0][1] > before[1]


async def test_loads_that_overlap_in_one_process_leave_the_collector_as_it_was() -> None:
    before = gc.get_threshold()
    first, second = seldom_collected(), seldom_collected()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold() != before
    second.__exit__(None, None, None)
    assert gc.get_threshold() == before


@pytest.mark.parametrize(
    ("plan", "due"),
    [
        ('load=arrivals("200/s").hold("500ms")', 100),
        ("load=iterations(60, users=4)", 60),
        ("load=iterations(per_user=15, users=4)", 60),
    ],
)
async def test_the_workers_of_an_agent_do_everything_once_also_when_one_takes_over_from_another(
    plan: str, due: int, tmp_path: Path
) -> None:
    """Worker 1 is stopped in the middle; what it had not begun by then another one begins."""
    before = gc.get_threshold()  # three drives in one process put back what they found, in whatever order they end
    marks = memoryview(bytearray(8)).cast("q")
    async with serve(TargetConfig(latency=False)) as shop:
        body = """
@journey(data=feed.rows([Row(n) for n in range(100)]).unique())
async def once(user: User, row: Row) -> None:
    SEEN.append(row.n)
    await user.think(0.01)
"""
        head = HEAD + "SEEN = []\n\n@dataclass\nclass Row:\n    n: int\n"
        path = write(tmp_path, head + body + f'plan = Plan(target="http://127.0.0.1:1", mix=once, {plan})\n')
        scenario = load(path, overrides=Overrides(target=shop.url))

        def worker(number: int, marked: memoryview[int] | None = None) -> Drive:
            return Drive(scenario, seed=7, emit=lambda _: None, worker=number, workers=2, marks=marked)

        def stop_in_the_middle(delta: Delta) -> None:
            if delta.counters.iterations_started:
                dying.stop(now=True)

        t0_ns = perf_counter_ns() + 20 * MS
        first = worker(0)
        dying = Drive(scenario, seed=7, emit=stop_in_the_middle, interval_ns=50 * MS, worker=1, workers=2, marks=marks)
        running = asyncio.create_task(first.run(t0_ns))
        done = await dying.run(t0_ns)
        from_ns = perf_counter_ns() - t0_ns
        rest = worker(1, marks)
        assert rest.left_out == ""
        more = await rest.run(t0_ns, from_ns)
        whole = await running
    gc.set_threshold(*before)
    seen: list[int] = scenario.plan.journeys[0].fn.__globals__["SEEN"]
    assert len(seen) == len(set(seen))
    begun = [totals.counters.iterations_started for totals in (whole, done, more)]
    assert sum(begun) == len(seen)
    assert begun[0] == due // 2
    assert all(begun)
    if "iterations" in plan:
        assert sorted(seen) == list(range(due))
    else:
        missing = sorted(set(range(due)) - set(seen))  # what was due between the stop and `from_ns`
        assert len(missing) <= 200 * from_ns / 1e9 + 1


async def test_what_is_due_in_the_warm_up_is_counted_and_has_rows_of_its_own(tmp_path: Path) -> None:
    merge = Merge(100 * MS)

    def take(delta: Delta) -> None:
        merge.accept("local", delta)

    totals = await drive(tmp_path, 'load=arrivals("100/s").hold("500ms"), warmup="200ms"', emit=take)
    assert totals.counters.requests_finished == 50
    measured, warm = (merge.select("journey", warmup=warmup)[0].total for warmup in (False, True))
    assert (measured, warm) == (30, 20)


async def test_a_stop_lets_what_runs_finish_and_starts_nothing_more(tmp_path: Path) -> None:
    deltas: list[Delta] = []
    totals = await drive(tmp_path, 'load=arrivals("100/s").hold("60s")', emit=deltas.append, stop_s=0.3)
    c = totals.counters
    assert 10 < c.iterations_due < 60
    # What is due at the stop itself may be missed: which of the two is first is a matter of scheduling.
    assert c.iterations_due == c.iterations_finished + c.iterations_missed
    assert c.iterations_missed <= 1
    assert c.iterations_cut_off == 0


async def test_a_late_joiner_under_a_cap_takes_changes_from_before_it_and_sends_its_share(tmp_path: Path) -> None:
    """Agents 0 and 1 drive the load; the third agent, which is us, joins after 200 ms. Its changes come all at once."""
    entry = Entry(host="127.0.0.1", owner="us", expires=date(2999, 1, 1), max_requests_per_s=1_000)
    deltas: list[Delta] = []
    async with serve(TargetConfig(latency=False)) as shop:
        path = write(
            tmp_path,
            HEAD + 'plan = Plan(target="http://127.0.0.1:1", mix=browse, load=arrivals("100/s").hold("500ms"))\n',
        )
        scenario = load(path, overrides=Overrides(target=shop.url))
        allow = AllowList(allow=(entry,))
        one = Drive(scenario, index=2, weights=(1.0, 1.0, 0.0), emit=deltas.append, allow=allow, cap_per_s=1_000.0)
        one.reassign(1, 0, (2.0, 1.0))
        one.reassign(2, 200 * MS, (1.0, 1.0, 2.0))
        totals = await one.run(perf_counter_ns() + 20 * MS)
        counters = totals.counters
        assert counters.script_faults == counters.requests_errors == 0
        assert 10 <= counters.requests_started == shop.stats()["requests"] <= 20  # half of the last 30 arrivals


async def test_a_stop_before_t0_starts_nothing(tmp_path: Path) -> None:
    totals = await drive(tmp_path, 'load=arrivals("100/s").hold("60s")', emit=lambda _: None, stop_s=0)
    assert totals.counters == Counters()


async def test_deltas_that_cannot_be_given_away_end_the_drive_with_that_error(tmp_path: Path) -> None:
    def refuse(delta: Delta) -> None:
        raise ConnectionError("nobody takes them")

    with pytest.raises(ConnectionError, match="nobody takes them"):
        await asyncio.wait_for(drive(tmp_path, 'load=arrivals("100/s").hold("60s")', emit=refuse), timeout=60)


Change = tuple[float, tuple[Stage, ...]]
"""From when on, s after T0, which stages."""


async def changed(folder: Path, plan: str, *changes: Change) -> tuple[Totals, list[Delta]]:
    """Run `plan`; of all changes it hears when it has just begun."""
    deltas: list[Delta] = []
    async with serve(TargetConfig(latency=False)) as shop:
        path = write(folder, HEAD + f'plan = Plan(target="http://127.0.0.1:1", mix=browse, {plan})\n')
        one = Drive(load(path, overrides=Overrides(target=shop.url)), seed=7, interval_ns=100 * MS, emit=deltas.append)
        for at_s, stages in changes:
            asyncio.get_running_loop().call_later(0.03, one.adjust, 0, round(at_s * 1000) * MS, stages)
        totals = await one.run(perf_counter_ns() + 20 * MS)
        assert shop.stats()["requests"] == totals.counters.requests_started
    return totals, deltas


async def test_a_load_that_is_changed_while_it_is_driven_ends_when_it_is_to_and_in_the_number_of_its_curve(
    tmp_path: Path,
) -> None:
    changes = (0.4, (PAUSE,)), (0.7, (Stage(300, 300, 300 * MS),))
    totals, deltas = await changed(tmp_path, 'load=arrivals("100/s").hold("500ms")', *changes)
    assert totals.counters.iterations_started == 40 + 90
    paused = [d.counters.iterations_started for d in deltas if d.start_ns > 400 * MS and d.end_ns <= 700 * MS]
    assert sum(paused) == 0
    assert deltas[-1].end_ns >= 1000 * MS
    assert totals.counters.iterations_due == totals.counters.iterations_finished


async def test_a_load_that_is_ended_ends(tmp_path: Path) -> None:
    totals, _ = await changed(tmp_path, 'load=arrivals("100/s").hold("1h")', (0.4, ()))
    assert totals.counters.iterations_finished == 40


async def test_a_change_after_the_end_is_not_followed_and_that_is_said(tmp_path: Path) -> None:
    plan = 'load=arrivals("10/s").hold("100ms")'
    one = write(tmp_path, HEAD + f'plan = Plan(target="http://127.0.0.1:1", mix=browse, {plan})\n')
    async with serve(TargetConfig(latency=False)) as shop:
        drive = Drive(load(one, overrides=Overrides(target=shop.url)), seed=7, emit=lambda delta: None)
        totals = await drive.run(perf_counter_ns())
        drive.adjust(0, 50 * MS, (Stage(1000, 1000, 10**9),))
    assert totals.counters.iterations_started == 1
    assert drive._recorder.take_notes() == ("a change of the load arrived after its end, and had no effect",)
